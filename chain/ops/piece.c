/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pieces of comparing work: see piece.h. Pure, no I/O.
 */
#include "piece.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>

void chain_piece_clear(struct chain_task *task)
{
    struct chain_piece *piece = (struct chain_piece *)task;

    free(piece->differs);
    piece->differs = NULL;
}

void chain_piece_reset(struct chain_piece *piece)
{
    chain_piece_clear(&piece->task);
    piece->guest_off = 0;
    piece->guest_len = 0;
    piece->buf_len = 0;
    piece->stored_len = 0;
    piece->segments_nr = 0;
    memset(piece->reads_nr, 0, sizeof(piece->reads_nr));
    memset(&piece->settled, 0, sizeof(piece->settled));
    piece->read_len = 0;
    piece->has_difference = false;
    piece->first_difference = 0;
}

uint32_t chain_piece_room(const struct chain_piece *piece, uint64_t off,
                          uint64_t len, bool is_compressed, uint32_t target_len)
{
    uint32_t limit = is_compressed ? CHAIN_PIECE_MAX_LEN : target_len;

    if (piece->segments_nr == 0) {
        return (uint32_t)img_min(len, limit);
    }
    uint64_t used = img_align_up(piece->buf_len, CHAIN_PIECE_ALIGN);
    if (piece->segments_nr == CHAIN_PIECE_SEGMENTS ||
        piece->reads_nr[0] == CHAIN_PIECE_READS ||
        piece->reads_nr[1] == CHAIN_PIECE_READS || used >= target_len ||
        off - piece->guest_off >= CHAIN_PIECE_MAX_SPAN) {
        return 0;
    }
    if (len <= target_len - used) {
        return (uint32_t)len;
    }
    /* A stretch of its own size begins a piece rather than being cut. */
    return 0;
}

static void add_read(struct chain_piece *piece, unsigned side, uint64_t off,
                     uint32_t len, uint32_t buf_off,
                     const struct chain_stretch *stretch)
{
    uint32_t nr = piece->reads_nr[side];
    struct chain_read *reads = piece->reads[side];

    if (nr > 0 &&
        chain_read_extend(&reads[nr - 1], stretch, off, len, buf_off)) {
        return;
    }
    chain_read_init(&reads[nr], stretch, off, len, buf_off);
    if (reads[nr].image) {
        piece->stored_len +=
            img_align_up(stretch->e.host_len, CHAIN_PIECE_ALIGN);
    }
    piece->reads_nr[side] = nr + 1;
}

static bool is_zero(const struct chain_stretch *stretch)
{
    return stretch->e.kind == IMG_EXTENT_ZERO;
}

static uint32_t add_segment(struct chain_piece *piece, uint64_t off,
                            uint32_t len, bool zero_a, bool zero_b)
{
    uint32_t nr = piece->segments_nr;

    if (nr > 0) {
        struct chain_segment *last = &piece->segments[nr - 1];
        if (last->guest_off + last->len == off && last->is_zero[0] == zero_a &&
            last->is_zero[1] == zero_b) {
            uint32_t buf_off = last->buf_off + last->len;
            last->len += len;
            return buf_off;
        }
    } else {
        piece->guest_off = off;
    }
    struct chain_segment *segment = &piece->segments[nr];
    segment->guest_off = off;
    segment->buf_off =
        (uint32_t)img_align_up(piece->buf_len, CHAIN_PIECE_ALIGN);
    segment->len = len;
    segment->is_zero[0] = zero_a;
    segment->is_zero[1] = zero_b;
    piece->segments_nr = nr + 1;
    return segment->buf_off;
}

void chain_piece_add(struct chain_piece *piece, uint64_t off, uint32_t len,
                     const struct chain_stretch *a,
                     const struct chain_stretch *b)
{
    uint32_t buf_off = add_segment(piece, off, len, is_zero(a), is_zero(b));

    if (!is_zero(a)) {
        add_read(piece, 0, off, len, buf_off, a);
    }
    if (!is_zero(b)) {
        add_read(piece, 1, off, len, buf_off, b);
    }
    piece->buf_len = buf_off + len;
    piece->guest_len += len;
}

uint64_t chain_piece_cost(const struct chain_piece *piece)
{
    uint64_t side = img_align_up(piece->buf_len, CHAIN_PIECE_ALIGN);
    uint64_t cost = piece->stored_len;

    for (unsigned i = 0; i < CHAIN_SIDES; i++) {
        if (piece->reads_nr[i] > 0) {
            cost += side;
        }
    }
    return cost;
}
