/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving into an image in place, batch by batch: rebase into the overlay,
 * commit into the base.
 */
#ifndef CHAIN_OPS_BATCH_H
#define CHAIN_OPS_BATCH_H

#include "mover.h"

/* All borrowed. */
struct chain_batch {
    struct chain_mover *mover;
    struct qcow2_edit *edit; /* of what is written; NULL: it is raw */
    struct img_file *file;   /* that the bytes go to */
    uint32_t granule;        /* of the mover's sink */
    struct chain_view *from; /* what it is to show */
    /* What it shows beyond FROM's end, where a granule reaches that far. NULL:
       it does not. */
    struct chain_view *beyond;
    uint64_t end_off;       /* up to here everything was pushed */
    uint64_t committed_len; /* bytes written that are stable */
    bool has_tried_direct;
};

/*
 * Push what must be written so that [OFF, OFF + LEN) can be: widened to what
 * is to be written whole, less what was pushed already. Ascending. Commits
 * what was pushed when that is due.
 */
int chain_batch_push(struct chain_batch *batch, uint64_t off, uint64_t len,
                     struct img_error *err);
/* Everything that was pushed is written, and where it is not raw, stable. */
int chain_batch_commit(struct chain_batch *batch, struct img_error *err);

#endif
