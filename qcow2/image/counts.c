/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The sparse array of refcounts: see counts.h. Room: qcow2/image. */
#include "counts.h"

#include <stdbool.h>
#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/check.h>

#define MEMORY_MIN (48ull << 20)
#define MEMORY_MAX (512ull << 20)

uint64_t qcow2_check_memory(const struct img_file *file)
{
    uint64_t held = img_file_allocated_len(file);

    /* A device does not tell, nor do some file systems. */
    if (held == 0) {
        held = img_file_len(file);
    }
    return img_min(MEMORY_MIN + held / 2, MEMORY_MAX);
}

int qcow2_budget_draw(uint64_t *memory_left, uint64_t len,
                      struct img_error *err)
{
    if (len > *memory_left) {
        return img_fail(err, IMG_LIMIT,
                        "the check needs more memory than it was given");
    }
    *memory_left -= len;
    return 0;
}

static uint64_t chunks_nr(const struct qcow2_counts *counts)
{
    return img_div_up(counts->clusters_nr, QCOW2_COUNTS_CHUNK);
}

int qcow2_counts_init(struct qcow2_counts *counts, uint64_t clusters_nr,
                      uint64_t max, uint64_t *memory_left,
                      struct img_error *err)
{
    *counts = (struct qcow2_counts){
        .clusters_nr = clusters_nr,
        .max = max,
        .memory_left = memory_left,
    };
    if (qcow2_budget_draw(memory_left,
                          chunks_nr(counts) * sizeof(*counts->chunks), err)) {
        return -1;
    }
    counts->chunks =
        img_calloc(chunks_nr(counts), sizeof(*counts->chunks), err);
    return counts->chunks ? 0 : -1;
}

void qcow2_counts_fini(struct qcow2_counts *counts)
{
    if (counts->chunks) {
        for (uint64_t i = 0; i < chunks_nr(counts); i++) {
            free(counts->chunks[i].narrow);
            free(counts->chunks[i].middle);
            free(counts->chunks[i].wide);
        }
    }
    free(counts->chunks);
    *counts = (struct qcow2_counts){0};
}

/* From one byte for each counter to two. */
static int chunk_widen(struct qcow2_counts *counts,
                       struct qcow2_counts_chunk *chunk, struct img_error *err)
{
    uint64_t len = QCOW2_COUNTS_CHUNK * sizeof(*chunk->middle);

    if (qcow2_budget_draw(counts->memory_left, len, err)) {
        return -1;
    }
    chunk->middle = img_calloc(QCOW2_COUNTS_CHUNK, sizeof(*chunk->middle), err);
    if (!chunk->middle) {
        return -1;
    }
    for (uint32_t i = 0; i < QCOW2_COUNTS_CHUNK; i++) {
        chunk->middle[i] = chunk->narrow[i];
    }
    free(img_steal(&chunk->narrow));
    *counts->memory_left += QCOW2_COUNTS_CHUNK;
    return 0;
}

/* From two bytes for each counter to eight. */
static int chunk_widen_more(struct qcow2_counts *counts,
                            struct qcow2_counts_chunk *chunk,
                            struct img_error *err)
{
    uint64_t len = QCOW2_COUNTS_CHUNK * sizeof(*chunk->wide);

    if (qcow2_budget_draw(counts->memory_left, len, err)) {
        return -1;
    }
    chunk->wide = img_calloc(QCOW2_COUNTS_CHUNK, sizeof(*chunk->wide), err);
    if (!chunk->wide) {
        return -1;
    }
    for (uint32_t i = 0; i < QCOW2_COUNTS_CHUNK; i++) {
        chunk->wide[i] = chunk->middle[i];
    }
    free(img_steal(&chunk->middle));
    *counts->memory_left += QCOW2_COUNTS_CHUNK * sizeof(uint16_t);
    return 0;
}

static int chunk_make(struct qcow2_counts *counts,
                      struct qcow2_counts_chunk *chunk, struct img_error *err)
{
    if (qcow2_budget_draw(counts->memory_left, QCOW2_COUNTS_CHUNK, err)) {
        return -1;
    }
    chunk->narrow = img_calloc(1, QCOW2_COUNTS_CHUNK, err);
    return chunk->narrow ? 0 : -1;
}

int qcow2_counts_add(struct qcow2_counts *counts, uint64_t cluster,
                     uint64_t times, uint64_t *lost, struct img_error *err)
{
    struct qcow2_counts_chunk *chunk =
        &counts->chunks[cluster / QCOW2_COUNTS_CHUNK];
    uint32_t idx = (uint32_t)(cluster % QCOW2_COUNTS_CHUNK);
    uint64_t old = qcow2_counts_get(counts, cluster);
    uint64_t fits = img_min(times, counts->max - old);
    uint64_t value = old + fits;

    *lost += times - fits;
    if ((qcow2_counts_is_empty(counts, cluster) &&
         chunk_make(counts, chunk, err)) ||
        (chunk->narrow && value > UINT8_MAX &&
         chunk_widen(counts, chunk, err)) ||
        (chunk->middle && value > UINT16_MAX &&
         chunk_widen_more(counts, chunk, err))) {
        return -1;
    }
    if (chunk->wide) {
        chunk->wide[idx] = value;
    } else if (chunk->middle) {
        chunk->middle[idx] = (uint16_t)value;
    } else {
        chunk->narrow[idx] = (uint8_t)value;
    }
    return 0;
}
