/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recomputed refcounts: a sparse array of counters; private to qcow2/image.
 *
 * Counters live in chunks that appear when they are first touched, one byte
 * for each cluster. A chunk in which a counter outgrows its byte is widened
 * to eight bytes a cluster. Counters stop at MAX, the largest refcount that
 * the image can store; what went beyond is told to the caller.
 */
#ifndef QCOW2_IMAGE_COUNTS_H
#define QCOW2_IMAGE_COUNTS_H

#include <stdint.h>

#include <img/error.h>

#define QCOW2_COUNTS_CHUNK 4096u /* clusters */

struct qcow2_counts_chunk {
    uint8_t *narrow;
    uint64_t *wide; /* instead of narrow */
};

struct qcow2_counts {
    struct qcow2_counts_chunk *chunks;
    uint64_t clusters_nr; /* room, in clusters */
    uint64_t max;
    uint64_t *memory_left; /* shared budget */
};

/* Room for CLUSTERS_NR clusters; *MEMORY_LEFT is borrowed and drawn on. */
int qcow2_counts_init(struct qcow2_counts *counts, uint64_t clusters_nr,
                      uint64_t max, uint64_t *memory_left,
                      struct img_error *err);
/* Accepts a zeroed one. */
void qcow2_counts_fini(struct qcow2_counts *counts);

/*
 * Add TIMES to the counter of CLUSTER (inside the room). *lost is raised by
 * what did not fit below the maximum. IMG_LIMIT when the budget is used up.
 */
int qcow2_counts_add(struct qcow2_counts *counts, uint64_t cluster,
                     uint64_t times, uint64_t *lost, struct img_error *err);

static inline uint64_t qcow2_counts_get(const struct qcow2_counts *counts,
                                        uint64_t cluster)
{
    const struct qcow2_counts_chunk *chunk;

    if (cluster >= counts->clusters_nr) {
        return 0;
    }
    chunk = &counts->chunks[cluster / QCOW2_COUNTS_CHUNK];
    if (chunk->narrow) {
        return chunk->narrow[cluster % QCOW2_COUNTS_CHUNK];
    }
    return chunk->wide ? chunk->wide[cluster % QCOW2_COUNTS_CHUNK] : 0;
}

/* Nothing was counted in the chunk that CLUSTER is in. */
static inline int qcow2_counts_is_empty(const struct qcow2_counts *counts,
                                        uint64_t cluster)
{
    const struct qcow2_counts_chunk *chunk =
        &counts->chunks[cluster / QCOW2_COUNTS_CHUNK];

    return !chunk->narrow && !chunk->wide;
}

/* Draw LEN bytes on a budget; IMG_LIMIT when it has not so many left. */
int qcow2_budget_draw(uint64_t *memory_left, uint64_t len,
                      struct img_error *err);

#endif
