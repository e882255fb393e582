/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads of a reader. Room: libimg/engine.
 *
 * Each takes pieces in the order in which they were asked for, with an engine
 * of its own, and is done with them in any order. A slot is a thread's from
 * when it is taken until it is marked as done; else it is the reader's.
 */
#include "reader_impl.h"

#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/thread.h>

/* More than so many reads under way do not help one thread. */
#define HAND_DEPTH_MAX 16u

struct hand {
    struct img_reader_crew *crew;
    struct img_engine *engine;
    unsigned depth;       /* pieces that it has at a time */
    struct img_error err; /* too large for its stack */
    pthread_t thread;
};

struct img_reader_crew {
    struct img_reader *reader;
    pthread_mutex_t lock;
    pthread_cond_t work; /* there are pieces to be read, or it is over */
    pthread_cond_t done; /* what the reader waits for */
    /* Pieces since the beginning: the Nth is in slot N modulo the depth. */
    uint64_t asked_nr, taken_nr, done_nr;
    unsigned idle_nr;   /* threads that wait for work */
    bool is_awaited;    /* the reader sleeps */
    uint64_t wanted_nr; /* until so many are done, and its head */
    bool is_stopped;
    struct img_error broken; /* an engine's failure, code IMG_OK: none */
    unsigned nr;
    struct hand hands[];
};

static struct img_reader_slot *slot_of(struct img_reader_crew *crew, uint64_t n)
{
    return &crew->reader->slots[n % crew->reader->options.depth];
}

/* Has the reader what it waits for? */
static bool is_ready(const struct img_reader_crew *crew)
{
    const struct img_reader *reader = crew->reader;

    return crew->broken.code != IMG_OK ||
           (reader->slots[reader->head].is_done &&
            crew->done_nr >= crew->wanted_nr);
}

static void wake_reader(struct img_reader_crew *crew)
{
    if (crew->is_awaited && is_ready(crew)) {
        pthread_cond_signal(&crew->done);
    }
}

/* Take as many pieces as this thread may have at a time. */
static int hand_fill(struct hand *hand)
{
    struct img_reader_crew *crew = hand->crew;

    while (!crew->is_stopped && crew->taken_nr < crew->asked_nr &&
           img_engine_in_flight(hand->engine) < hand->depth) {
        struct img_reader_slot *slot = slot_of(crew, crew->taken_nr);

        if (img_engine_submit(hand->engine, &slot->request, &hand->err)) {
            return -1;
        }
        crew->taken_nr++;
    }
    return 0;
}

/* One piece, read and worked upon; without the lock. */
static int hand_step(struct hand *hand, struct img_reader_slot **out)
{
    const struct img_reader_options *options = &hand->crew->reader->options;
    struct img_request *request = NULL;

    if (img_engine_wait(hand->engine, &request, &hand->err)) {
        return -1;
    }
    *out = request->owner;
    if (request->result == 0 && options->work) {
        options->work(options->opaque, &(*out)->piece);
    }
    return 0;
}

/* With the lock, which is given up meanwhile. -1 after a failure. */
static int hand_work(struct hand *hand)
{
    struct img_reader_crew *crew = hand->crew;

    for (;;) {
        struct img_reader_slot *slot = NULL;
        int rc;

        if (hand_fill(hand)) {
            return -1;
        }
        if (img_engine_in_flight(hand->engine) == 0) {
            if (crew->is_stopped) {
                return 0;
            }
            crew->idle_nr++;
            pthread_cond_wait(&crew->work, &crew->lock);
            crew->idle_nr--;
            continue;
        }
        pthread_mutex_unlock(&crew->lock);
        rc = hand_step(hand, &slot);
        pthread_mutex_lock(&crew->lock);
        if (rc) {
            return -1;
        }
        slot->is_done = true;
        crew->done_nr++;
        wake_reader(crew);
    }
}

static void *hand_main(void *opaque)
{
    struct hand *hand = opaque;
    struct img_reader_crew *crew = hand->crew;

    pthread_mutex_lock(&crew->lock);
    if (hand_work(hand) && crew->broken.code == IMG_OK) {
        crew->broken = hand->err;
        crew->is_stopped = true;
        pthread_cond_broadcast(&crew->work);
        wake_reader(crew);
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

/* One more thread, if it can be had. */
static bool hire(struct img_reader_crew *crew)
{
    const struct img_reader_options *options = &crew->reader->options;
    struct hand *hand = &crew->hands[crew->nr];
    struct img_error ignored;

    hand->crew = crew;
    hand->depth = (unsigned)img_max(
        1, img_min(options->depth / options->threads, HAND_DEPTH_MAX));
    if (img_engine_new_from(options->rings, options->engine, hand->depth,
                            &hand->engine, &ignored)) {
        return false;
    }
    if (img_engine_kind(hand->engine) == IMG_ENGINE_SYNC) {
        hand->depth = 1;
    }
    if (img_thread_start(&hand->thread, hand_main, hand, &ignored)) {
        img_engine_free(hand->engine);
        return false;
    }
    crew->nr++;
    return true;
}

struct img_reader_crew *img_reader_crew_new(struct img_reader *reader)
{
    unsigned threads = reader->options.threads;
    struct img_error ignored;
    struct img_reader_crew *crew =
        threads == 0
            ? NULL
            : img_calloc(1, sizeof(*crew) + threads * sizeof(crew->hands[0]),
                         &ignored);

    if (!crew) {
        return NULL;
    }
    crew->reader = reader;
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->work, NULL);
    pthread_cond_init(&crew->done, NULL);
    while (crew->nr < threads && hire(crew)) {
    }
    if (crew->nr == 0) {
        img_reader_crew_free(crew);
        return NULL;
    }
    return crew;
}

void img_reader_crew_free(struct img_reader_crew *crew)
{
    if (!crew) {
        return;
    }
    pthread_mutex_lock(&crew->lock);
    crew->is_stopped = true;
    pthread_cond_broadcast(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    while (crew->nr > 0) {
        struct hand *hand = &crew->hands[--crew->nr];

        pthread_join(hand->thread, NULL);
        img_engine_free(hand->engine);
    }
    pthread_cond_destroy(&crew->done);
    pthread_cond_destroy(&crew->work);
    pthread_mutex_destroy(&crew->lock);
    free(crew);
}

void img_reader_crew_ask(struct img_reader_crew *crew)
{
    uint64_t few = crew->reader->options.depth / 4;

    pthread_mutex_lock(&crew->lock);
    crew->asked_nr++;
    /* To wake a thread for every piece would cost more than the pieces. */
    if (crew->idle_nr > 0 && crew->asked_nr - crew->taken_nr > few) {
        pthread_cond_signal(&crew->work);
    }
    pthread_mutex_unlock(&crew->lock);
}

int img_reader_crew_wait(struct img_reader_crew *crew, struct img_error *err)
{
    const struct img_reader *reader = crew->reader;
    int rc = 0;

    pthread_mutex_lock(&crew->lock);
    if (!reader->slots[reader->head].is_done) {
        if (crew->idle_nr > 0) {
            pthread_cond_broadcast(&crew->work);
        }
        /* Nor is it worth it to be woken for every one. */
        crew->wanted_nr = crew->asked_nr - reader->used / 2;
        crew->is_awaited = true;
        while (!is_ready(crew)) {
            pthread_cond_wait(&crew->done, &crew->lock);
        }
        crew->is_awaited = false;
    }
    if (!reader->slots[reader->head].is_done) {
        *err = crew->broken;
        rc = -1;
    }
    pthread_mutex_unlock(&crew->lock);
    return rc;
}
