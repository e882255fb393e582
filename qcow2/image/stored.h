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

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "reftable.h"

struct qcow2_stored_block {
    uint64_t off;
    /* A bit for each entry; NULL until it is needed. */
    uint64_t *_Atomic is_one;
    bool is_drawn;    /* the budget knows of is_one: the check asked for it */
    bool is_left_out; /* could not be read ahead */
};

/* Of block_of: the table has no block there, or one that makes no sense. */
#define QCOW2_STORED_NONE UINT32_MAX
#define QCOW2_STORED_BROKEN (UINT32_MAX - 1u)
/* Blocks that were only asked about ahead of the check. */
#define QCOW2_STORED_AHEAD 64u

struct qcow2_stored {
    struct qcow2_image *q; /* borrowed */
    struct qcow2_reftable table;
    uint64_t entries;                  /* of one block: */
    uint32_t entries_bits;             /* a power of two */
    struct qcow2_stored_block *blocks; /* distinct ones, by offset */
    uint32_t blocks_nr;
    uint32_t *block_of; /* table index -> index into blocks */
    uint64_t *memory_left;
    pthread_mutex_t lock; /* of what follows, and of making is_one */
    uint8_t *bytes;       /* one block as stored */
    unsigned ahead_nr;    /* blocks with is_one that are not drawn */
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

/* The block that counts CLUSTER; NULL: none, or one that makes no sense. */
static inline struct qcow2_stored_block *
qcow2_stored_block_at(const struct qcow2_stored *stored, uint64_t cluster)
{
    uint64_t idx = cluster >> stored->entries_bits;

    return idx < stored->table.nr && stored->block_of[idx] < QCOW2_STORED_BROKEN
               ? &stored->blocks[stored->block_of[idx]]
               : NULL;
}

/* BLOCK's answers, as far as they are known. Any thread. */
static inline const uint64_t *
qcow2_stored_bits(const struct qcow2_stored_block *block)
{
    return atomic_load_explicit(&block->is_one, memory_order_acquire);
}

/* Clusters from CLUSTER on that its block counts. */
static inline uint64_t qcow2_stored_left(const struct qcow2_stored *stored,
                                         uint64_t cluster)
{
    return stored->entries - (cluster & (stored->entries - 1u));
}

/*
 * How many of the NR clusters from CLUSTER on have a stored refcount of 1, as
 * far as one block tells and it can be known here: the check has to ask itself
 * about the one after them. Any thread.
 */
uint64_t qcow2_stored_ones(struct qcow2_stored *stored, uint64_t cluster,
                           uint64_t nr);
/* The answers of BLOCK, made ahead of the check if that can be, or NULL. Any
   thread. */
const uint64_t *qcow2_stored_ahead(struct qcow2_stored *stored,
                                   struct qcow2_stored_block *block);

int qcow2_stored_draw_block(struct qcow2_stored *stored,
                            struct qcow2_stored_block *block,
                            struct img_error *err);
/* The check goes by what qcow2_stored_ones said of CLUSTER. IMG_LIMIT when the
   budget is used up. */
static inline int qcow2_stored_draw(struct qcow2_stored *stored,
                                    uint64_t cluster, struct img_error *err)
{
    struct qcow2_stored_block *block = qcow2_stored_block_at(stored, cluster);

    return block && !block->is_drawn
               ? qcow2_stored_draw_block(stored, block, err)
               : 0;
}

/* Where the answer for CLUSTER is likely to be, for a prefetch; or NULL. */
static inline const void *qcow2_stored_place(const struct qcow2_stored *stored,
                                             uint64_t cluster)
{
    const struct qcow2_stored_block *block =
        qcow2_stored_block_at(stored, cluster);
    const uint64_t *is_one = block ? qcow2_stored_bits(block) : NULL;

    return is_one ? is_one + (cluster & (stored->entries - 1u)) / 64 : NULL;
}

/*
 * The block that counts CLUSTER, loaded into stored->bytes: *has_block is
 * false where the table has none (all its refcounts are 0), *is_broken true
 * where its offset makes no sense.
 */
int qcow2_stored_load(struct qcow2_stored *stored, uint64_t cluster,
                      bool *has_block, bool *is_broken, struct img_error *err);

#endif
