/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How often each cluster is referred to, and which ones are L2 tables;
 * private to qcow2/repair.
 *
 * Counters live in chunks that appear when they are touched: one byte for
 * each cluster, eight where one of them outgrew that.
 */
#ifndef QCOW2_REPAIR_REFS_H
#define QCOW2_REPAIR_REFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

#define QCOW2_REFS_CHUNK 4096u /* clusters */
#define QCOW2_REPAIR_NO_MEMORY                                                 \
    "the repair needs more memory than it was given (--max-memory)"

struct qcow2_refs_chunk {
    uint8_t *narrow;
    uint64_t *wide; /* instead of narrow */
};

struct qcow2_refs {
    struct qcow2_refs_chunk *chunks;
    uint64_t chunks_nr;
    uint64_t memory_left;
};

void qcow2_refs_init(struct qcow2_refs *refs, uint64_t max_memory);
/* Accepts a zeroed one. */
void qcow2_refs_fini(struct qcow2_refs *refs);
uint64_t qcow2_refs_get(const struct qcow2_refs *refs, uint64_t cluster);
int qcow2_refs_set(struct qcow2_refs *refs, uint64_t cluster, uint64_t value,
                   struct img_error *err);
/* Nothing is counted in [FIRST, END)? Looks at whole chunks where it can. */
bool qcow2_refs_is_empty(const struct qcow2_refs *refs, uint64_t first,
                         uint64_t end);

/* An L2 table: how many entries of L1 tables name it. */
struct qcow2_l2_ref {
    uint64_t cluster; /* 0: a free slot; no table lies there */
    uint64_t times;
    uint64_t moved_to; /* its new cluster; 0: it stays */
    bool is_visited;
    bool is_shared; /* something else lies there, too */
};

/* A hash of them. */
struct qcow2_l2_refs {
    struct qcow2_l2_ref *slots;
    size_t nr, room;
    uint64_t *memory_left; /* borrowed: that of the counters */
};

void qcow2_l2_refs_fini(struct qcow2_l2_refs *tables);
/* NULL when CLUSTER is no L2 table. Valid until the next add. */
struct qcow2_l2_ref *qcow2_l2_refs_find(const struct qcow2_l2_refs *tables,
                                        uint64_t cluster);
/* One more entry names it. */
int qcow2_l2_refs_add(struct qcow2_l2_refs *tables, uint64_t cluster,
                      struct img_error *err);

#endif
