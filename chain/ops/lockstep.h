/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two views walked together: stretch by stretch, each as long as both are of
 * one nature.
 */
#ifndef CHAIN_OPS_LOCKSTEP_H
#define CHAIN_OPS_LOCKSTEP_H

#include <chain/view.h>

#include "piece.h"

struct chain_lockstep {
    struct chain_view *views[CHAIN_SIDES];
    struct chain_stretch at[CHAIN_SIDES]; /* begins at off, or is empty */
    uint64_t off;
    uint64_t end; /* of the longer view, or of what was asked for */
};

/* From START_OFF on, LIMIT_LEN bytes; 0: to the longer view's end. */
void chain_lockstep_init(struct chain_lockstep *walk, struct chain_view *a,
                         struct chain_view *b, uint64_t start_off,
                         uint64_t limit_len);
/* Load what both sides show at off: at[] is cut to the same length. */
int chain_lockstep_load(struct chain_lockstep *walk, struct chain_stretch *both,
                        struct img_error *err);
/* Go LEN bytes on, also beyond what was loaded. */
void chain_lockstep_advance(struct chain_lockstep *walk, uint64_t len);

#endif
