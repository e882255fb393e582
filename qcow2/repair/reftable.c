/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The refcount table: which blocks can stay, and blocks where there are none.
 *
 * Room: qcow2/repair. A block that cannot be trusted to be one (its entry is
 * broken, or something else lies in it) is dropped: a new one takes its place.
 * A table that something else lies in, or that is too short, is replaced by a
 * new one. Where nothing can stay, all of it is new: that is rebuilding.
 * Specification: "Host cluster management".
 */
#include "repair_impl.h"

#include <stdlib.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

static int off_compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Entry I, which is not 0: keep its block, or *off 0. */
static int block_see(struct qcow2_repair *r, uint64_t i, uint64_t entry,
                     uint64_t *off, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    struct qcow2_repair_told told = {
        .kind = QCOW2_REPAIR_REFCOUNTS,
        .off = r->header.reftable_off + i * 8,
    };
    const char *why = NULL;

    if (entry & (cluster_len - 1u)) {
        why = "it is no multiple of the cluster size";
    } else if (entry >= r->old_len) {
        why = "it lies past the end of the file";
    } else if (qcow2_repair_is_used(r, entry, cluster_len)) {
        why = "something else lies there";
    }
    *off = entry;
    if (why) {
        *off = 0;
        if (r->fixes) {
            qcow2_repair_tell(r, &told,
                              "refcount table entry %llu: the block "
                              "at 0x%llx is replaced: %s",
                              (unsigned long long)i, (unsigned long long)entry,
                              why);
            r->needs_flags = true;
        }
        if (r->fixes || entry >= r->old_len) {
            return 0;
        }
    }
    return qcow2_repair_refer(r, entry & ~(uint64_t)511,
                              (entry & (cluster_len - 1u)) ? 0 : cluster_len, 1,
                              err);
}

static int blocks_load(struct qcow2_repair *r, struct img_error *err)
{
    const struct qcow2_header *header = &r->header;
    uint64_t len = (uint64_t)header->reftable_clusters * header->cluster_len;
    IMG_AUTO(img_free_ptr) uint8_t *bytes = img_calloc(1, len, err);

    r->blocks_nr = len / 8;
    r->blocks = img_calloc(r->blocks_nr, sizeof(*r->blocks), err);
    r->kept = img_calloc(r->blocks_nr, sizeof(*r->kept), err);
    if (!bytes || !r->blocks || !r->kept) {
        return -1;
    }
    if (r->is_reftable_lost) {
        return 0;
    }
    if (img_file_read_padded(r->file, bytes, len, header->reftable_off, NULL,
                             err)) {
        return -1;
    }
    for (uint64_t i = 0; i < r->blocks_nr; i++) {
        uint64_t entry = img_load_be64(bytes + i * 8);

        if (entry != 0 && block_see(r, i, entry, &r->blocks[i], err)) {
            return -1;
        }
        if (r->blocks[i] != 0) {
            r->kept[r->kept_nr++] = r->blocks[i];
        }
    }
    qsort(r->kept, r->kept_nr, sizeof(*r->kept), off_compare);
    return 0;
}

int qcow2_repair_reftable(struct qcow2_repair *r, struct img_error *err)
{
    const struct qcow2_header *header = &r->header;
    uint64_t len = (uint64_t)header->reftable_clusters * header->cluster_len;

    r->is_reftable_moved = r->is_reftable_lost;
    if (!r->is_reftable_lost && r->fixes &&
        qcow2_repair_is_used(r, header->reftable_off, len)) {
        r->is_reftable_moved = true;
        qcow2_repair_tell(r,
                          &(struct qcow2_repair_told){
                              .kind = QCOW2_REPAIR_REFCOUNTS,
                              .off = header->reftable_off,
                          },
                          "the refcount table at %llu is put elsewhere: "
                          "something else lies there",
                          (unsigned long long)header->reftable_off);
    }
    if (!r->is_reftable_moved &&
        qcow2_repair_refer(r, header->reftable_off, len, 1, err)) {
        return -1;
    }
    return blocks_load(r, err);
}

/* A table that has room for the blocks of all clusters, and for some more. */
static int table_grow(struct qcow2_repair *r, uint64_t entries,
                      struct img_error *err)
{
    const struct qcow2_header *header = &r->header;
    uint64_t per_cluster = header->cluster_len / 8;
    uint64_t nr = img_div_up(img_max(entries, r->blocks_nr), per_cluster);
    uint64_t max = QCOW2_MAX_REFTABLE_LEN >> header->cluster_bits;
    void *blocks;

    if (entries > r->blocks_nr) {
        nr = img_max(nr, img_min(nr + nr / 4 + 1, max));
    }
    if (nr > max) {
        return img_fail(err, IMG_LIMIT,
                        "found a refcount table of %llu clusters, expected at "
                        "most %llu",
                        (unsigned long long)nr, (unsigned long long)max);
    }
    blocks = realloc(r->blocks, nr * header->cluster_len);
    if (!blocks) {
        return img_fail_memory(err);
    }
    r->blocks = blocks;
    while (r->blocks_nr < nr * per_cluster) {
        r->blocks[r->blocks_nr++] = 0;
    }
    r->is_reftable_moved = true;
    return 0;
}

/* References of the table where it is now: TIMES more, or fewer. */
static int table_refer(struct qcow2_repair *r, int64_t times,
                       struct img_error *err)
{
    return qcow2_repair_refer(
        r, r->reftable_off,
        (uint64_t)r->reftable_clusters * r->header.cluster_len, times, err);
}

/* Give the table that was moved a place. */
static int table_place(struct qcow2_repair *r, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint64_t nr = r->blocks_nr * 8 / cluster_len;
    uint64_t cluster;

    if (qcow2_repair_alloc(r, nr, &cluster, err)) {
        return -1;
    }
    r->reftable_off = cluster * cluster_len;
    r->reftable_clusters = (uint32_t)nr;
    return table_refer(r, 1, err);
}

/* The first range of clusters from I on that has references but no block;
   UINT64_MAX: there is none. */
static uint64_t range_missing(const struct qcow2_repair *r, uint64_t i)
{
    uint64_t entries = qcow2_refcount_block_entries(&r->header);
    uint64_t end = img_div_up(img_file_len(r->staged), r->header.cluster_len);

    for (; i * entries < end; i++) {
        if ((i >= r->blocks_nr || r->blocks[i] == 0) &&
            !qcow2_refs_is_empty(&r->refs, i * entries, (i + 1) * entries)) {
            return i;
        }
    }
    return UINT64_MAX;
}

static int block_new(struct qcow2_repair *r, uint64_t i, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint64_t covers_len =
        qcow2_refcount_block_entries(&r->header) * cluster_len;
    uint64_t first_off = i * covers_len;
    uint64_t cluster;

    if (qcow2_repair_alloc(r, 1, &cluster, err) ||
        qcow2_repair_refer(r, cluster * cluster_len, cluster_len, 1, err)) {
        return -1;
    }
    r->blocks[i] = cluster * cluster_len;
    r->needs_flags = true;
    qcow2_repair_tell(r,
                      &(struct qcow2_repair_told){
                          .kind = QCOW2_REPAIR_REFCOUNTS,
                          .off = r->blocks[i],
                      },
                      "a new refcount block for what lies from %llu on",
                      (unsigned long long)first_off);
    return 0;
}

/* Blocks and their table take clusters, which have to be counted as well. */
static int blocks_complete(struct qcow2_repair *r, struct img_error *err)
{
    bool is_placed = !r->is_reftable_moved;
    uint64_t i = 0;

    for (;;) {
        i = range_missing(r, i);
        if (i == UINT64_MAX) {
            if (is_placed) {
                return 0;
            }
            if (table_place(r, err)) {
                return -1;
            }
            is_placed = true;
            i = 0;
        } else if (i >= r->blocks_nr) {
            if ((is_placed && table_refer(r, -1, err)) ||
                table_grow(r, i + 1, err)) {
                return -1;
            }
            is_placed = false;
        } else if (block_new(r, i, err)) {
            return -1;
        }
    }
}

/* The table's bytes as they will be. */
static int table_stage(struct qcow2_repair *r, struct img_error *err)
{
    uint64_t len = r->blocks_nr * 8;
    IMG_AUTO(img_free_ptr) uint8_t *now = img_calloc(1, len, err);
    IMG_AUTO(img_free_ptr) uint8_t *was = img_calloc(1, len, err);

    if (!now || !was) {
        return -1;
    }
    for (uint64_t i = 0; i < r->blocks_nr; i++) {
        img_store_be64(now + i * 8, r->blocks[i]);
    }
    if (img_file_read_padded(r->staged, was, len, r->reftable_off, NULL, err)) {
        return -1;
    }
    return qcow2_repair_stage(r, was, now, len, r->reftable_off, err);
}

int qcow2_repair_reftable_complete(struct qcow2_repair *r,
                                   struct img_error *err)
{
    return blocks_complete(r, err) || table_stage(r, err) ? -1 : 0;
}
