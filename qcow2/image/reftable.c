/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loading the refcount table: at most 8 MiB, bounded by the header check.
 * Room: qcow2/image. Specification: "Host cluster management".
 */
#include "reftable.h"

#include <stdlib.h>

#include <img/bytes.h>
#include <img/memory.h>

#include "state.h"

#define RESERVED_MASK 0x1ffull

int qcow2_reftable_load(struct qcow2_image *q, struct qcow2_reftable *out,
                        struct img_error *err)
{
    uint64_t nr =
        (uint64_t)q->header.reftable_clusters * q->header.cluster_len / 8;
    IMG_AUTO(img_free_ptr) uint8_t *stored = NULL;

    if (qcow2_table_load(q, q->header.reftable_off, nr, &stored, err)) {
        return -1;
    }
    out->nr = nr;
    out->off = img_calloc(nr, sizeof(*out->off), err);
    out->entry = img_calloc(nr, sizeof(*out->entry), err);
    if (nr > 0 && (!out->off || !out->entry)) {
        return -1;
    }
    for (uint64_t i = 0; i < nr; i++) {
        out->entry[i] = img_load_be64(stored + i * 8);
        out->off[i] = out->entry[i] & ~RESERVED_MASK;
    }
    return 0;
}

void qcow2_reftable_fini(struct qcow2_reftable *table)
{
    free(table->off);
    free(table->entry);
    *table = (struct qcow2_reftable){0};
}
