/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Workers: see worker.h.
 *
 * A worker finishes its pieces in the order it took them. How many it keeps
 * in flight adapts: while its time goes into copying (the page cache has the
 * data) few are best, because they stay in the processor's cache; when it
 * has to sleep for the device, their number doubles up to the budget.
 */
#include "worker.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <img/checked.h>
#include <img/memory.h>

#include "slot.h"

/* At least the reads of one piece. */
#define ENGINE_DEPTH (CHAIN_SIDES * CHAIN_PIECE_READS)
#define WINDOW_MAX CHAIN_POOL_MAX
#define WINDOW_FIRST 2u
/* A round is as many pieces as are kept in flight. Twice as many after
   so many rounds with sleep in a row, one less after so many without. */
#define SLEPT_ROUNDS 2u
#define CALM_ROUNDS 8u
#define STACK_LEN (256u << 10)

struct chain_worker {
    struct chain_queue *queue;
    struct chain_worker_options options;
    struct img_engine *engine;
    struct chain_compute compute;
    struct chain_pool pool;
    struct chain_slot *slots; /* a ring of window_max */
    unsigned window_max, window;
    unsigned first, nr; /* of those in use */
    uint64_t in_flight_len;
    unsigned round_nr; /* pieces of this round so far */
    bool has_slept;    /* in this round */
    unsigned slept_rounds, calm_rounds;
    struct chain_piece *parked; /* taken, but there was no room yet */
    struct img_error broken;    /* the engine's failure, code IMG_OK: none */
    struct img_error err;       /* for reports; too large for the stack */
    pthread_t thread;
    bool has_thread;
};

static struct chain_slot *slot_at(struct chain_worker *worker, unsigned idx)
{
    return &worker->slots[(worker->first + idx) % worker->window_max];
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
    worker->window_max =
        (unsigned)img_max(1, img_min(pieces, (uint64_t)WINDOW_MAX));
    worker->window = (unsigned)img_min(WINDOW_FIRST, worker->window_max);
    worker->slots = img_calloc(worker->window_max, sizeof(*worker->slots), err);
    if (!worker->slots || img_engine_new(options->engine, ENGINE_DEPTH,
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
    chain_compute_fini(&worker->compute);
    free(worker);
}

static bool has_room(const struct chain_worker *worker,
                     const struct chain_piece *piece)
{
    uint32_t reads = piece->reads_nr[0] + piece->reads_nr[1];

    if (worker->nr == 0 || !worker->engine) {
        return true;
    }
    return img_engine_in_flight(worker->engine) + reads <= ENGINE_DEPTH &&
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
    while (worker->nr < worker->window) {
        struct chain_piece *piece = img_steal(&worker->parked);
        if (!piece) {
            piece =
                chain_queue_take(worker->queue, may_wait && worker->nr == 0);
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

/* How often this thread has gone to sleep of its own accord so far. */
static long sleeps(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

static void end_round(struct chain_worker *worker)
{
    if (worker->has_slept) {
        worker->slept_rounds++;
        worker->calm_rounds = 0;
    } else {
        worker->calm_rounds++;
        worker->slept_rounds = 0;
    }
    if (worker->slept_rounds == SLEPT_ROUNDS) {
        worker->window =
            (unsigned)img_min(2ull * worker->window, worker->window_max);
        worker->slept_rounds = 0;
    } else if (worker->calm_rounds == CALM_ROUNDS) {
        worker->window -= worker->window > 1;
        worker->calm_rounds = 0;
    }
    worker->round_nr = 0;
    worker->has_slept = false;
}

/* Wait, and see whether that took sleeping or only copying. */
static void wait_and_adapt(struct chain_worker *worker, struct chain_slot *slot)
{
    if (slot->pending > 0) {
        long before = sleeps();
        wait_for(worker, slot);
        worker->has_slept |= sleeps() != before;
    }
    if (++worker->round_nr >= worker->window) {
        end_round(worker);
    }
}

static void finish_oldest(struct chain_worker *worker)
{
    struct chain_slot *slot = slot_at(worker, 0);
    struct chain_piece *piece = slot->piece;

    wait_and_adapt(worker, slot);
    if (!slot->is_failed && chain_queue_is_wanted(worker->queue, piece->seq) &&
        chain_slot_compare(slot, &worker->compute, &worker->err) != 0) {
        chain_slot_fail(slot, &worker->err, worker->queue);
    }
    if (piece->has_difference && !worker->options.all) {
        chain_queue_set_limit(worker->queue, piece->seq + 1);
    }
    worker->in_flight_len -= chain_piece_cost(piece);
    worker->first = (worker->first + 1) % worker->window_max;
    worker->nr--;
    chain_slot_unload(slot, &worker->pool);
    chain_queue_finish(worker->queue, piece);
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
    pthread_attr_t attr;
    sigset_t all, old;
    int rc = pthread_attr_init(&attr);

    if (rc != 0) {
        return img_fail_sys(err, rc, "cannot start a thread");
    }
    /* A failure only means the default: more address space. */
    (void)pthread_attr_setstacksize(&attr, STACK_LEN);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&worker->thread, &attr, thread_main, worker);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        return img_fail_sys(err, rc, "cannot start a thread");
    }
    worker->has_thread = true;
    return 0;
}
