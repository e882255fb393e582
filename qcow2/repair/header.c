/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first sector, which has all fields that a repair changes.
 * Room: qcow2/repair. Specification: "Header".
 */
#include "repair_impl.h"

#include <string.h>

#include <img/bytes.h>

enum {
    OFF_L1 = 40,
    OFF_REFTABLE = 48,
    OFF_REFTABLE_CLUSTERS = 56,
    OFF_SNAPSHOTS_NR = 60,
    OFF_SNAPSHOTS = 64,
    OFF_AUTOCLEAR = 88,
};

int qcow2_repair_header_stage(struct qcow2_repair *r, struct img_error *err)
{
    uint8_t was[QCOW2_SECTOR_LEN], now[QCOW2_SECTOR_LEN];

    if (img_file_read_padded(r->staged, was, sizeof(was), 0, NULL, err)) {
        return -1;
    }
    memcpy(now, was, sizeof(now));
    img_store_be64(now + OFF_L1, r->l1_off);
    img_store_be64(now + OFF_REFTABLE, r->reftable_off);
    img_store_be32(now + OFF_REFTABLE_CLUSTERS, r->reftable_clusters);
    img_store_be32(now + OFF_SNAPSHOTS_NR, r->snapshots_nr);
    img_store_be64(now + OFF_SNAPSHOTS, r->snapshots_off);
    if (r->header.version >= 3) {
        img_store_be64(now + OFF_AUTOCLEAR, r->autoclear);
    }
    return qcow2_repair_stage(r, was, now, sizeof(now), 0, err);
}
