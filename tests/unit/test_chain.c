/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening chains: what is followed, what is refused, and with which words. */
#include <dirent.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chain/chain.h>
#include <chain/formats.h>
#include <chain/name.h>
#include <img/image.h>

#include "scratch.h"
#include "tiny_qcow2.h"

static struct scratch scratch;
static struct img_error err;
static struct chain_options options;
static struct chain *chain;

/* Every test works in an empty folder of its own. */
static void begin(void)
{
    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.dir), 0);
    chain_options_init(&options);
}

static void end(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}

static void make(const char *path, const char *backing, const char *format)
{
    tiny_qcow2_write(path, &(struct tiny_qcow2){.clusters = "....",
                                                .backing = backing,
                                                .format = format});
}

/* chain_open fails with this code, path and text. */
static void expect_failure(const char *operand, enum img_code code,
                           const char *path, const char *text)
{
    unit_fails(chain_open(operand, &options, &chain, &err), &err, code, text);
    ck_assert_str_eq(err.path, path);
}

static void expect_paths(const char *operand, const char *const *paths,
                         size_t nr)
{
    unit_ok(chain_open(operand, &options, &chain, &err), &err);
    ck_assert_uint_eq(chain_depth(chain), nr);
    for (size_t i = 0; i < nr; i++) {
        ck_assert_str_eq(chain_layer_path(chain_layer_at(chain, i)), paths[i]);
    }
    ck_assert_ptr_null(chain_broken(chain));
}

static unsigned count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned nr = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir)) {
        nr++;
    }
    closedir(dir);
    return nr;
}

START_TEST(test_paths_as_spelled)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    ck_assert_int_eq(mkdir("d/e", 0755), 0);
    tiny_raw_write("d/base", 4, 1);
    make("d/e/mid", "../base", "raw");
    make("d/top", "./e//mid", "qcow2");
    static const char *const paths[] = {"d/top", "d/./e//mid",
                                        "d/./e//../base"};
    unsigned before = count_descriptors();
    expect_paths("d/top", paths, 3);
    /* One descriptor a layer. */
    ck_assert_uint_eq(count_descriptors(), before + 3);
    ck_assert_uint_eq(chain_virtual_len(chain), 2048);
    ck_assert(chain_layer_is_probed(chain_layer_at(chain, 0)));
    ck_assert(!chain_layer_is_probed(chain_layer_at(chain, 1)));
    ck_assert_str_eq(chain_layer_image(chain_layer_at(chain, 1))->format,
                     "qcow2");
    ck_assert_str_eq(chain_layer_image(chain_layer_at(chain, 2))->format,
                     "raw");
    chain_free(chain);
    ck_assert_uint_eq(count_descriptors(), before);
    end();
}
END_TEST

START_TEST(test_absolute_and_file_names)
{
    char absolute[512], protocol[512];

    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    tiny_raw_write("base", 4, 1);
    snprintf(absolute, sizeof(absolute), "%s/base", scratch.dir);
    make("d/top", absolute, "raw");
    expect_paths("d/top", (const char *const[]){"d/top", absolute}, 2);
    chain_free(chain);
    /* After "file:" and in json: the working directory counts. */
    make("d/top", "file:base", "raw");
    expect_paths("d/top", (const char *const[]){"d/top", "base"}, 2);
    chain_free(chain);
    make("d/top", "json:{\"file.filename\":\"base\"}", "raw");
    expect_paths("d/top", (const char *const[]){"d/top", "base"}, 2);
    chain_free(chain);
    snprintf(protocol, sizeof(protocol), "file://%s/base", scratch.dir);
    make("d/top", protocol, "raw");
    expect_paths("d/top", (const char *const[]){"d/top", protocol + 5}, 2);
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_self_loop)
{
    begin();
    make("top", "top", "qcow2");
    expect_failure("top", IMG_LOOP, "top",
                   "its backing file \"top\" is the same file as \"top\": the "
                   "chain is a loop");
    end();
}
END_TEST

START_TEST(test_loop_through_links)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    make("a", "d/hard", "qcow2");
    make("b", "soft", "qcow2");
    ck_assert_int_eq(symlink("../a", "d/soft"), 0);
    ck_assert_int_eq(link("b", "d/hard"), 0);
    expect_failure("a", IMG_LOOP, "d/hard",
                   "its backing file \"d/soft\" is the same file as \"a\": "
                   "the chain is a loop");
    end();
}
END_TEST

/* A loop is a loop also where the format is not recorded, or raw is. */
START_TEST(test_loop_goes_before_format)
{
    begin();
    make("top", "./top", NULL);
    expect_failure("top", IMG_LOOP, "top",
                   "its backing file \"./top\" is the same file as \"top\": "
                   "the chain is a loop");
    make("top", "./top", "raw");
    expect_failure("top", IMG_LOOP, "top",
                   "its backing file \"./top\" is the same file as \"top\": "
                   "the chain is a loop");
    end();
}
END_TEST

/* N0 <- N1 <- ... <- N(nr - 1), which has no backing file. */
static void make_chain(size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        char path[32], backing[32];
        snprintf(path, sizeof(path), "N%zu", i);
        snprintf(backing, sizeof(backing), "N%zu", i + 1);
        make(path, i + 1 < nr ? backing : NULL, "qcow2");
    }
}

START_TEST(test_depth_limit)
{
    begin();
    make_chain(201);
    expect_failure("N0", IMG_LIMIT, "N199",
                   "the chain has more than 200 layers, which is the limit");
    unit_ok(chain_open("N1", &options, &chain, &err), &err);
    ck_assert_uint_eq(chain_depth(chain), 200);
    chain_free(chain);
    options.max_depth = 201;
    unit_ok(chain_open("N0", &options, &chain, &err), &err);
    ck_assert_uint_eq(chain_depth(chain), 201);
    chain_free(chain);
    options.max_depth = 1;
    expect_failure("N199", IMG_LIMIT, "N199",
                   "the chain has more than 1 layers, which is the limit");
    end();
}
END_TEST

/* A chain of 10,000 costs no more descriptors and time than the limit. */
START_TEST(test_endless_chain)
{
    begin();
    make_chain(10000);
    unsigned before = count_descriptors();
    expect_failure("N0", IMG_LIMIT, "N199",
                   "the chain has more than 200 layers, which is the limit");
    ck_assert_uint_eq(count_descriptors(), before);
    end();
}
END_TEST

/* Where descriptors run out first the error says so. */
START_TEST(test_out_of_descriptors)
{
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};

    begin();
    make_chain(100);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("N0", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_SYSTEM);
    ck_assert_ptr_nonnull(strstr(err.text, "Too many open files"));
    end();
}
END_TEST

START_TEST(test_missing_backing)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    make("d/top", "gone", "qcow2");
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("d/top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, "d/gone");
    end();
}
END_TEST

START_TEST(test_undeclared_format)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    tiny_raw_write("d/base", 4, 1);
    make("d/top", "base", NULL);
    expect_failure("d/top", IMG_UNDECLARED, "d/top",
                   "the format of its backing file \"base\" is not recorded; "
                   "record it with: qemu-img rebase -u -b base -F raw d/top");
    make("d/mid", NULL, NULL);
    make("-top it's", "d/mid", NULL);
    expect_failure("-top it's", IMG_UNDECLARED, "-top it's",
                   "the format of its backing file \"d/mid\" is not recorded; "
                   "record it with: qemu-img rebase -u -b d/mid -F qcow2 "
                   "'./-top it'\\''s'");
    make("top", "./go\nne", NULL);
    expect_failure("top", IMG_UNDECLARED, "top",
                   "the format of its backing file \"./go\\x0ane\" is not "
                   "recorded; record it with: qemu-img rebase -u -b "
                   "$'./go\\012ne' -F FMT top");
    end();
}
END_TEST

START_TEST(test_probe_allowed)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("mid", "base", NULL);
    make("top", "mid", NULL);
    options.allow_probe = true;
    expect_paths("top", (const char *const[]){"top", "mid", "base"}, 3);
    ck_assert(chain_layer_is_probed(chain_layer_at(chain, 2)));
    ck_assert_str_eq(chain_layer_image(chain_layer_at(chain, 2))->format,
                     "raw");
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_unknown_recorded_format)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top", "base", "qcow9\n");
    expect_failure("top", IMG_UNSUPPORTED, "top",
                   "the format of its backing file \"base\" is recorded as "
                   "\"qcow9\\x0a\", which is not known");
    end();
}
END_TEST

/* A file that was declared raw is raw, whatever it begins with. */
START_TEST(test_declared_raw_stays_raw)
{
    begin();
    make("evil", "/etc/passwd", "raw");
    make("top", "evil", "raw");
    expect_paths("top", (const char *const[]){"top", "evil"}, 2);
    const struct img_image *image = chain_layer_image(chain_layer_at(chain, 1));
    ck_assert_str_eq(image->format, "raw");
    ck_assert_ptr_null(image->backing_name);
    ck_assert_uint_eq(image->virtual_len, TINY_DATA_OFF);
    chain_free(chain);
    options.format = "raw";
    expect_paths("evil", (const char *const[]){"evil"}, 1);
    ck_assert(!chain_layer_is_probed(chain_layer_at(chain, 0)));
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_declared_qcow2_is_not)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top", "base", "qcow2");
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_FORMAT);
    ck_assert_str_eq(err.path, "base");
    ck_assert_int_eq(strncmp(err.text, "declared as qcow2 but ",
                             strlen("declared as qcow2 but ")),
                     0);
    end();
}
END_TEST

START_TEST(test_formats_disagree)
{
    begin();
    make("base", NULL, NULL);
    make("top", "json:{\"driver\":\"raw\",\"file.filename\":\"base\"}",
         "qcow2");
    expect_failure("top", IMG_FORMAT, "top",
                   "its backing format is recorded as \"qcow2\", but the "
                   "json: name of its backing file says \"raw\"");
    options.format = "raw";
    expect_failure("json:{\"driver\":\"qcow2\",\"file.filename\":\"base\"}",
                   IMG_USAGE,
                   "json:{\"driver\":\"qcow2\",\"file.filename\":\"base\"}",
                   "the format is given as raw, but its json: name says "
                   "qcow2");
    options.format = "qcow9";
    expect_failure("base", IMG_USAGE, "base",
                   "the format \"qcow9\" is not known");
    end();
}
END_TEST

/* json: may cut a chain short or lead it elsewhere. */
START_TEST(test_json_backing)
{
    begin();
    tiny_raw_write("base", 4, 1);
    tiny_raw_write("other", 8, 1);
    make("mid", "base", "raw");
    make("top",
         "json:{\"driver\":\"qcow2\",\"file.filename\":\"mid\","
         "\"backing\":null}",
         "qcow2");
    expect_paths("top", (const char *const[]){"top", "mid"}, 2);
    ck_assert(!chain_layer_wants_backing(chain_layer_at(chain, 1)));
    ck_assert(chain_layer_wants_backing(chain_layer_at(chain, 0)));
    chain_free(chain);

    make("top",
         "json:{\"driver\":\"qcow2\",\"file.filename\":\"mid\","
         "\"backing\":{\"driver\":\"raw\",\"offset\":512,"
         "\"file.filename\":\"other\"}}",
         "qcow2");
    expect_paths("top", (const char *const[]){"top", "mid", "other"}, 3);
    ck_assert_uint_eq(chain_layer_image(chain_layer_at(chain, 2))->virtual_len,
                      3584);
    ck_assert(chain_layer_ref(chain_layer_at(chain, 2))->has_slice);
    chain_free(chain);

    /* The format that the header of mid records is the next best. */
    make("top",
         "json:{\"file.filename\":\"mid\",\"backing\":{\"file.filename\":"
         "\"other\"}}",
         "qcow2");
    expect_paths("top", (const char *const[]){"top", "mid", "other"}, 3);
    chain_free(chain);
    make("mid", NULL, NULL);
    expect_failure("top", IMG_UNDECLARED, "mid",
                   "the json: name of the image says no \"driver\" for its "
                   "backing file \"other\"");
    make("top",
         "json:{\"driver\":\"raw\",\"file.filename\":\"mid\","
         "\"backing.file.filename\":\"other\"}",
         "raw");
    expect_failure("top", IMG_FORMAT, "mid",
                   "its json: name gives it a backing file, but the format "
                   "raw has none");
    end();
}
END_TEST

START_TEST(test_json_kind_and_slice)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top",
         "json:{\"file\":{\"driver\":\"host_device\",\"filename\":"
         "\"base\"}}",
         "raw");
    expect_failure("top", IMG_FORMAT, "base",
                   "driver \"host_device\" needs a block device, and this is "
                   "a regular file");
    make("top",
         "json:{\"driver\":\"raw\",\"offset\":2049,\"file.filename\":"
         "\"base\"}",
         "raw");
    expect_failure("top", IMG_CORRUPT, "base",
                   "the raw driver's offset is 2049, but the file has 2048 "
                   "bytes");
    end();
}
END_TEST

START_TEST(test_bad_backing_names)
{
    begin();
    make("top", "nbd:localhost:10809", "raw");
    expect_failure("top", IMG_UNSUPPORTED, "top",
                   "protocol \"nbd\" is not read: only local files are");
    make("top", "json:{\"file.filename\":\"x\",\"evil\":1}", "raw");
    expect_failure("top", IMG_FORMAT, "top",
                   "json: name has the option \"evil\", which is not known "
                   "here");
    expect_failure("nbd://h/x", IMG_UNSUPPORTED, "nbd://h/x",
                   "protocol \"nbd\" is not read: only local files are");
    end();
}
END_TEST

START_TEST(test_keep_broken)
{
    begin();
    make("mid", "gone", "qcow2");
    make("top", "mid", "qcow2");
    options.keep_broken = true;
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    ck_assert_uint_eq(chain_depth(chain), 2);
    const struct img_error *broken = chain_broken(chain);
    ck_assert_ptr_nonnull(broken);
    ck_assert_int_eq((int)broken->code, (int)IMG_NOT_FOUND);
    ck_assert_str_eq(broken->path, "gone");
    chain_free(chain);

    /* A layer that opened as a file but not as an image is not kept. */
    tiny_raw_write("gone", 4, 1);
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    ck_assert_uint_eq(chain_depth(chain), 2);
    ck_assert_int_eq((int)chain_broken(chain)->code, (int)IMG_FORMAT);
    struct img_file *gone = scratch_open_file("gone");
    ck_assert_int_eq(chain_find_file(chain, gone), -1);
    img_file_unref(gone);
    chain_free(chain);

    /* The top must open. */
    options.format = "qcow2";
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("gone", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_FORMAT);
    end();
}
END_TEST

START_TEST(test_top_only_opens_nothing_else)
{
    begin();
    tiny_qcow2_write("top", &(struct tiny_qcow2){.clusters = "....",
                                                 .backing = "gone",
                                                 .data_file = "lost"});
    options.top_only = true;
    unsigned before = count_descriptors();
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    ck_assert_uint_eq(chain_depth(chain), 1);
    ck_assert_uint_eq(count_descriptors(), before + 1);
    ck_assert_ptr_null(chain_broken(chain));
    ck_assert(chain_layer_wants_backing(chain_layer_at(chain, 0)));
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_data_files)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    struct tiny_qcow2 tiny = {.clusters = "DDDD", .data_file = "data"};
    tiny_qcow2_write("d/top", &tiny);
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("d/top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, "d/data");

    tiny_raw_write("d/data", 4, 1);
    unit_ok(chain_open("d/top", &options, &chain, &err), &err);
    struct img_file *data = scratch_open_file("d/data");
    ck_assert_int_eq(chain_find_file(chain, data), 0);
    img_file_unref(data);
    chain_free(chain);

    /* Never read as a protocol or json:. */
    tiny.data_file = "json:{\"file.filename\":\"data\"}";
    tiny_qcow2_write("d/top", &tiny);
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("d/top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, "d/json:{\"file.filename\":\"data\"}");
    end();
}
END_TEST

START_TEST(test_data_file_is_a_layer)
{
    struct tiny_qcow2 tiny = {
        .clusters = "....", .backing = "mid", .format = "qcow2"};

    begin();
    tiny_qcow2_write("top", &tiny);
    tiny_qcow2_write(
        "mid", &(struct tiny_qcow2){.clusters = "....", .data_file = "./top"});
    expect_failure("top", IMG_LOOP, "mid",
                   "its data file \"./top\" is the same file as \"top\"");
    tiny_raw_write("data", 4, 1);
    tiny_qcow2_write("mid", &(struct tiny_qcow2){.clusters = "....",
                                                 .data_file = "data",
                                                 .backing = "./data",
                                                 .format = "raw"});
    expect_failure("top", IMG_LOOP, "mid",
                   "its backing file \"./data\" is the same file as the data "
                   "file of \"mid\": the chain is a loop");
    end();
}
END_TEST

START_TEST(test_find_and_change)
{
    struct img_file *base;

    begin();
    tiny_raw_write("base", 4, 1);
    make("top", "base", "raw");
    expect_paths("top", (const char *const[]){"top", "base"}, 2);
    ck_assert_int_eq(link("base", "twin"), 0);
    chain_free(chain);
    expect_paths("top", (const char *const[]){"top", "base"}, 2);
    base = scratch_open_file("twin");
    ck_assert_int_eq(chain_find_file(chain, base), 1);
    img_file_unref(base);
    unit_ok(chain_check_unchanged(chain, &err), &err);
    ck_assert_int_eq(truncate("twin", 4096), 0);
    unit_fails(chain_check_unchanged(chain, &err), &err, IMG_CHANGED,
               "its length changed since it was opened");
    ck_assert_str_eq(err.path, "base");
    chain_free(chain);

    expect_paths("top", (const char *const[]){"top", "base"}, 2);
    ck_assert_int_eq(chmod("top", 0600), 0);
    unit_fails(chain_check_unchanged(chain, &err), &err, IMG_CHANGED,
               "it was changed since it was opened (its times, owner or mode "
               "say so)");
    ck_assert_str_eq(err.path, "top");
    chain_free(chain);
    end();
}
END_TEST

/* Roots hold for every file: backing and data files too. */
START_TEST(test_roots)
{
    struct img_roots *roots;
    char outside[512];

    begin();
    ck_assert_int_eq(mkdir("in", 0755), 0);
    ck_assert_int_eq(mkdir("out", 0755), 0);
    tiny_raw_write("in/base", 4, 1);
    tiny_raw_write("out/base", 4, 1);
    unit_ok(img_roots_new(&roots, &err), &err);
    unit_ok(img_roots_add(roots, "in", &err), &err);
    options.roots = roots;

    make("in/top", "base", "raw");
    expect_paths("in/top", (const char *const[]){"in/top", "in/base"}, 2);
    chain_free(chain);

    snprintf(outside, sizeof(outside), "%s/out/base", scratch.dir);
    const char *const names[] = {"../out/base", outside, "link",
                                 "json:{\"file.filename\":\"out/base\"}"};
    ck_assert_int_eq(symlink("../out/base", "in/link"), 0);
    for (size_t i = 0; i < 4; i++) {
        make("in/top", names[i], "raw");
        img_error_clear(&err);
        ck_assert_msg(chain_open("in/top", &options, &chain, &err) == -1,
                      "%s was opened", names[i]);
        ck_assert_msg(err.code == IMG_DENIED, "%s: %s", names[i], err.text);
    }
    tiny_qcow2_write(
        "in/top",
        &(struct tiny_qcow2){.clusters = "....", .data_file = "../out/base"});
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("in/top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_DENIED);
    ck_assert_str_eq(err.path, "in/../out/base");
    img_roots_free(roots);
    end();
}
END_TEST

START_TEST(test_inherited_descriptor)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    tiny_raw_write("d/base", 4, 1);
    make("d/top", "base", "raw");
    options.fd = open("d/top", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(options.fd, 0);
    expect_paths("d/top", (const char *const[]){"d/top", "d/base"}, 2);
    chain_free(chain);
    /* The descriptor is still the caller's. */
    ck_assert_int_eq(close(options.fd), 0);
    end();
}
END_TEST

/* QEMU's lock of a writer: bytes 101 and 201 of the file. */
static pid_t hold_writer_lock(const char *path)
{
    int ready[2];
    char byte;

    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path, O_RDWR);
        struct flock lock = {.l_type = F_RDLCK,
                             .l_whence = SEEK_SET,
                             .l_start = 101,
                             .l_len = 1};
        if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0 ||
            write(ready[1], "", 1) != 1) {
            _exit(1);
        }
        pause();
        _exit(0);
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

START_TEST(test_locks)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top", "base", "raw");
    pid_t pid = hold_writer_lock("base");
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_LOCKED);
    ck_assert_str_eq(err.path, "base");
    options.force_share = true;
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    chain_free(chain);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    end();
}
END_TEST

START_TEST(test_snapshot_needs_qcow2)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top", NULL, NULL);
    options.snapshot = "s1";
    expect_failure("base", IMG_UNSUPPORTED, "base",
                   "internal snapshots are read in qcow2 images only, and "
                   "this is raw");
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_NOT_FOUND);
    ck_assert_str_eq(err.path, "top");
    end();
}
END_TEST

START_TEST(test_formats_and_probe)
{
    struct chain_probe probe;
    struct img_file *file;

    begin();
    ck_assert_str_eq(chain_format_find("qcow2")->name, "qcow2");
    ck_assert_str_eq(chain_format_find("raw")->name, "raw");
    ck_assert_str_eq(chain_format_find("luks")->name, "luks");
    ck_assert_ptr_null(chain_format_find("QCOW2"));
    ck_assert_ptr_null(chain_format_find(""));

    make("top", NULL, NULL);
    file = scratch_open_file("top");
    unit_ok(chain_probe(file, &probe, &err), &err);
    ck_assert_str_eq(probe.format->name, "qcow2");
    ck_assert_ptr_null(probe.second);
    img_file_unref(file);

    tiny_raw_write("base", 4, 1);
    file = scratch_open_file("base");
    unit_ok(chain_probe(file, &probe, &err), &err);
    ck_assert_str_eq(probe.format->name, "raw");
    ck_assert_ptr_null(probe.second);
    ck_assert_ptr_null(probe.contents);
    img_file_unref(file);

    /* VDI's mark at 64 in a qcow2 header of version 2 (which ends at 72). */
    uint8_t magic[4] = {0x7f, 0x10, 0xda, 0xbe};
    scratch_write(&scratch, "top", magic, 4, 64);
    file = scratch_open_file("top");
    unit_ok(chain_probe(file, &probe, &err), &err);
    ck_assert_str_eq(probe.format->name, "qcow2");
    ck_assert_ptr_nonnull(probe.second);
    ck_assert_str_eq(probe.second->name, "vdi");
    img_file_unref(file);

    /* An ISO 9660 volume descriptor. */
    scratch_write(&scratch, "base", "\1CD001\1", 7, 32768);
    unit_ok(chain_open("base", &options, &chain, &err), &err);
    ck_assert_pstr_eq(chain_layer_contents(chain_layer_at(chain, 0)), "iso");
    chain_free(chain);
    end();
}
END_TEST

UNIT_SUITE("chain", test_paths_as_spelled, test_absolute_and_file_names,
           test_self_loop, test_loop_through_links,
           test_loop_goes_before_format, test_depth_limit, test_endless_chain,
           test_out_of_descriptors, test_missing_backing,
           test_undeclared_format, test_probe_allowed,
           test_unknown_recorded_format, test_declared_raw_stays_raw,
           test_declared_qcow2_is_not, test_formats_disagree, test_json_backing,
           test_json_kind_and_slice, test_bad_backing_names, test_keep_broken,
           test_top_only_opens_nothing_else, test_data_files,
           test_data_file_is_a_layer, test_find_and_change, test_roots,
           test_inherited_descriptor, test_locks, test_snapshot_needs_qcow2,
           test_formats_and_probe)
