/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The refcount table and its blocks. Room: qcow2/edit.
 *
 * Refcounts that are raised may become stable at any time before what needs
 * them: the worst is a leak. A new block must be stable before the table
 * points to it, and the block that counts it must be reachable before it is:
 * new blocks count themselves where possible, else the entries of the table go
 * out in ascending order with flushes between the sectors (alloc.c sees to it
 * that blocks are only counted by themselves, stable ones, or lower ones).
 * Specification: "Host cluster management".
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "edit_impl.h"

#define ENTRIES_PER_SECTOR (QCOW2_SECTOR_LEN / 8u)

void qcow2_edit_refcounts_fini(struct qcow2_edit *edit)
{
    qcow2_cache_fini(&edit->blocks);
    free(edit->reftable);
    free(edit->floors);
    edit->reftable = NULL;
    edit->floors = NULL;
    edit->reftable_nr = 0;
}

static int reftable_decode(struct qcow2_edit *edit, const uint8_t *stored,
                           struct img_error *err)
{
    uint64_t file_len = img_file_len(edit->file);

    for (uint64_t i = 0; i < edit->reftable_nr; i++) {
        uint64_t off;

        if (qcow2_reftable_decode(&edit->header, img_load_be64(stored + i * 8),
                                  file_len, &off, err)) {
            err->has_off = true;
            err->off = edit->reftable_off + i * 8;
            return -1;
        }
        edit->reftable[i] = off;
        if (off != 0 && qcow2_edit_part_add(edit, QCOW2_PART_REFBLOCK, off,
                                            edit->header.cluster_len, err)) {
            return -1;
        }
    }
    return 0;
}

static int off_compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* No two entries may have the same block: its counts would be mixed up. */
static int reftable_check_distinct(const struct qcow2_edit *edit,
                                   struct img_error *err)
{
    uint64_t nr = edit->reftable_nr;
    IMG_AUTO(img_free_ptr)
    uint64_t *sorted = img_calloc(nr, sizeof(*sorted), err);

    if (!sorted) {
        return -1;
    }
    memcpy(sorted, edit->reftable, nr * sizeof(*sorted));
    qsort(sorted, nr, sizeof(*sorted), off_compare);
    for (uint64_t i = 1; i < nr; i++) {
        if (sorted[i] != 0 && sorted[i] == sorted[i - 1]) {
            return img_fail_at(err, IMG_CORRUPT, edit->reftable_off,
                               "refcount table: found the block at %" PRIu64
                               " in two entries, expected each to have its own",
                               sorted[i]);
        }
    }
    return 0;
}

int qcow2_edit_refcounts_load(struct qcow2_edit *edit, struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    uint64_t len = (uint64_t)header->reftable_clusters * header->cluster_len;

    if (len == 0) {
        return img_fail(err, IMG_CORRUPT,
                        "refcount_table_clusters: found 0, expected at least "
                        "1");
    }
    qcow2_edit_refcounts_fini(edit);
    IMG_AUTO(img_free_ptr) uint8_t *stored = img_calloc(1, len, err);
    edit->reftable_nr = len / 8;
    edit->reftable =
        img_calloc(edit->reftable_nr, sizeof(*edit->reftable), err);
    edit->floors = img_calloc(edit->reftable_nr, sizeof(*edit->floors), err);
    if (!stored || !edit->reftable || !edit->floors ||
        qcow2_cache_init(&edit->blocks, header->cluster_len, edit->memory / 4,
                         err)) {
        return -1;
    }
    edit->block_entries = qcow2_refcount_block_entries(header);
    edit->reftable_off = header->reftable_off;
    edit->reftable_dirty_start = 0;
    edit->reftable_dirty_end = 0;
    edit->reftable_is_moved = false;
    edit->reftable_is_chained = false;
    /* What was released before counts as free now, but stays untouched. */
    edit->hint = edit->is_changed
                     ? img_div_up(img_file_len(edit->file), header->cluster_len)
                     : 0;
    return img_file_read_padded(edit->file, stored, len, header->reftable_off,
                                NULL, err) ||
                   reftable_decode(edit, stored, err) ||
                   reftable_check_distinct(edit, err)
               ? -1
               : 0;
}

int qcow2_edit_block_get(struct qcow2_edit *edit, uint64_t idx,
                         struct qcow2_table **out, struct img_error *err)
{
    *out = NULL;
    if (idx >= edit->reftable_nr || edit->reftable[idx] == 0) {
        return 0;
    }
    *out = qcow2_cache_find(&edit->blocks, idx);
    if (*out) {
        return 0;
    }
    struct qcow2_table *block = qcow2_cache_add(&edit->blocks, idx, err);
    if (!block) {
        return -1;
    }
    block->off = edit->reftable[idx];
    if (img_file_read_padded(edit->file, block->bytes, edit->header.cluster_len,
                             block->off, NULL, err)) {
        qcow2_cache_drop(&edit->blocks, block);
        return -1;
    }
    *out = block;
    return 0;
}

int qcow2_edit_block_new(struct qcow2_edit *edit, uint64_t idx, uint64_t off,
                         struct img_error *err)
{
    struct qcow2_table *block = qcow2_cache_add(&edit->blocks, idx, err);

    if (!block) {
        return -1;
    }
    block->off = off;
    qcow2_cache_set_new(&edit->blocks, block);
    edit->reftable[idx] = off;
    if (edit->reftable_dirty_end == edit->reftable_dirty_start) {
        edit->reftable_dirty_start = idx;
        edit->reftable_dirty_end = idx + 1;
    }
    edit->reftable_dirty_start = img_min(edit->reftable_dirty_start, idx);
    edit->reftable_dirty_end = img_max(edit->reftable_dirty_end, idx + 1);
    return qcow2_edit_part_add(edit, QCOW2_PART_REFBLOCK, off,
                               edit->header.cluster_len, err);
}

int qcow2_edit_refcount_get(struct qcow2_edit *edit, uint64_t cluster,
                            uint64_t *out, struct img_error *err)
{
    struct qcow2_table *block;

    if (qcow2_edit_block_get(edit, cluster / edit->block_entries, &block,
                             err)) {
        return -1;
    }
    *out = block ? qcow2_refcount_get(&edit->header, block->bytes,
                                      cluster % edit->block_entries)
                 : 0;
    return 0;
}

void qcow2_edit_block_touch(struct qcow2_edit *edit, struct qcow2_table *block,
                            uint64_t idx)
{
    uint32_t order = edit->header.refcount_order;
    uint32_t start = (uint32_t)((idx << order) / 8);

    qcow2_cache_touch(&edit->blocks, block, start,
                      start + (uint32_t)img_div_up(1u << order, 8));
}

int qcow2_edit_refcount_raise(struct qcow2_edit *edit, uint64_t cluster,
                              uint64_t nr, struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    uint64_t max = qcow2_refcount_max(header);

    for (uint64_t i = cluster; i < cluster + nr; i++) {
        uint64_t idx = i % edit->block_entries;
        struct qcow2_table *block;

        if (qcow2_edit_block_get(edit, i / edit->block_entries, &block, err)) {
            return -1;
        }
        if (!block) {
            return img_fail(err, IMG_USAGE,
                            "no refcount block counts cluster %" PRIu64, i);
        }
        uint64_t count = qcow2_refcount_get(header, block->bytes, idx);
        if (count == max) {
            return img_fail_at(err, IMG_LIMIT, i << header->cluster_bits,
                               "refcount: found %" PRIu64
                               " already, the most that %u bits can hold",
                               count, 1u << header->refcount_order);
        }
        qcow2_refcount_set(header, block->bytes, idx, count + 1);
        qcow2_edit_block_touch(edit, block, idx);
    }
    return 0;
}

int qcow2_edit_reftable_grow(struct qcow2_edit *edit, uint64_t nr,
                             struct img_error *err)
{
    const uint64_t max = QCOW2_MAX_REFTABLE_LEN / 8;
    uint64_t per_cluster = edit->header.cluster_len / 8;
    uint64_t old = edit->reftable_nr;

    if (nr > max) {
        return img_fail(err, IMG_LIMIT,
                        "the refcount table would need %" PRIu64
                        " entries, expected at most %" PRIu64
                        ": the file cannot grow any more",
                        nr, max);
    }
    nr = img_min(img_align_up(img_max(nr, old + old / 2), per_cluster), max);
    uint64_t *table = realloc(edit->reftable, nr * sizeof(*table));
    if (!table) {
        return img_fail_memory(err);
    }
    edit->reftable = table;
    uint32_t *floors = realloc(edit->floors, nr * sizeof(*floors));
    if (!floors) {
        return img_fail_memory(err);
    }
    edit->floors = floors;
    for (uint64_t i = old; i < nr; i++) {
        table[i] = 0;
        floors[i] = 0;
    }
    edit->reftable_nr = nr;
    edit->reftable_is_moved = true;
    return 0;
}

/* The part of a dirty TABLE that differs from the file, in whole sectors. */
static int block_write(struct qcow2_edit *edit, struct qcow2_table *block,
                       struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    uint32_t start = 0;
    uint32_t end = len;

    if (!block->is_new) {
        start = (uint32_t)img_align_down(block->dirty_start, QCOW2_SECTOR_LEN);
        end = (uint32_t)img_align_up(block->dirty_end, QCOW2_SECTOR_LEN);
    }
    if (qcow2_edit_write(edit, QCOW2_PART_REFBLOCK, block->bytes + start,
                         end - start, block->off + start, err)) {
        return -1;
    }
    qcow2_cache_clean(&edit->blocks, block);
    return 0;
}

int qcow2_edit_blocks_store(struct qcow2_edit *edit, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct qcow2_table **dirty = NULL;
    size_t nr;

    if (qcow2_cache_dirty(&edit->blocks, &dirty, &nr, err)) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        if (block_write(edit, dirty[i], err)) {
            return -1;
        }
    }
    return 0;
}

/* Entries [START, END) of the table, START at a sector. */
static int entries_write(struct qcow2_edit *edit, uint64_t start, uint64_t end,
                         struct img_error *err)
{
    uint8_t buf[8 * QCOW2_SECTOR_LEN];

    while (start < end) {
        uint64_t nr = img_min(end - start, sizeof(buf) / 8);

        for (uint64_t i = 0; i < nr; i++) {
            img_store_be64(buf + i * 8, edit->reftable[start + i]);
        }
        if (qcow2_edit_write(edit, QCOW2_PART_REFTABLE, buf, nr * 8,
                             edit->reftable_off + start * 8, err)) {
            return -1;
        }
        start += nr;
    }
    return 0;
}

/* A new table is complete and stable before the header points to it. */
static int table_switch(struct qcow2_edit *edit, struct img_error *err)
{
    struct qcow2_header header = edit->header;

    header.reftable_off = edit->reftable_off;
    header.reftable_clusters =
        (uint32_t)(edit->reftable_nr * 8 / header.cluster_len);
    return entries_write(edit, 0, edit->reftable_nr, err) ||
                   qcow2_edit_header_store(edit, &header, err)
               ? -1
               : 0;
}

static int entries_store(struct qcow2_edit *edit, struct img_error *err)
{
    uint64_t start =
        img_align_down(edit->reftable_dirty_start, ENTRIES_PER_SECTOR);
    uint64_t end = img_align_up(edit->reftable_dirty_end, ENTRIES_PER_SECTOR);
    uint64_t step = edit->reftable_is_chained ? ENTRIES_PER_SECTOR : end;

    while (start < end) {
        uint64_t until = img_min(end, start + step);

        if (entries_write(edit, start, until, err) ||
            qcow2_edit_flush(edit, err)) {
            return -1;
        }
        start = until;
    }
    return 0;
}

int qcow2_edit_reftable_store(struct qcow2_edit *edit, struct img_error *err)
{
    int rc = 0;

    if (edit->reftable_is_moved) {
        rc = table_switch(edit, err);
    } else if (edit->reftable_dirty_end > edit->reftable_dirty_start) {
        rc = entries_store(edit, err);
    }
    if (rc == 0) {
        edit->reftable_is_moved = false;
        edit->reftable_is_chained = false;
        edit->reftable_dirty_start = 0;
        edit->reftable_dirty_end = 0;
    }
    return rc;
}
