/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Workers: see worker.h.
 *
 * A worker finishes its pieces in the order it took them. How many it keeps
 * in flight adapts (pace.h).
 */
#include "worker.h"

#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/thread.h>

#include "pace.h"
#include "slot.h"

struct chain_worker {
    struct chain_queue *queue;
    struct chain_worker_options options;
    struct img_engine *engine;
    struct chain_compute compute;
    struct chain_pool pool;
    struct chain_pace pace;
    struct chain_slot *slots; /* a ring of pace.window_max */
    unsigned first, nr;       /* of those in use */
    uint64_t in_flight_len;
    struct chain_piece *parked; /* taken, but there was no room yet */
    struct img_error broken;    /* the engine's failure, code IMG_OK: none */
    struct img_error err;       /* for reports; too large for the stack */
    pthread_t thread;
    bool has_thread;
};

static struct chain_slot *slot_at(struct chain_worker *worker, unsigned idx)
{
    return &worker->slots[(worker->first + idx) % worker->pace.window_max];
}

int chain_worker_new(struct chain_queue *queue,
                     const struct chain_worker_options *options,
                     struct chain_worker **out, struct img_error *err)
{
    struct chain_worker *worker = img_calloc(1, sizeof(*worker), err);

    if (!worker) {
        return -1;
    }
    worker->queue = queue;
    worker->options = *options;
    worker->compute.all = options->all;
    /* Both sides, and as much again for what one of them is inflated from. */
    worker->pool.buffer_len = 4ull * options->target_len;
    uint64_t pieces = options->budget_len / (2ull * options->target_len);
    chain_pace_init(&worker->pace,
                    (unsigned)img_max(1, img_min(pieces, CHAIN_POOL_MAX)));
    worker->slots =
        img_calloc(worker->pace.window_max, sizeof(*worker->slots), err);
    if (!worker->slots ||
        img_engine_new_from(options->rings, options->engine, CHAIN_WORKER_DEPTH,
                            &worker->engine, err) != 0) {
        chain_worker_free(worker);
        return -1;
    }
    *out = worker;
    return 0;
}

void chain_worker_free(struct chain_worker *worker)
{
    if (!worker) {
        return;
    }
    if (worker->has_thread) {
        pthread_join(worker->thread, NULL);
    }
    /* What is in flight is waited for here: before its buffers go. */
    if (worker->engine) {
        img_engine_free(worker->engine);
    }
    while (worker->slots && worker->nr > 0) {
        chain_slot_unload(slot_at(worker, --worker->nr), &worker->pool);
    }
    free(worker->slots);
    chain_pool_fini(&worker->pool);
    chain_inflate_fini(&worker->compute.inflate);
    free(worker);
}

static bool has_room(const struct chain_worker *worker,
                     const struct chain_piece *piece)
{
    uint32_t reads = piece->reads_nr[0] + piece->reads_nr[1];

    if (worker->nr == 0 || !worker->engine) {
        return true;
    }
    return img_engine_in_flight(worker->engine) + reads <= CHAIN_WORKER_DEPTH &&
           worker->in_flight_len + chain_piece_cost(piece) <=
               worker->options.budget_len;
}

/* Queue all reads of a slot that was loaded with a piece. */
static void submit(struct chain_worker *worker, struct chain_slot *slot)
{
    for (uint32_t i = 0; i < slot->requests_nr; i++) {
        struct img_request *request = &slot->requests[i];
        if (img_engine_submit(worker->engine, request, &worker->err) != 0) {
            img_error_set_path(&worker->err, img_file_path(request->file));
            chain_slot_fail(slot, &worker->err, worker->queue);
            return;
        }
        slot->pending++;
    }
}

static void begin(struct chain_worker *worker, struct chain_piece *piece)
{
    struct chain_slot *slot = slot_at(worker, worker->nr);

    worker->nr++;
    worker->in_flight_len += chain_piece_cost(piece);
    if (chain_slot_load(slot, piece, &worker->pool, &worker->err) != 0) {
        chain_slot_fail(slot, &worker->err, worker->queue);
    } else if (worker->broken.code != IMG_OK) {
        chain_slot_fail(slot, &worker->broken, worker->queue);
    } else {
        submit(worker, slot);
    }
}

/* Take as many pieces as may be in flight; waits only for the first. */
static void fill(struct chain_worker *worker, bool may_wait)
{
    while (worker->nr < worker->pace.window) {
        struct chain_piece *piece = img_steal(&worker->parked);
        if (!piece) {
            piece = (struct chain_piece *)chain_queue_take(
                worker->queue, may_wait && worker->nr == 0);
        }
        if (!piece) {
            return;
        }
        if (!has_room(worker, piece)) {
            worker->parked = piece;
            return;
        }
        begin(worker, piece);
    }
}

/* The engine failed: nothing that is in flight can be believed. */
static void give_up(struct chain_worker *worker)
{
    worker->broken = worker->err;
    /* Waits for what the kernel still has, before buffers are used again. */
    img_engine_free(img_steal(&worker->engine));
    for (unsigned i = 0; i < worker->nr; i++) {
        struct chain_slot *slot = slot_at(worker, i);
        slot->pending = 0;
        chain_slot_fail(slot, &worker->broken, worker->queue);
    }
}

static void wait_for(struct chain_worker *worker, struct chain_slot *slot)
{
    while (slot->pending > 0) {
        struct img_request *request = NULL;
        if (img_engine_wait(worker->engine, &request, &worker->err) != 0) {
            give_up(worker);
            return;
        }
        if (!request) {
            img_fail(&worker->err, IMG_SYSTEM,
                     "the engine lost %u reads that were in flight",
                     slot->pending);
            give_up(worker);
            return;
        }
        struct chain_slot *owner = request->owner;
        owner->pending--;
    }
}

/* Wait, and see whether that took sleeping or only copying. */
static void wait_and_adapt(struct chain_worker *worker, struct chain_slot *slot)
{
    if (slot->pending > 0) {
        long before = chain_pace_sleeps();
        wait_for(worker, slot);
        chain_pace_waited(&worker->pace, before);
    }
    chain_pace_step(&worker->pace);
}

static void finish_oldest(struct chain_worker *worker)
{
    struct chain_slot *slot = slot_at(worker, 0);
    struct chain_piece *piece = slot->piece;

    wait_and_adapt(worker, slot);
    if (!slot->is_failed &&
        chain_queue_is_wanted(worker->queue, piece->task.seq) &&
        chain_slot_compare(slot, &worker->compute, &worker->err) != 0) {
        chain_slot_fail(slot, &worker->err, worker->queue);
    }
    if (piece->has_difference && !worker->options.all) {
        chain_queue_set_limit(worker->queue, piece->task.seq + 1);
    }
    worker->in_flight_len -= chain_piece_cost(piece);
    worker->first = (worker->first + 1) % worker->pace.window_max;
    worker->nr--;
    chain_slot_unload(slot, &worker->pool);
    chain_queue_finish(worker->queue, &piece->task);
}

static void run(struct chain_worker *worker, bool may_wait)
{
    for (;;) {
        fill(worker, may_wait);
        if (worker->nr == 0) {
            return;
        }
        finish_oldest(worker);
    }
}

void chain_worker_drain(struct chain_worker *worker)
{
    run(worker, false);
}

static void *thread_main(void *opaque)
{
    run(opaque, true);
    return NULL;
}

int chain_worker_start(struct chain_worker *worker, struct img_error *err)
{
    if (img_thread_start(&worker->thread, thread_main, worker, err) != 0) {
        return -1;
    }
    worker->has_thread = true;
    return 0;
}
