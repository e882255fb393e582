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
#include <img/image.h>

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

/* What one side shows of a stretch: zeros, data or part of a unit. */
struct chain_stretch {
    struct img_extent e;           /* cut to the stretch */
    const struct img_image *image; /* of the layer it comes from */
};

struct chain_segment {
    uint64_t guest_off;
    uint32_t buf_off;
    uint32_t len;
    bool is_zero[CHAIN_SIDES];
};

struct chain_read {
    struct img_file *file; /* borrowed */
    uint64_t host_off;
    uint32_t len; /* bytes it brings to buf_off */
    uint32_t buf_off;
    /* Compressed: LEN bytes from part_off of the inflated unit. */
    const struct img_image *image; /* NULL: plain bytes */
    struct img_extent unit;
    uint32_t part_off;
};

struct chain_piece {
    uint64_t seq;
    bool is_done;
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
void chain_piece_reset(struct chain_piece *piece, uint64_t seq);
/* Free what an outcome holds. */
void chain_piece_clear(struct chain_piece *piece);

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
