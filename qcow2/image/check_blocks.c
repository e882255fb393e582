/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refcount blocks of a check, read ahead and compared with what was counted,
 * by any thread.
 *
 * Room: qcow2/image. Most blocks say just what was counted. Which do is found
 * here; what is wrong in the others, the check finds out itself, in its order.
 */
#include "check_state.h"

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

/* Of one read (a block, if that is more). */
#define PIECE_LEN (128u << 10)
/* Fewer blocks are not worth a reader. */
#define MIN_BLOCKS 8u

/* What was seen in the blocks of a piece. */
struct seen {
    uint64_t first; /* index of the first in the refcount table */
    uint32_t nr;
    struct qcow2_block_seen blocks[PIECE_LEN / 512];
};

/* Four counters, as 16-bit refcounts one behind the other would show them. */
static uint64_t four_wide(const uint8_t *counted)
{
    uint64_t four = img_load_be32(counted);

    four = (four | four << 16) & 0x0000ffff0000ffffull;
    return (four | four << 8) & 0x00ff00ff00ff00ffull;
}

uint64_t qcow2_run_equal(const struct qcow2_check *check, const uint8_t *block,
                         uint64_t first, uint64_t nr, uint64_t *highest)
{
    const struct qcow2_counts_chunk *chunk =
        &check->counts.chunks[first / QCOW2_COUNTS_CHUNK];
    uint64_t same = 0;

    if (check->q->header.refcount_order != 4 || !chunk->narrow) {
        return 0;
    }

    const uint8_t *counted = chunk->narrow + first % QCOW2_COUNTS_CHUNK;
    block += (first & (check->stored.entries - 1u)) * 2;
    while (same + 4 <= nr &&
           img_load_be64(block + same * 2) == four_wide(counted + same)) {
        same += 4;
    }
    while (same < nr && img_load_be16(block + same * 2) == counted[same]) {
        same++;
    }
    for (uint64_t i = same; i > 0; i--) {
        if (counted[i - 1] != 0) {
            *highest = first + i - 1;
            break;
        }
    }
    return same;
}

/* Does block IDX say what was counted? */
static struct qcow2_block_seen block_see(const struct qcow2_check *check,
                                         uint64_t idx, const uint8_t *block)
{
    uint64_t first = idx << check->stored.entries_bits;
    uint64_t end = img_min(first + check->stored.entries, check->clusters_nr);
    struct qcow2_block_seen seen = {0};

    while (first < end) {
        uint64_t nr = img_min(end - first,
                              QCOW2_COUNTS_CHUNK - first % QCOW2_COUNTS_CHUNK);

        if (qcow2_run_equal(check, block, first, nr, &seen.highest) < nr) {
            return seen;
        }
        first += nr;
    }
    seen.is_equal = true;
    return seen;
}

static void piece_see(void *opaque, const struct img_piece *piece)
{
    const struct qcow2_blocks *blocks = opaque;
    uint32_t cluster_len = blocks->check->q->header.cluster_len;
    struct seen *seen = piece->result;

    for (uint32_t i = 0; i < seen->nr; i++) {
        seen->blocks[i] = block_see(blocks->check, seen->first + i,
                                    piece->bytes + (size_t)i * cluster_len);
    }
}

/* Where block IDX lies; false: nothing is read ahead for it. */
static bool block_off(const struct qcow2_blocks *blocks, uint64_t idx,
                      uint64_t *off)
{
    const struct qcow2_stored *stored = &blocks->check->stored;
    const struct qcow2_stored_block *block;

    if (idx >= blocks->end) {
        return false;
    }
    block = qcow2_stored_block_at(stored, idx << stored->entries_bits);
    *off = block ? block->off : 0;
    return block != NULL;
}

static bool piece_next(void *opaque, struct img_piece *piece)
{
    struct qcow2_blocks *blocks = opaque;
    uint32_t cluster_len = blocks->check->q->header.cluster_len;
    size_t max_len = (size_t)img_max(PIECE_LEN, cluster_len);
    struct seen *seen = piece->result;
    uint64_t off;

    while (!block_off(blocks, blocks->next, &piece->off)) {
        if (blocks->next >= blocks->end) {
            return false;
        }
        blocks->next++;
    }
    seen->first = blocks->next;
    seen->nr = 0;
    piece->len = 0;
    while (piece->len + cluster_len <= max_len &&
           block_off(blocks, blocks->next, &off) &&
           off == piece->off + piece->len) {
        piece->len += cluster_len;
        seen->nr++;
        blocks->next++;
    }
    qcow2_prefetch(blocks->check->q->image.file, piece->off, piece->len);
    return true;
}

static int blocks_open(struct qcow2_blocks *blocks, uint64_t idx,
                       struct img_error *err)
{
    const struct qcow2_check *check = blocks->check;
    uint32_t cluster_len = check->q->header.cluster_len;
    size_t max_len = (size_t)img_max(PIECE_LEN, cluster_len);
    uint64_t len = (blocks->end - idx) * cluster_len;
    unsigned threads = qcow2_check_threads(check, len);

    blocks->next = idx;
    return img_reader_new(
        &(struct img_reader_options){
            .file = check->q->image.file,
            .engine = check->options->engine,
            .rings = check->options->rings,
            .depth = qcow2_check_depth(max_len, len, threads),
            .max_len = max_len,
            .result_len = sizeof(struct seen),
            .next = piece_next,
            .work = piece_see,
            .opaque = blocks,
            .threads = threads,
        },
        &blocks->reader, err);
}

void qcow2_blocks_init(struct qcow2_blocks *blocks, struct qcow2_check *check)
{
    uint64_t nr = (check->clusters_nr + check->stored.entries - 1u) >>
                  check->stored.entries_bits;

    *blocks = (struct qcow2_blocks){
        .check = check,
        .end = img_min(nr, check->stored.table.nr),
    };
}

void qcow2_blocks_fini(struct qcow2_blocks *blocks)
{
    img_reader_free(blocks->reader);
    blocks->reader = NULL;
    blocks->piece = NULL;
}

int qcow2_blocks_get(struct qcow2_blocks *blocks, uint64_t idx,
                     const uint8_t **out, struct qcow2_block_seen *seen,
                     struct img_error *err)
{
    uint64_t off;

    *out = NULL;
    if (!block_off(blocks, idx, &off) ||
        (!blocks->reader && blocks->end - idx < MIN_BLOCKS)) {
        return 0;
    }
    if (!blocks->reader && blocks_open(blocks, idx, err)) {
        return -1;
    }
    while (!blocks->piece || idx >= blocks->piece_end) {
        if (img_reader_get(blocks->reader, &blocks->piece, err)) {
            return -1;
        }
        if (!blocks->piece) {
            return 0; /* never: the order has all that block_off knows */
        }
        const struct seen *next = blocks->piece->result;
        blocks->piece_end = next->first + next->nr;
    }

    const struct seen *all = blocks->piece->result;
    *seen = all->blocks[idx - all->first];
    *out = blocks->piece->bytes +
           (idx - all->first) * blocks->check->q->header.cluster_len;
    return 0;
}
