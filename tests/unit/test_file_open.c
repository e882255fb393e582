/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening: what is accepted, what is refused and how that is said. */
#include <sys/socket.h>
#include <sys/un.h>

#include "scratch.h"

static struct scratch scratch;
static struct img_error err;
static const struct img_open_options plain;

static void check_refused(const char *path, enum img_code code,
                          const char *text)
{
    struct img_file *file = NULL;

    unit_fails(img_file_open(path, &plain, &file, &err), &err, code, text);
    ck_assert_ptr_null(file);
    ck_assert_str_eq(err.path, path);
}

START_TEST(test_open_regular)
{
    const char *path;
    struct img_file *file;
    uint64_t base = 99;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "a", "hello", 5, 0);
    file = scratch_open_file(path);
    ck_assert_int_eq((int)img_file_kind(file), IMG_FILE_REGULAR);
    ck_assert_uint_eq(img_file_len(file), 5);
    ck_assert_uint_gt(img_file_allocated_len(file), 0);
    ck_assert_uint_eq(img_file_allocated_len(file) % 512, 0);
    ck_assert_str_eq(img_file_path(file), path);
    ck_assert_uint_eq(img_file_direct_align(file), 1);
    ck_assert_int_ge(img_file_fd(file, &base), 0);
    ck_assert_uint_eq(base, 0);
    ck_assert_uint_eq(img_file_fd_len(file), UINT64_MAX);
    int fd = img_file_fd(file, &base);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_RDONLY);
    img_file_unref(file);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_open_refuses_other_kinds)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    scratch_open(&scratch);
    check_refused(scratch.dir, IMG_UNSUPPORTED,
                  "is a directory, expected a regular file or a block "
                  "device");
    check_refused("/dev/null", IMG_UNSUPPORTED,
                  "is a character device, expected a regular file or a "
                  "block device");
    ck_assert_int_eq(mkfifo(scratch_path(&scratch, "fifo"), 0600), 0);
    check_refused(scratch_path(&scratch, "fifo"), IMG_UNSUPPORTED,
                  "is a FIFO, expected a regular file or a block device");
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/socket",
             scratch.dir);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    check_refused(address.sun_path, IMG_UNSUPPORTED,
                  "is a socket, expected a regular file or a block device");
    close(fd);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_open_missing)
{
    scratch_open(&scratch);
    check_refused(scratch_path(&scratch, "none"), IMG_NOT_FOUND,
                  "cannot open: No such file or directory");
    scratch_write(&scratch, "file", "x", 1, 0);
    check_refused(scratch_path(&scratch, "file/below"), IMG_NOT_FOUND,
                  "cannot open: Not a directory");
    ck_assert_int_eq(symlink("nowhere", scratch_path(&scratch, "dangling")), 0);
    check_refused(scratch_path(&scratch, "dangling"), IMG_NOT_FOUND,
                  "cannot open: No such file or directory");
    ck_assert_int_eq(symlink("loop", scratch_path(&scratch, "loop")), 0);
    check_refused(scratch_path(&scratch, "loop"), IMG_LOOP,
                  "cannot open: Too many levels of symbolic links");
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_open_denied)
{
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "a", "x", 1, 0);
    ck_assert_int_eq(chmod(path, 0), 0);
    ck_assert_int_eq(chmod(scratch.dir, 0755), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(seteuid(65534), 0);
    }
    check_refused(path, IMG_DENIED, "cannot open: Permission denied");
    if (getuid() == 0) {
        ck_assert_int_eq(seteuid(0), 0);
    }
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_open_fd)
{
    struct img_file *file = NULL;
    char buf[4];
    uint64_t base;
    int fd;

    scratch_open(&scratch);
    fd = open(scratch_write(&scratch, "a", "0123", 4, 0), O_RDWR);
    unit_ok(img_file_open_fd(fd, "fd:7", &plain, &file, &err), &err);
    ck_assert_str_eq(img_file_path(file), "fd:7");
    ck_assert_int_ne(img_file_fd(file, &base), fd);
    unit_ok(img_file_read(file, buf, 4, 0, &err), &err);
    ck_assert_mem_eq(buf, "0123", 4);
    img_file_unref(file);
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0); /* still the caller's */
    close(fd);
    scratch_close(&scratch);
}
END_TEST

static void check_fd_refused(int fd, enum img_code code, const char *fmt)
{
    struct img_file *file = NULL;
    char text[128];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof(text), fmt, fd);
#pragma GCC diagnostic pop
    unit_fails(img_file_open_fd(fd, "name", &plain, &file, &err), &err, code,
               text);
    ck_assert_str_eq(err.path, "name");
    close(fd);
}

START_TEST(test_open_fd_refused)
{
    int ends[2];

    scratch_open(&scratch);
    scratch_write(&scratch, "a", "0123", 4, 0);
    check_fd_refused(open(scratch_path(&scratch, "a"), O_WRONLY), IMG_USAGE,
                     "descriptor %d is not open for reading");
    check_fd_refused(open(scratch_path(&scratch, "a"), O_PATH), IMG_USAGE,
                     "descriptor %d is not open for reading");
    check_fd_refused(open(scratch.dir, O_RDONLY), IMG_UNSUPPORTED,
                     "is a directory, expected a regular file or a block "
                     "device");
    ck_assert_int_eq(pipe(ends), 0);
    check_fd_refused(ends[0], IMG_UNSUPPORTED,
                     "is a FIFO, expected a regular file or a block device");
    close(ends[1]);
    check_fd_refused(1234, IMG_SYSTEM,
                     "cannot use descriptor %d: Bad file descriptor");
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("file_open", test_open_regular, test_open_refuses_other_kinds,
           test_open_missing, test_open_denied, test_open_fd,
           test_open_fd_refused)
