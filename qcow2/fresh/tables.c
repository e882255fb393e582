/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L1 and L2 tables of a new image (specification: "Cluster mapping").
 *
 * Room: qcow2/fresh. L2 tables are filled one after the other; small clusters
 * make many small ones, which are written together. Of each only the L1 entry
 * stays. A table that nobody asks an entry of does not come to be.
 */
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "fresh_impl.h"

/* L2 tables are written when so many bytes of them have been gathered. */
#define BATCH_LEN (256u << 10)

static int take_l1(struct fresh_tables *tables, struct img_error *err)
{
    const struct qcow2_header *header = tables->host->header;
    uint64_t clusters =
        img_div_up((uint64_t)header->l1_entries * 8, header->cluster_len);

    if (clusters == 0) {
        return 0;
    }
    tables->l1_len = clusters << header->cluster_bits;
    tables->l1 = img_alloc_aligned(tables->l1_len, err);
    if (tables->l1 == NULL) {
        return -1;
    }
    memset(tables->l1, 0, tables->l1_len);
    return fresh_host_take(tables->host, clusters, &tables->l1_off, err);
}

int fresh_tables_init(struct fresh_tables *tables, struct fresh_host *host,
                      struct img_error *err)
{
    uint32_t cluster_len = host->header->cluster_len;
    uint32_t room = (uint32_t)img_max(BATCH_LEN / cluster_len, 1);

    *tables = (struct fresh_tables){.host = host, .batch_room = room};
    tables->batch = img_alloc_aligned((size_t)room * cluster_len, err);
    tables->l1_idx = img_calloc(room, sizeof(*tables->l1_idx), err);
    if (tables->batch == NULL || tables->l1_idx == NULL) {
        return -1;
    }
    return take_l1(tables, err);
}

void fresh_tables_fini(struct fresh_tables *tables)
{
    free(tables->l1);
    free(tables->batch);
    free(tables->l1_idx);
}

static int store_batch(struct fresh_tables *tables, struct img_error *err)
{
    struct fresh_host *host = tables->host;
    uint32_t bits = host->header->cluster_bits;
    uint64_t off;

    if (tables->batch_nr == 0) {
        return 0;
    }
    if (fresh_host_take(host, tables->batch_nr, &off, err) < 0 ||
        img_file_write(host->file, tables->batch,
                       (size_t)tables->batch_nr << bits, off, err) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < tables->batch_nr; i++) {
        struct qcow2_l1_entry entry = {
            .l2_off = off + ((uint64_t)i << bits),
            .is_copied = true,
        };

        img_store_be64(tables->l1 + tables->l1_idx[i] * 8,
                       qcow2_l1_encode(&entry));
    }
    tables->batch_nr = 0;
    return 0;
}

/* Open the table of L1 entry L1_IDX, empty. */
static int open_table(struct fresh_tables *tables, uint64_t l1_idx,
                      struct img_error *err)
{
    uint32_t cluster_len = tables->host->header->cluster_len;

    if (tables->batch_nr == tables->batch_room &&
        store_batch(tables, err) < 0) {
        return -1;
    }
    memset(tables->batch + (size_t)tables->batch_nr * cluster_len, 0,
           cluster_len);
    tables->l1_idx[tables->batch_nr++] = l1_idx;
    return 0;
}

int fresh_tables_entry(struct fresh_tables *tables, uint64_t guest_off,
                       uint8_t **out, struct img_error *err)
{
    const struct qcow2_header *header = tables->host->header;
    uint64_t cluster = guest_off >> header->cluster_bits;
    uint64_t l1_idx = cluster / header->l2_entries;
    uint64_t l2_idx = cluster % header->l2_entries;

    if ((tables->batch_nr == 0 ||
         tables->l1_idx[tables->batch_nr - 1] != l1_idx) &&
        open_table(tables, l1_idx, err) < 0) {
        return -1;
    }
    *out = tables->batch +
           (size_t)(tables->batch_nr - 1) * header->cluster_len +
           l2_idx * header->l2_entry_len;
    return 0;
}

int fresh_tables_finish(struct fresh_tables *tables, struct img_error *err)
{
    if (store_batch(tables, err) < 0) {
        return -1;
    }
    if (tables->l1_len == 0) {
        return 0;
    }
    return img_file_write(tables->host->file, tables->l1, tables->l1_len,
                          tables->l1_off, err);
}
