/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the image of a layer holds beside the disk that the guest sees: internal
 * snapshots and persistent bitmaps, as its tables list them.
 */
#ifndef CHAIN_CONTENTS_H
#define CHAIN_CONTENTS_H

#include <chain/chain.h>

/* Strings are a stranger's, and borrowed from the chain. */
struct chain_inner_snapshot {
    const char *id, *name;
    uint64_t vm_state_len; /* bytes of the guest's memory; 0: none */
};

struct chain_inner_bitmap {
    const char *name;
    bool is_in_use; /* it was not stored whole: what it says is not to be
                       believed; also while a guest runs */
    bool is_auto;   /* it goes on recording when the image is opened */
};

size_t chain_layer_snapshots_nr(const struct chain_layer *layer);
struct chain_inner_snapshot
chain_layer_snapshot_at(const struct chain_layer *layer, size_t idx);

/* The bitmaps that the image's header vouches for. Free *OUT with free().
   IMG_CORRUPT: their directory is broken. */
int chain_layer_bitmaps(const struct chain_layer *layer,
                        struct chain_inner_bitmap **out, size_t *nr,
                        struct img_error *err);

#endif
