/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that cannot be opened for writing, each for its own reason. */
#include <sched.h>
#include <sys/mount.h>

#include <img/write.h>

#include "loop_device.h"
#include "scratch.h"

static struct scratch scratch;
static struct img_error err;

START_TEST(test_read_only_device)
{
    struct img_open_options options = {.writable = true};
    struct img_file *file = NULL;
    char device[64];
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "backing", "", 0, 0);
    ck_assert_int_eq(truncate(path, 256 << 10), 0);
    if (loop_attach("-r", path, device, sizeof(device))) {
        ck_assert_int_eq(img_file_open(device, &options, &file, &err), -1);
        ck_assert_int_eq((int)err.code, IMG_DENIED);
        ck_assert(strcmp(err.text, "is a read-only block device") == 0 ||
                  strcmp(err.text,
                         "cannot open for writing: Permission denied") == 0);
        loop_detach(device);
    }
    scratch_close(&scratch);
}
END_TEST

/* What is mounted is claimed, too. */
START_TEST(test_claimed_device)
{
    const struct img_open_options reading = {.writable = false};
    struct img_open_options writing = {.writable = true};
    struct img_file *file = NULL, *reader = NULL;
    char device[64];
    bool is_claimed = true;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "backing", "", 0, 0);
    ck_assert_int_eq(truncate(path, 256 << 10), 0);
    if (loop_attach("", path, device, sizeof(device))) {
        unit_ok(img_file_open(device, &reading, &reader, &err), &err);
        unit_ok(img_file_claim_test(reader, &is_claimed, &err), &err);
        ck_assert(!is_claimed);
        int fd = open(device, O_RDWR | O_EXCL | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        unit_ok(img_file_claim_test(reader, &is_claimed, &err), &err);
        ck_assert(is_claimed);
        for (int i = 0; i < 2; i++) {
            writing.direct = i == 1;
            unit_fails(img_file_open(device, &writing, &file, &err), &err,
                       IMG_LOCKED,
                       "is in use: it is mounted, or another device or "
                       "program has it to itself");
            ck_assert_str_eq(err.path, device);
        }
        close(fd);
        unit_ok(img_file_open(device, &writing, &file, &err), &err);
        unit_ok(img_file_claim_test(file, &is_claimed, &err), &err);
        ck_assert(!is_claimed);
        unit_ok(img_file_claim_test(reader, &is_claimed, &err), &err);
        ck_assert(is_claimed);
        img_file_unref(reader);
        uint64_t base;
        unit_ok(img_file_open_fd(img_file_fd(file, &base), device, &reading,
                                 &reader, &err),
                &err);
        unit_ok(img_file_claim_test(reader, &is_claimed, &err), &err);
        ck_assert(!is_claimed);
        img_file_unref(file);
        img_file_unref(reader);
        loop_detach(device);
    }
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_anothers_file)
{
    struct img_open_options options = {.writable = true};
    struct img_file *file = NULL;
    const char *path;

    if (getuid() != 0) {
        printf("SKIP: only root can change to another user\n");
        return;
    }
    scratch_open(&scratch);
    path = scratch_write(&scratch, "a", "abcd", 4, 0);
    ck_assert_int_eq(chmod(scratch.dir, 0755), 0);
    ck_assert_int_eq(seteuid(65534), 0);
    unit_fails(img_file_open(path, &options, &file, &err), &err, IMG_DENIED,
               "cannot open for writing: Permission denied");
    ck_assert_str_eq(err.path, path);
    ck_assert_int_eq(seteuid(0), 0);
    scratch_close(&scratch);
}
END_TEST

/* Mounted for reading only, in a name space of the test's own. */
START_TEST(test_read_only_file_system)
{
    struct img_open_options options = {.writable = true};
    struct img_file *file = NULL;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "a", "abcd", 4, 0);
    if (getuid() != 0 || unshare(CLONE_NEWNS) ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount(scratch.dir, scratch.dir, NULL, MS_BIND, NULL) ||
        mount("none", scratch.dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY,
              NULL)) {
        printf("SKIP: nothing can be mounted\n");
    } else {
        unit_fails(img_file_open(path, &options, &file, &err), &err, IMG_DENIED,
                   "cannot open for writing: Read-only file system");
        ck_assert_str_eq(err.path, path);
        ck_assert_int_eq(umount(scratch.dir), 0);
    }
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_cannot_open_for_writing)
{
    struct img_open_options options = {.writable = true};
    struct img_file *file = NULL;
    const char *path;
    char text[64];
    int fd;

    unit_fails(img_file_open("/proc/self/exe", &options, &file, &err), &err,
               IMG_SYSTEM, "cannot open for writing: Text file busy");
    scratch_open(&scratch);
    path = scratch_write(&scratch, "a", "abcd", 4, 0);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(text, sizeof(text), "descriptor %d is not open for writing", fd);
    unit_fails(img_file_open_fd(fd, "a", &options, &file, &err), &err,
               IMG_USAGE, text);
    close(fd);
    fd = open(path, O_RDWR | O_CLOEXEC);
    unit_ok(img_file_open_fd(fd, "a", &options, &file, &err), &err);
    unit_ok(img_file_write(file, "X", 1, 4, &err), &err);
    ck_assert_uint_eq(img_file_len(file), 5);
    img_file_unref(file);
    close(fd);
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("open writable", test_read_only_device, test_claimed_device,
           test_anothers_file, test_read_only_file_system,
           test_cannot_open_for_writing)
