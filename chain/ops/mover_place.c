/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Placing: the sink says where outcomes go, and they become writes. See
 * mover_impl.h.
 *
 * Only the oldest parcel is placed, outcome by outcome, so that the sink is
 * asked in guest order. When the engine is full it goes on later from where
 * it came to.
 */
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "mover_impl.h"

/* Packed bytes are written in whole blocks of this. */
#define STAGE_ALIGN 4096u

/* A write that may still grow. */
struct writing {
    struct chain_mover *mover;
    struct chain_parcel *parcel;
    struct chain_io *io; /* NULL: none */
};

static int submit(struct writing *writing, struct img_error *err)
{
    struct chain_io *io = img_steal(&writing->io);

    return io ? chain_mover_submit(writing->mover, io, err) : 0;
}

static bool extends(const struct chain_io *io, const struct qcow2_place *place,
                    const uint8_t *bytes)
{
    const struct img_request *request = &io->request;

    return request->file == place->file &&
           request->off + request->len == place->host_off &&
           (const uint8_t *)request->buf + request->len == bytes;
}

/* Write LEN bytes of the parcel to the beginning of PLACE. *done false: there
   is no free request. */
static int write_bytes(struct writing *writing, const struct qcow2_place *place,
                       uint8_t *bytes, size_t len, bool *done,
                       struct img_error *err)
{
    *done = true;
    if (writing->io && extends(writing->io, place, bytes)) {
        writing->io->request.len += len;
        return 0;
    }
    if (submit(writing, err) != 0) {
        return -1;
    }
    writing->io = chain_mover_io(writing->mover);
    if (!writing->io) {
        *done = false;
        return 0;
    }
    writing->io->parcel = writing->parcel;
    writing->io->request = (struct img_request){
        .file = place->file,
        .op = IMG_REQUEST_WRITE,
        .buf = bytes,
        .len = len,
        .off = place->host_off,
    };
    return 0;
}

static void place_skip(struct qcow2_place *place, uint64_t len)
{
    place->host_off += len;
    place->len -= len;
}

/* The sink gave the place of the byte at OFF before. */
static bool is_given(const struct chain_mover *mover, uint64_t off)
{
    return off >= mover->given_off && off - mover->given_off < mover->given.len;
}

/* Have a place for the next bytes of OUT, which are data. */
static int find_place(struct chain_mover *mover, struct chain_parcel *parcel,
                      const struct chain_run *out, struct img_error *err)
{
    uint64_t off = out->guest_off + parcel->out_done;

    if (parcel->place.len > 0) {
        return 0;
    }
    if (is_given(mover, off)) {
        parcel->place = mover->given;
        place_skip(&parcel->place, off - mover->given_off);
        return 0;
    }
    if (mover->sink->ops->data(mover->sink, off, out->len - parcel->out_done,
                               &parcel->place, err) != 0) {
        return -1;
    }
    if (parcel->place.len == 0) {
        return img_fail(err, IMG_CORRUPT,
                        "found no place for guest offset %llu, expected one",
                        (unsigned long long)off);
    }
    return 0;
}

static uint8_t *zeros(struct chain_mover *mover, struct img_error *err)
{
    if (!mover->zeros) {
        mover->zeros = img_alloc_aligned(mover->target_len, err);
        if (mover->zeros) {
            memset(mover->zeros, 0, mover->target_len);
        }
    }
    return mover->zeros;
}

/* Write the rest of OUT as data, zeros where it has no bytes of its own. */
static int place_data(struct writing *writing, const struct chain_run *out,
                      bool *done, struct img_error *err)
{
    struct chain_mover *mover = writing->mover;
    struct chain_parcel *parcel = writing->parcel;
    bool is_zero = out->kind == CHAIN_RUN_ZERO;

    while (parcel->out_done < out->len) {
        if (find_place(mover, parcel, out, err) != 0) {
            return -1;
        }
        uint64_t len = img_min(parcel->place.len, out->len - parcel->out_done);
        uint8_t *bytes;
        if (is_zero) {
            bytes = zeros(mover, err);
            if (!bytes) {
                return -1;
            }
            len = img_min(len, mover->target_len);
        } else {
            bytes = parcel->buf + out->buf_off + parcel->out_done;
        }
        if (write_bytes(writing, &parcel->place, bytes, len, done, err) != 0) {
            return -1;
        }
        if (!*done) {
            return 0;
        }
        place_skip(&parcel->place, len);
        parcel->out_done += len;
    }
    *done = true;
    return 0;
}

/* Say that OUT, or its part up to a place that was given, is zeros. */
static int place_zero(struct writing *writing, struct chain_run *out,
                      bool *done, struct img_error *err)
{
    struct chain_mover *mover = writing->mover;
    struct chain_parcel *parcel = writing->parcel;
    uint64_t off = out->guest_off + parcel->out_done;

    if (parcel->out_done == 0 && !is_given(mover, off)) {
        bool as_data = false;
        if (mover->sink->ops->zero(mover->sink, off, out->len, &as_data, err) !=
            0) {
            return -1;
        }
        if (!as_data) {
            mover->moved.zero_len += out->len;
            *done = true;
            return 0;
        }
    }
    return place_data(writing, out, done, err);
}

static size_t stage_cap(const struct chain_mover *mover)
{
    return mover->pool.buffer_len;
}

/* Begin to gather packed bytes for HOST_OFF of FILE. */
static int open_stage(struct chain_mover *mover, struct img_file *file,
                      uint64_t host_off, struct img_error *err)
{
    struct chain_stage *stage = &mover->stage;

    if (!stage->buf) {
        stage->buf = chain_pool_get(&mover->pool, stage_cap(mover), err);
        if (!stage->buf) {
            return -1;
        }
    }
    stage->file = file;
    stage->host_off = img_align_down(host_off, STAGE_ALIGN);
    stage->begin = (size_t)(host_off - stage->host_off);
    stage->end = stage->begin;
    return 0;
}

/*
 * What follows the last packed byte in its block belongs to the same cluster,
 * and nothing else will stand there: whole blocks suit direct I/O.
 */
static size_t padded_end(const struct chain_mover *mover)
{
    const struct chain_stage *stage = &mover->stage;
    size_t end = img_align_up(stage->end, STAGE_ALIGN);

    if (mover->sink->unit_len < STAGE_ALIGN ||
        img_file_direct_align(stage->file) == 1) {
        return stage->end;
    }
    memset(stage->buf + stage->end, 0, end - stage->end);
    return end;
}

/* Write the stage's bytes up to END; the buffer goes with them. */
static int write_stage(struct chain_mover *mover, size_t end, bool *done,
                       struct img_error *err)
{
    struct chain_stage *stage = &mover->stage;
    struct chain_io *io = chain_mover_io(mover);

    *done = io != NULL;
    if (!io) {
        return 0;
    }
    io->stage = img_steal(&stage->buf);
    io->request = (struct img_request){
        .file = stage->file,
        .op = IMG_REQUEST_WRITE,
        .buf = io->stage + stage->begin,
        .len = end - stage->begin,
        .off = stage->host_off + stage->begin,
    };
    mover->in_flight_len += stage_cap(mover);
    return chain_mover_submit(mover, io, err);
}

int chain_mover_flush_stage(struct chain_mover *mover, bool *done,
                            struct img_error *err)
{
    struct chain_stage *stage = &mover->stage;

    *done = true;
    if (!stage->file) {
        return 0;
    }
    if (stage->end > stage->begin &&
        write_stage(mover, padded_end(mover), done, err) != 0) {
        return -1;
    }
    if (*done) {
        stage->file = NULL;
    }
    return 0;
}

static bool is_stage_full(const struct chain_mover *mover)
{
    return mover->stage.file && mover->stage.end == stage_cap(mover);
}

/* The stage is full: write it and go on behind it. */
static int turn_stage(struct chain_mover *mover, bool *done,
                      struct img_error *err)
{
    struct chain_stage *stage = &mover->stage;

    if (write_stage(mover, stage->end, done, err) != 0) {
        return -1;
    }
    if (!*done) {
        return 0;
    }
    return open_stage(mover, stage->file, stage->host_off + stage_cap(mover),
                      err);
}

/* Copy the rest of OUT's packed bytes to where they are written from. */
static int fill_stage(struct writing *writing, const struct chain_run *out,
                      bool *done, struct img_error *err)
{
    struct chain_mover *mover = writing->mover;
    struct chain_parcel *parcel = writing->parcel;
    struct chain_stage *stage = &mover->stage;

    *done = true;
    while (parcel->place.len > 0) {
        if (stage->file &&
            (stage->file != parcel->place.file ||
             stage->host_off + stage->end != parcel->place.host_off)) {
            if (chain_mover_flush_stage(mover, done, err) != 0 || !*done) {
                return *done ? -1 : 0;
            }
        }
        if (!stage->file && open_stage(mover, parcel->place.file,
                                       parcel->place.host_off, err) != 0) {
            return -1;
        }
        if (is_stage_full(mover)) {
            if (turn_stage(mover, done, err) != 0 || !*done) {
                return *done ? -1 : 0;
            }
        }
        size_t n = img_min(parcel->place.len, stage_cap(mover) - stage->end);
        size_t from = out->stored_len - (size_t)parcel->place.len;
        memcpy(stage->buf + stage->end, parcel->packed + out->buf_off + from,
               n);
        stage->end += n;
        place_skip(&parcel->place, n);
    }
    return 0;
}

/* OUT is one compressed unit; out_done says that it has its place. */
static int place_stored(struct writing *writing, const struct chain_run *out,
                        bool *done, struct img_error *err)
{
    struct chain_mover *mover = writing->mover;
    struct chain_parcel *parcel = writing->parcel;

    if (parcel->out_done == 0) {
        if (mover->sink->ops->compressed(mover->sink, out->guest_off,
                                         out->stored_len, &parcel->place,
                                         err) != 0) {
            return -1;
        }
        parcel->place.len = out->stored_len;
        parcel->out_done = out->len;
    }
    return fill_stage(writing, out, done, err);
}

/* The sink takes OUT's bytes itself. */
static int hand_over(struct writing *writing, const struct chain_run *out,
                     struct img_error *err)
{
    struct chain_sink *sink = writing->mover->sink;
    const struct chain_parcel *parcel = writing->parcel;
    bool is_stored = out->kind == CHAIN_RUN_STORED;
    const uint8_t *bytes = is_stored ? parcel->packed : parcel->buf;
    size_t len = is_stored ? out->stored_len : (size_t)out->len;

    return sink->ops->take(sink, out->guest_off, out->len, bytes + out->buf_off,
                           len, err);
}

static int place_out(struct writing *writing, struct chain_run *out, bool *done,
                     struct img_error *err)
{
    if (out->kind != CHAIN_RUN_ZERO && writing->mover->sink->ops->take) {
        return hand_over(writing, out, err);
    }
    switch (out->kind) {
    case CHAIN_RUN_ZERO:
        return place_zero(writing, out, done, err);
    case CHAIN_RUN_DATA:
        return place_data(writing, out, done, err);
    case CHAIN_RUN_STORED:
        break;
    }
    return place_stored(writing, out, done, err);
}

int chain_mover_place(struct chain_mover *mover, struct chain_parcel *parcel,
                      bool *done, struct img_error *err)
{
    struct writing writing = {.mover = mover, .parcel = parcel};

    *done = true;
    while (parcel->out_idx < parcel->outs_nr) {
        struct chain_run *out = &parcel->outs[parcel->out_idx];
        if (place_out(&writing, out, done, err) != 0) {
            return -1;
        }
        if (!*done) {
            break;
        }
        parcel->out_idx++;
        parcel->out_done = 0;
        parcel->place = (struct qcow2_place){0};
    }
    return submit(&writing, err);
}
