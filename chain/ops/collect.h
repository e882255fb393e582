/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Outcomes of pieces, in walking order -> proof, differences, progress.
 * Used by the calling thread only.
 */
#ifndef CHAIN_OPS_COLLECT_H
#define CHAIN_OPS_COLLECT_H

#include "piece.h"

struct chain_collector {
    const struct chain_compare_options *options;
    struct chain_compare_result *result;
    uint64_t total;
    uint64_t done_len;             /* settled in any way, for progress */
    uint64_t reported_len;         /* what progress was told last */
    uint64_t range_off, range_len; /* a difference not yet reported */
};

void chain_collect_init(struct chain_collector *collector,
                        const struct chain_compare_options *options,
                        struct chain_compare_result *result, uint64_t total);
/* LEN bytes more are settled: tell progress when it is worth it. */
void chain_collect_done(struct chain_collector *collector, uint64_t len);
void chain_collect_proof(struct chain_collector *collector,
                         const struct chain_proof *proof);
void chain_collect_piece(struct chain_collector *collector,
                         const struct chain_piece *piece);
/* Everything is in: report what is left. */
void chain_collect_finish(struct chain_collector *collector);

#endif
