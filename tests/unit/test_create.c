/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creating images: what is refused and in which words, what is recorded. The
 * same against qemu-img create and validate: tests/interop/create.py.
 */
#include <chain/create.h>

#include <dirent.h>

#include "chain_fixture.h"

static struct chain_made made;

/* Create PATH as FORMAT; the rest of the request may be set before. */
static struct chain_create_request request_of(const char *path,
                                              const char *format)
{
    return (struct chain_create_request){
        .path = path, .format = format, .has_size = true, .size = 65536};
}

static void refuse(const struct chain_create_request *request,
                   enum img_code code, const char *path, const char *text)
{
    unit_fails(chain_create(request, &made, &err), &err, code, text);
    ck_assert_str_eq(err.path, path);
    ck_assert_ptr_null(made.path);
}

/* Names in the folder, but for hidden ones too. */
static size_t files_nr(void)
{
    DIR *dir = opendir(".");
    size_t nr = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir)) {
        nr++;
    }
    closedir(dir);
    return nr - 2;
}

static void refuse_option(const char *format, const char *option,
                          const char *text)
{
    const char *words[] = {option};
    struct chain_create_request request = request_of("new", format);

    request.options = words;
    request.options_nr = 1;
    refuse(&request,
           strncmp(option, "encrypt", 7) == 0     ? IMG_UNSUPPORTED
           : strncmp(option, "data_file", 9) == 0 ? IMG_LOOP
                                                  : IMG_USAGE,
           "new", text);
}

START_TEST(test_formats)
{
    struct chain_create_request request = request_of("new", "nonsense\n");

    begin();
    refuse(&request, IMG_USAGE, "new",
           "no image of format \"nonsense\\x0a\" can be made: expected qcow2 "
           "or raw");
    request.format = "vmdk";
    refuse(&request, IMG_UNSUPPORTED, "new",
           "no image of format \"vmdk\" can be made: expected qcow2 or raw");
    ck_assert_uint_eq(files_nr(), 0);
    end();
}
END_TEST

START_TEST(test_options)
{
    begin();
    refuse_option("qcow2", "compat",
                  "option: found \"compat\", expected NAME=VALUE");
    refuse_option("qcow2", "=1", "option: found \"=1\", expected NAME=VALUE");
    refuse_option("qcow2", "nocow=perhaps",
                  "nocow: found \"perhaps\", expected on or off");
    refuse_option("raw", "extent_size_hint=4G",
                  "extent_size_hint: found \"4G\", expected less than 4 GiB");
    refuse_option("raw", "cluster_size=64k",
                  "option: found \"cluster_size\", expected size, "
                  "preallocation, nocow or extent_size_hint for a raw image");
    refuse_option("raw", "preallocation=metadata",
                  "preallocation: found \"metadata\", expected off, falloc or "
                  "full for a raw image");
    refuse_option("qcow2", "encrypt.format=luks",
                  "option: found \"encrypt.format\", expected none: encrypted "
                  "images cannot be made");
    refuse_option("qcow2", "size=1M",
                  "the size is given twice, as SIZE and among the options");
    refuse_option("qcow2", "backing_fmt=raw",
                  "a backing format (raw) is given, but no backing file");
    refuse_option("qcow2", "data_file=./new",
                  "the image and its data file would be one file");
    ck_assert_uint_eq(files_nr(), 0);
    end();
}
END_TEST

START_TEST(test_the_last_of_two_options_counts)
{
    const char *words[] = {"cluster_size=4k", "cluster_size=512",
                           "lazy_refcounts=on", "preallocation=metadata"};
    struct chain_create_request request = request_of("new", "qcow2");

    begin();
    request.options = words;
    request.options_nr = 4;
    unit_ok(chain_create(&request, &made, &err), &err);
    ck_assert_str_eq(made.path, "new");
    ck_assert_str_eq(made.format, "qcow2");
    ck_assert_uint_eq(made.cluster_len, 512);
    ck_assert_uint_eq(made.version, 3);
    ck_assert_uint_eq(made.refcount_bits, 16);
    ck_assert(made.lazy_refcounts && !made.extended_l2);
    ck_assert_str_eq(made.compression, "zlib");
    ck_assert_str_eq(made.prealloc, "metadata");
    ck_assert_ptr_null(made.backing_name);
    chain_made_fini(&made);
    end();
}
END_TEST

START_TEST(test_sizes)
{
    struct chain_create_request request = request_of("new", NULL);
    struct stat st;

    begin();
    request.has_size = false;
    refuse(&request, IMG_USAGE, "new",
           "no size is given, and no backing file tells one");
    request.has_size = true;
    request.size = UINT64_MAX;
    refuse(&request, IMG_USAGE, "new",
           "the size is 18446744073709551615 bytes: expected less than 8 EiB");
    /* Sectors, as qemu-img counts; raw where no format is named. */
    request.size = 1000;
    unit_ok(chain_create(&request, &made, &err), &err);
    ck_assert_str_eq(made.format, "raw");
    ck_assert_uint_eq(made.virtual_len, 1024);
    ck_assert_int_eq(stat("new", &st), 0);
    ck_assert_int_eq(st.st_size, 1024);
    chain_made_fini(&made);
    end();
}
END_TEST

START_TEST(test_backing_requests)
{
    struct chain_create_request request = request_of("new", "raw");

    begin();
    make("base", NULL, NULL);
    request.backing_name = "base";
    request.backing_format = "qcow2";
    refuse(&request, IMG_USAGE, "new", "a raw image has no backing file");
    request.format = "qcow2";
    request.backing_name = "";
    refuse(&request, IMG_USAGE, "new", "the name of the backing file is empty");
    request.backing_name = "base";
    request.backing_format = NULL;
    refuse(&request, IMG_USAGE, "new",
           "the format of the backing file \"base\" is not given: it looks "
           "like qcow2 (-F qcow2)");
    request.unchecked_backing = true;
    refuse(&request, IMG_USAGE, "new",
           "the format of the backing file \"base\" is not given (-F)");
    request.backing_format = "nonsense";
    refuse(&request, IMG_USAGE, "new",
           "the format of the backing file: \"nonsense\" is not known");
    request.unchecked_backing = false;
    request.backing_format = "raw";
    request.backing_name = "missing";
    refuse(&request, IMG_NOT_FOUND, "missing",
           "cannot open: No such file or directory");
    request.backing_name = "nbd:localhost:1";
    refuse(&request, IMG_UNSUPPORTED, "new",
           "protocol \"nbd\" is not read: only local files are");
    ck_assert_uint_eq(files_nr(), 1);
    end();
}
END_TEST

START_TEST(test_a_chain_is_not_written_over)
{
    struct chain_create_request request = request_of("base", "qcow2");

    begin();
    make("base", NULL, NULL);
    make("mid", "base", "qcow2");
    ck_assert_int_eq(symlink("base", "soft"), 0);
    request.backing_name = "mid";
    request.backing_format = "qcow2";
    refuse(&request, IMG_LOOP, "base",
           "the new file would take the place of \"base\", which its own "
           "chain needs");
    request.path = "soft";
    refuse(&request, IMG_LOOP, "soft",
           "the new file would take the place of \"base\", which its own "
           "chain needs");
    request.path = "mid";
    refuse(&request, IMG_LOOP, "mid",
           "the new image would be its own backing file");
    /* Unchecked, a name that does not exist is still its own. */
    request.path = "none";
    request.backing_name = "./none";
    request.unchecked_backing = true;
    refuse(&request, IMG_LOOP, "none",
           "the new image would be its own backing file");
    request.path = "new";
    request.backing_name = "mid";
    request.unchecked_backing = false;
    const char *words[] = {"data_file=base"};
    request.options = words;
    request.options_nr = 1;
    refuse(&request, IMG_LOOP, "base",
           "the new file would take the place of \"base\", which its own "
           "chain needs");
    end();
}
END_TEST

static void expect_backing(const char *path, const char *backing,
                           enum chain_name_style_wish style, const char *want)
{
    struct chain_create_request request = request_of(path, "qcow2");
    const char *paths[] = {path, NULL};

    request.has_size = false;
    request.backing_name = backing;
    request.backing_format = "qcow2";
    request.style = style;
    unit_ok(chain_create(&request, &made, &err), &err);
    ck_assert_str_eq(made.backing_name, want);
    ck_assert_str_eq(made.backing_format, "qcow2");
    ck_assert_uint_eq(made.virtual_len, 4 * TINY_CLUSTER_LEN);
    char *joined = want[0] == '/' ? strdup(want) : NULL;
    if (!joined) {
        const char *slash = strrchr(path, '/');
        int len = slash ? (int)(slash - path) + 1 : 0;
        ck_assert_int_ge(asprintf(&joined, "%.*s%s", len, path, want), 0);
    }
    paths[1] = joined;
    expect_paths(path, paths, 2);
    chain_free(chain);
    chain_made_fini(&made);
    free(joined);
}

START_TEST(test_backing_names)
{
    char *folder, *absolute = NULL;

    begin();
    folder = realpath(".", NULL);
    ck_assert_int_ge(asprintf(&absolute, "%s/base", folder), 0);
    make("base", NULL, NULL);
    ck_assert_int_eq(mkdir("d", 0755), 0);
    ck_assert_int_eq(mkdir("d/e", 0755), 0);
    ck_assert_int_eq(symlink("d/e", "link"), 0);
    expect_backing("a", "base", CHAIN_NAME_AS_GIVEN, "base");
    expect_backing("a", "./base", CHAIN_NAME_AS_GIVEN, "./base");
    expect_backing("a", absolute, CHAIN_MAKE_RELATIVE, "base");
    expect_backing("d/a", absolute, CHAIN_MAKE_RELATIVE, "../base");
    /* The kernel takes ".." from where the link leads. */
    expect_backing("link/a", absolute, CHAIN_MAKE_RELATIVE, "../../base");
    expect_backing("d/e/b", "../../base", CHAIN_MAKE_ABSOLUTE, absolute);
    free(absolute);
    free(folder);
    end();
}
END_TEST

START_TEST(test_json_name_is_recorded_as_given)
{
    struct chain_create_request request = request_of("new", "qcow2");
    char *name = NULL;

    begin();
    make("base", NULL, NULL);
    ck_assert_int_ge(
        asprintf(&name,
                 "json:{\"driver\":\"raw\",\"offset\":512,\"size\":512,"
                 "\"file\":{\"driver\":\"file\",\"filename\":\"%s/base\"}}",
                 scratch.dir),
        0);
    request.backing_name = name;
    request.backing_format = "qcow2";
    refuse(&request, IMG_USAGE, name,
           "the format is given as qcow2, but its json: name says raw");
    request.backing_format = "raw";
    request.style = CHAIN_MAKE_RELATIVE;
    refuse(&request, IMG_UNSUPPORTED, "new",
           "the backing file is not named by a path alone: its name can only "
           "be recorded as it is given");
    request.style = CHAIN_NAME_AS_GIVEN;
    request.has_size = false;
    unit_ok(chain_create(&request, &made, &err), &err);
    ck_assert_str_eq(made.backing_name, name);
    ck_assert_uint_eq(made.virtual_len, 512);
    chain_made_fini(&made);
    free(name);
    end();
}
END_TEST

START_TEST(test_places)
{
    struct chain_create_request request = request_of("missing/new", "qcow2");

    begin();
    ck_assert_int_eq(mkdir("folder", 0755), 0);
    for (int dry = 0; dry < 2; dry++) {
        request.dry_run = dry;
        request.path = "missing/new";
        img_error_clear(&err);
        ck_assert_int_eq(chain_create(&request, &made, &err), -1);
        ck_assert_int_eq(err.code, IMG_NOT_FOUND);
        request.path = "folder";
        img_error_clear(&err);
        ck_assert_int_eq(chain_create(&request, &made, &err), -1);
        ck_assert_int_eq(err.code, IMG_UNSUPPORTED);
        ck_assert_str_eq(err.path, "folder");
    }
    request.path = "new";
    unit_ok(chain_create(&request, &made, &err), &err);
    ck_assert_str_eq(made.path, "new");
    chain_made_fini(&made);
    ck_assert_uint_eq(files_nr(), 1);
    end();
}
END_TEST

START_TEST(test_roots_hold_what_is_made)
{
    struct chain_create_request request = request_of("out/new", "qcow2");
    struct img_roots *roots = NULL;

    begin();
    ck_assert_int_eq(mkdir("in", 0755), 0);
    ck_assert_int_eq(mkdir("out", 0755), 0);
    make("out/base", NULL, NULL);
    unit_ok(img_roots_new(&roots, &err), &err);
    unit_ok(img_roots_add(roots, "in", &err), &err);
    request.roots = roots;
    img_error_clear(&err);
    ck_assert_int_eq(chain_create(&request, &made, &err), -1);
    ck_assert_int_eq(err.code, IMG_DENIED);
    request.path = "in/new";
    request.backing_name = "../out/base";
    request.backing_format = "qcow2";
    img_error_clear(&err);
    ck_assert_int_eq(chain_create(&request, &made, &err), -1);
    ck_assert_int_eq(err.code, IMG_DENIED);
    ck_assert_int_eq(access("in/new", F_OK), -1);
    request.backing_name = NULL;
    request.backing_format = NULL;
    unit_ok(chain_create(&request, &made, &err), &err);
    chain_made_fini(&made);
    img_roots_free(roots);
    end();
}
END_TEST

START_TEST(test_cancel_leaves_nothing)
{
    static const char *const full[] = {"preallocation=full"};
    const volatile int cancel = 1;
    struct chain_create_request request = request_of("new", "raw");

    begin();
    request.cancel = &cancel;
    request.options = full;
    request.options_nr = 1;
    refuse(&request, IMG_CANCELLED, "new", "cancelled");
    request.format = "qcow2";
    refuse(&request, IMG_CANCELLED, "new", "cancelled");
    ck_assert_uint_eq(files_nr(), 0);
    end();
}
END_TEST

/* ---- For an operation. */

static void refuse_for(enum chain_operation operation, const char *active,
                       const struct chain_create_request *request,
                       enum img_code code, const char *text)
{
    unit_fails(chain_create_for(operation, active, NULL, request, &made, &err),
               &err, code, text);
    ck_assert_int_eq(access(request->path, F_OK), -1);
}

START_TEST(test_for_what_validate_accepts)
{
    static const struct {
        enum chain_operation operation;
        const char *active, *backing;
    } cases[] = {
        {CHAIN_OP_SNAPSHOT, "top", "top"},
        {CHAIN_OP_SHALLOW_COPY, "top", "base"},
        {CHAIN_OP_COPY, "top", NULL},
        {CHAIN_OP_SNAPSHOT, "base", "base"},
        {CHAIN_OP_SHALLOW_COPY, "base", NULL},
    };

    begin();
    make("base", NULL, NULL);
    make("top", "base", "qcow2");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct chain_create_request request = {.path = "new"};
        request.dry_run = true;
        unit_ok(chain_create_for(cases[i].operation, cases[i].active, "qcow2",
                                 &request, &made, &err),
                &err);
        ck_assert_int_eq(access("new", F_OK), -1);
        chain_made_fini(&made);
        request.dry_run = false;
        unit_ok(chain_create_for(cases[i].operation, cases[i].active, "qcow2",
                                 &request, &made, &err),
                &err);
        ck_assert_pstr_eq(made.backing_name, cases[i].backing);
        ck_assert_uint_eq(made.cluster_len, TINY_CLUSTER_LEN);
        ck_assert_uint_eq(made.virtual_len, 4 * TINY_CLUSTER_LEN);
        const struct chain_validate_request question = {
            .operation = cases[i].operation,
            .source = cases[i].active,
            .source_format = "qcow2",
            .dest = "new",
            .dest_format = "qcow2",
            .dest_fd = -1,
        };
        struct chain_report *report = NULL;
        unit_ok(chain_validate(&question, &report, &err), &err);
        ck_assert_int_eq((int)chain_report_judgement(report), CHAIN_ACCEPTED);
        chain_report_free(report);
        chain_made_fini(&made);
        ck_assert_int_eq(unlink("new"), 0);
    }
    end();
}
END_TEST

START_TEST(test_for_refuses_what_validate_would)
{
    static const char *const data_file[] = {"data_file=data"};
    static const char *const size[] = {"size=1M"};
    struct chain_create_request request = {.path = "new"};

    begin();
    make("base", NULL, NULL);
    make("top", "base", "qcow2");
    make("broken", "missing", "qcow2");
    refuse_for(CHAIN_OP_COPY, "broken", &request, IMG_NOT_FOUND,
               "cannot open: No such file or directory");
    request.options_nr = 1;
    request.options = data_file;
    img_error_clear(&err);
    ck_assert_int_eq(
        chain_create_for(CHAIN_OP_SNAPSHOT, "top", NULL, &request, &made, &err),
        -1);
    ck_assert_int_eq(err.code, IMG_USAGE);
    ck_assert_int_eq(strncmp(err.text, "features-usable: ", 17), 0);
    request.options = size;
    refuse_for(CHAIN_OP_SNAPSHOT, "top", &request, IMG_USAGE,
               "option: found \"size\", which follows from the active layer "
               "and cannot be given");
    request.options_nr = 0;
    request.format = "raw";
    refuse_for(CHAIN_OP_SNAPSHOT, "top", &request, IMG_USAGE,
               "an overlay cannot be raw: expected qcow2");
    refuse_for(CHAIN_OP_SHALLOW_COPY, "top", &request, IMG_UNSUPPORTED,
               "the raw target of a shallow copy has to hold what the backing "
               "file shows: make it with copy");
    end();
}
END_TEST

START_TEST(test_for_a_part_of_a_file)
{
    struct chain_create_request request = {.path = "new"};
    char *name = NULL;

    begin();
    make("base", NULL, NULL);
    ck_assert_int_ge(
        asprintf(&name,
                 "json:{\"driver\":\"raw\",\"offset\":512,\"size\":512,"
                 "\"file\":{\"driver\":\"file\",\"filename\":\"%s/base\"}}",
                 scratch.dir),
        0);
    refuse_for(CHAIN_OP_SNAPSHOT, name, &request, IMG_UNSUPPORTED,
               "no plain name can be recorded for it: it is named by a json: "
               "that says more than a path");
    free(name);
    end();
}
END_TEST

START_TEST(test_for_never_replaces_the_source)
{
    struct chain_create_request request = {.path = "hard"};

    begin();
    make("base", NULL, NULL);
    make("top", "base", "qcow2");
    ck_assert_int_eq(link("base", "hard"), 0);
    unit_fails(
        chain_create_for(CHAIN_OP_COPY, "top", NULL, &request, &made, &err),
        &err, IMG_LOOP,
        "the new file would take the place of \"base\", which its own "
        "chain needs");
    end();
}
END_TEST

UNIT_SUITE("create", test_formats, test_options,
           test_the_last_of_two_options_counts, test_sizes,
           test_backing_requests, test_a_chain_is_not_written_over,
           test_backing_names, test_json_name_is_recorded_as_given, test_places,
           test_roots_hold_what_is_made, test_cancel_leaves_nothing,
           test_for_what_validate_accepts, test_for_refuses_what_validate_would,
           test_for_a_part_of_a_file, test_for_never_replaces_the_source)
