/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading what a view shows, one request at a time. Room: chain/graph. What
 * reads much goes through the engine instead (chain/ops).
 */
#include "view_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>
#include <qcow2/inflate.h>

void chain_view_unit_fini(struct chain_view_unit *unit)
{
    qcow2_inflater_free(unit->inflater);
    free(unit->stored);
    free(unit->bytes);
    *unit = (struct chain_view_unit){0};
}

static int reserve(void **buf, size_t *capacity, size_t len,
                   struct img_error *err)
{
    if (*capacity >= len && *buf) {
        return 0;
    }
    free(*buf);
    *capacity = 0;
    *buf = img_calloc(1, len, err);
    if (!*buf) {
        return -1;
    }
    *capacity = len;
    return 0;
}

/* Have the compressed cluster of EXTENT in unit->bytes. */
static int unit_load(struct chain_view *view, const struct chain_extent *extent,
                     struct img_error *err)
{
    struct chain_view_unit *unit = &view->unit;
    const struct img_extent *e = &extent->e;
    const struct img_image *image = view->chain->layers[extent->layer]->image;

    if (unit->file == e->file && unit->host_off == e->host_off) {
        return 0;
    }
    unit->file = NULL;
    if ((!unit->inflater && qcow2_inflater_new(&unit->inflater, err) < 0) ||
        reserve(&unit->stored, &unit->stored_capacity, e->host_len, err) < 0 ||
        reserve(&unit->bytes, &unit->bytes_capacity, e->unit_len, err) < 0 ||
        img_file_read_padded(e->file, unit->stored, e->host_len, e->host_off,
                             NULL, err) < 0 ||
        img_image_decompress(image, unit->inflater, e, unit->stored,
                             unit->bytes, err) < 0) {
        return -1;
    }
    unit->file = e->file;
    unit->host_off = e->host_off;
    return 0;
}

static int read_extent(struct chain_view *view,
                       const struct chain_extent *extent, uint8_t *buf,
                       struct img_error *err)
{
    const struct img_extent *e = &extent->e;
    size_t len = (size_t)e->len;

    switch (e->kind) {
    case IMG_EXTENT_DATA:
        return img_file_read_padded(e->file, buf, len, e->host_off, NULL, err);
    case IMG_EXTENT_COMPRESSED:
        if (unit_load(view, extent, err) < 0) {
            return -1;
        }
        memcpy(buf,
               (const uint8_t *)view->unit.bytes +
                   (e->guest_off - e->unit_guest_off),
               len);
        return 0;
    case IMG_EXTENT_ZERO:
    case IMG_EXTENT_UNALLOCATED:
        break;
    }
    memset(buf, 0, len);
    return 0;
}

int chain_view_read(struct chain_view *view, void *buf, size_t len,
                    uint64_t off, struct img_error *err)
{
    uint8_t *at = buf;

    while (len > 0) {
        struct chain_extent extent;
        if (chain_view_at(view, off, len, &extent, err) < 0) {
            return -1;
        }
        if (read_extent(view, &extent, at, err) < 0) {
            img_error_set_path(err, view->chain->layers[extent.layer]->path);
            return -1;
        }
        at += extent.e.len;
        off += extent.e.len;
        len -= (size_t)extent.e.len;
    }
    return 0;
}
