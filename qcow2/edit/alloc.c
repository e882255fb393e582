/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding free clusters. Room: qcow2/edit.
 *
 * The search goes forward from a hint and takes the first run that is long
 * enough; where the refcount table has no block everything is free, so that it
 * ends beyond the file at the latest. Blocks that are missing for a run are
 * put right before it, in ascending order: each is counted by itself, by a
 * block that is there, or by a missing one with a lower index.
 * Specification: "Host cluster management".
 */
#include <inttypes.h>

#include <img/bytes.h>
#include <img/checked.h>

#include "edit_impl.h"

/* Data takes pieces of at most so much: what one write is likely to be. */
#define MAX_DATA_LEN (16u << 20)
/* Host offsets in table entries have 56 bits. */
#define MAX_HOST_BITS 56u

/* A run of free clusters: BLOCKS for missing refcount blocks, then NR. */
struct run {
    uint64_t start;
    uint64_t blocks, nr;
};

static inline bool is_free(const struct qcow2_header *header,
                           const uint8_t *block, uint64_t idx)
{
    return header->refcount_order == 4
               ? img_load_be16(block + idx * 2) == 0
               : qcow2_refcount_get(header, block, idx) == 0;
}

/*
 * How many clusters from AT on, within one block, are all free or all not; at
 * most MAX, but all of a block that is *missing.
 */
static int look(struct qcow2_edit *edit, uint64_t at, uint64_t max,
                bool *is_run_free, uint64_t *len, bool *missing,
                struct img_error *err)
{
    uint64_t idx = at / edit->block_entries;
    uint64_t from = at % edit->block_entries;
    uint64_t end = edit->block_entries;
    uint64_t floor = idx < edit->reftable_nr ? edit->floors[idx] : 0;
    struct qcow2_table *block;

    if (qcow2_edit_block_get(edit, idx, &block, err)) {
        return -1;
    }
    *missing = block == NULL;
    *is_run_free = true;
    *len = end - from;
    if (!block) {
        return 0;
    }
    end = from + img_min(max, end - from);
    if (from < floor) {
        *is_run_free = false;
        *len = floor - from;
        return 0;
    }
    *is_run_free = is_free(&edit->header, block->bytes, from);
    uint64_t i = from + 1;
    while (i < end && is_free(&edit->header, block->bytes, i) == *is_run_free) {
        i++;
    }
    *len = i - from;
    return 0;
}

static int run_find(struct qcow2_edit *edit, uint64_t nr, struct run *out,
                    struct img_error *err)
{
    struct run run = {.start = edit->hint, .nr = nr};
    uint64_t len = 0;

    while (len < nr + run.blocks) {
        uint64_t at = run.start + len;
        uint64_t piece;
        bool is_run_free;
        bool missing;

        if ((run.start + run.blocks + nr) >>
            (MAX_HOST_BITS - edit->header.cluster_bits)) {
            return img_fail(err, IMG_LIMIT,
                            "no free clusters: the file would be longer than "
                            "2^%u bytes",
                            MAX_HOST_BITS);
        }
        if (look(edit, at, nr + run.blocks - len, &is_run_free, &piece,
                 &missing, err)) {
            return -1;
        }
        if (!is_run_free) {
            run.start = at + piece;
            run.blocks = 0;
            len = 0;
            continue;
        }
        run.blocks += missing;
        len += piece;
    }
    *out = run;
    return 0;
}

/* Clusters that count as free but hold metadata: refcounts are wrong. */
static int run_check(struct qcow2_edit *edit, const struct run *run,
                     struct img_error *err)
{
    for (uint64_t i = 0; i < run->blocks + run->nr; i++) {
        uint64_t off = (run->start + i) << edit->header.cluster_bits;

        if (qcow2_edit_part_of(edit, run->start + i) != QCOW2_PART_NONE) {
            img_fail_at(err, IMG_CORRUPT, off,
                        "refcount: found 0 for a cluster that holds metadata, "
                        "expected at least 1");
            return qcow2_edit_mark_corrupt(edit, err);
        }
    }
    return 0;
}

/* Make the blocks that are missing for RUN, at its start. */
static int run_add_blocks(struct qcow2_edit *edit, const struct run *run,
                          struct img_error *err)
{
    uint64_t at = run->start;
    uint64_t first = run->start / edit->block_entries;
    uint64_t last =
        (run->start + run->blocks + run->nr - 1) / edit->block_entries;

    for (uint64_t idx = first; idx <= last; idx++) {
        uint64_t counted_by = at / edit->block_entries;
        struct qcow2_table *other = NULL;

        if (edit->reftable[idx] != 0) {
            continue;
        }
        if (counted_by != idx) {
            if (qcow2_edit_block_get(edit, counted_by, &other, err)) {
                return -1;
            }
            edit->reftable_is_chained =
                edit->reftable_is_chained || (other && other->is_new);
        }
        if (qcow2_edit_block_new(edit, idx, at << edit->header.cluster_bits,
                                 err)) {
            return -1;
        }
        at++;
    }
    return 0;
}

static int run_take(struct qcow2_edit *edit, const struct run *run,
                    struct img_error *err)
{
    uint64_t nr = run->blocks + run->nr;

    if (run_check(edit, run, err) || run_add_blocks(edit, run, err) ||
        qcow2_edit_refcount_raise(edit, run->start, nr, err)) {
        return -1;
    }
    edit->hint = run->start + nr;
    return 0;
}

/* Entries that the refcount table needs for RUN. */
static uint64_t entries_for(const struct qcow2_edit *edit,
                            const struct run *run)
{
    return (run->start + run->blocks + run->nr - 1) / edit->block_entries + 1;
}

/*
 * Let the refcount table count up to entry NR, itself and the blocks for it
 * included; where it lies now is given up.
 */
static int reftable_extend(struct qcow2_edit *edit, uint64_t nr,
                           struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    uint64_t old_off = edit->reftable_off;
    uint64_t old_len = edit->reftable_nr * 8;
    uint64_t max_clusters = QCOW2_MAX_REFTABLE_LEN / header->cluster_len;
    uint64_t slack =
        img_div_up(img_max(max_clusters, 1), edit->block_entries) + 2;
    struct run run = {0};

    nr = nr > QCOW2_MAX_REFTABLE_LEN / 8
             ? nr
             : img_min(nr + slack, QCOW2_MAX_REFTABLE_LEN / 8);
    if (qcow2_edit_reftable_grow(edit, nr, err) ||
        run_find(edit, edit->reftable_nr * 8 / header->cluster_len, &run,
                 err)) {
        return -1;
    }
    if (entries_for(edit, &run) > edit->reftable_nr) {
        return img_fail(err, IMG_LIMIT,
                        "the refcount table cannot count itself any more: the "
                        "file cannot grow");
    }
    edit->reftable_off = (run.start + run.blocks) << header->cluster_bits;
    return run_take(edit, &run, err) ||
                   qcow2_edit_part_add(edit, QCOW2_PART_REFTABLE,
                                       edit->reftable_off,
                                       edit->reftable_nr * 8, err) ||
                   qcow2_edit_release(edit, old_off, old_len, err)
               ? -1
               : 0;
}

/* NR clusters in one piece; edit->reftable has entries for them after this. */
static int run_alloc(struct qcow2_edit *edit, uint64_t nr, struct run *run,
                     struct img_error *err)
{
    if (run_find(edit, nr, run, err)) {
        return -1;
    }
    while (entries_for(edit, run) > edit->reftable_nr) {
        if (reftable_extend(edit, entries_for(edit, run), err) ||
            run_find(edit, nr, run, err)) {
            return -1;
        }
    }
    return run_take(edit, run, err);
}

int qcow2_edit_alloc(struct qcow2_edit *edit, uint64_t clusters,
                     enum qcow2_part part, uint64_t *off, struct img_error *err)
{
    uint32_t bits = edit->header.cluster_bits;
    struct run run = {0};

    if (run_alloc(edit, clusters, &run, err)) {
        return qcow2_edit_abandon(edit);
    }
    *off = (run.start + run.blocks) << bits;
    if (part != QCOW2_PART_NONE &&
        qcow2_edit_part_add(edit, part, *off, clusters << bits, err)) {
        return qcow2_edit_abandon(edit);
    }
    return 0;
}

int qcow2_edit_alloc_data(struct qcow2_edit *edit, uint64_t wanted,
                          uint64_t *off, uint64_t *got, struct img_error *err)
{
    uint64_t max = img_max(MAX_DATA_LEN >> edit->header.cluster_bits, 1);

    *got = img_min(wanted, max);
    return qcow2_edit_alloc(edit, *got, QCOW2_PART_NONE, off, err);
}
