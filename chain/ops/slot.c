/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slots: see slot.h.
 */
#include "slot.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "diff.h"

/* The requests of one side. Stored bytes go to STORED, which advances. */
static void load_side(struct chain_slot *slot, unsigned side, uint8_t **stored)
{
    const struct chain_piece *piece = slot->piece;

    for (uint32_t i = 0; i < piece->reads_nr[side]; i++) {
        const struct chain_read *read = &piece->reads[side][i];
        struct img_request *request = &slot->requests[slot->requests_nr++];
        memset(request, 0, sizeof(*request));
        request->op = IMG_REQUEST_READ;
        request->file = read->file;
        request->off = read->host_off;
        request->owner = slot;
        if (read->image) {
            request->buf = *stored;
            request->len = read->unit.host_len;
            *stored += img_align_up(read->unit.host_len, CHAIN_PIECE_ALIGN);
        } else {
            request->buf = slot->side[side] + read->buf_off;
            request->len = read->len;
        }
    }
}

int chain_slot_load(struct chain_slot *slot, struct chain_piece *piece,
                    struct chain_pool *pool, struct img_error *err)
{
    size_t cost = chain_piece_cost(piece);

    slot->piece = piece;
    slot->is_failed = false;
    slot->pending = 0;
    slot->requests_nr = 0;
    slot->buf = chain_pool_get(pool, cost, err);
    if (!slot->buf) {
        return -1;
    }
    uint8_t *next = slot->buf;
    for (unsigned side = 0; side < CHAIN_SIDES; side++) {
        slot->side[side] = NULL;
        if (piece->reads_nr[side] > 0) {
            slot->side[side] = next;
            next += img_align_up(piece->buf_len, CHAIN_PIECE_ALIGN);
        }
    }
    for (unsigned side = 0; side < CHAIN_SIDES; side++) {
        load_side(slot, side, &next);
    }
    return 0;
}

void chain_slot_unload(struct chain_slot *slot, struct chain_pool *pool)
{
    if (slot->buf) {
        chain_pool_put(pool, slot->buf, chain_piece_cost(slot->piece));
    }
    slot->buf = NULL;
    slot->piece = NULL;
}

void chain_slot_fail(struct chain_slot *slot, const struct img_error *error,
                     struct chain_queue *queue)
{
    slot->is_failed = true;
    chain_queue_fail(queue, slot->piece->task.seq, error);
}

/* Make the bytes of read IDX of SIDE ready to be compared. */
static int arrive(struct chain_slot *slot, unsigned side, uint32_t idx,
                  const struct img_request *request,
                  struct chain_compute *compute, struct img_error *err)
{
    const struct chain_read *read = &slot->piece->reads[side][idx];

    if (request->result < 0) {
        chain_request_error(request, err);
        return -1;
    }
    if (!read->image) {
        return 0;
    }
    return chain_inflate_read(&compute->inflate, read, request->buf,
                              slot->side[side] + read->buf_off, err);
}

/* All reads of both sides; the first error is the one that is kept. */
static int arrive_all(struct chain_slot *slot, struct chain_compute *compute,
                      struct img_error *err)
{
    uint32_t idx = 0;
    int rc = 0;

    for (unsigned side = 0; side < CHAIN_SIDES; side++) {
        for (uint32_t i = 0; i < slot->piece->reads_nr[side]; i++, idx++) {
            struct img_error *error = rc == 0 ? err : &compute->later;
            const struct img_request *request = &slot->requests[idx];
            slot->is_bad[idx] =
                arrive(slot, side, i, request, compute, error) != 0;
            if (slot->is_bad[idx]) {
                img_error_set_path(error, img_file_path(request->file));
                rc = -1;
            }
        }
    }
    return rc;
}

/* Is a byte of SEGMENT missing? */
static bool is_missing(const struct chain_slot *slot,
                       const struct chain_segment *segment)
{
    uint32_t idx = 0;

    for (unsigned side = 0; side < CHAIN_SIDES; side++) {
        for (uint32_t i = 0; i < slot->piece->reads_nr[side]; i++, idx++) {
            const struct chain_read *read = &slot->piece->reads[side][i];
            if (slot->is_bad[idx] &&
                read->buf_off < segment->buf_off + segment->len &&
                segment->buf_off < read->buf_off + read->len) {
                return true;
            }
        }
    }
    return false;
}

static void note_first(struct chain_piece *piece, uint64_t guest_off)
{
    if (!piece->has_difference) {
        piece->has_difference = true;
        piece->first_difference = guest_off;
    }
}

static int mark_all(struct chain_piece *piece,
                    const struct chain_segment *segment, const uint8_t *a,
                    const uint8_t *b, size_t from, struct img_error *err)
{
    if (!piece->differs) {
        piece->differs = img_calloc(piece->buf_len / 8 + 1, 1, err);
        if (!piece->differs) {
            return -1;
        }
    }
    /* Begin at a whole byte of the bitmap. */
    from = img_align_down(from, CHAIN_PIECE_ALIGN);
    chain_diff_mark(a ? a + from : NULL, b ? b + from : NULL,
                    segment->len - from,
                    piece->differs + (segment->buf_off + from) / 8);
    return 0;
}

static int compare_segment(struct chain_slot *slot,
                           const struct chain_segment *segment, bool all,
                           struct img_error *err)
{
    const uint8_t *a = NULL, *b = NULL;

    if (!segment->is_zero[0]) {
        a = slot->side[0] + segment->buf_off;
    }
    if (!segment->is_zero[1]) {
        b = slot->side[1] + segment->buf_off;
    }
    size_t first = chain_diff_first(a, b, segment->len);
    slot->piece->read_len += segment->len;
    if (first == segment->len) {
        return 0;
    }
    note_first(slot->piece, segment->guest_off + first);
    return all ? mark_all(slot->piece, segment, a, b, first, err) : 0;
}

int chain_slot_compare(struct chain_slot *slot, struct chain_compute *compute,
                       struct img_error *err)
{
    struct chain_piece *piece = slot->piece;
    int rc = arrive_all(slot, compute, err);

    for (uint32_t i = 0; i < piece->segments_nr; i++) {
        const struct chain_segment *segment = &piece->segments[i];
        if (rc != 0 && is_missing(slot, segment)) {
            continue;
        }
        struct img_error *error = rc == 0 ? err : &compute->later;
        if (compare_segment(slot, segment, compute->all, error) != 0) {
            rc = -1;
        }
        if (piece->has_difference && !compute->all) {
            break;
        }
    }
    return rc;
}
