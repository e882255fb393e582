/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Confinement. The folder of each test holds
 *   in/a  in/sub/b  in/sub/deep/c      files inside the root "in"
 *   in2/d                              a neighbour whose name begins alike
 *   out/e                              outside
 */
#include <errno.h>

#include "deny.h"
#include "scratch.h"

#define OUTSIDE "lies outside the allowed folders"
#define MAGIC                                                                  \
    "leads through too many symbolic links, or one of /proc, which may "       \
    "leave the allowed folders"

static struct scratch scratch;
static struct img_error err;
static struct img_roots *roots;

static void make_tree(void)
{
    static const char *const dirs[] = {"in", "in/sub", "in/sub/deep", "in2",
                                       "out"};
    static const char *const files[] = {"in/a", "in/sub/b", "in/sub/deep/c",
                                        "in2/d", "out/e"};

    scratch_open(&scratch);
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        ck_assert_int_eq(mkdir(scratch_path(&scratch, dirs[i]), 0755), 0);
    }
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        size_t len = strlen(files[i]);
        scratch_write(&scratch, files[i], files[i] + len - 1, 1, 0);
    }
    unit_ok(img_roots_new(&roots, &err), &err);
}

static void add_root(const char *name)
{
    unit_ok(img_roots_add(roots, scratch_path(&scratch, name), &err), &err);
}

static void remove_tree(void)
{
    img_roots_free(roots);
    scratch_close(&scratch);
}

static void make_link(const char *target, const char *name)
{
    ck_assert_int_eq(symlink(target, scratch_path(&scratch, name)), 0);
}

/* PATH, as it stands, opens and holds the one character WANT. */
static void check_opens_path(const char *path, char want)
{
    struct img_open_options options = {.roots = roots};
    struct img_file *file = NULL;
    char got = 0;

    unit_ok(img_file_open(path, &options, &file, &err), &err);
    unit_ok(img_file_read(file, &got, 1, 0, &err), &err);
    ck_assert_int_eq(got, want);
    ck_assert_str_eq(img_file_path(file), path);

    struct img_stamp by_path, by_file;
    unit_ok(img_path_stamp(path, roots, &by_path, &err), &err);
    unit_ok(img_file_stamp(file, &by_file, &err), &err);
    ck_assert(img_stamp_is_equal(&by_path, &by_file));
    img_file_unref(file);
}

static void check_opens(const char *name, char want)
{
    check_opens_path(scratch_path(&scratch, name), want);
}

static void check_refused_path(const char *path, enum img_code code,
                               const char *text)
{
    struct img_open_options options = {.roots = roots};
    struct img_file *file = NULL;

    unit_fails(img_file_open(path, &options, &file, &err), &err, code, text);
    ck_assert_ptr_null(file);
    ck_assert_str_eq(err.path, path);
    if (code == IMG_DENIED) {
        /* Nor is anything told about it. */
        struct img_stamp stamp;
        unit_fails(img_path_stamp(path, roots, &stamp, &err), &err, code, text);
        ck_assert_str_eq(err.path, path);
    }
}

static void check_refused(const char *name, enum img_code code,
                          const char *text)
{
    check_refused_path(scratch_path(&scratch, name), code, text);
}

START_TEST(test_inside)
{
    make_tree();
    add_root("in");
    check_opens("in/a", 'a');
    check_opens("in/sub/deep/c", 'c');
    check_opens("in//sub/./deep///c", 'c');
    check_opens(".//in/a", 'a');
    check_opens("in/sub/deep/../b", 'b');
    check_opens("in/sub/../sub/../a", 'a');
    remove_tree();
}
END_TEST

START_TEST(test_outside)
{
    make_tree();
    add_root("in");
    check_refused("out/e", IMG_DENIED, OUTSIDE);
    check_refused("in2/d", IMG_DENIED, OUTSIDE);
    check_refused("in/../out/e", IMG_DENIED, OUTSIDE);
    check_refused("in/sub/../../out/e", IMG_DENIED, OUTSIDE);
    check_refused("in/../in/a", IMG_DENIED, OUTSIDE); /* leaves and returns */
    check_refused("", IMG_DENIED, OUTSIDE);
    check_refused_path("/", IMG_DENIED, OUTSIDE);
    check_refused_path("/etc/passwd", IMG_DENIED, OUTSIDE);
    /* what is not there is not told apart from what is */
    check_refused("out/none", IMG_DENIED, OUTSIDE);
    check_refused("in/none", IMG_NOT_FOUND,
                  "cannot open inside the allowed folders: No such file or "
                  "directory");
    check_refused("in", IMG_UNSUPPORTED,
                  "is a directory, expected a regular file or a block "
                  "device");
    check_refused("in/sub/", IMG_UNSUPPORTED,
                  "is a directory, expected a regular file or a block "
                  "device");
    remove_tree();
}
END_TEST

START_TEST(test_links)
{
    make_tree();
    add_root("in");
    make_link("sub/b", "in/to-b");
    make_link("../a", "in/sub/up");
    make_link("../out/e", "in/escape");
    make_link("../../out", "in/sub/escape-dir");
    make_link(scratch_path(&scratch, "out/e"), "in/absolute-out");
    make_link(scratch_path(&scratch, "in/a"), "in/absolute-in");
    make_link("loop", "in/loop");
    make_link("/", "in/slash");
    check_opens("in/to-b", 'b');
    check_opens("in/sub/up", 'a');
    check_refused("in/escape", IMG_DENIED, OUTSIDE);
    check_refused("in/sub/escape-dir/e", IMG_DENIED, OUTSIDE);
    check_refused("in/absolute-out", IMG_DENIED, OUTSIDE);
    check_refused("in/absolute-in", IMG_DENIED, OUTSIDE);
    check_refused("in/slash/etc/passwd", IMG_DENIED, OUTSIDE);
    check_refused("in/loop", IMG_DENIED, MAGIC);
    remove_tree();
}
END_TEST

START_TEST(test_magic_links)
{
    char path[64];
    int fd;

    make_tree();
    fd = open(scratch_path(&scratch, "out/e"), O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    unit_ok(img_roots_add(roots, "/proc", &err), &err);
    check_refused_path(path, IMG_DENIED, MAGIC);
    unit_ok(img_roots_add(roots, "/", &err), &err);
    check_refused_path(path, IMG_DENIED, MAGIC);
    close(fd);
    remove_tree();
}
END_TEST

START_TEST(test_relative_paths)
{
    make_tree();
    add_root("in");
    ck_assert_int_eq(chdir(scratch_path(&scratch, "in/sub")), 0);
    check_opens_path("b", 'b');
    check_opens_path("./deep/c", 'c');
    check_opens_path("../a", 'a');
    check_opens_path("deep/../../a", 'a');
    check_opens_path(".././/../in/a", 'a'); /* the kernel's cwd is exact */
    check_refused_path("../../out/e", IMG_DENIED, OUTSIDE);
    ck_assert_int_eq(chdir(scratch_path(&scratch, "out")), 0);
    check_opens_path("../in/sub/b", 'b');
    check_refused_path("e", IMG_DENIED, OUTSIDE);
    ck_assert_int_eq(chdir("/"), 0);
    check_opens_path(scratch_path(&scratch, "in/a") + 1, 'a');
    check_refused_path("../../../../etc/passwd", IMG_DENIED, OUTSIDE);
    remove_tree();
}
END_TEST

START_TEST(test_relative_root)
{
    make_tree();
    ck_assert_int_eq(chdir(scratch_path(&scratch, "out")), 0);
    unit_ok(img_roots_add(roots, "../in/", &err), &err);
    check_opens_path("../in/a", 'a');
    ck_assert_int_eq(chdir("/"), 0);
    check_opens("in/a", 'a');
    check_refused("out/e", IMG_DENIED, OUTSIDE);
    remove_tree();
}
END_TEST

/* A root named through a link: both of its names lead inside. */
START_TEST(test_root_by_link)
{
    make_tree();
    make_link("in", "alias");
    add_root("alias");
    check_opens("alias/sub/b", 'b');
    check_opens("in/sub/b", 'b');
    check_refused("out/e", IMG_DENIED, OUTSIDE);
    /* the root is the folder that was there when it was added */
    ck_assert_int_eq(unlink(scratch_path(&scratch, "alias")), 0);
    make_link("out", "alias");
    check_refused("alias/e", IMG_NOT_FOUND,
                  "cannot open inside the allowed folders: No such file or "
                  "directory");
    check_opens("alias/a", 'a');
    remove_tree();
}
END_TEST

START_TEST(test_several_roots)
{
    make_tree();
    add_root("in/sub");
    add_root("out");
    check_opens("in/sub/b", 'b');
    check_opens("out/e", 'e');
    check_refused("in/a", IMG_DENIED, OUTSIDE);
    make_link("../a", "in/sub/up");
    check_refused("in/sub/up", IMG_DENIED, OUTSIDE);
    add_root("in"); /* contains the first, and lets the link go further */
    check_opens("in/sub/up", 'a');
    remove_tree();
}
END_TEST

START_TEST(test_root_of_all)
{
    make_tree();
    unit_ok(img_roots_add(roots, "/", &err), &err);
    check_opens("in/a", 'a');
    check_opens("out/e", 'e');
    remove_tree();
}
END_TEST

START_TEST(test_no_roots)
{
    make_tree();
    check_refused("in/a", IMG_DENIED, OUTSIDE);
    remove_tree();
    img_roots_free(NULL);
}
END_TEST

START_TEST(test_bad_roots)
{
    const char *path;

    make_tree();
    path = scratch_path(&scratch, "none");
    unit_fails(img_roots_add(roots, path, &err), &err, IMG_NOT_FOUND,
               "cannot open the folder: No such file or directory");
    ck_assert_str_eq(err.path, path);
    path = scratch_path(&scratch, "in/a");
    unit_fails(img_roots_add(roots, path, &err), &err, IMG_NOT_FOUND,
               "cannot open the folder: Not a directory");
    remove_tree();
}
END_TEST

START_TEST(test_kinds_and_direct)
{
    struct img_open_options options = {.direct = true, .lock = IMG_LOCK_READER};
    struct img_file *file = NULL;
    char got;

    make_tree();
    add_root("in");
    ck_assert_int_eq(mkfifo(scratch_path(&scratch, "in/fifo"), 0600), 0);
    check_refused("in/fifo", IMG_UNSUPPORTED,
                  "is a FIFO, expected a regular file or a block device");
    options.roots = roots;
    unit_ok(
        img_file_open(scratch_path(&scratch, "in/a"), &options, &file, &err),
        &err);
    unit_ok(img_file_read(file, &got, 1, 0, &err), &err);
    ck_assert_int_eq(got, 'a');
    img_file_unref(file);
    /* procfs refuses O_DIRECT: the second try is confined as well */
    unit_ok(img_roots_add(roots, "/proc", &err), &err);
    unit_ok(img_file_open("/proc/uptime", &options, &file, &err), &err);
    ck_assert_uint_eq(img_file_direct_align(file), 1);
    img_file_unref(file);
    remove_tree();
}
END_TEST

/* No comparison of texts in its stead. */
START_TEST(test_kernel_without_openat2)
{
    make_tree();
    add_root("in");
    deny_call(SYS_openat2, DENY_ANY, ENOSYS);
    check_refused("in/a", IMG_UNSUPPORTED,
                  "cannot be kept inside the allowed folders: the kernel has "
                  "no openat2 (Linux 5.6)");
    remove_tree();
}
END_TEST

START_TEST(test_renames_in_the_way)
{
    make_tree();
    add_root("in");
    deny_call(SYS_openat2, DENY_ANY, EAGAIN);
    check_refused("in/a", IMG_SYSTEM,
                  "cannot open inside the allowed folders: Resource "
                  "temporarily unavailable");
    remove_tree();
}
END_TEST

UNIT_SUITE("roots", test_kernel_without_openat2, test_renames_in_the_way,
           test_inside, test_outside, test_links, test_magic_links,
           test_relative_paths, test_relative_root, test_root_by_link,
           test_several_roots, test_root_of_all, test_no_roots, test_bad_roots,
           test_kinds_and_direct)
