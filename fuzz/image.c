/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Judging and reading whole images: see image.h. */
#include <string.h>

#include <img/checked.h>
#include <qcow2/check.h>
#include <qcow2/inflate.h>

#include "image.h"

#define CHECK_MEMORY (8u << 20)

static bool check(struct img_file *file, struct img_file *data_file,
                  struct qcow2_check_result *result, bool *is_marked)
{
    struct qcow2_check_options how = {.max_memory = CHECK_MEMORY};
    struct qcow2_options options = {0};
    struct img_image *image = NULL;
    struct img_error err = {0};
    bool is_checked;

    if (qcow2_open(file, &options, &image, &err) < 0) {
        fuzz_require_error(&err);
        return false;
    }
    if (image->wants_data_file && data_file != NULL) {
        img_image_set_data_file(image, data_file);
    }
    *is_marked = image->is_dirty || image->is_corrupt;
    is_checked = qcow2_check(image, &how, result, &err) == 0;
    if (!is_checked) {
        fuzz_require_error(&err);
    }
    img_image_free(image);
    return is_checked && result->check_errors == 0;
}

bool fuzz_is_clean(struct img_file *file, struct img_file *data_file)
{
    struct qcow2_check_result result = {0};
    bool is_marked = false;

    return check(file, data_file, &result, &is_marked) && !is_marked &&
           result.corruptions == 0 && result.leaks == 0;
}

bool fuzz_is_usable(struct img_file *file, struct img_file *data_file)
{
    struct qcow2_check_result result = {0};
    bool is_marked = false;

    return check(file, data_file, &result, &is_marked) && !is_marked &&
           result.corruptions == 0;
}

static bool inflate_extent(struct img_image *image, const struct img_extent *e,
                           uint8_t *out)
{
    static struct img_inflater *inflater;
    static uint8_t stored[2u << QCOW2_MAX_CLUSTER_BITS];
    static uint8_t unit[1u << QCOW2_MAX_CLUSTER_BITS];
    struct img_error err = {0};

    if (inflater == NULL) {
        fuzz_require(qcow2_inflater_new(&inflater, &err) == 0);
    }
    fuzz_require(e->host_len <= sizeof(stored));
    fuzz_require(e->unit_len <= sizeof(unit));
    if (img_file_read_padded(e->file, stored, e->host_len, e->host_off, NULL,
                             &err) < 0 ||
        img_image_decompress(image, inflater, e, stored, unit, &err) < 0) {
        fuzz_require_error(&err);
        return false;
    }
    memcpy(out, unit + (e->guest_off - e->unit_guest_off), e->len);
    return true;
}

static bool read_extent(struct img_image *image, const struct img_extent *e,
                        uint8_t below, uint8_t *out)
{
    struct img_error err = {0};

    switch (e->kind) {
    case IMG_EXTENT_DATA:
        return img_file_read_padded(e->file, out, e->len, e->host_off, NULL,
                                    &err) == 0;
    case IMG_EXTENT_COMPRESSED:
        return inflate_extent(image, e, out);
    case IMG_EXTENT_UNALLOCATED:
        memset(out, below, e->len);
        return true;
    case IMG_EXTENT_ZERO:
    default:
        memset(out, 0, e->len);
        return true;
    }
}

bool fuzz_guest_see(struct img_image *image, uint8_t below, uint8_t *out,
                    bool *seen)
{
    struct img_error err = {0};
    struct img_extent e;

    if (!image->is_readable || image->virtual_len > FUZZ_DISK_MAX) {
        return false;
    }
    for (uint64_t off = 0; off < image->virtual_len; off += e.len) {
        uint64_t len = image->virtual_len - off;
        bool is_seen = false;

        if (img_image_map(image, off, len, &e, &err) < 0) {
            fuzz_require_error(&err);
            /* A broken entry breaks its own cluster, no other. */
            e.len = img_min(len, image->cluster_len - off % image->cluster_len);
        } else {
            fuzz_require(e.guest_off == off && e.len >= 1 && e.len <= len);
            is_seen = read_extent(image, &e, below, out + off);
        }
        for (uint64_t at = off / 512; at < (off + e.len + 511) / 512; at++) {
            seen[at] = is_seen;
        }
    }
    return true;
}

bool fuzz_guest_read(struct img_image *image, uint8_t below, uint8_t *out)
{
    static bool seen[FUZZ_DISK_MAX / 512];

    if (!fuzz_guest_see(image, below, out, seen)) {
        return false;
    }
    for (uint64_t i = 0; i < image->virtual_len / 512; i++) {
        if (!seen[i]) {
            return false;
        }
    }
    return true;
}
