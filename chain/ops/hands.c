/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that compute for a mover: see hands.h.
 */
#include "hands.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#define POLL_MS 100u

struct parcel_task {
    struct chain_task task;
    struct chain_parcel *parcel;
};

int chain_hands_init(struct chain_hands *hands,
                     const struct chain_work_options *options, unsigned threads,
                     struct img_error *err)
{
    memset(hands, 0, sizeof(*hands));
    hands->options = *options;
    hands->mine.options = &hands->options;
    hands->max = img_threads_nr(threads);
    return chain_queue_init(&hands->queue, sizeof(struct parcel_task), NULL,
                            err);
}

void chain_hands_fini(struct chain_hands *hands)
{
    if (hands->queue.tasks) {
        chain_queue_set_limit(&hands->queue, 0);
        chain_queue_close(&hands->queue);
    }
    for (unsigned i = 0; i < hands->nr; i++) {
        pthread_join(hands->hands[i]->thread, NULL);
        chain_work_fini(&hands->hands[i]->work);
        free(hands->hands[i]);
    }
    hands->nr = 0;
    chain_work_fini(&hands->mine);
    chain_queue_fini(&hands->queue);
}

static void *run(void *opaque)
{
    struct chain_hand *hand = opaque;
    struct chain_queue *queue = &hand->hands->queue;
    struct chain_task *task;

    while ((task = chain_queue_take(queue, true))) {
        chain_work_do(&hand->work, ((struct parcel_task *)task)->parcel);
        chain_queue_finish(queue, task);
    }
    return NULL;
}

/* One more thread, when those there are have enough to do. */
static void hire(struct chain_hands *hands)
{
    struct img_error ignored;

    if (hands->is_full || hands->nr == hands->max ||
        (hands->nr > 0 && chain_queue_backlog(&hands->queue) < 2)) {
        return;
    }
    struct chain_hand *hand = img_calloc(1, sizeof(*hand), &ignored);
    if (!hand) {
        hands->is_full = true;
        return;
    }
    hand->hands = hands;
    hand->work.options = &hands->options;
    if (img_thread_start(&hand->thread, run, hand, &ignored) != 0) {
        free(hand);
        hands->is_full = true;
        return;
    }
    hands->hands[hands->nr++] = hand;
}

bool chain_hands_give(struct chain_hands *hands, struct chain_parcel *parcel)
{
    struct chain_task *task = chain_queue_open_task(&hands->queue);

    if (!task) {
        return false;
    }
    ((struct parcel_task *)task)->parcel = parcel;
    chain_queue_publish(&hands->queue);
    hands->outstanding++;
    hire(hands);
    return true;
}

struct chain_parcel *chain_hands_take(struct chain_hands *hands)
{
    struct chain_task *task = chain_queue_retire(&hands->queue);

    if (!task) {
        return NULL;
    }
    struct chain_parcel *parcel = ((struct parcel_task *)task)->parcel;
    chain_queue_release(&hands->queue);
    hands->outstanding--;
    return parcel;
}

void chain_hands_wait(struct chain_hands *hands)
{
    struct chain_task *task;

    if (hands->nr > 0) {
        chain_queue_wait_oldest(&hands->queue, POLL_MS);
        return;
    }
    task = chain_queue_take(&hands->queue, false);
    if (task) {
        chain_work_do(&hands->mine, ((struct parcel_task *)task)->parcel);
        chain_queue_finish(&hands->queue, task);
    }
}
