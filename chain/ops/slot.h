/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A slot of a worker: one piece in flight, with its buffers and requests,
 * and what is done with it when the bytes are there.
 */
#ifndef CHAIN_OPS_SLOT_H
#define CHAIN_OPS_SLOT_H

#include <img/engine.h>

#include "piece.h"
#include "pool.h"

struct chain_slot {
    struct chain_piece *piece;
    uint8_t *buf; /* side A, side B, stored bytes of compressed units */
    uint8_t *side[CHAIN_SIDES]; /* NULL: the side has nothing to read */
    uint32_t pending;           /* requests under way */
    bool is_failed;
    uint32_t requests_nr;
    /* All reads of side A, then those of side B. */
    struct img_request requests[CHAIN_SIDES * CHAIN_PIECE_READS];
    /* Those whose bytes are not there: they could not be read or inflated. */
    bool is_bad[CHAIN_SIDES * CHAIN_PIECE_READS];
};

/* What one thread needs to inflate and compare. */
struct chain_compute {
    bool all;
    struct chain_inflate inflate;
    struct img_error later; /* after the first one: not told */
};

/*
 * Lay PIECE's reads out over a buffer from POOL (a larger one for a piece that
 * does not fit); the requests are then ready to go.
 */
int chain_slot_load(struct chain_slot *slot, struct chain_piece *piece,
                    struct chain_pool *pool, struct img_error *err);
/* Give the buffer back. */
void chain_slot_unload(struct chain_slot *slot, struct chain_pool *pool);

/* The piece cannot be judged: tell the queue. */
void chain_slot_fail(struct chain_slot *slot, const struct img_error *error,
                     struct chain_queue *queue);

/*
 * All requests are done: inflate, compare, fill in the piece's outcome. Fails
 * with the first error; what did arrive is compared all the same.
 */
int chain_slot_compare(struct chain_slot *slot, struct chain_compute *compute,
                       struct img_error *err);

#endif
