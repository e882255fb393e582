/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recomputed refcounts: a sparse array of counters; private to qcow2/image.
 *
 * Counters live in chunks that appear when they are first touched, one byte
 * for each cluster. A chunk in which a counter outgrows its byte is widened
 * to two bytes a cluster, and then to eight. Counters stop at MAX, the largest
 * refcount that the image can store; what went beyond is told to the caller.
 */
#ifndef QCOW2_IMAGE_COUNTS_H
#define QCOW2_IMAGE_COUNTS_H

#include <stdint.h>
#include <string.h>

#include <img/error.h>

#define QCOW2_COUNTS_CHUNK 4096u /* clusters */

struct qcow2_counts_chunk {
    uint8_t *narrow; /* one of the three, or none */
    uint16_t *middle;
    uint64_t *wide;
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
    if (chunk->middle) {
        return chunk->middle[cluster % QCOW2_COUNTS_CHUNK];
    }
    return chunk->wide ? chunk->wide[cluster % QCOW2_COUNTS_CHUNK] : 0;
}

/* Nothing was counted in the chunk that CLUSTER is in. */
static inline int qcow2_counts_is_empty(const struct qcow2_counts *counts,
                                        uint64_t cluster)
{
    const struct qcow2_counts_chunk *chunk =
        &counts->chunks[cluster / QCOW2_COUNTS_CHUNK];

    return !chunk->narrow && !chunk->middle && !chunk->wide;
}

/* Where the counter of CLUSTER is likely to be, for a prefetch; or NULL. */
static inline const void *qcow2_counts_place(const struct qcow2_counts *counts,
                                             uint64_t cluster)
{
    const uint8_t *narrow =
        cluster < counts->clusters_nr
            ? counts->chunks[cluster / QCOW2_COUNTS_CHUNK].narrow
            : NULL;

    return narrow ? narrow + cluster % QCOW2_COUNTS_CHUNK : NULL;
}

/*
 * Raise the counters of the clusters from FIRST on by one, as far as that is
 * no more than adding to bytes that are there; how many, at most NR, were
 * raised so.
 */
static inline uint64_t qcow2_counts_raise(struct qcow2_counts *counts,
                                          uint64_t first, uint64_t nr)
{
    struct qcow2_counts_chunk *chunk =
        &counts->chunks[first / QCOW2_COUNTS_CHUNK];
    uint64_t left = QCOW2_COUNTS_CHUNK - first % QCOW2_COUNTS_CHUNK;
    uint8_t limit = counts->max < UINT8_MAX ? (uint8_t)counts->max : UINT8_MAX;
    uint64_t done = 0;

    if (chunk->narrow) {
        uint8_t *at = chunk->narrow + first % QCOW2_COUNTS_CHUNK;

        nr = nr < left ? nr : left;
        /* Eight at a time, as long as none of them is near its limit. */
        for (uint64_t eight; limit == UINT8_MAX && done + 8 <= nr; done += 8) {
            memcpy(&eight, at + done, sizeof(eight));
            if (eight & 0x8080808080808080ull) {
                break;
            }
            eight += 0x0101010101010101ull;
            memcpy(at + done, &eight, sizeof(eight));
        }
        while (done < nr && at[done] < limit) {
            at[done++]++;
        }
    }
    return done;
}

/* Draw LEN bytes on a budget; IMG_LIMIT when it has not so many left. */
int qcow2_budget_draw(uint64_t *memory_left, uint64_t len,
                      struct img_error *err);

#endif
