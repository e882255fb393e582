/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw images: guest offset and host offset are the same (room: format).
 *
 * A disk has whole sectors: a file that is no multiple of 512 bytes is
 * followed by zeros up to the next one. QEMU's raw driver reports where
 * holes and that tail lie like any other range, and so does map here.
 */
#include "formats.h"

#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

#define SECTOR_LEN 512u

static int raw_map(struct img_image *image, uint64_t off, uint64_t len,
                   struct img_extent *out, struct img_error *err)
{
    uint64_t file_len = img_file_len(image->file);
    bool is_hole = true;
    uint64_t run_len = len;

    /* The tail is told apart, also where a hole precedes it. */
    if (off < file_len &&
        img_file_next_hole(image->file, off, img_min(len, file_len - off),
                           &is_hole, &run_len, err) < 0) {
        return -1;
    }
    out->kind = is_hole ? IMG_EXTENT_ZERO : IMG_EXTENT_DATA;
    out->guest_off = off;
    out->len = run_len;
    out->has_host = true;
    out->host_off = off;
    out->file = image->file;
    return 0;
}

static void raw_free(struct img_image *image)
{
    img_image_fini(image);
    free(image);
}

static const struct img_image_ops raw_ops = {
    .map = raw_map,
    .free = raw_free,
};

int img_raw_open(struct img_file *file, struct img_image **out,
                 struct img_error *err)
{
    uint64_t len = img_file_len(file);

    if (len > IMG_OFF_MAX - (SECTOR_LEN - 1)) {
        return img_fail(err, IMG_LIMIT,
                        "raw image too long: its size does not fit in 63 bits");
    }
    struct img_image *image = img_calloc(1, sizeof(*image), err);
    if (image == NULL) {
        return -1;
    }
    image->ops = &raw_ops;
    image->format = "raw";
    image->file = img_file_ref(file);
    image->virtual_len = img_align_up(len, SECTOR_LEN);
    image->is_readable = true;
    *out = image;
    return 0;
}

/* Any bytes are a raw image; none say that they are one. */
bool img_raw_probe(const struct img_probe_bytes *bytes)
{
    (void)bytes;
    return false;
}
