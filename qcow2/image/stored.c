/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stored refcounts: see stored.h. Room: qcow2/image.
 * Specification: "Host cluster management".
 */
#include "stored.h"

#include <endian.h>
#include <stdlib.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/refcount.h>

#include "counts.h"
#include "state.h"

static bool is_broken_off(const struct qcow2_stored *stored, uint64_t off)
{
    uint32_t cluster_len = stored->q->header.cluster_len;

    return (off & (cluster_len - 1u)) || off > IMG_OFF_MAX - cluster_len;
}

static int block_compare(const void *a, const void *b)
{
    const struct qcow2_stored_block *x = a;
    const struct qcow2_stored_block *y = b;

    return x->off < y->off ? -1 : x->off > y->off;
}

/* Put the table's distinct blocks in order and remember which is whose. */
static void blocks_find(struct qcow2_stored *stored)
{
    const struct qcow2_reftable *table = &stored->table;
    uint32_t nr = 0;

    for (uint64_t i = 0; i < table->nr; i++) {
        if (table->off[i] != 0 && !is_broken_off(stored, table->off[i])) {
            stored->blocks[nr++].off = table->off[i];
        }
    }
    qsort(stored->blocks, nr, sizeof(*stored->blocks), block_compare);
    for (uint32_t i = 0; i < nr; i++) {
        uint32_t last = stored->blocks_nr;

        if (last == 0 ||
            stored->blocks[last - 1].off != stored->blocks[i].off) {
            stored->blocks[last] = stored->blocks[i];
            stored->blocks_nr = last + 1;
        }
    }
    for (uint64_t i = 0; i < table->nr; i++) {
        struct qcow2_stored_block key = {.off = table->off[i]};

        if (key.off == 0) {
            stored->block_of[i] = QCOW2_STORED_NONE;
        } else if (is_broken_off(stored, key.off)) {
            stored->block_of[i] = QCOW2_STORED_BROKEN;
        } else {
            const struct qcow2_stored_block *found =
                bsearch(&key, stored->blocks, stored->blocks_nr, sizeof(key),
                        block_compare);

            stored->block_of[i] = (uint32_t)(found - stored->blocks);
        }
    }
}

int qcow2_stored_init(struct qcow2_stored *stored, struct qcow2_image *q,
                      uint64_t *memory_left, struct img_error *err)
{
    *stored = (struct qcow2_stored){
        .q = q,
        .entries = qcow2_refcount_block_entries(&q->header),
    };
    stored->entries_bits = (uint32_t)__builtin_ctzll(stored->entries);
    stored->memory_left = memory_left;
    pthread_mutex_init(&stored->lock, NULL);
    if (qcow2_reftable_load(q, &stored->table, err)) {
        return -1;
    }

    uint64_t nr = stored->table.nr;
    stored->bytes = img_calloc(1, q->header.cluster_len, err);
    stored->blocks = img_calloc(nr, sizeof(*stored->blocks), err);
    stored->block_of = img_calloc(nr, sizeof(*stored->block_of), err);
    if (!stored->bytes || !stored->blocks || !stored->block_of) {
        return -1;
    }
    blocks_find(stored);
    return 0;
}

void qcow2_stored_fini(struct qcow2_stored *stored)
{
    for (uint32_t i = 0; i < stored->blocks_nr; i++) {
        free(stored->blocks[i].is_one);
    }
    free(stored->blocks);
    free(stored->block_of);
    free(stored->bytes);
    if (stored->q) {
        pthread_mutex_destroy(&stored->lock);
    }
    qcow2_reftable_fini(&stored->table);
    *stored = (struct qcow2_stored){0};
}

static int block_read(struct qcow2_stored *stored, uint64_t off,
                      struct img_error *err)
{
    return img_file_read_padded(stored->q->image.file, stored->bytes,
                                stored->q->header.cluster_len, off, NULL, err);
}

/* Which of the refcounts of the loaded block that word WORD stands for are 1.
 */
static uint64_t ones_of(const struct qcow2_stored *stored, uint64_t word)
{
    const struct qcow2_header *header = &stored->q->header;
    uint64_t first = word * 64;
    uint64_t nr = img_min(64, stored->entries - first);
    uint64_t four_ones = htobe64(0x0001000100010001ull);
    uint64_t ones = 0;

    /* Mostly all are. */
    if (header->refcount_order == 4 && nr == 64 &&
        qcow2_words_equal(stored->bytes + first * 2, 16, four_ones) == 16) {
        return UINT64_MAX;
    }
    for (uint64_t i = 0; i < nr; i++) {
        uint64_t count =
            header->refcount_order == 4
                ? img_load_be16(stored->bytes + (first + i) * 2)
                : qcow2_refcount_get(header, stored->bytes, first + i);

        ones |= (uint64_t)(count == 1) << i;
    }
    return ones;
}

/* With the lock: make BLOCK's answers. */
static int block_index(struct qcow2_stored *stored,
                       struct qcow2_stored_block *block, struct img_error *err)
{
    uint64_t words = img_div_up(stored->entries, 64);
    uint64_t *is_one;

    if (block_read(stored, block->off, err)) {
        return -1;
    }
    is_one = img_calloc(words, sizeof(*is_one), err);
    if (!is_one) {
        return -1;
    }
    for (uint64_t i = 0; i < words; i++) {
        is_one[i] = ones_of(stored, i);
    }
    atomic_store_explicit(&block->is_one, is_one, memory_order_release);
    return 0;
}

int qcow2_stored_draw_block(struct qcow2_stored *stored,
                            struct qcow2_stored_block *block,
                            struct img_error *err)
{
    if (qcow2_budget_draw(stored->memory_left,
                          img_div_up(stored->entries, 64) * 8, err)) {
        return -1;
    }
    block->is_drawn = true;
    pthread_mutex_lock(&stored->lock);
    int rc = 0;
    if (qcow2_stored_bits(block)) {
        stored->ahead_nr--;
    } else {
        rc = block_index(stored, block, err);
    }
    pthread_mutex_unlock(&stored->lock);
    return rc;
}

int qcow2_stored_is_one(struct qcow2_stored *stored, uint64_t cluster,
                        enum qcow2_stored_answer *out, struct img_error *err)
{
    uint64_t idx = cluster >> stored->entries_bits;
    uint64_t bit = cluster & (stored->entries - 1u);
    struct qcow2_stored_block *block = qcow2_stored_block_at(stored, cluster);

    if (!block) {
        *out = idx < stored->table.nr &&
                       stored->block_of[idx] == QCOW2_STORED_BROKEN
                   ? QCOW2_STORED_UNKNOWN
                   : QCOW2_STORED_OTHER;
        return 0;
    }
    if (!block->is_drawn && qcow2_stored_draw_block(stored, block, err)) {
        return -1;
    }
    *out = qcow2_stored_bits(block)[bit / 64] >> (bit % 64) & 1
               ? QCOW2_STORED_ONE
               : QCOW2_STORED_OTHER;
    return 0;
}

const uint64_t *qcow2_stored_ahead(struct qcow2_stored *stored,
                                   struct qcow2_stored_block *block)
{
    struct img_error ignored;

    pthread_mutex_lock(&stored->lock);
    if (!qcow2_stored_bits(block) && !block->is_left_out &&
        stored->ahead_nr < QCOW2_STORED_AHEAD) {
        if (block_index(stored, block, &ignored) == 0) {
            stored->ahead_nr++;
        } else {
            block->is_left_out = true; /* the check will say why */
        }
    }
    pthread_mutex_unlock(&stored->lock);
    return qcow2_stored_bits(block);
}

uint64_t qcow2_stored_ones(struct qcow2_stored *stored, uint64_t cluster,
                           uint64_t nr)
{
    uint64_t bit = cluster & (stored->entries - 1u);
    struct qcow2_stored_block *block = qcow2_stored_block_at(stored, cluster);
    const uint64_t *is_one = block ? qcow2_stored_bits(block) : NULL;
    uint64_t done = 0;

    if (block && !is_one) {
        is_one = qcow2_stored_ahead(stored, block);
    }
    nr = img_min(nr, stored->entries - bit);
    while (is_one && done < nr) {
        uint64_t others = ~(is_one[bit / 64] >> (bit % 64));
        uint64_t left = 64 - bit % 64;
        uint64_t ones = others ? (uint64_t)__builtin_ctzll(others) : 64;

        ones = img_min(ones, left);
        done += ones;
        bit += ones;
        if (ones < left) {
            break;
        }
    }
    return img_min(done, nr);
}

int qcow2_stored_load(struct qcow2_stored *stored, uint64_t cluster,
                      bool *has_block, bool *is_broken, struct img_error *err)
{
    uint64_t idx = cluster >> stored->entries_bits;
    uint32_t which =
        idx < stored->table.nr ? stored->block_of[idx] : QCOW2_STORED_NONE;

    *is_broken = which == QCOW2_STORED_BROKEN;
    *has_block = which != QCOW2_STORED_NONE && which != QCOW2_STORED_BROKEN;
    return *has_block ? block_read(stored, stored->blocks[which].off, err) : 0;
}
