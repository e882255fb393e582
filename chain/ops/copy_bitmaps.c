/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent bitmaps of the active layer (specification: "Bitmaps"): as
 * qemu-img convert --bitmaps, consistent ones are copied with their name,
 * granularity and whether they are recording.
 */
#include "copy_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/image.h>
#include <img/memory.h>
#include <qcow2/image.h>

#define SHOWN_LEN 512u

static struct img_image *top_image(const struct chain_copying *copying)
{
    return chain_layer_image(chain_layer_at(copying->source, 0));
}

static int check_can_hold(const struct chain_copying *copying,
                          struct img_error *err)
{
    const struct chain_create_plan *plan = &copying->plan;

    if (copying->request->source_snapshot) {
        return img_fail(err, IMG_USAGE,
                        "bitmaps tell of the active state: they cannot be "
                        "copied along with an internal snapshot");
    }
    if (!qcow2_image_header(top_image(copying))) {
        img_fail(err, IMG_UNSUPPORTED, "images of format %s have no bitmaps",
                 chain_layer_format(chain_layer_at(copying->source, 0)));
        img_error_set_path(err, copying->request->source);
        return -1;
    }
    if (plan->is_raw || plan->qcow2.version < 3) {
        img_fail(err, IMG_UNSUPPORTED,
                 "%s images cannot hold bitmaps: expected qcow2 version 3",
                 plan->is_raw ? "raw" : "qcow2 version 2");
        img_error_set_path(err, copying->dest.path);
        return -1;
    }
    return 0;
}

int chain_copy_check_bitmaps(struct chain_copying *copying,
                             struct img_error *err)
{
    const struct qcow2_bitmap_info *infos;
    char shown[SHOWN_LEN];
    size_t nr;

    if (!copying->request->bitmaps) {
        return 0;
    }
    if (check_can_hold(copying, err) != 0) {
        return -1;
    }
    int r = qcow2_image_bitmaps(top_image(copying), &infos, &nr, err);
    for (size_t i = 0; r == 0 && i < nr; i++) {
        if ((infos[i].flags & QCOW2_BITMAP_FLAG_IN_USE) != 0 &&
            !copying->request->skip_broken_bitmaps) {
            img_escape(infos[i].name, strlen(infos[i].name), shown,
                       sizeof(shown));
            r = img_fail(err, IMG_CORRUPT,
                         "the bitmap \"%s\" was not closed and is "
                         "inconsistent: skip such bitmaps or remove it",
                         shown);
        }
    }
    if (r != 0) {
        img_error_set_path(err, copying->request->source);
    }
    return r;
}

/* One bitmap on its way into memory. */
struct loading {
    struct img_file *file;
    const struct qcow2_header *header;
    const struct qcow2_bitmap_info *info;
    uint8_t *bits;
    uint64_t bits_nr, bits_len;
};

/* The part of the bits that table entry IDX stands for. */
static int load_part(const struct loading *loading, uint64_t entry,
                     uint32_t idx, struct img_error *err)
{
    uint64_t cluster_len = loading->header->cluster_len;
    uint64_t begin = idx * cluster_len;
    uint64_t off;

    if (qcow2_bitmap_entry_decode(loading->header, entry,
                                  img_file_len(loading->file), &off,
                                  err) != 0) {
        return -1;
    }
    if (begin >= loading->bits_len) {
        return 0;
    }
    size_t len = img_min(cluster_len, loading->bits_len - begin);
    if (off == 0) {
        memset(loading->bits + begin, (entry & 1) != 0 ? 0xff : 0, len);
        return 0;
    }
    return img_file_read_padded(loading->file, loading->bits + begin, len, off,
                                NULL, err);
}

static int load_bits(const struct loading *loading, struct img_error *err)
{
    uint32_t nr = loading->info->table_entries;
    IMG_AUTO(img_free_ptr) uint8_t *table = img_calloc(nr, 8, err);

    if (!table || img_file_read(loading->file, table, (size_t)nr * 8,
                                loading->info->table_off, err) != 0) {
        return -1;
    }
    for (uint32_t i = 0; i < nr; i++) {
        if (load_part(loading, img_load_be64(table + (size_t)i * 8), i, err) !=
            0) {
            return -1;
        }
    }
    /* Bits beyond the disk say nothing. */
    if (loading->bits_nr % 8 != 0) {
        loading->bits[loading->bits_len - 1] &=
            (uint8_t)((1u << (loading->bits_nr % 8)) - 1);
    }
    return 0;
}

static int copy_bitmap(struct chain_copying *copying,
                       const struct qcow2_bitmap_info *info,
                       struct img_error *err)
{
    const struct img_image *image = top_image(copying);
    struct loading loading = {
        .file = image->file,
        .header = qcow2_image_header(image),
        .info = info,
        .bits_nr = img_div_up(image->virtual_len, info->granularity),
    };

    loading.bits_len = img_div_up(loading.bits_nr, 8);
    IMG_AUTO(img_free_ptr)
    uint8_t *bits = img_calloc(loading.bits_len + 1, 1, err);
    if (!bits) {
        return -1;
    }
    loading.bits = bits;
    if (load_bits(&loading, err) != 0) {
        img_error_set_path(err, copying->request->source);
        return -1;
    }
    struct qcow2_fresh_bitmap bitmap = {
        .name = info->name,
        .granularity = info->granularity,
        .flags = info->flags & QCOW2_BITMAP_FLAG_AUTO,
        .bits = bits,
        .bits_len = loading.bits_len,
    };
    return qcow2_fresh_bitmap_add(copying->fresh, &bitmap, err);
}

static void tell_skipped(const struct chain_copying *copying,
                         const struct qcow2_bitmap_info *info)
{
    const struct chain_copy_request *request = copying->request;

    if (request->skipped_bitmap) {
        request->skipped_bitmap(request->opaque, info->name);
    }
}

int chain_copy_bitmaps(struct chain_copying *copying, struct img_error *err)
{
    const struct qcow2_bitmap_info *infos;
    size_t nr;

    if (!copying->request->bitmaps) {
        return 0;
    }
    if (qcow2_image_bitmaps(top_image(copying), &infos, &nr, err) != 0) {
        img_error_set_path(err, copying->request->source);
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        if ((infos[i].flags & QCOW2_BITMAP_FLAG_IN_USE) != 0) {
            tell_skipped(copying, &infos[i]);
        } else if (copy_bitmap(copying, &infos[i], err) != 0) {
            return -1;
        }
    }
    return 0;
}
