/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a rebase has to do, window by window, as far as the images' tables can
 * tell: which granules of the overlay need not change, which must be written
 * for certain, and which only reading can tell. Reads no data.
 *
 * A window ends where its bitmaps end or enough work has come together, so
 * that memory is bounded and what was read for comparing is still cached when
 * it is moved.
 */
#ifndef CHAIN_OPS_REBASE_PLAN_H
#define CHAIN_OPS_REBASE_PLAN_H

#include <qcow2/header.h>

#include "lockstep.h"
#include "settle.h"

/* One bit for each granule (cluster, or subcluster) from OFF on. */
struct chain_rebase_window {
    uint64_t off, end; /* guest range; empty: the disk's end is reached */
    size_t granules;
    uint8_t *unsure; /* to be compared */
    uint8_t *differ; /* to be moved */
    uint8_t *data;   /* of these: not just zeros by the old chain's tables */
};

struct chain_rebase_planner {
    struct chain_lockstep walk; /* old chain, new chain */
    struct chain_settler settler;
    const struct qcow2_header *header; /* borrowed; the overlay's */
    struct chain_rebase_window window;
    /* Over all windows so far. */
    struct chain_proof settled; /* read_len is 0 */
    uint64_t compare_len;       /* bytes that comparing reads, both sides */
    uint64_t work_granules;     /* to be compared or moved */
    uint64_t move_len; /* bytes that are moved, at most: zeros cost nothing but
                          where the overlay must store them */
};

/* OLD and NEXT are views of the overlay over its old and its new backing; they
   have the same length. */
int chain_rebase_planner_init(struct chain_rebase_planner *planner,
                              struct chain_view *old, struct chain_view *next,
                              const struct qcow2_header *header,
                              struct img_error *err);
void chain_rebase_planner_fini(struct chain_rebase_planner *planner);
/* Plan the next window. */
int chain_rebase_plan_next(struct chain_rebase_planner *planner,
                           struct img_error *err);

/* For the window: [OFF, OFF + LEN) was found to differ. */
void chain_rebase_plan_differ(struct chain_rebase_planner *planner,
                              uint64_t off, uint64_t len);
/*
 * The next guest range of the window at or after *off whose bits are set in
 * BITS: true, with the range.
 */
bool chain_rebase_plan_run(const struct chain_rebase_planner *planner,
                           const uint8_t *bits, uint64_t *off, uint64_t *len);

#endif
