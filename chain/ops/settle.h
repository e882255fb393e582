/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What two stretches of the same guest range prove about each other without
 * being read.
 */
#ifndef CHAIN_OPS_SETTLE_H
#define CHAIN_OPS_SETTLE_H

#include "physical.h"
#include "piece.h"

enum chain_settled {
    CHAIN_SETTLED_NOT, /* must be read */
    CHAIN_SETTLED_SAME_FILE,
    CHAIN_SETTLED_BOTH_ZERO,
    CHAIN_SETTLED_SHARED,
};

struct chain_settler {
    bool no_identity;
    struct chain_physical *physical; /* NULL: do not ask */
};

/*
 * A and B are cut to the same guest range. *len is how many bytes from its
 * beginning the answer holds for. Data that lies in a hole of its file is
 * turned into zeros in A and B, which QEMU's reading of the file proves.
 */
int chain_settle(const struct chain_settler *settler, struct chain_stretch *a,
                 struct chain_stretch *b, enum chain_settled *out,
                 uint64_t *len, struct img_error *err);

/*
 * Data that lies in a hole of its file reads as zeros; the map's word for it
 * is checked, and STRETCH turned into zeros. *len, the bytes of interest,
 * shrinks to what is of one nature.
 */
int chain_settle_hole(struct chain_stretch *stretch, uint64_t *len,
                      struct img_error *err);

/* Cut the first SKIP bytes off a stretch. */
void chain_stretch_skip(struct chain_stretch *stretch, uint64_t skip);

#endif
