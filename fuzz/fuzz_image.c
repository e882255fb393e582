/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole qcow2 image: open, describe, map from end to end, read what the
 * extents name, list bitmaps, count usage, check; and the same disk as its
 * snapshots have it. An external data file, if the image wants one, is the
 * image file itself.
 */
#include <stdlib.h>

#include <img/checked.h>
#include <qcow2/check.h>
#include <qcow2/image.h>
#include <qcow2/inflate.h>

#include "fuzz.h"
#include "mutate.h"

/* An image with more extents than that is not more interesting. */
#define MAX_EXTENTS 4096u
#define MAX_SNAPSHOTS 3u
#define MAX_READ_LEN (64u << 10)
#define CHECK_MEMORY (1u << 20)

static uint8_t stored[2u << QCOW2_MAX_CLUSTER_BITS];
static uint8_t inflated[1u << QCOW2_MAX_CLUSTER_BITS];

static void check_extent(const struct img_extent *e, uint64_t off, uint64_t len)
{
    fuzz_require(e->guest_off == off);
    fuzz_require(e->len >= 1 && e->len <= len);
    if (e->kind == IMG_EXTENT_DATA) {
        fuzz_require(e->has_host && e->file != NULL);
    }
    if (e->kind == IMG_EXTENT_COMPRESSED) {
        fuzz_require(e->file != NULL);
        fuzz_require(e->unit_len <= sizeof(inflated));
        fuzz_require(e->host_len >= 1 && e->host_len <= sizeof(stored));
        fuzz_require(e->unit_guest_off <= off &&
                     off + e->len <= e->unit_guest_off + e->unit_len);
    }
}

static void read_extent(struct img_image *image, struct img_inflater *inflater,
                        const struct img_extent *e)
{
    struct img_error err = {0};
    size_t len;

    if (e->kind == IMG_EXTENT_COMPRESSED) {
        if (img_file_read_padded(e->file, stored, e->host_len, e->host_off,
                                 NULL, &err) < 0 ||
            img_image_decompress(image, inflater, e, stored, inflated, &err) <
                0) {
            fuzz_require_error(&err);
        }
    } else if (e->kind == IMG_EXTENT_DATA) {
        len = (size_t)img_min(e->len, MAX_READ_LEN);
        fuzz_require(img_file_read_padded(e->file, stored, len, e->host_off,
                                          NULL, &err) == 0);
    }
}

static void map_image(struct img_image *image, struct img_inflater *inflater)
{
    struct img_error err = {0};
    uint64_t off = 0;

    for (unsigned i = 0; i < MAX_EXTENTS && off < image->virtual_len; i++) {
        uint64_t len = image->virtual_len - off;
        struct img_extent e;

        if (img_image_map(image, off, len, &e, &err) < 0) {
            fuzz_require_error(&err);
            /* A broken entry breaks its own cluster, no other. */
            off = img_align_down(off, image->cluster_len);
            off += image->cluster_len;
            continue;
        }
        check_extent(&e, off, len);
        read_extent(image, inflater, &e);
        off += e.len;
    }
}

static void inspect(struct img_image *image)
{
    struct qcow2_check_options options = {.max_memory = CHECK_MEMORY};
    struct qcow2_check_result result;
    const struct qcow2_bitmap_info *bitmaps;
    struct qcow2_usage usage;
    struct img_json *described = NULL;
    struct img_error err = {0};
    size_t nr;

    if (img_image_describe(image, &described, &err) < 0) {
        fuzz_require_error(&err);
    }
    img_json_free(described);
    if (qcow2_image_bitmaps(image, &bitmaps, &nr, &err) < 0) {
        fuzz_require_error(&err);
    }
    if (qcow2_image_usage(image, &usage, &err) < 0) {
        fuzz_require_error(&err);
    }
    if (qcow2_check(image, &options, &result, &err) < 0) {
        fuzz_require_error(&err);
    }
}

/* As each of the first snapshots has the disk. */
static void map_snapshots(const struct img_image *image, struct img_file *file,
                          struct img_inflater *inflater)
{
    for (size_t i = 0; i < image->snapshots_nr && i < MAX_SNAPSHOTS; i++) {
        struct qcow2_options options = {.snapshot = image->snapshots[i].id};
        struct img_image *then = NULL;
        struct img_error err = {0};

        if (qcow2_open(file, &options, &then, &err) < 0) {
            fuzz_require_error(&err);
            continue;
        }
        if (then->wants_data_file) {
            img_image_set_data_file(then, file);
        }
        if (then->is_readable) {
            map_image(then, inflater);
        }
        img_image_free(then);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct img_inflater *inflater;
    struct img_file *file = NULL;
    struct img_image *image = NULL;
    struct qcow2_options options = {0};
    struct img_error err = {0};
    uint8_t args[FUZZ_ARGS_NR];

    len = fuzz_args(data, len, args);
    if (inflater == NULL) {
        fuzz_require(qcow2_inflater_new(&inflater, &err) == 0);
    }
    fuzz_require(img_file_from_memory("fuzz", data, len, &file, &err) == 0);
    if (qcow2_open(file, &options, &image, &err) < 0) {
        fuzz_require_error(&err);
        img_file_unref(file);
        return 0;
    }
    if (image->wants_data_file) {
        img_image_set_data_file(image, file);
    }
    inspect(image);
    if (image->is_readable) {
        map_image(image, inflater);
    }
    map_snapshots(image, file, inflater);
    img_image_free(image);
    img_file_unref(file);
    return 0;
}
