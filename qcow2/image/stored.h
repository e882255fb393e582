/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stored refcounts, for a check; private to qcow2/image.
 *
 * The check asks of each cluster that the active tables name whether its
 * stored refcount is 1. The answers are kept as one bit for each cluster of
 * each refcount block that was asked about, so that no block is read twice
 * for it, however often the refcount table names it.
 */
#ifndef QCOW2_IMAGE_STORED_H
#define QCOW2_IMAGE_STORED_H

#include <stdbool.h>

#include "reftable.h"

struct qcow2_stored_block {
    uint64_t off;
    uint64_t *is_one; /* a bit for each entry; NULL until it is needed */
};

struct qcow2_stored {
    struct qcow2_image *q; /* borrowed */
    struct qcow2_reftable table;
    uint64_t entries;                  /* of one block */
    struct qcow2_stored_block *blocks; /* distinct ones, by offset */
    uint32_t blocks_nr;
    uint32_t *block_of; /* table index -> index into blocks */
    uint8_t *bytes;     /* one block as stored */
    uint64_t *memory_left;
};

int qcow2_stored_init(struct qcow2_stored *stored, struct qcow2_image *q,
                      uint64_t *memory_left, struct img_error *err);
/* Accepts a zeroed one. */
void qcow2_stored_fini(struct qcow2_stored *stored);

enum qcow2_stored_answer {
    QCOW2_STORED_ONE,
    QCOW2_STORED_OTHER,
    QCOW2_STORED_UNKNOWN, /* the refcount block cannot be found */
};

/* Is the stored refcount of CLUSTER 1? */
int qcow2_stored_is_one(struct qcow2_stored *stored, uint64_t cluster,
                        enum qcow2_stored_answer *out, struct img_error *err);

/* Where the answer for CLUSTER is likely to be, for a prefetch; or NULL. */
const void *qcow2_stored_place(const struct qcow2_stored *stored,
                               uint64_t cluster);

/*
 * How many of the NR clusters from CLUSTER on are known to have a stored
 * refcount of 1: fewer where the answer needs a block that was not asked
 * about.
 */
uint64_t qcow2_stored_ones(const struct qcow2_stored *stored, uint64_t cluster,
                           uint64_t nr);

/*
 * The block that counts CLUSTER, loaded into stored->bytes: *has_block is
 * false where the table has none (all its refcounts are 0), *is_broken true
 * where its offset makes no sense.
 */
int qcow2_stored_load(struct qcow2_stored *stored, uint64_t cluster,
                      bool *has_block, bool *is_broken, struct img_error *err);

#endif
