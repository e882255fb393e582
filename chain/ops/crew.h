/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The workers of one comparison. None is made before there is work, and no
 * second one before the first falls behind. Where threads cannot be had the
 * work is done on the calling thread.
 */
#ifndef CHAIN_OPS_CREW_H
#define CHAIN_OPS_CREW_H

#include <img/thread.h>

#include "worker.h"

struct chain_crew {
    struct chain_queue *queue;
    struct chain_worker_options options;
    struct chain_worker *workers[IMG_THREADS_MAX];
    unsigned nr, max;
    bool has_threads; /* at least one worker runs by itself */
    bool is_full;     /* no more can be had */
};

/* THREADS 0: one per processor that this process may use, at most 8. */
void chain_crew_init(struct chain_crew *crew, struct chain_queue *queue,
                     const struct chain_compare_options *options);
/* A piece was published. Fails when there is no worker and cannot be. */
int chain_crew_hire(struct chain_crew *crew, struct img_error *err);
/* Do the work here if no thread does it. */
int chain_crew_work(struct chain_crew *crew, struct img_error *err);
/* Ends all threads: close the queue before. */
void chain_crew_fini(struct chain_crew *crew);

#endif
