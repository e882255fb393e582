/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a new image can become. Room: qcow2/fresh.
 *
 * The writer leaves no cluster out, so what there is to count are the parts
 * themselves; only how many L2 tables the data meets is not known.
 */
#include <img/checked.h>

#include "fresh_impl.h"

/* Refcount blocks and table for themselves and CLUSTERS others. */
static uint64_t add_refcounts(const struct qcow2_header *header,
                              uint64_t clusters)
{
    uint64_t entries = qcow2_refcount_block_entries(header);
    uint64_t total = clusters, needed = clusters, blocks;

    do {
        total = needed;
        blocks = img_div_up(total, entries);
        needed =
            clusters + blocks + img_div_up(blocks * 8, header->cluster_len);
    } while (needed > total);
    return total;
}

uint64_t qcow2_fresh_measure(const struct qcow2_create_options *options,
                             uint64_t data_len)
{
    bool is_all_mapped = qcow2_create_prealloc(options) != QCOW2_PREALLOC_OFF ||
                         options->backing_name != NULL;
    struct qcow2_header header;
    uint64_t guest_clusters, data_clusters, l1_entries, tables, clusters;

    qcow2_create_header(options, &header);
    guest_clusters = img_div_up(header.virtual_len, header.cluster_len);
    data_clusters =
        img_min(img_div_up(data_len, header.cluster_len), guest_clusters);
    l1_entries = img_div_up(header.virtual_len, header.l2_covers_len);
    /* Each cluster of data in a table of its own; zeros can be anywhere. */
    tables = is_all_mapped ? l1_entries : img_min(l1_entries, data_clusters);
    if (qcow2_create_prealloc(options) != QCOW2_PREALLOC_OFF) {
        data_clusters = guest_clusters;
    }
    if (header.has_data_file) {
        data_clusters = 0;
    }
    clusters = 1 + img_div_up(l1_entries * 8, header.cluster_len) + tables +
               data_clusters;
    return add_refcounts(&header, clusters) << header.cluster_bits;
}
