/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads that compute for one mover. None is started before there is
 * something to compute. Where none can be had the walking one computes.
 */
#ifndef CHAIN_OPS_HANDS_H
#define CHAIN_OPS_HANDS_H

#include <img/thread.h>

#include "queue.h"
#include "work.h"

struct chain_hand {
    struct chain_hands *hands;
    struct chain_work work;
    pthread_t thread;
};

struct chain_hands {
    struct chain_queue queue;
    struct chain_work_options options;
    struct chain_hand *hands[IMG_THREADS_MAX];
    unsigned nr, max;
    bool is_full;           /* no more can be had */
    unsigned outstanding;   /* parcels that were handed over */
    struct chain_work mine; /* the walking thread's */
};

int chain_hands_init(struct chain_hands *hands,
                     const struct chain_work_options *options, unsigned threads,
                     struct img_error *err);
/* Ends all threads; what they have not begun is left undone. */
void chain_hands_fini(struct chain_hands *hands);

/* Compute on PARCEL, later and elsewhere if possible; false: no room now. */
bool chain_hands_give(struct chain_hands *hands, struct chain_parcel *parcel);
/* The next parcel that is finished, in the order they were given, or NULL. */
struct chain_parcel *chain_hands_take(struct chain_hands *hands);
/* Sleep until some are finished, at most a tenth of a second. */
void chain_hands_wait(struct chain_hands *hands);

#endif
