/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What rebase refuses, and in which words; plans, and names of whole chains.
 * What it writes is held against qemu-img in tests/interop/rebase.py.
 */
#include <chain/rebase.h>

#include "chain_fixture.h"

static struct chain_rebase_request request;
static struct chain_rebase_result result;

static void begin_rebase(const char *path)
{
    begin();
    request = (struct chain_rebase_request){.path = path};
}

/* The first LEN bytes of the file at PATH, or all of it: the number. */
static size_t load(const char *path, uint8_t *bytes, size_t len)
{
    FILE *file = fopen(path, "re");

    ck_assert_ptr_nonnull(file);
    size_t got = fread(bytes, 1, len, file);
    ck_assert_int_eq(fclose(file), 0);
    return got;
}

#define FILE_MAX 65536u

/* A call fails with this, and the file at PATH stays as it is. */
#define refuses(call, file, code, where, said)                                 \
    do {                                                                       \
        static uint8_t then_[FILE_MAX], now_[FILE_MAX];                        \
        size_t len_ = load(file, then_, FILE_MAX);                             \
        unit_fails(call, &err, code, said);                                    \
        ck_assert_str_eq(err.path, where);                                     \
        ck_assert_uint_eq(load(file, now_, FILE_MAX), len_);                   \
        ck_assert_int_eq(memcmp(then_, now_, len_), 0);                        \
    } while (0)

static void expect_refusal(enum img_code code, const char *where,
                           const char *text)
{
    refuses(chain_rebase(&request, &result, &err), request.path, code, where,
            text);
    ck_assert_ptr_null(result.backing_name);
    ck_assert_ptr_null(result.undo_path);
    ck_assert_int_ne(access("top.imgchain-undo", F_OK), 0);
}

static void expect_backing(const char *path, const char *name,
                           const char *format)
{
    chain_options_init(&options);
    options.top_only = true;
    unit_ok(chain_open(path, &options, &chain, &err), &err);
    const struct img_image *image = chain_layer_image(chain_layer_at(chain, 0));
    ck_assert_pstr_eq(image->backing_name, name);
    ck_assert_pstr_eq(image->backing_format, format);
    chain_free(chain);
}

static void rebase(void)
{
    unit_ok(chain_rebase(&request, &result, &err), &err);
}

START_TEST(test_other_formats)
{
    begin_rebase("top");
    tiny_raw_write("top", 4, 1);
    tiny_raw_write("base", 4, 1);
    request.backing_name = "base";
    request.backing_format = "raw";
    expect_refusal(IMG_UNSUPPORTED, "top",
                   "its format is raw, as it was probed: only the backing file "
                   "of a qcow2 image can be changed");
    request.format = "raw";
    expect_refusal(IMG_UNSUPPORTED, "top",
                   "its format is raw: only the backing file of a qcow2 image "
                   "can be changed");
    end();
}
END_TEST

START_TEST(test_no_name)
{
    begin_rebase("top");
    make("top", NULL, NULL);
    expect_refusal(IMG_USAGE, "top",
                   "it has no backing file, and none is given");
    end();
}
END_TEST

START_TEST(test_formats_of_the_backing_file)
{
    begin_rebase("top");
    tiny_raw_write("base", 4, 1);
    make("top", "base", "raw");
    request.backing_name = "base";
    expect_refusal(IMG_UNDECLARED, "top",
                   "the format of the new backing file \"base\" is not given: "
                   "it looks like raw (-F raw)");
    request.backing_format = "qcow9";
    expect_refusal(IMG_USAGE, "top",
                   "the format of the new backing file, \"qcow9\", is not "
                   "known");
    request.backing_name = "json:{\"driver\":\"raw\",\"file\":{\"driver\":"
                           "\"file\",\"filename\":\"base\"}}";
    request.backing_format = "qcow2";
    expect_refusal(IMG_USAGE, "top",
                   "the format of the new backing file is given as qcow2, but "
                   "its json: name says raw");
    end();
}
END_TEST

START_TEST(test_names_that_are_too_long)
{
    char name[1100] = "./";

    begin_rebase("top");
    make("top", NULL, NULL);
    while (strlen(name) < 1022) {
        strcat(name, "./");
    }
    strcat(name, "top2");
    request.backing_name = name;
    request.backing_format = "qcow2";
    expect_refusal(IMG_LIMIT, "top",
                   "the name of the new backing file has 1026 bytes, and at "
                   "most 1023 can be recorded");
    end();
}
END_TEST

START_TEST(test_loops)
{
    begin_rebase("top");
    make("base", NULL, NULL);
    make("top", "base", "qcow2");
    make("child", "top", "qcow2");
    request.backing_format = "qcow2";
    for (int i = 0; i < 2; i++) {
        request.unsafe = i == 1;
        request.backing_name = "top";
        expect_refusal(IMG_LOOP, "top",
                       "its backing file \"top\" is the same file as \"top\": "
                       "the chain is a loop");
        request.backing_name = "child";
        expect_refusal(IMG_LOOP, "child",
                       "its backing file \"top\" is the same file as \"top\": "
                       "the chain is a loop");
    }
    end();
}
END_TEST

START_TEST(test_unsafe_nonsense)
{
    begin_rebase("top");
    make("base", NULL, NULL);
    make("top", "base", "qcow2");
    request.unsafe = true;
    request.backing_name = "gone";
    request.backing_format = "raw";
    unit_fails(chain_rebase(&request, &result, &err), &err, IMG_NOT_FOUND,
               "cannot open: No such file or directory");
    request.backing_name = "base";
    expect_refusal(IMG_FORMAT, "base",
                   "it is said to be raw, but looks like "
                   "qcow2");
    request.backing_name = "nbd://host/x";
    expect_refusal(IMG_UNSUPPORTED, "top",
                   "protocol \"nbd\" is not read: only local files are");
    /* All of that is done where it is insisted on. */
    request.force = true;
    rebase();
    ck_assert_str_eq(result.undo_path, "top.imgchain-undo");
    ck_assert(result.is_header_only);
    chain_rebase_result_fini(&result);
    expect_backing("top", "nbd://host/x", "raw");
    request.backing_name = "gone";
    rebase();
    chain_rebase_result_fini(&result);
    expect_backing("top", "gone", "raw");
    end();
}
END_TEST

START_TEST(test_old_backing_is_gone)
{
    begin_rebase("top");
    tiny_raw_write("new", 4, 1);
    make("top", "gone", "raw");
    request.backing_name = "new";
    request.backing_format = "raw";
    expect_refusal(IMG_NOT_FOUND, "gone",
                   "cannot open: No such file or directory");
    request.unsafe = true;
    rebase();
    chain_rebase_result_fini(&result);
    expect_backing("top", "new", "raw");
    end();
}
END_TEST

/* tiny_raw_write fills sector N with SEED + N. */
START_TEST(test_plan_and_result)
{
    begin_rebase("top");
    tiny_raw_write("base", 4, 1);
    tiny_raw_write("new", 4, 1);
    tiny_qcow2_write("top", &(struct tiny_qcow2){.clusters = ".D..",
                                                 .fill = 77,
                                                 .backing = "base",
                                                 .format = "raw"});
    request.backing_name = "new";
    request.backing_format = "raw";
    request.dry_run = true;
    rebase();
    ck_assert_uint_eq(result.proof.same_file_len, 512);
    ck_assert_uint_eq(result.proof.read_len, 0);
    ck_assert_uint_eq(result.written_len, 3 * 512);
    ck_assert(!result.is_header_only);
    ck_assert_ptr_null(result.undo_path);
    chain_rebase_result_fini(&result);
    expect_backing("top", "base", "raw");

    request.dry_run = false;
    request.verify = true;
    rebase();
    ck_assert_uint_eq(result.proof.same_file_len, 512);
    ck_assert_uint_eq(result.proof.read_len, 3 * 512);
    ck_assert_uint_eq(result.read_len, 6 * 512);
    ck_assert_uint_eq(result.written_len, 0);
    ck_assert(result.is_header_only);
    chain_rebase_result_fini(&result);
    expect_backing("top", "new", "raw");

    /* To nothing: what is there is moved, and not compared before. */
    request.backing_name = "";
    request.backing_format = NULL;
    rebase();
    ck_assert_uint_eq(result.proof.read_len, 0);
    ck_assert_uint_eq(result.read_len, 3 * 512);
    ck_assert_uint_eq(result.written_len, 3 * 512);
    ck_assert(!result.is_header_only);
    chain_rebase_result_fini(&result);
    expect_backing("top", NULL, NULL);
    end();
}
END_TEST

/* What is recorded already is not written again, and needs no undo record. */
START_TEST(test_nothing_to_do)
{
    static uint8_t then[FILE_MAX], now[FILE_MAX];

    begin_rebase("top");
    tiny_raw_write("base", 4, 1);
    make("top", "base", "raw");
    size_t len = load("top", then, FILE_MAX);
    rebase();
    ck_assert_str_eq(result.backing_name, "base");
    ck_assert_str_eq(result.backing_format, "raw");
    ck_assert_ptr_null(result.undo_path);
    ck_assert_uint_eq(result.read_len, 0);
    chain_rebase_result_fini(&result);
    ck_assert_uint_eq(load("top", now, FILE_MAX), len);
    ck_assert_int_eq(memcmp(then, now, len), 0);
    end();
}
END_TEST

START_TEST(test_undo)
{
    begin_rebase("top");
    tiny_raw_write("base", 4, 1);
    tiny_raw_write("new", 4, 1);
    make("top", "base", "raw");
    make("other", "base", "raw");
    request.backing_name = "new";
    request.backing_format = "raw";
    rebase();
    chain_rebase_result_fini(&result);
    unit_ok(chain_rebase_undo(&request, "top.imgchain-undo", &err), &err);
    expect_backing("top", "base", "raw");

    /* It is another file's. */
    request.path = "other";
    img_error_clear(&err);
    ck_assert_int_eq(chain_rebase_undo(&request, "top.imgchain-undo", &err),
                     -1);
    ck_assert_int_eq((int)err.code, (int)IMG_CHANGED);
    ck_assert_str_eq(err.path, "other");
    expect_backing("other", "base", "raw");
    /* It is none. */
    ck_assert_int_eq(truncate("new", 0), 0);
    unit_fails(chain_rebase_undo(&request, "new", &err), &err, IMG_FORMAT,
               "it is no undo record: it has 0 bytes, and a record has 1 to "
               "4194304");
    ck_assert_str_eq(err.path, "new");
    end();
}
END_TEST

/* ---- Names of a whole chain. */

static unsigned changes;

static void count_change(void *opaque, const char *path, const char *from,
                         const char *to)
{
    ck_assert_ptr_eq(opaque, &changes);
    ck_assert_str_ne(from, to);
    ck_assert_ptr_nonnull(path);
    changes++;
}

static void make_three(void)
{
    char absolute[512];

    ck_assert_int_eq(mkdir("d", 0755), 0);
    tiny_raw_write("d/base", 4, 1);
    make("mid", "d/base", "raw");
    snprintf(absolute, sizeof(absolute), "%s/mid", scratch.dir);
    make("d/top", absolute, "qcow2");
    request.path = "d/top";
    request.opaque = &changes;
    changes = 0;
}

START_TEST(test_names_to_and_fro)
{
    char absolute[512];

    begin_rebase(NULL);
    make_three();
    request.style = CHAIN_MAKE_RELATIVE;
    request.dry_run = true;
    unit_ok(chain_rename_backings(&request, count_change, &err), &err);
    ck_assert_uint_eq(changes, 1);
    snprintf(absolute, sizeof(absolute), "%s/mid", scratch.dir);
    expect_backing("d/top", absolute, "qcow2");

    request.dry_run = false;
    unit_ok(chain_rename_backings(&request, count_change, &err), &err);
    ck_assert_uint_eq(changes, 2);
    expect_backing("d/top", "../mid", "qcow2");
    expect_backing("mid", "d/base", "raw");
    unit_ok(chain_rename_backings(&request, count_change, &err), &err);
    ck_assert_uint_eq(changes, 2);

    request.style = CHAIN_MAKE_ABSOLUTE;
    unit_ok(chain_rename_backings(&request, count_change, &err), &err);
    ck_assert_uint_eq(changes, 4);
    expect_backing("d/top", absolute, "qcow2");
    snprintf(absolute, sizeof(absolute), "%s/d/base", scratch.dir);
    expect_backing("mid", absolute, "raw");
    end();
}
END_TEST

/* One layer is in use: no name is changed. */
START_TEST(test_names_all_or_none)
{
    const struct img_open_options how = {.lock = IMG_LOCK_READER};
    struct img_file *reader;

    begin_rebase(NULL);
    make_three();
    request.style = CHAIN_MAKE_ABSOLUTE;
    make("d/top", "../mid", "qcow2");
    unit_ok(img_file_open("mid", &how, &reader, &err), &err);
    img_error_clear(&err);
    ck_assert_int_eq(chain_rename_backings(&request, count_change, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_LOCKED);
    ck_assert_str_eq(err.path, "d/../mid");
    ck_assert_uint_eq(changes, 0);
    img_file_unref(reader);
    expect_backing("d/top", "../mid", "qcow2");
    expect_backing("mid", "d/base", "raw");
    end();
}
END_TEST

/* The second header has no room for its new name: the first is put back. */
START_TEST(test_names_are_taken_back)
{
    char folder[400], path[500];

    begin_rebase(NULL);
    /* A relative name just fits into the first cluster. */
    memset(folder, 'x', 375);
    folder[187] = '\0';
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    folder[187] = '/';
    folder[375] = '\0';
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    snprintf(path, sizeof(path), "%s/base", folder);
    tiny_raw_write(path, 4, 1);
    make("mid", path, "raw");
    make("top", "mid", "qcow2");
    request.path = "top";
    request.opaque = &changes;
    changes = 0;
    request.style = CHAIN_MAKE_ABSOLUTE;
    img_error_clear(&err);
    ck_assert_int_eq(chain_rename_backings(&request, count_change, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_LIMIT);
    ck_assert_str_eq(err.path, "mid");
    ck_assert_uint_eq(changes, 0);
    expect_backing("top", "mid", "qcow2");
    expect_backing("mid", path, "raw");
    end();
}
END_TEST

START_TEST(test_names_that_stay)
{
    begin_rebase(NULL);
    tiny_raw_write("base", 4, 1);
    make("top",
         "json:{\"driver\":\"raw\",\"offset\":512,\"file.filename\":\"base\"}",
         "raw");
    request.path = "top";
    request.style = CHAIN_MAKE_RELATIVE;
    refuses(chain_rename_backings(&request, count_change, &err), "top",
            IMG_UNSUPPORTED, "top",
            "the json: name of its backing file says more than a path: it can "
            "only be recorded as it is");
    end();
}
END_TEST

UNIT_SUITE("rebase", test_other_formats, test_no_name,
           test_formats_of_the_backing_file, test_names_that_are_too_long,
           test_loops, test_unsafe_nonsense, test_old_backing_is_gone,
           test_plan_and_result, test_nothing_to_do, test_undo,
           test_names_to_and_fro, test_names_all_or_none,
           test_names_are_taken_back, test_names_that_stay)
