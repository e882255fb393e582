/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving up what lies beyond the end of the disk (specification: "Cluster
 * mapping").
 *
 * Room: qcow2/edit. No guest sees any of it any more, so entries may go in any
 * order. L2 tables that are needed no more are given up whole, shared ones by
 * one reference; the L1 table keeps its length, as in QEMU.
 */
#include "resize.h"

#include <img/checked.h>

/* Entries FROM to TO of the table at IDX lose what they name; the table is
   about to go. */
static int release_entries(struct qcow2_edit *edit,
                           const struct qcow2_table *table,
                           struct img_error *err)
{
    for (uint32_t i = 0; i < edit->header.l2_entries; i++) {
        struct qcow2_l2_entry entry;

        if (qcow2_edit_entry_get(edit, table, i, &entry, err) ||
            qcow2_edit_entry_release(edit, &entry, err)) {
            return -1;
        }
    }
    return 0;
}

/* The table of L1 entry IDX, all of it beyond the end. */
static int drop_table(struct qcow2_edit *edit, uint32_t idx,
                      struct img_error *err)
{
    struct qcow2_table *table;

    if (qcow2_edit_l2_get(edit, idx, &table, err)) {
        return -1;
    }
    if (!table) {
        return 0;
    }
    if (release_entries(edit, table, err) ||
        qcow2_edit_release(edit, table->off, edit->header.cluster_len, err)) {
        return -1;
    }
    qcow2_cache_drop(&edit->l2, table);
    qcow2_edit_l1_set(edit, idx, 0);
    return 0;
}

/* Of the table of L1 entry IDX, which the disk still needs, the entries from
   FIRST on. */
static int drop_entries(struct qcow2_edit *edit, uint32_t idx, uint32_t first,
                        struct img_error *err)
{
    const struct qcow2_l2_entry none = {.kind = QCOW2_CLUSTER_UNALLOCATED};
    struct qcow2_table *table;

    if (qcow2_edit_l2_get(edit, idx, &table, err)) {
        return -1;
    }
    for (uint32_t i = first; table && i < edit->header.l2_entries; i++) {
        struct qcow2_l2_entry entry;

        if (qcow2_edit_entry_get(edit, table, i, &entry, err)) {
            return -1;
        }
        if (entry.kind == QCOW2_CLUSTER_UNALLOCATED && !entry.has_host) {
            continue;
        }
        if (qcow2_edit_l2_own(edit, idx, &table, err) ||
            qcow2_edit_entry_release(edit, &entry, err)) {
            return -1;
        }
        qcow2_edit_entry_set(edit, table, i, &none);
    }
    return 0;
}

/* The first entry beyond the end: entry FIRST of the table of L1 entry IDX. */
static void find_end(const struct qcow2_edit *edit, uint64_t virtual_len,
                     uint32_t *idx, uint32_t *first)
{
    const struct qcow2_header *h = &edit->header;
    uint64_t end = img_align_up(virtual_len, h->cluster_len);

    *idx = (uint32_t)(end / h->l2_covers_len);
    *first = (uint32_t)((end % h->l2_covers_len) >> h->cluster_bits);
}

int qcow2_edit_shrink_check(struct qcow2_edit *edit, uint64_t virtual_len,
                            struct img_error *err)
{
    uint32_t idx, first;

    find_end(edit, virtual_len, &idx, &first);
    for (; idx < edit->header.l1_entries; idx++, first = 0) {
        struct qcow2_table *table;

        if (qcow2_edit_check_usable(edit, err) ||
            qcow2_edit_l2_get(edit, idx, &table, err)) {
            return -1;
        }
        for (uint32_t i = first; table && i < edit->header.l2_entries; i++) {
            struct qcow2_l2_entry entry;

            if (qcow2_edit_entry_get(edit, table, i, &entry, err)) {
                return -1;
            }
        }
    }
    return 0;
}

int qcow2_edit_shrink(struct qcow2_edit *edit, struct img_error *err)
{
    const struct qcow2_header *h = &edit->header;
    uint32_t idx, first;

    find_end(edit, edit->virtual_len, &idx, &first);
    if (first > 0) {
        if (drop_entries(edit, idx, first, err)) {
            return qcow2_edit_abandon(edit);
        }
        idx++;
    }
    for (; idx < h->l1_entries; idx++) {
        if (drop_table(edit, idx, err) ||
            (qcow2_edit_is_full(edit) && qcow2_edit_commit(edit, err))) {
            return qcow2_edit_abandon(edit);
        }
    }
    if (qcow2_edit_commit(edit, err)) {
        return -1;
    }
    return qcow2_edit_cut_end(edit, err);
}
