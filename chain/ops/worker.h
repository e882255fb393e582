/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker: takes pieces, reads both their sides with many requests in
 * flight, inflates and compares.
 *
 * Each has an engine, an inflater and buffers of its own and shares nothing
 * with the others but the queue. It may run on a thread of its own or, when
 * none can be had, on the calling one.
 */
#ifndef CHAIN_OPS_WORKER_H
#define CHAIN_OPS_WORKER_H

#include <img/engine.h>

#include "piece.h"

struct chain_worker;

struct chain_worker_options {
    enum img_engine_kind engine;
    struct img_ring_stock *rings; /* where one is taken from, or NULL */
    bool all;            /* mark every differing byte, not just the first */
    uint64_t budget_len; /* of this worker's buffers in flight */
    uint32_t target_len; /* usual length of a piece */
};

/* At least the reads of one piece: the depth of a worker's engine. */
#define CHAIN_WORKER_DEPTH (CHAIN_SIDES * CHAIN_PIECE_READS)

int chain_worker_new(struct chain_queue *queue,
                     const struct chain_worker_options *options,
                     struct chain_worker **out, struct img_error *err);
/* Joins its thread: the queue must be closed. NULL is fine. */
void chain_worker_free(struct chain_worker *worker);

/* Run on a thread of its own. On failure the worker is as before. */
int chain_worker_start(struct chain_worker *worker, struct img_error *err);
/* Run on this thread until nothing is left in the queue. */
void chain_worker_drain(struct chain_worker *worker);

#endif
