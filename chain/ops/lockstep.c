/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walking two views together: see lockstep.h. An extent is asked for once and
 * used up bit by bit, whatever the other side's extents are like.
 */
#include "lockstep.h"

#include <string.h>

#include <img/checked.h>

#include "settle.h"

void chain_lockstep_init(struct chain_lockstep *walk, struct chain_view *a,
                         struct chain_view *b, uint64_t start_off,
                         uint64_t limit_len)
{
    memset(walk, 0, sizeof(*walk));
    walk->views[0] = a;
    walk->views[1] = b;
    walk->end = img_max(chain_view_len(a), chain_view_len(b));
    walk->off = img_min(start_off, walk->end);
    if (limit_len > 0 && limit_len < walk->end - walk->off) {
        walk->end = walk->off + limit_len;
    }
}

static int load_side(struct chain_lockstep *walk, unsigned side,
                     struct img_error *err)
{
    struct chain_stretch *at = &walk->at[side];
    struct chain_view *view = walk->views[side];
    struct chain_extent extent;

    if (at->e.len > 0) {
        return 0;
    }
    if (chain_view_at(view, walk->off, walk->end - walk->off, &extent, err) !=
        0) {
        return -1;
    }
    if (extent.e.len == 0 || extent.e.guest_off != walk->off) {
        return img_fail(err, IMG_CORRUPT,
                        "the image's map leads nowhere at guest offset %llu",
                        (unsigned long long)walk->off);
    }
    at->e = extent.e;
    at->image = NULL;
    if (extent.e.kind == IMG_EXTENT_COMPRESSED) {
        at->image = chain_layer_image(
            chain_layer_at(chain_view_chain(view), extent.layer));
    }
    return 0;
}

int chain_lockstep_load(struct chain_lockstep *walk, struct chain_stretch *both,
                        struct img_error *err)
{
    if (load_side(walk, 0, err) != 0 || load_side(walk, 1, err) != 0) {
        return -1;
    }
    uint64_t len = img_min(walk->at[0].e.len, walk->at[1].e.len);
    for (unsigned side = 0; side < CHAIN_SIDES; side++) {
        both[side] = walk->at[side];
        both[side].e.len = len;
    }
    return 0;
}

void chain_lockstep_advance(struct chain_lockstep *walk, uint64_t len)
{
    walk->off += len;
    for (unsigned side = 0; side < CHAIN_SIDES; side++) {
        chain_stretch_skip(&walk->at[side], img_min(len, walk->at[side].e.len));
    }
}
