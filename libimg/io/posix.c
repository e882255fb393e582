/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: regular files and block devices.
 *
 * A block device is known by its device number, whatever node it was opened
 * through; its length comes from the device, since st_size is 0.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

#define STAT_BLOCK_LEN 512u /* the unit of st_blocks, whatever st_blksize */
#define NS_PER_SEC 1000000000

static ssize_t posix_pread(struct img_file *file, void *buf, size_t len,
                           uint64_t off)
{
    ssize_t n;

    if (file->direct_align > 1) {
        return img_direct_pread(file->fd, file->direct_align, buf, len, off);
    }
    n = pread(file->fd, buf, len, (off_t)off);
    return n < 0 ? -(ssize_t)errno : n;
}

static int device_len(int fd, uint64_t *len, struct img_error *err)
{
    if (ioctl(fd, BLKGETSIZE64, len)) {
        return img_fail_sys(err, errno, "cannot find the device's length");
    }
    if (*len > IMG_OFF_MAX) {
        return img_fail(err, IMG_LIMIT,
                        "the device is too long: found %" PRIu64
                        " bytes, expected at most %" PRIu64,
                        *len, IMG_OFF_MAX);
    }
    return 0;
}

static int stat_len(int fd, const struct stat *st, uint64_t *len,
                    struct img_error *err)
{
    if (S_ISBLK(st->st_mode)) {
        return device_len(fd, len, err);
    }
    if (st->st_size < 0) {
        return img_fail(err, IMG_SYSTEM,
                        "the file system tells a length of %jd bytes",
                        (intmax_t)st->st_size);
    }
    *len = (uint64_t)st->st_size;
    return 0;
}

static int64_t time_ns(const struct timespec *t)
{
    int64_t ns;

    /* Wraps for years beyond 2262; only equality is ever asked. */
    (void)__builtin_mul_overflow((int64_t)t->tv_sec, NS_PER_SEC, &ns);
    (void)__builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns);
    return ns;
}

void img_posix_stamp_of(const struct stat *st, struct img_stamp *out)
{
    *out = (struct img_stamp){
        .dev = st->st_dev,
        .ino = st->st_ino,
        .rdev = S_ISBLK(st->st_mode) ? st->st_rdev : 0,
        .len = st->st_size > 0 ? (uint64_t)st->st_size : 0,
        .mtime_ns = time_ns(&st->st_mtim),
        .ctime_ns = time_ns(&st->st_ctim),
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
    };
}

static int posix_stamp(const struct img_file *file, struct img_stamp *out,
                       struct img_error *err)
{
    struct stat st;

    if (fstat(file->fd, &st)) {
        img_fail_sys(err, errno, "cannot examine");
        img_error_set_path(err, file->path);
        return -1;
    }
    img_posix_stamp_of(&st, out);
    if (stat_len(file->fd, &st, &out->len, err)) {
        img_error_set_path(err, file->path);
        return -1;
    }
    return 0;
}

static int fail_seek(const struct img_file *file, uint64_t off,
                     struct img_error *err)
{
    int sys_errno = errno;

    img_fail_sys(err, sys_errno, "cannot look for holes");
    err->has_off = true;
    err->off = off;
    img_error_set_path(err, file->path);
    return -1;
}

/* For files whose holes nobody knows: data to the end. */
static void all_data(const struct img_file *file, uint64_t off, uint64_t len,
                     bool *is_hole, uint64_t *run_len)
{
    uint64_t file_len = img_file_len(file);

    *is_hole = off >= file_len;
    *run_len = *is_hole ? len : img_min(len, file_len - off);
}

static int posix_hole(struct img_file *file, uint64_t off, uint64_t len,
                      bool *is_hole, uint64_t *run_len, struct img_error *err)
{
    off_t data, hole;

    if (file->kind == IMG_FILE_BLOCK) {
        all_data(file, off, len, is_hole, run_len);
        return 0;
    }
    data = lseek(file->fd, (off_t)off, SEEK_DATA);
    if (data < 0 && errno == ENXIO) { /* no data from here on */
        *is_hole = true;
        *run_len = len;
        return 0;
    }
    if (data < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {
        all_data(file, off, len, is_hole, run_len);
        return 0;
    }
    if (data < 0) {
        return fail_seek(file, off, err);
    }
    *is_hole = (uint64_t)data > off;
    if (*is_hole) {
        *run_len = img_min(len, (uint64_t)data - off);
        return 0;
    }
    hole = lseek(file->fd, (off_t)off, SEEK_HOLE);
    if (hole < 0 && errno != ENXIO) {
        return fail_seek(file, off, err);
    }
    /* A hole that begins at or before OFF now: it was cut meanwhile. */
    *is_hole = hole <= (off_t)off;
    *run_len = *is_hole ? len : img_min(len, (uint64_t)hole - off);
    return 0;
}

static void posix_free(struct img_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    img_file_fini(file);
    free(file);
}

static const struct img_file_ops posix_ops = {
    .pread = posix_pread,
    .stamp = posix_stamp,
    .hole = posix_hole,
    .physical = img_posix_physical,
    .pwrite = img_posix_pwrite,
    .zero = img_posix_zero,
    .discard = img_posix_discard,
    .resize = img_posix_resize,
    .reserve = img_posix_reserve,
    .flush = img_posix_flush,
    .free = posix_free,
};

static int posix_init(struct img_file *file, const char *path,
                      struct img_error *err)
{
    struct stat st;
    uint64_t len;

    file->path = img_strndup(path, strlen(path), err);
    if (!file->path) {
        return -1;
    }
    if (fstat(file->fd, &st)) {
        return img_fail_sys(err, errno, "cannot examine");
    }
    if (stat_len(file->fd, &st, &len, err)) {
        return -1;
    }
    atomic_init(&file->len, len);
    atomic_init(&file->reach, len);
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    if (S_ISBLK(st.st_mode)) {
        file->kind = IMG_FILE_BLOCK;
        file->rdev = st.st_rdev;
    } else {
        file->kind = IMG_FILE_REGULAR;
        file->allocated_len = (uint64_t)st.st_blocks * STAT_BLOCK_LEN;
    }
    return 0;
}

int img_posix_new(int fd, const char *path, struct img_file **out,
                  struct img_error *err)
{
    struct img_file *file = img_calloc(1, sizeof(*file), err);

    if (!file) {
        close(fd);
        return -1;
    }
    img_file_init(file, &posix_ops);
    file->fd = fd;
    if (posix_init(file, path, err)) {
        posix_free(file);
        return -1;
    }
    *out = file;
    return 0;
}
