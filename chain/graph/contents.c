/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Internal snapshots and bitmaps: see chain/contents.h. Room: chain/graph. */
#include <chain/contents.h>

#include <img/memory.h>
#include <qcow2/image.h>

#include "graph.h"

size_t chain_layer_snapshots_nr(const struct chain_layer *layer)
{
    return layer->image->snapshots_nr;
}

struct chain_inner_snapshot
chain_layer_snapshot_at(const struct chain_layer *layer, size_t idx)
{
    const struct img_snapshot *from = &layer->image->snapshots[idx];

    return (struct chain_inner_snapshot){
        .id = from->id,
        .name = from->name,
        .vm_state_len = from->vm_state_len,
    };
}

int chain_layer_bitmaps(const struct chain_layer *layer,
                        struct chain_inner_bitmap **out, size_t *nr,
                        struct img_error *err)
{
    const struct qcow2_bitmap_info *bitmaps = NULL;
    struct chain_inner_bitmap *list;

    *nr = 0;
    if (qcow2_image_header(layer->image) &&
        qcow2_image_bitmaps(layer->image, &bitmaps, nr, err) < 0) {
        img_error_set_path(err, layer->path);
        return -1;
    }
    list = img_calloc(*nr + 1, sizeof(*list), err);
    if (!list) {
        return -1;
    }
    for (size_t i = 0; i < *nr; i++) {
        list[i].name = bitmaps[i].name;
        list[i].is_in_use = bitmaps[i].flags & QCOW2_BITMAP_FLAG_IN_USE;
        list[i].is_auto = bitmaps[i].flags & QCOW2_BITMAP_FLAG_AUTO;
    }
    *out = list;
    return 0;
}
