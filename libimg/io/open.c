/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: opening files by path or descriptor.
 *
 * A name from an image may lead to anything, and with some devices opening
 * is already an act (a watchdog starts, a tape rewinds, a writer that waits
 * at a FIFO wakes up). So the kind is looked at before the file is opened,
 * and again on the descriptor, because the name may have changed hands.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <img/memory.h>

#include "file_impl.h"

/* Never waits, never becomes a terminal's owner, never leaks to children. */
#define OPEN_FLAGS (O_NONBLOCK | O_CLOEXEC | O_NOCTTY)

const char *img_posix_kind_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "a regular file";
    case S_IFBLK:
        return "a block device";
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    case S_IFCHR:
        return "a character device";
    case S_IFLNK:
        return "a symbolic link";
    default:
        return "something else";
    }
}

static int check_kind(mode_t mode, struct img_error *err)
{
    if (S_ISREG(mode) || S_ISBLK(mode)) {
        return 0;
    }
    return img_fail(err, IMG_UNSUPPORTED,
                    "is %s, expected a regular file or a block device",
                    img_posix_kind_name(mode));
}

static int open_path(const char *path, const struct img_roots *roots, int flags,
                     struct img_error *err)
{
    int fd;

    if (roots) {
        return img_roots_open(roots, path, flags, err);
    }
    do {
        fd = open(path, flags);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        img_fail_sys(err, errno, "cannot open%s",
                     (flags & O_ACCMODE) == O_RDWR ? " for writing" : "");
    }
    return fd;
}

/* What PATH leads to now, without opening it. */
static int stat_path(const char *path, const struct img_roots *roots,
                     struct stat *st, struct img_error *err)
{
    if (!roots) {
        return stat(path, st) ? img_fail_sys(err, errno, "cannot open") : 0;
    }
    int fd = img_roots_open(roots, path, O_PATH | O_CLOEXEC, err);
    if (fd < 0) {
        return -1;
    }
    int rc = fstat(fd, st);
    int sys_errno = errno;
    close(fd);
    return rc ? img_fail_sys(err, sys_errno, "cannot open") : 0;
}

int img_path_stamp(const char *path, const struct img_roots *roots,
                   struct img_stamp *out, struct img_error *err)
{
    struct stat st;

    if (stat_path(path, roots, &st, err)) {
        img_error_set_path(err, path);
        return -1;
    }
    img_posix_stamp_of(&st, out);
    return 0;
}

static int fail_claimed(struct img_error *err)
{
    return img_fail(err, IMG_LOCKED,
                    "is in use: it is mounted, or another device or program "
                    "has it to itself");
}

/* The open itself; O_DIRECT is given up where it cannot be had. */
static int open_checked(const char *path,
                        const struct img_open_options *options,
                        struct img_error *err)
{
    int flags = OPEN_FLAGS | (options->writable ? O_RDWR : O_RDONLY);
    struct stat st;
    int fd;

    if (stat_path(path, options->roots, &st, err) ||
        check_kind(st.st_mode, err)) {
        return -1;
    }
    /* QEMU's locks do not tell that a device is mounted. Whoever opens it so
       has it from the kernel to himself. */
    if (options->writable && S_ISBLK(st.st_mode)) {
        flags |= O_EXCL;
    }
    fd = open_path(path, options->roots,
                   options->direct ? flags | O_DIRECT : flags, err);
    if (fd < 0 && options->direct && err->sys_errno == EINVAL) {
        fd = open_path(path, options->roots, flags, err);
    }
    return fd < 0 && (flags & O_EXCL) && err->sys_errno == EBUSY
               ? fail_claimed(err)
               : fd;
}

static int check_fd_kind(int fd, struct stat *st, struct img_error *err)
{
    if (fstat(fd, st)) {
        return img_fail_sys(err, errno, "cannot examine");
    }
    return check_kind(st->st_mode, err);
}

/* The kernel lets a device that is read-only be opened for writing. */
static int check_device_writable(int fd, const struct stat *st,
                                 struct img_error *err)
{
    int is_read_only = 0;

    if (S_ISBLK(st->st_mode) && ioctl(fd, BLKROGET, &is_read_only) == 0 &&
        is_read_only) {
        return img_fail(err, IMG_DENIED, "is a read-only block device");
    }
    return 0;
}

/*
 * O_NONBLOCK was for the open. io_uring would take it as a wish to get
 * EAGAIN instead of data on file systems that cannot read asynchronously.
 */
static int clear_nonblock(int fd, struct img_error *err)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
        return img_fail_sys(err, errno, "cannot change descriptor flags");
    }
    return 0;
}

/* Checks, locks and wraps FD; closes it on failure. */
static int adopt(int fd, bool is_own, const char *path,
                 const struct img_open_options *options, struct img_file **out,
                 struct img_error *err)
{
    struct stat st;
    uint32_t align;

    if (check_fd_kind(fd, &st, err) || (is_own && clear_nonblock(fd, err)) ||
        (options->writable && check_device_writable(fd, &st, err)) ||
        img_lock_take(fd, options->lock, IMG_LOCK_NONE, err) ||
        img_direct_setup(fd, &st, is_own, &align, err)) {
        close(fd);
        return -1;
    }
    if (img_posix_new(fd, path, out, err)) {
        return -1;
    }
    (*out)->direct_align = align;
    (*out)->is_writable = options->writable;
    (*out)->lock = options->lock;
    return 0;
}

int img_file_adopt(int fd, const char *path,
                   const struct img_open_options *options,
                   struct img_file **out, struct img_error *err)
{
    return adopt(fd, true, path, options, out, err);
}

int img_file_open(const char *path, const struct img_open_options *options,
                  struct img_file **out, struct img_error *err)
{
    int fd = open_checked(path, options, err);

    if (fd < 0 || adopt(fd, true, path, options, out, err)) {
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

int img_file_claim_test(const struct img_file *file, bool *is_claimed,
                        struct img_error *err)
{
    const struct img_file *origin = img_file_origin_const(file);
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

    *is_claimed = false;
    if (origin->fd < 0 || img_file_kind(origin) != IMG_FILE_BLOCK ||
        (fcntl(origin->fd, F_GETFL) & O_ACCMODE) == O_RDWR) {
        return 0;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", origin->fd);
    int fd = open(path, O_RDONLY | O_EXCL | OPEN_FLAGS);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    *is_claimed = errno == EBUSY;
    if (!*is_claimed) {
        img_fail_sys(err, errno, "cannot ask whether the device is mounted");
        img_error_set_path(err, img_file_path(file));
        return -1;
    }
    return 0;
}

static int check_fd_access(int fd, bool writable, struct img_error *err)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0) {
        return img_fail_sys(err, errno, "cannot use descriptor %d", fd);
    }
    if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY) {
        return img_fail(err, IMG_USAGE, "descriptor %d is not open for reading",
                        fd);
    }
    if (writable && (flags & O_ACCMODE) != O_RDWR) {
        return img_fail(err, IMG_USAGE, "descriptor %d is not open for writing",
                        fd);
    }
    return 0;
}

int img_file_open_fd(int fd, const char *name,
                     const struct img_open_options *options,
                     struct img_file **out, struct img_error *err)
{
    int copy;

    if (check_fd_access(fd, options->writable, err)) {
        img_error_set_path(err, name);
        return -1;
    }
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) {
        img_fail_sys(err, errno, "cannot duplicate descriptor %d", fd);
        img_error_set_path(err, name);
        return -1;
    }
    if (adopt(copy, false, name, options, out, err)) {
        img_error_set_path(err, name);
        return -1;
    }
    return 0;
}
