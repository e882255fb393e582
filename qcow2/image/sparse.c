/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holes under data clusters.
 *
 * Room: qcow2/image. An image that was made with preallocated metadata has
 * data clusters that were never written: they lie in holes of the file. QEMU
 * asks the file about holes only where it believes in such a preallocation,
 * namely where clearly more clusters are counted as used than the file has
 * blocks for; map must say the same, so the same estimate is made here, once
 * for each image, at the first data cluster that is met.
 */
#include "state.h"

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/refcount.h>

#include "reftable.h"

/* Refcounts that are not 0 among the first NR of a block. */
static uint64_t used_in_block(const struct qcow2_header *header,
                              const uint8_t *block, uint64_t nr)
{
    uint64_t used = 0;

    if (header->refcount_order == 4) {
        const uint8_t *end = block + nr * 2;

        for (const uint8_t *p = block; p < end; p += 2) {
            used += (p[0] | p[1]) != 0;
        }
        return used;
    }
    for (uint64_t i = 0; i < nr; i++) {
        used += qcow2_refcount_get(header, block, i) != 0;
    }
    return used;
}

/*
 * Are THRESHOLD of the first NR clusters in use? A refcount structure that
 * cannot be read proves nothing: no.
 */
static bool has_used_clusters(struct qcow2_image *q,
                              const struct qcow2_reftable *table, uint64_t nr,
                              uint64_t threshold, uint8_t *block,
                              struct img_error *err)
{
    const struct qcow2_header *header = &q->header;
    uint64_t entries = qcow2_refcount_block_entries(header);
    uint64_t used = 0;

    for (uint64_t i = 0; i < table->nr && nr > 0; i++) {
        uint64_t some = img_min(nr, entries);
        uint64_t off = table->off[i];

        nr -= some;
        if (off == 0) {
            continue;
        }
        if (off & (header->cluster_len - 1u) ||
            img_file_read_padded(q->image.file, block, header->cluster_len, off,
                                 NULL, err)) {
            return false;
        }
        used += used_in_block(header, block, some);
        if (used >= threshold) {
            return true;
        }
    }
    return used >= threshold;
}

static bool is_preallocated(struct qcow2_image *q)
{
    struct img_file *file = q->image.file;
    uint32_t cluster_len = q->header.cluster_len;
    uint64_t real = img_file_allocated_len(file) / cluster_len;
    uint64_t threshold = img_max(real + real / 9, real + 2);
    struct img_error ignored;
    IMG_AUTO(qcow2_reftable_fini) struct qcow2_reftable table = {0};
    IMG_AUTO(img_free_ptr)
    uint8_t *block = img_calloc(1, cluster_len, &ignored);

    return block && qcow2_reftable_load(q, &table, &ignored) == 0 &&
           has_used_clusters(q, &table,
                             img_div_up(img_file_len(file), cluster_len),
                             threshold, block, &ignored);
}

int qcow2_sparse_split(struct qcow2_image *q, struct img_extent *extent,
                       struct img_error *err)
{
    bool is_hole = false;
    uint64_t run = 0;

    if (q->preallocation == QCOW2_PREALLOCATION_UNKNOWN) {
        q->preallocation = is_preallocated(q) ? QCOW2_PREALLOCATION_YES
                                              : QCOW2_PREALLOCATION_NO;
    }
    if (q->preallocation == QCOW2_PREALLOCATION_NO) {
        return 0;
    }
    if (img_file_next_hole(extent->file, extent->host_off, extent->len,
                           &is_hole, &run, err)) {
        return -1;
    }
    extent->len = img_min(extent->len, run);
    extent->reads_as_hole = is_hole;
    return 0;
}
