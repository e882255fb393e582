/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: what changing has in common for all files: may it be done, going
 * on after a short write, the length, the texts of errors.
 *
 * Invariant: an operation of a file's table is only called for a writable
 * file and a range that lies inside it or, for one that can grow, ends at or
 * before IMG_OFF_MAX.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

#define BLOCK_ALIGN 4096u

void img_file_raise(atomic_uint_least64_t *at, uint64_t value)
{
    uint64_t now = atomic_load_explicit(at, memory_order_relaxed);

    while (now < value && !atomic_compare_exchange_weak(at, &now, value)) {
    }
}

bool img_file_is_writable(const struct img_file *file)
{
    return file->is_writable;
}

/* A slice, or a file over one. */
static bool is_bounded(const struct img_file *file)
{
    while (file && !file->is_bounded) {
        file = file->inner;
    }
    return file != NULL;
}

static bool can_grow(const struct img_file *file)
{
    return file->kind != IMG_FILE_BLOCK && !is_bounded(file);
}

static int check_writable(const struct img_file *file, struct img_error *err)
{
    if (file->is_writable) {
        return 0;
    }
    img_fail(err, IMG_USAGE, "is not open for writing");
    img_error_set_path(err, file->path);
    return -1;
}

int img_file_check_range(const struct img_file *file, uint64_t off,
                         uint64_t len, struct img_error *err)
{
    uint64_t limit = can_grow(file) ? IMG_OFF_MAX : img_file_len(file);

    if (check_writable(file, err)) {
        return -1;
    }
    if (img_range_fits(off, len, limit)) {
        return 0;
    }
    img_fail_at(err, IMG_LIMIT, off,
                "%" PRIu64 " bytes end past the end of what can be written: "
                "found a length of %" PRIu64 " bytes",
                len, limit);
    img_error_set_path(err, file->path);
    return -1;
}

/* A device that failed is an I/O error; want of space or right is not. */
static int fail_change(const struct img_file *file, int sys_errno,
                       struct img_error *err)
{
    if (err->code == IMG_SYSTEM && sys_errno != ENOSPC && sys_errno != EDQUOT &&
        sys_errno != EFBIG) {
        err->code = IMG_IO;
    }
    img_error_set_path(err, file->path);
    return -1;
}

static int fail_write(const struct img_file *file, int sys_errno, size_t len,
                      uint64_t off, struct img_error *err)
{
    img_fail_sys(err, sys_errno, "cannot write %zu bytes", len);
    err->has_off = true;
    err->off = off;
    return fail_change(file, sys_errno, err);
}

int img_file_write(struct img_file *file, const void *buf, size_t len,
                   uint64_t off, struct img_error *err)
{
    size_t done = 0;

    if (img_file_check_range(file, off, len, err)) {
        return -1;
    }
    while (done < len) {
        ssize_t n = file->ops->pwrite(file, (const char *)buf + done,
                                      len - done, off + done);
        if (n == -EINTR) {
            continue;
        }
        if (n < 0) {
            return fail_write(file, (int)-n, len - done, off + done, err);
        }
        done += (size_t)n;
    }
    return 0;
}

int img_file_zero(struct img_file *file, uint64_t off, uint64_t len,
                  enum img_zero_mode mode, struct img_error *err)
{
    int rc;

    if (img_file_check_range(file, off, len, err)) {
        return -1;
    }
    rc = len > 0 ? file->ops->zero(file, off, len, mode) : 0;
    if (rc == 0) {
        return 0;
    }
    img_fail_sys(err, -rc, "cannot zero %" PRIu64 " bytes", len);
    err->has_off = true;
    err->off = off;
    return fail_change(file, -rc, err);
}

void img_file_discard(struct img_file *file, uint64_t off, uint64_t len)
{
    struct img_error ignored;
    uint64_t file_len = img_file_len(file);

    if (off >= file_len) {
        return;
    }
    len = img_min(len, file_len - off);
    if (len > 0 && img_file_check_range(file, off, len, &ignored) == 0) {
        file->ops->discard(file, off, len);
    }
}

int img_file_resize(struct img_file *file, uint64_t len, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);
    int rc;

    if (check_writable(file, err)) {
        return -1;
    }
    if (!can_grow(file)) {
        if (len == file_len) {
            return 0;
        }
        img_fail(err, IMG_UNSUPPORTED,
                 "%s has a fixed length: found %" PRIu64
                 " bytes, expected %" PRIu64,
                 is_bounded(file) ? "a part of a file" : "a block device",
                 file_len, len);
        img_error_set_path(err, file->path);
        return -1;
    }
    if (img_file_check_range(file, 0, len, err)) {
        return -1;
    }
    rc = file->ops->resize(file, len);
    if (rc == 0) {
        return 0;
    }
    img_fail_sys(err, -rc, "cannot change the length to %" PRIu64 " bytes",
                 len);
    return fail_change(file, -rc, err);
}

void *img_file_new_zeros(uint64_t len, struct img_error *err)
{
    uint64_t capacity =
        img_min(img_align_up(len, BLOCK_ALIGN), IMG_FILE_ZEROS_LEN);
    void *zeros = img_alloc_aligned(capacity, err);

    if (zeros) {
        memset(zeros, 0, capacity);
    }
    return zeros;
}

uint64_t img_file_zeros_step(uint64_t off, uint64_t end)
{
    return img_min(end - off, IMG_FILE_ZEROS_LEN - off % IMG_FILE_ZEROS_LEN);
}

/* Zeros over what is no data of [OFF, END). */
static int fill_holes(struct img_file *file, uint64_t off, uint64_t end,
                      struct img_error *err)
{
    IMG_AUTO(img_free_ptr) void *zeros = img_file_new_zeros(end - off, err);

    if (!zeros) {
        return -1;
    }
    while (off < end) {
        uint64_t len;
        bool is_hole;
        if (img_file_next_hole(file, off, end - off, &is_hole, &len, err)) {
            return -1;
        }
        if (is_hole) {
            len = img_file_zeros_step(off, off + len);
            if (img_file_write(file, zeros, (size_t)len, off, err)) {
                return -1;
            }
        }
        off += len;
    }
    return 0;
}

int img_file_reserve(struct img_file *file, uint64_t off, uint64_t len,
                     bool full, struct img_error *err)
{
    int rc;

    if (img_file_check_range(file, off, len, err)) {
        return -1;
    }
    if (len == 0 || file->kind == IMG_FILE_BLOCK) {
        return 0;
    }
    rc = full ? -EOPNOTSUPP : file->ops->reserve(file, off, len);
    if (rc == -EOPNOTSUPP) {
        return fill_holes(file, off, off + len, err);
    }
    if (rc == 0) {
        return 0;
    }
    img_fail_sys(err, -rc, "cannot reserve %" PRIu64 " bytes", len);
    err->has_off = true;
    err->off = off;
    return fail_change(file, -rc, err);
}

int img_file_flush(struct img_file *file, struct img_error *err)
{
    int rc;

    if (check_writable(file, err)) {
        return -1;
    }
    rc = file->ops->flush(file);
    if (rc == 0) {
        return 0;
    }
    img_fail_sys(err, -rc, "cannot flush what was written");
    return fail_change(file, -rc, err);
}

void img_file_note_writing(struct img_file *file, uint64_t off, uint64_t len)
{
    if (can_grow(file)) {
        img_file_raise(&img_file_origin(file)->reach, off + len);
    }
}

void img_file_note_written(struct img_file *file, uint64_t off, uint64_t len)
{
    img_file_note_writing(file, off, len);
    if (can_grow(file)) {
        img_file_raise(&img_file_origin(file)->len, off + len);
    }
}

/* These two files, or these two places, cannot share; nothing is wrong. */
static bool is_refusal(int sys_errno)
{
    switch (sys_errno) {
    case EOPNOTSUPP:
    case ENOTTY:
    case ENOSYS:
    case EXDEV:
    case EINVAL:
    case EPERM:
    case EBADF:
    case ETXTBSY:
    case EISDIR:
        return true;
    default:
        return false;
    }
}

int img_file_share(struct img_file *dst, uint64_t dst_off, struct img_file *src,
                   uint64_t src_off, uint64_t len, bool *done,
                   struct img_error *err)
{
    uint64_t src_base, dst_base;
    int src_fd = img_file_fd(src, &src_base);
    int dst_fd = img_file_fd(dst, &dst_base);
    struct file_clone_range range = {.src_fd = src_fd, .src_length = len};

    *done = false;
    if (img_file_check_range(dst, dst_off, len, err)) {
        return -1;
    }
    /* a length of 0 would mean "to the end" */
    if (src_fd < 0 || dst_fd < 0 || len == 0 ||
        !img_range_fits(src_off, len, img_file_len(src))) {
        return 0;
    }
    range.src_offset = src_base + src_off;
    range.dest_offset = dst_base + dst_off;
    img_file_note_writing(dst, dst_off, len);
    while (ioctl(dst_fd, FICLONERANGE, &range)) {
        int sys_errno = errno;
        if (is_refusal(sys_errno)) {
            return 0;
        }
        if (sys_errno != EINTR) {
            img_fail_sys(err, sys_errno, "cannot share %" PRIu64 " bytes", len);
            return fail_change(dst, sys_errno, err);
        }
    }
    img_file_note_written(dst, dst_off, len);
    *done = true;
    return 0;
}

uint64_t img_file_space_left(const struct img_file *file)
{
    int fd = img_file_origin_const(file)->fd;
    struct statvfs fs;
    uint64_t left;

    if (file->kind == IMG_FILE_BLOCK) {
        return img_file_len(file);
    }
    if (fd < 0 || fstatvfs(fd, &fs) ||
        !img_mul(fs.f_bavail, fs.f_frsize, &left)) {
        return UINT64_MAX;
    }
    return left;
}
