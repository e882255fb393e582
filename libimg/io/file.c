/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: what all files have in common: references, reading to the end of
 * a request, identity.
 *
 * Invariant: ops->pread is only called for ranges that end at or before
 * IMG_OFF_MAX; what lies further is past the end of any file.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

void img_file_init(struct img_file *file, const struct img_file_ops *ops)
{
    file->ops = ops;
    atomic_init(&file->refs, 1);
    atomic_init(&file->len, 0);
    atomic_init(&file->reach, 0);
    pthread_mutex_init(&file->part_lock, NULL);
    file->lock = IMG_LOCK_NONE;
    file->fd = -1;
    file->direct_align = 1;
}

void img_file_fini(struct img_file *file)
{
    free(file->path);
    img_file_unref(file->inner);
    pthread_mutex_destroy(&file->part_lock);
}

int img_file_init_wrapper(struct img_file *file, const struct img_file_ops *ops,
                          struct img_file *inner, struct img_error *err)
{
    img_file_init(file, ops);
    file->path = img_strndup(inner->path, strlen(inner->path), err);
    if (!file->path) {
        return -1;
    }
    file->inner = img_file_ref(inner);
    file->kind = inner->kind;
    file->is_writable = inner->is_writable;
    file->allocated_len = inner->allocated_len;
    file->dev = inner->dev;
    file->ino = inner->ino;
    file->rdev = inner->rdev;
    return 0;
}

struct img_file *img_file_origin(struct img_file *file)
{
    while (file->inner) {
        file = file->inner;
    }
    return file;
}

const struct img_file *img_file_origin_const(const struct img_file *file)
{
    while (file->inner) {
        file = file->inner;
    }
    return file;
}

struct img_file *img_file_ref(struct img_file *file)
{
    atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
    return file;
}

void img_file_unref(struct img_file *file)
{
    if (file &&
        atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) == 1) {
        file->ops->free(file);
    }
}

void img_file_unref_ptr(struct img_file **file)
{
    img_file_unref(*file);
}

static int fail_read(const struct img_file *file, int sys_errno, size_t len,
                     uint64_t off, struct img_error *err)
{
    img_fail_sys(err, sys_errno, "cannot read %zu bytes", len);
    if (err->code != IMG_MEMORY) {
        err->code = IMG_IO;
    }
    err->has_off = true;
    err->off = off;
    img_error_set_path(err, file->path);
    return -1;
}

/* Read until LEN bytes or the end of the file are reached. */
static int read_full(struct img_file *file, void *buf, size_t len, uint64_t off,
                     size_t *got, struct img_error *err)
{
    uint64_t limit = off < IMG_OFF_MAX ? img_min(len, IMG_OFF_MAX - off) : 0;

    *got = 0;
    while (*got < limit) {
        ssize_t n = file->ops->pread(file, (char *)buf + *got,
                                     (size_t)limit - *got, off + *got);
        if (n == -EINTR) {
            continue;
        }
        if (n < 0) {
            return fail_read(file, (int)-n, (size_t)limit - *got, off + *got,
                             err);
        }
        if (n == 0) {
            break;
        }
        *got += (size_t)n;
    }
    return 0;
}

int img_file_read(struct img_file *file, void *buf, size_t len, uint64_t off,
                  struct img_error *err)
{
    size_t got;

    if (read_full(file, buf, len, off, &got, err)) {
        return -1;
    }
    if (got < len) {
        img_fail_at(err, IMG_CORRUPT, off,
                    "the file ends too early: found %zu bytes, expected %zu",
                    got, len);
        img_error_set_path(err, file->path);
        return -1;
    }
    return 0;
}

int img_file_read_padded(struct img_file *file, void *buf, size_t len,
                         uint64_t off, size_t *got, struct img_error *err)
{
    size_t n;

    if (read_full(file, buf, len, off, &n, err)) {
        return -1;
    }
    if (n < len) {
        memset((char *)buf + n, 0, len - n);
    }
    if (got) {
        *got = n;
    }
    return 0;
}

const char *img_file_path(const struct img_file *file)
{
    return file->path;
}

enum img_file_kind img_file_kind(const struct img_file *file)
{
    return file->kind;
}

uint64_t img_file_len(const struct img_file *file)
{
    while (file->inner && !file->is_bounded) {
        file = file->inner;
    }
    return atomic_load_explicit(&file->len, memory_order_relaxed);
}

uint64_t img_file_allocated_len(const struct img_file *file)
{
    return file->allocated_len;
}

int img_file_fd(const struct img_file *file, uint64_t *base)
{
    *base = file->base;
    return file->fd;
}

uint64_t img_file_fd_len(const struct img_file *file)
{
    return file->is_bounded ? img_file_len(file) : UINT64_MAX;
}

uint32_t img_file_direct_align(const struct img_file *file)
{
    return file->direct_align;
}

int img_file_stamp(const struct img_file *file, struct img_stamp *out,
                   struct img_error *err)
{
    const struct img_file *origin = img_file_origin_const(file);

    return origin->ops->stamp(origin, out, err);
}

bool img_stamp_is_equal(const struct img_stamp *a, const struct img_stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->rdev == b->rdev &&
           a->len == b->len && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns && a->mode == b->mode &&
           a->uid == b->uid && a->gid == b->gid;
}

bool img_file_is_same(const struct img_file *a, const struct img_file *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    if (a->kind == IMG_FILE_BLOCK) {
        return a->rdev == b->rdev;
    }
    return a->dev == b->dev && a->ino == b->ino;
}

int img_file_next_hole(struct img_file *file, uint64_t off, uint64_t len,
                       bool *is_hole, uint64_t *run_len, struct img_error *err)
{
    if (len == 0) {
        return img_fail(err, IMG_USAGE, "no bytes to look for holes in");
    }
    if (!img_range_fits(off, len, IMG_OFF_MAX)) {
        if (off >= IMG_OFF_MAX) {
            *is_hole = true;
            *run_len = len;
            return 0;
        }
        len = IMG_OFF_MAX - off;
    }
    return file->ops->hole(file, off, len, is_hole, run_len, err);
}

int img_file_physical(struct img_file *file, uint64_t off, uint64_t len,
                      struct img_physical *out, size_t nr, size_t *out_nr,
                      bool *supported, struct img_error *err)
{
    *out_nr = 0;
    *supported = false;
    if (!file->ops->physical) {
        return 0;
    }
    if (off >= IMG_OFF_MAX || len == 0 || nr == 0) {
        *supported = true;
        return 0;
    }
    len = img_min(len, IMG_OFF_MAX - off);
    return file->ops->physical(file, off, len, out, nr, out_nr, supported, err);
}
