/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mapping tables in which something else lies: guest data, another table.
 *
 * Room: qcow2/repair. What is there stays, byte for byte: nobody can say which
 * of the two it is. The table goes elsewhere as it is to be, and what leads to
 * it is switched: L1 entries for an L2 table, the header for the active L1
 * table, the snapshot table (which goes elsewhere, too) for a snapshot's. So
 * no byte is ever written that is read as something else at that time.
 */
#include "repair_impl.h"

#include <stdlib.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

bool qcow2_repair_share(struct qcow2_repair *r, uint64_t cluster)
{
    struct qcow2_run *run = qcow2_runs_find(&r->exclusive, cluster);
    struct qcow2_l2_ref *table = qcow2_l2_refs_find(&r->tables, cluster);

    if (run) {
        run->is_shared = true;
    }
    if (table) {
        table->is_shared = true;
        r->has_shared_l2 = true;
    }
    return run || table;
}

/* LEN bytes at FROM, as they are to be, go to TO; FROM stays as it is. */
static int table_carry(struct qcow2_repair *r, uint64_t from, uint64_t to,
                       uint64_t len, struct img_error *err)
{
    uint32_t piece_len = r->header.cluster_len;

    for (uint64_t done = 0; done < len; done += piece_len) {
        size_t some = (size_t)img_min(len - done, piece_len);

        if (img_file_read_padded(r->staged, r->l2, some, from + done, NULL,
                                 err) ||
            img_file_read_padded(r->file, r->l2_was, some, from + done, NULL,
                                 err) ||
            img_file_write(r->staged, r->l2, some, to + done, err) ||
            qcow2_repair_stage(r, r->l2, r->l2_was, some, from + done, err)) {
            return -1;
        }
    }
    return 0;
}

static void move_tell(struct qcow2_repair *r, const char *what, uint64_t from,
                      uint64_t to)
{
    qcow2_repair_tell(r,
                      &(struct qcow2_repair_told){
                          .kind = QCOW2_REPAIR_MOVE,
                          .off = from,
                      },
                      "%s at %llu is moved to %llu: something else lies there",
                      what, (unsigned long long)from, (unsigned long long)to);
}

static int l2_move(struct qcow2_repair *r, struct qcow2_l2_ref *ref,
                   struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint64_t from = ref->cluster * cluster_len;
    uint64_t to;

    if (qcow2_repair_alloc(r, 1, &to, err) ||
        table_carry(r, from, to * cluster_len, cluster_len, err)) {
        return -1;
    }
    ref->moved_to = to;
    move_tell(r, "the L2 table", from, to * cluster_len);
    return 0;
}

/* An L1 entry follows its table. */
static int entry_switch(struct qcow2_repair *r,
                        const struct qcow2_l1_table *table, uint32_t idx,
                        uint64_t *entry, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint64_t off = *entry & QCOW2_ENTRY_OFFSET_MASK;
    struct qcow2_l2_ref *ref =
        qcow2_l2_refs_find(&r->tables, off >> r->header.cluster_bits);
    uint64_t to;

    (void)table;
    (void)idx;
    if (!ref || !ref->is_shared) {
        return 0;
    }
    if (ref->moved_to == 0 && l2_move(r, ref, err)) {
        return -1;
    }
    to = ref->moved_to;
    *entry = (to * cluster_len) | (*entry & QCOW2_ENTRY_COPIED);
    if (qcow2_repair_refer(r, off, cluster_len, -1, err) ||
        qcow2_repair_refer(r, to * cluster_len, cluster_len, 1, err) ||
        qcow2_l2_refs_add(&r->tables, to, err)) {
        return -1;
    }
    /* For the flags, which visit each table once more. */
    qcow2_l2_refs_find(&r->tables, to)->is_visited = true;
    r->needs_flags = true;
    return 0;
}

/* Snapshot IDX has its L1 table at OFF now: its table says so elsewhere. */
static int snapshot_switch(struct qcow2_repair *r, size_t idx, uint64_t off,
                           struct img_error *err)
{
    uint64_t at = 0;

    if (!r->snapshot_table) {
        r->snapshot_table_len = qcow2_image_snapshot_table_len(r->image);
        r->snapshot_table = img_calloc(1, r->snapshot_table_len, err);
        if (!r->snapshot_table ||
            img_file_read_padded(r->file, r->snapshot_table,
                                 r->snapshot_table_len, r->snapshots_off, NULL,
                                 err)) {
            return -1;
        }
    }
    for (size_t i = 0; i < idx; i++) {
        at += qcow2_snapshot_entry_len(r->snapshot_table + at);
    }
    img_store_be64(r->snapshot_table + at, off);
    return 0;
}

/* L1 table I, if something else lies in it. */
static int l1_move(struct qcow2_repair *r, size_t i, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    struct qcow2_l1_table *table = &r->l1_tables[i];
    uint64_t len = (uint64_t)table->entries * 8;
    struct qcow2_run *run =
        qcow2_runs_find(&r->exclusive, table->off >> r->header.cluster_bits);
    uint64_t cluster, to;

    if (len == 0 || !run || !run->is_shared) {
        return 0;
    }
    if (qcow2_repair_alloc(r, img_div_up(len, cluster_len), &cluster, err)) {
        return -1;
    }
    to = cluster * cluster_len;
    if (table_carry(r, table->off, to, len, err) ||
        qcow2_repair_refer(r, table->off, len, -1, err) ||
        qcow2_repair_refer(r, to, len, 1, err)) {
        return -1;
    }
    move_tell(r, table->is_active ? "the L1 table" : "a snapshot's L1 table",
              table->off, to);
    table->off = to;
    if (!table->is_active) {
        return snapshot_switch(r, i - 1, to, err);
    }
    r->l1_off = to;
    return 0;
}

int qcow2_repair_move_tables(struct qcow2_repair *r, struct img_error *err)
{
    for (size_t i = 0; r->has_shared_l2 && i < r->l1_tables_nr; i++) {
        if (qcow2_repair_each_l1(r, &r->l1_tables[i], entry_switch, err)) {
            return -1;
        }
    }
    for (size_t i = 0; r->fixes && i < r->l1_tables_nr; i++) {
        if (l1_move(r, i, err)) {
            return -1;
        }
    }
    return 0;
}
