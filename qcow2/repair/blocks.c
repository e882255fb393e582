/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What refcount blocks say: as many references as were counted.
 *
 * Room: qcow2/repair. -r leaks only lowers refcounts.
 * Specification: "Host cluster management".
 */
#include "repair_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>

/* Clusters whose refcounts change alike, to be told together. */
struct change {
    uint64_t first, nr;
    uint64_t stored, wanted;
};

static void change_tell(struct qcow2_repair *r, struct change *change)
{
    uint64_t off = change->first << r->header.cluster_bits;

    if (change->nr > 0) {
        qcow2_repair_tell(r,
                          &(struct qcow2_repair_told){
                              .kind = QCOW2_REPAIR_REFCOUNTS,
                              .off = off,
                          },
                          "refcount of %llu cluster%s from %llu on: %llu "
                          "becomes %llu",
                          (unsigned long long)change->nr,
                          change->nr == 1 ? "" : "s", (unsigned long long)off,
                          (unsigned long long)change->stored,
                          (unsigned long long)change->wanted);
    }
    change->nr = 0;
}

static void change_note(struct qcow2_repair *r, struct change *change,
                        uint64_t cluster, uint64_t stored, uint64_t wanted)
{
    if (change->nr > 0 &&
        (change->first + change->nr != cluster || change->stored != stored ||
         change->wanted != wanted)) {
        change_tell(r, change);
    }
    if (change->nr == 0) {
        *change = (struct change){cluster, 0, stored, wanted};
    }
    change->nr++;
}

/* What the refcount of CLUSTER should be, where it is STORED now. */
static uint64_t wanted_of(struct qcow2_repair *r, uint64_t cluster,
                          uint64_t stored)
{
    uint64_t refs = qcow2_refs_get(&r->refs, cluster);

    if (!r->fixes) {
        return img_min(stored, refs);
    }
    if (refs > r->refcount_max) {
        qcow2_repair_tell(r,
                          &(struct qcow2_repair_told){
                              .kind = QCOW2_REPAIR_REFCOUNTS,
                              .off = cluster << r->header.cluster_bits,
                              .is_lost = true,
                          },
                          "refcount: %llu references cannot be counted, at "
                          "most %llu",
                          (unsigned long long)refs,
                          (unsigned long long)r->refcount_max);
        return r->refcount_max;
    }
    return refs;
}

static bool is_kept(const struct qcow2_repair *r, uint64_t off)
{
    size_t low = 0, high = r->kept_nr;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (r->kept[mid] < off) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < r->kept_nr && r->kept[low] == off;
}

static int block_settle(struct qcow2_repair *r, uint64_t i,
                        struct img_error *err)
{
    const struct qcow2_header *header = &r->header;
    uint64_t entries = qcow2_refcount_block_entries(header);
    struct change change = {0};
    bool is_old = is_kept(r, r->blocks[i]);

    if (qcow2_repair_is_wanted(r, err) ||
        img_file_read_padded(r->staged, r->l2, header->cluster_len,
                             r->blocks[i], NULL, err)) {
        return -1;
    }
    memcpy(r->l2_was, r->l2, header->cluster_len);
    for (uint64_t k = 0; k < entries; k++) {
        uint64_t cluster = i * entries + k;
        uint64_t stored = qcow2_refcount_get(header, r->l2, k);
        uint64_t wanted = wanted_of(r, cluster, stored);

        if (stored == wanted) {
            continue;
        }
        qcow2_refcount_set(header, r->l2, k, wanted);
        r->needs_flags =
            r->needs_flags || (wanted > 0 && (wanted == 1 || stored == 1));
        if (is_old) {
            change_note(r, &change, cluster, stored, wanted);
        }
    }
    change_tell(r, &change);
    return qcow2_repair_stage(r, r->l2_was, r->l2, header->cluster_len,
                              r->blocks[i], err);
}

int qcow2_repair_refcounts(struct qcow2_repair *r, struct img_error *err)
{
    for (uint64_t i = 0; i < r->blocks_nr; i++) {
        if (r->blocks[i] != 0 && block_settle(r, i, err)) {
            return -1;
        }
    }
    return 0;
}
