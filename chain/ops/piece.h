/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A piece of comparing work: stretches of the guest's address range that only
 * reading can settle, and the reads that bring both sides of them into
 * memory.
 *
 * The two sides of a piece are laid out alike: a segment's bytes stand at
 * buf_off of either side's buffer. Segments ascend in both guest and buffer
 * offset; each begins at a multiple of CHAIN_PIECE_ALIGN of the buffer.
 * Arrays are of fixed size, so that a queue of pieces has a known size.
 */
#ifndef CHAIN_OPS_PIECE_H
#define CHAIN_OPS_PIECE_H

#include <stdbool.h>
#include <stdint.h>

#include <chain/compare.h>

#include "queue.h"
#include "read.h"

/* Many tiny extents share one piece, up to so many. */
#define CHAIN_PIECE_SEGMENTS 64u
#define CHAIN_PIECE_READS 64u
/* Direct reads want whole sectors; the bitmap of differences whole bytes. */
#define CHAIN_PIECE_ALIGN 512u
/* A compressed cluster is read whole; the largest qcow2 cluster. */
#define CHAIN_PIECE_MAX_LEN (2u << 20)
/* Guest distance over which segments are gathered. */
#define CHAIN_PIECE_MAX_SPAN (64ull << 20)

#define CHAIN_SIDES 2u

struct chain_segment {
    uint64_t guest_off;
    uint32_t buf_off;
    uint32_t len;
    bool is_zero[CHAIN_SIDES];
};

struct chain_piece {
    struct chain_task task;
    uint64_t guest_off; /* of the first segment */
    uint64_t guest_len; /* of all segments together */
    uint32_t buf_len;
    uint64_t stored_len; /* compressed bytes that are read, both sides */
    uint32_t segments_nr;
    uint32_t reads_nr[CHAIN_SIDES];
    struct chain_segment segments[CHAIN_PIECE_SEGMENTS];
    struct chain_read reads[CHAIN_SIDES][CHAIN_PIECE_READS];
    /* What the walk settled since the piece before, by the way it did. */
    struct chain_proof settled;

    /* The outcome. */
    uint64_t read_len; /* guest bytes that were compared */
    bool has_difference;
    uint64_t first_difference;
    uint8_t *differs; /* bit N: byte N of the buffers differs; or NULL */
};

/* Make PIECE empty, keeping nothing of an earlier use. */
void chain_piece_reset(struct chain_piece *piece);
/* Free what the outcome of a piece holds: for chain_queue_init. */
void chain_piece_clear(struct chain_task *task);

/*
 * How many of the LEN bytes at OFF fit in, when the piece is to stay within
 * TARGET_LEN: 0 when a new piece must be begun (never for an empty piece).
 * Compressed units are not cut: for them it is all or nothing.
 */
uint32_t chain_piece_room(const struct chain_piece *piece, uint64_t off,
                          uint64_t len, bool is_compressed,
                          uint32_t target_len);

/*
 * Add LEN bytes at OFF; A and B say where they lie, cut to that stretch. LEN
 * is what chain_piece_room granted.
 */
void chain_piece_add(struct chain_piece *piece, uint64_t off, uint32_t len,
                     const struct chain_stretch *a,
                     const struct chain_stretch *b);

/* Buffer bytes that the piece needs while it is in flight. */
uint64_t chain_piece_cost(const struct chain_piece *piece);

#endif
