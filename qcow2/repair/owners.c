/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot table: counted where it is, or put where nothing else lies.
 * Room: qcow2/repair. Specification: "Snapshots".
 */
#include "repair_impl.h"

#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

/* Put the table into clusters of its own. */
static int table_place(struct qcow2_repair *r, struct img_error *err)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint64_t len = r->snapshot_table_len;
    uint64_t cluster, off;

    if (qcow2_repair_alloc(r, img_div_up(len, cluster_len), &cluster, err)) {
        return -1;
    }
    off = cluster * cluster_len;
    if (img_file_write(r->staged, r->snapshot_table, len, off, err) ||
        qcow2_repair_refer(r, off, len, 1, err)) {
        return -1;
    }
    r->snapshots_off = off;
    return 0;
}

/* The table as it is, to be put elsewhere. */
static int table_take(struct qcow2_repair *r, struct img_error *err)
{
    struct qcow2_repair_told told = {
        .kind = QCOW2_REPAIR_MOVE,
        .off = r->snapshots_off,
    };

    r->snapshot_table = img_calloc(1, r->snapshot_table_len, err);
    if (!r->snapshot_table ||
        img_file_read_padded(r->file, r->snapshot_table, r->snapshot_table_len,
                             r->snapshots_off, NULL, err)) {
        return -1;
    }
    qcow2_repair_tell(r, &told,
                      "the snapshot table at %llu is put elsewhere: "
                      "something else lies there",
                      (unsigned long long)r->snapshots_off);
    return 0;
}

static int snapshots_mark(struct qcow2_repair *r, struct img_error *err)
{
    if (!r->snapshot_table) {
        r->snapshot_table_len = qcow2_image_snapshot_table_len(r->image);
    }
    if (r->snapshot_table_len == 0) {
        return 0;
    }
    if (!r->snapshot_table && r->fixes &&
        qcow2_repair_is_used(r, r->snapshots_off, r->snapshot_table_len) &&
        table_take(r, err)) {
        return -1;
    }
    return r->snapshot_table
               ? table_place(r, err)
               : qcow2_repair_refer(r, r->snapshots_off, r->snapshot_table_len,
                                    1, err);
}

int qcow2_repair_owners(struct qcow2_repair *r, struct img_error *err)
{
    return snapshots_mark(r, err) || qcow2_repair_bitmaps(r, err) ? -1 : 0;
}
