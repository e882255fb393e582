/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening chains: what is followed, and where it stops. */
#include <dirent.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "chain_fixture.h"

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

/* A file that its owner has open already is locked, not opened once more. */
START_TEST(test_file_already_open)
{
    const struct img_open_options unlocked = {.lock = IMG_LOCK_NONE};

    begin();
    make("top", NULL, NULL);
    unit_ok(img_file_open("top", &unlocked, &options.file, &err), &err);
    expect_paths("top", (const char *const[]){"top"}, 1);
    ck_assert_ptr_eq(chain_layer_file(chain_layer_at(chain, 0)), options.file);
    chain_free(chain);

    img_file_unref(options.file);
    unit_ok(img_file_open("top", &unlocked, &options.file, &err), &err);
    pid_t pid = hold_writer_lock("top");
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_LOCKED);
    ck_assert_str_eq(err.path, "top");
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    img_file_unref(options.file);
    end();
}
END_TEST

UNIT_SUITE("chain", test_paths_as_spelled, test_absolute_and_file_names,
           test_self_loop, test_loop_through_links,
           test_loop_goes_before_format, test_depth_limit, test_endless_chain,
           test_out_of_descriptors, test_missing_backing, test_keep_broken,
           test_top_only_opens_nothing_else, test_data_files,
           test_data_file_is_a_layer, test_find_and_change, test_roots,
           test_inherited_descriptor, test_locks, test_file_already_open)
