/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: a range of another file as a file of its own, as QEMU's raw
 * driver makes one with "offset" and "size".
 *
 * Invariant: [start, start + len) lies inside INNER as it was when opened,
 * so start + off never overflows. A slice of a slice is made over the inner
 * one's file: nesting costs nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

#include "file_impl.h"

struct slice_file {
    struct img_file file;
    uint64_t start; /* in inner */
};

static uint64_t slice_start(const struct img_file *file)
{
    return ((const struct slice_file *)file)->start;
}

static ssize_t slice_pread(struct img_file *file, void *buf, size_t len,
                           uint64_t off)
{
    if (off >= img_file_len(file)) {
        return 0;
    }
    len = (size_t)img_min(len, img_file_len(file) - off);
    return file->inner->ops->pread(file->inner, buf, len,
                                   slice_start(file) + off);
}

static int slice_hole(struct img_file *file, uint64_t off, uint64_t len,
                      bool *is_hole, uint64_t *run_len, struct img_error *err)
{
    if (off >= img_file_len(file)) {
        *is_hole = true;
        *run_len = len;
        return 0;
    }
    return img_file_next_hole(file->inner, slice_start(file) + off,
                              img_min(len, img_file_len(file) - off), is_hole,
                              run_len, err);
}

/* Cut EXTENT, in inner's offsets, to the slice and move it there. */
static void slice_clip(const struct img_file *file, struct img_physical *extent)
{
    uint64_t start = slice_start(file);
    uint64_t end =
        img_min(extent->off + extent->len, start + img_file_len(file));

    if (extent->off < start) {
        extent->physical_off += start - extent->off;
        extent->off = start;
    }
    extent->len = end - extent->off;
    extent->off -= start;
}

static int slice_physical(struct img_file *file, uint64_t off, uint64_t len,
                          struct img_physical *out, size_t nr, size_t *out_nr,
                          bool *supported, struct img_error *err)
{
    /* An empty range past the end still has to say what is supported. */
    off = img_min(off, img_file_len(file));
    if (img_file_physical(file->inner, slice_start(file) + off,
                          img_min(len, img_file_len(file) - off), out, nr,
                          out_nr, supported, err)) {
        return -1;
    }
    for (size_t i = 0; i < *out_nr; i++) {
        slice_clip(file, &out[i]);
    }
    return 0;
}

static ssize_t slice_pwrite(struct img_file *file, const void *buf, size_t len,
                            uint64_t off)
{
    return file->inner->ops->pwrite(file->inner, buf, len,
                                    slice_start(file) + off);
}

static int slice_zero(struct img_file *file, uint64_t off, uint64_t len,
                      enum img_zero_mode mode)
{
    return file->inner->ops->zero(file->inner, slice_start(file) + off, len,
                                  mode);
}

static void slice_discard(struct img_file *file, uint64_t off, uint64_t len)
{
    file->inner->ops->discard(file->inner, slice_start(file) + off, len);
}

static int slice_reserve(struct img_file *file, uint64_t off, uint64_t len)
{
    return file->inner->ops->reserve(file->inner, slice_start(file) + off, len);
}

static int slice_flush(struct img_file *file)
{
    return file->inner->ops->flush(file->inner);
}

static void slice_free(struct img_file *file)
{
    img_file_fini(file);
    free(file);
}

static const struct img_file_ops slice_ops = {
    .pread = slice_pread,
    .hole = slice_hole,
    .physical = slice_physical,
    .pwrite = slice_pwrite,
    .zero = slice_zero,
    .discard = slice_discard,
    .reserve = slice_reserve,
    .flush = slice_flush,
    .free = slice_free,
};

int img_file_slice(struct img_file *inner, uint64_t off, uint64_t len,
                   struct img_file **out, struct img_error *err)
{
    struct slice_file *slice;

    if (!img_range_fits(off, len, img_file_len(inner))) {
        img_fail(err, IMG_CORRUPT,
                 "%" PRIu64 " bytes from offset %" PRIu64
                 " lie outside the file: found a length of %" PRIu64 " bytes",
                 len, off, img_file_len(inner));
        img_error_set_path(err, inner->path);
        return -1;
    }
    if (inner->ops == &slice_ops) {
        off += slice_start(inner);
        inner = inner->inner;
    }
    slice = img_calloc(1, sizeof(*slice), err);
    if (!slice) {
        return -1;
    }
    if (img_file_init_wrapper(&slice->file, &slice_ops, inner, err)) {
        slice_free(&slice->file);
        return -1;
    }
    slice->start = off;
    atomic_init(&slice->file.len, len);
    slice->file.is_bounded = true;
    slice->file.fd = inner->fd;
    slice->file.base = inner->base + off;
    slice->file.direct_align = inner->direct_align;
    *out = &slice->file;
    return 0;
}
