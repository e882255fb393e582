/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mover: see mover.h. How parcels flow.
 *
 * Whatever can be done without waiting is done (pump): finished parcels are
 * taken back from the computing threads, reads handed to the engine, parcels
 * that have been read given to be computed, the oldest ones placed. Then, if
 * there must be waiting, the engine is asked for an answer, or when it has
 * nothing the computing threads are: both go on meanwhile.
 */
#include "mover_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#define BUDGET_DEFAULT_LEN (64ull << 20)
#define TARGET_MAX_LEN (1u << 20)
#define TARGET_MIN_LEN (128u << 10)
/* So many parcels should fit in the budget. */
#define TARGET_PARCELS 16u
/* Zeros are searched for in no larger unit. */
#define ZERO_UNIT_MAX (2u << 20)

struct chain_io *chain_mover_io(struct chain_mover *mover)
{
    struct chain_io *io = mover->free_ios;

    if (io) {
        mover->free_ios = io->next;
        memset(io, 0, sizeof(*io));
    }
    return io;
}

static void free_io(struct chain_mover *mover, struct chain_io *io)
{
    chain_pool_put(&mover->pool, io->stage, mover->pool.buffer_len);
    io->stage = NULL;
    io->next = mover->free_ios;
    mover->free_ios = io;
}

int chain_mover_submit(struct chain_mover *mover, struct chain_io *io,
                       struct img_error *err)
{
    const struct img_request *request = &io->request;

    io->request.owner = io;
    if (img_engine_submit(mover->engine, &io->request, err) != 0) {
        img_error_set_path(err, img_file_path(request->file));
        free_io(mover, io);
        return -1;
    }
    if (io->parcel) {
        io->parcel->pending++;
    }
    if (request->op == IMG_REQUEST_WRITE) {
        mover->moved.written_len += request->len;
    } else {
        mover->moved.read_len += request->len;
    }
    return 0;
}

/* Is there anything for threads to do on PARCEL? What is left is fast. */
static bool needs_hands(const struct chain_mover *mover,
                        const struct chain_parcel *parcel)
{
    return parcel->buf_len > 0 &&
           (parcel->has_compressed || mover->hands.options.unit_len > 0);
}

/* The outcomes are there. */
static int take_computed(struct chain_mover *mover, struct chain_parcel *parcel,
                         struct img_error *err)
{
    chain_parcel_drop_stored(parcel, &mover->pool);
    if (parcel->is_failed) {
        *err = parcel->error;
        return -1;
    }
    mover->moved.found_zero_len += parcel->found_zero_len;
    parcel->state = CHAIN_PARCEL_READY;
    return 0;
}

/* All that PARCEL asked for has been read. */
static int compute(struct chain_mover *mover, struct chain_parcel *parcel,
                   struct img_error *err)
{
    if (!needs_hands(mover, parcel)) {
        chain_work_do(&mover->hands.mine, parcel);
        return take_computed(mover, parcel, err);
    }
    mover->is_working = true;
    if (chain_hands_give(&mover->hands, parcel)) {
        parcel->state = CHAIN_PARCEL_WORKING;
    }
    return 0;
}

/* Hand over reads while there is room. */
static int read_parcel(struct chain_mover *mover, struct chain_parcel *parcel,
                       struct img_error *err)
{
    struct chain_io *io;

    while ((io = chain_mover_io(mover))) {
        if (!chain_parcel_next_read(parcel, &io->request)) {
            free_io(mover, io);
            return parcel->pending == 0 ? compute(mover, parcel, err) : 0;
        }
        io->parcel = parcel;
        if (chain_mover_submit(mover, io, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* All of PARCEL is written. */
static void finish_parcel(struct chain_mover *mover,
                          struct chain_parcel *parcel)
{
    bool is_packed = mover->hands.options.unit_len > 0;
    struct chain_parcel **at = &mover->placed;

    while (*at != parcel) {
        at = &(*at)->next;
    }
    *at = parcel->next;
    mover->in_flight_len -= chain_parcel_cost(parcel, is_packed);
    mover->done_len += parcel->guest_len;
    mover->parcels_nr--;
    if (parcel->buf_len > 0) {
        chain_pace_step(&mover->pace);
    }
    chain_parcel_unload(parcel, &mover->pool);
    chain_mover_recycle(mover, parcel);
    if (mover->options.progress) {
        mover->options.progress(mover->options.opaque, mover->done_len);
    }
}

static int place_oldest(struct chain_mover *mover, struct img_error *err)
{
    bool done = true;

    while (done && mover->oldest &&
           mover->oldest->state == CHAIN_PARCEL_READY) {
        struct chain_parcel *parcel = mover->oldest;
        if (chain_mover_place(mover, parcel, &done, err) != 0) {
            return -1;
        }
        if (done) {
            mover->oldest = parcel->next;
            if (!mover->oldest) {
                mover->newest = &mover->oldest;
            }
            parcel->state = CHAIN_PARCEL_PLACED;
            parcel->next = mover->placed;
            mover->placed = parcel;
            if (parcel->pending == 0) {
                finish_parcel(mover, parcel);
            }
        }
    }
    return 0;
}

/* Everything that can be done without waiting. */
static int pump(struct chain_mover *mover, struct img_error *err)
{
    struct chain_parcel *parcel;

    while ((parcel = chain_hands_take(&mover->hands))) {
        if (take_computed(mover, parcel, err) != 0) {
            return -1;
        }
    }
    /* Writes first: they set buffers free. */
    if (place_oldest(mover, err) != 0) {
        return -1;
    }
    for (parcel = mover->oldest; parcel; parcel = parcel->next) {
        if (parcel->state == CHAIN_PARCEL_READING &&
            read_parcel(mover, parcel, err) != 0) {
            return -1;
        }
    }
    return place_oldest(mover, err);
}

/* An answer of the engine's. */
static int take_answer(struct chain_mover *mover, struct chain_io *io,
                       struct img_error *err)
{
    struct chain_parcel *parcel = io->parcel;
    bool is_bad = io->request.result < 0;

    if (is_bad) {
        chain_request_error(&io->request, err);
    }
    if (io->stage) {
        mover->in_flight_len -= mover->pool.buffer_len;
    }
    free_io(mover, io);
    if (parcel && --parcel->pending == 0 &&
        parcel->state == CHAIN_PARCEL_PLACED) {
        finish_parcel(mover, parcel);
    }
    return is_bad ? -1 : 0;
}

static int wait_engine(struct chain_mover *mover, struct img_error *err)
{
    struct img_request *request = NULL;
    long before = chain_pace_sleeps();

    if (img_engine_wait(mover->engine, &request, err) != 0) {
        return -1;
    }
    chain_pace_waited(&mover->pace, before);
    if (!request) {
        return img_fail(err, IMG_SYSTEM,
                        "the engine lost %u requests that were in flight",
                        img_engine_in_flight(mover->engine));
    }
    return take_answer(mover, request->owner, err);
}

/* Let something come to its end, then do what has become possible. */
static int wait_some(struct chain_mover *mover, struct img_error *err)
{
    if (mover->options.cancel && *mover->options.cancel) {
        return img_fail(err, IMG_CANCELLED, "cancelled");
    }
    if (img_engine_in_flight(mover->engine) > 0) {
        if (wait_engine(mover, err) != 0) {
            return -1;
        }
    } else if (mover->hands.outstanding > 0) {
        chain_hands_wait(&mover->hands);
    }
    return pump(mover, err);
}

static bool has_room(const struct chain_mover *mover, uint64_t cost)
{
    uint64_t window = mover->pace.window;

    if (mover->is_working) {
        window = img_max(window, 2ull * mover->hands.max + 2);
    }
    return mover->parcels_nr == 0 ||
           (mover->parcels_nr < window &&
            mover->in_flight_len + cost <= mover->budget_len);
}

int chain_mover_send(struct chain_mover *mover, struct chain_parcel *parcel,
                     struct img_error *err)
{
    bool is_packed = mover->hands.options.unit_len > 0;
    uint64_t cost = chain_parcel_cost(parcel, is_packed);

    /* It belongs to the mover now: freed with it, whatever happens. */
    *mover->newest = parcel;
    mover->newest = &parcel->next;
    while (!has_room(mover, cost)) {
        if (wait_some(mover, err) != 0) {
            return -1;
        }
    }
    mover->parcels_nr++;
    mover->in_flight_len += cost;
    if (chain_parcel_load(parcel, is_packed, &mover->pool, err) != 0) {
        return -1;
    }
    parcel->state = CHAIN_PARCEL_READING;
    return pump(mover, err);
}

int chain_mover_settle(struct chain_mover *mover, bool all,
                       struct img_error *err)
{
    bool is_flushed = !all;

    while (mover->oldest || (all && mover->parcels_nr > 0)) {
        if (wait_some(mover, err) != 0) {
            return -1;
        }
    }
    while (!is_flushed) {
        if (chain_mover_flush_stage(mover, &is_flushed, err) != 0 ||
            (!is_flushed && wait_some(mover, err) != 0)) {
            return -1;
        }
    }
    while (all && img_engine_in_flight(mover->engine) > 0) {
        if (wait_some(mover, err) != 0) {
            return -1;
        }
    }
    return 0;
}

static void set_units(struct chain_mover *mover,
                      struct chain_work_options *work)
{
    const struct chain_mover_options *options = &mover->options;
    uint32_t zero_unit = mover->sink->granule;

    mover->unit = mover->sink->granule;
    if ((options->compress || options->digest) && mover->sink->unit_len > 0) {
        mover->unit = mover->sink->unit_len;
        work->unit_len = mover->unit;
        work->digest = options->digest;
        work->compression = options->compression;
        work->effort = options->effort;
        mover->is_sharing = false;
    }
    while (zero_unit < options->sparse_len && zero_unit < ZERO_UNIT_MAX) {
        zero_unit *= 2;
    }
    work->zero_unit = options->sparse_len > 0 ? zero_unit : 0;
    mover->block = (uint32_t)img_max(mover->unit, work->zero_unit);
    uint64_t target = mover->budget_len / TARGET_PARCELS;
    target = img_max(TARGET_MIN_LEN, img_min(target, TARGET_MAX_LEN));
    target = img_align_down(target, TARGET_MIN_LEN);
    mover->target_len = (uint32_t)img_max(target, mover->block);
}

static int init(struct chain_mover *mover, struct img_error *err)
{
    struct chain_work_options work = {0};

    set_units(mover, &work);
    mover->newest = &mover->oldest;
    mover->pool.buffer_len = mover->target_len;
    uint64_t parcels =
        mover->budget_len / img_max(mover->target_len, TARGET_MIN_LEN);
    chain_pace_init(&mover->pace,
                    (unsigned)img_max(1, img_min(parcels, CHAIN_POOL_MAX)));
    for (size_t i = 0; i < CHAIN_MOVER_DEPTH; i++) {
        free_io(mover, &mover->ios[i]);
    }
    if (chain_hands_init(&mover->hands, &work, mover->options.threads, err) !=
        0) {
        return -1;
    }
    return img_engine_new_from(mover->options.rings, mover->options.engine,
                               CHAIN_MOVER_DEPTH, &mover->engine, err);
}

int chain_mover_new(struct chain_sink *sink,
                    const struct chain_mover_options *options,
                    struct chain_mover **out, struct img_error *err)
{
    struct chain_mover *mover = img_calloc(1, sizeof(*mover), err);

    if (!mover) {
        return -1;
    }
    mover->sink = sink;
    mover->options = *options;
    mover->budget_len =
        options->budget_len ? options->budget_len : BUDGET_DEFAULT_LEN;
    mover->is_sharing = options->share;
    if (init(mover, err) != 0) {
        chain_mover_free(mover);
        return -1;
    }
    *out = mover;
    return 0;
}

static void free_parcels(struct chain_mover *mover, struct chain_parcel *parcel)
{
    while (parcel) {
        struct chain_parcel *next = parcel->next;
        chain_parcel_unload(parcel, &mover->pool);
        chain_parcel_free(parcel);
        parcel = next;
    }
}

void chain_mover_free(struct chain_mover *mover)
{
    if (!mover) {
        return;
    }
    /* Nothing uses a buffer any more once these two have ended. */
    chain_hands_fini(&mover->hands);
    img_engine_free(mover->engine);
    chain_parcel_free(mover->open);
    free_parcels(mover, mover->oldest);
    free_parcels(mover, mover->placed);
    free_parcels(mover, mover->spare);
    for (size_t i = 0; i < CHAIN_MOVER_DEPTH; i++) {
        free_io(mover, &mover->ios[i]);
    }
    chain_pool_put(&mover->pool, mover->stage.buf, mover->pool.buffer_len);
    chain_pool_fini(&mover->pool);
    free(mover->zeros);
    free(mover);
}

const struct chain_moved *chain_mover_moved(const struct chain_mover *mover)
{
    return &mover->moved;
}

enum img_engine_kind chain_mover_engine(const struct chain_mover *mover)
{
    return img_engine_kind(mover->engine);
}
