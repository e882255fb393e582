/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Places for guest data. Room: qcow2/edit.
 *
 * What the active image alone owns is overwritten where it is; everything else
 * gets new clusters, and what was there before is given up. The caller writes
 * the bytes, the commit makes the entries.
 * Specification: "Cluster mapping", "Extended L2 Entries".
 */
#include <inttypes.h>

#include <img/checked.h>

#include "edit_impl.h"

/* A cluster of the guest and how matters stand with it. */
struct spot {
    struct qcow2_l2_entry entry;
    bool is_own;
};

/* The range that is placed, inside one L2 table. */
struct target {
    uint64_t off, len;
    uint32_t l1_idx;
    bool table_is_private;
    struct qcow2_table *table; /* NULL: there is none yet */
};

static int target_init(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                       struct target *target, struct img_error *err)
{
    uint64_t covers = edit->header.l2_covers_len;

    *target = (struct target){
        .off = off,
        .len = img_min(len, covers - off % covers),
        .l1_idx = (uint32_t)(off / covers),
    };
    if (qcow2_edit_l2_get(edit, target->l1_idx, &target->table, err)) {
        return -1;
    }
    return target->table
               ? qcow2_edit_l2_is_private(edit, target->l1_idx,
                                          &target->table_is_private, err)
               : 0;
}

static uint32_t entry_idx(const struct qcow2_edit *edit, uint64_t off)
{
    return (uint32_t)((off % edit->header.l2_covers_len) >>
                      edit->header.cluster_bits);
}

/* The spot of guest offset OFF, in TARGET's table. */
static int spot_get(struct qcow2_edit *edit, const struct target *target,
                    uint64_t off, struct spot *spot, struct img_error *err)
{
    *spot = (struct spot){.entry = {.kind = QCOW2_CLUSTER_UNALLOCATED}};
    if (!target->table) {
        return 0;
    }
    return qcow2_edit_entry_get(edit, target->table, entry_idx(edit, off),
                                &spot->entry, err) ||
                   qcow2_edit_entry_is_own(edit, &spot->entry,
                                           target->table_is_private,
                                           &spot->is_own, err)
               ? -1
               : 0;
}

/* Whole clusters must be written where subclusters would be left behind. */
static uint32_t unit_of(const struct qcow2_edit *edit, const struct spot *spot)
{
    bool leaves_data = spot->entry.kind == QCOW2_CLUSTER_COMPRESSED ||
                       (!spot->is_own && spot->entry.alloc != 0);

    return leaves_data ? edit->header.cluster_len : edit->header.subcluster_len;
}

/* Is everything of MASK data, in a place of its own? */
static bool is_settled(const struct qcow2_edit *edit, const struct spot *spot,
                       uint32_t mask)
{
    if (!spot->is_own) {
        return false;
    }
    return edit->header.has_extended_l2
               ? (spot->entry.alloc & mask) == mask
               : spot->entry.kind == QCOW2_CLUSTER_DATA;
}

/* ---- Spans. */

/* What must be written whole around the byte at OFF: [*start, *end). */
static int edge(struct qcow2_edit *edit, uint64_t off, uint64_t *start,
                uint64_t *end, struct img_error *err)
{
    uint64_t in_cluster = off % edit->header.cluster_len;
    struct target target;
    struct spot spot;

    if (target_init(edit, off, 1, &target, err) ||
        spot_get(edit, &target, off, &spot, err)) {
        return -1;
    }
    if (is_settled(edit, &spot,
                   qcow2_edit_subclusters(edit, in_cluster, in_cluster + 1))) {
        *start = off;
        *end = off + 1;
        return 0;
    }
    uint32_t unit = unit_of(edit, &spot);
    *start = img_align_down(off, unit);
    *end = *start + unit;
    return 0;
}

int qcow2_edit_span(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                    uint64_t *span_off, uint64_t *span_len,
                    struct img_error *err)
{
    uint32_t cluster_len = edit->header.cluster_len;
    uint64_t end = off + len;
    uint64_t start = off;
    uint64_t ignored;

    if (qcow2_edit_check_usable(edit, err) ||
        qcow2_edit_check_range(edit, off, len, err)) {
        return -1;
    }
    if (off % cluster_len != 0 && edge(edit, off, &start, &ignored, err)) {
        return -1;
    }
    if ((off + len) % cluster_len != 0 && off + len < edit->virtual_len &&
        edge(edit, off + len - 1, &ignored, &end, err)) {
        return -1;
    }
    *span_off = start;
    *span_len = img_min(end, edit->virtual_len) - start;
    return 0;
}

/* ---- Places. */

/* The bytes of TARGET that lie in the cluster of AT, as [*start, *end) of it */
static void piece_of(const struct qcow2_edit *edit, const struct target *target,
                     uint64_t at, uint64_t *start, uint64_t *end)
{
    uint64_t cluster = img_align_down(at, edit->header.cluster_len);

    *start = img_max(target->off, cluster) - cluster;
    *end =
        img_min(target->off + target->len - cluster, edit->header.cluster_len);
}

/*
 * What is not settled yet must be written whole: the range may only begin or
 * end amid a unit that is.
 */
static int check_whole(const struct qcow2_edit *edit, const struct spot *spot,
                       uint64_t cluster, uint64_t start, uint64_t end,
                       struct img_error *err)
{
    uint32_t unit = unit_of(edit, spot);
    bool is_start_whole =
        start % unit == 0 ||
        is_settled(edit, spot, qcow2_edit_subclusters(edit, start, start + 1));
    bool is_end_whole =
        end % unit == 0 || cluster + end == edit->virtual_len ||
        is_settled(edit, spot, qcow2_edit_subclusters(edit, end - 1, end));

    if (is_start_whole && is_end_whole) {
        return 0;
    }
    return img_fail(err, IMG_USAGE,
                    "guest bytes %" PRIu64 " to %" PRIu64
                    " are to be placed, expected whole units of %" PRIu32
                    " bytes",
                    cluster + start, cluster + end, unit);
}

/*
 * The entry of CLUSTER becomes data where MASK says, at HOST_OFF. If the disk
 * ends in the last unit, the rest of that is remembered to be zeroed.
 */
static void spot_fill(struct qcow2_edit *edit, struct qcow2_table *table,
                      uint64_t cluster, const struct spot *spot,
                      uint64_t host_off, uint32_t mask)
{
    uint32_t unit = edit->header.subcluster_len;
    uint64_t rest = edit->virtual_len % unit;
    struct qcow2_l2_entry entry = {
        .kind = QCOW2_CLUSTER_DATA,
        .is_copied = true,
        .has_host = true,
        .host_off = host_off,
    };

    if (edit->header.has_extended_l2) {
        entry.alloc = (spot->is_own ? spot->entry.alloc : 0) | mask;
        entry.zero = spot->entry.zero & ~mask;
        qcow2_edit_entry_settle(&entry);
    }
    qcow2_edit_entry_set(edit, table, entry_idx(edit, cluster), &entry);
    if (rest != 0 && edit->virtual_len - cluster < edit->header.cluster_len) {
        edit->tail_file = qcow2_edit_data(edit);
        edit->tail_off = host_off + (edit->virtual_len - cluster);
        edit->tail_len = unit - rest;
    }
}

/* Clusters that stay where they are, from TARGET's first on. */
static int place_own(struct qcow2_edit *edit, struct target *target,
                     const struct spot *first, uint64_t *len,
                     struct img_error *err)
{
    uint32_t cluster_len = edit->header.cluster_len;
    uint64_t first_cluster = img_align_down(target->off, cluster_len);
    uint64_t end = target->off + target->len;
    struct spot spot = *first;

    for (uint64_t at = target->off; at < end;) {
        uint64_t cluster = img_align_down(at, cluster_len);
        uint64_t start;
        uint64_t stop;

        if (at > target->off && spot_get(edit, target, at, &spot, err)) {
            return -1;
        }
        if (!spot.is_own || spot.entry.host_off - first->entry.host_off !=
                                cluster - first_cluster) {
            break;
        }
        piece_of(edit, target, at, &start, &stop);
        uint32_t mask = qcow2_edit_subclusters(edit, start, stop);
        if (!is_settled(edit, &spot, mask)) {
            if (check_whole(edit, &spot, cluster, start, stop, err) ||
                qcow2_edit_l2_own(edit, target->l1_idx, &target->table, err)) {
                return -1;
            }
            spot_fill(edit, target->table, cluster, &spot, spot.entry.host_off,
                      mask);
        }
        at = cluster + stop;
        *len = at - target->off;
    }
    return 0;
}

/* How many clusters from TARGET's first on need a new place. */
static int count_new(struct qcow2_edit *edit, const struct target *target,
                     uint64_t *nr, struct img_error *err)
{
    uint32_t cluster_len = edit->header.cluster_len;
    uint64_t end = target->off + target->len;

    *nr = 0;
    for (uint64_t at = target->off; at < end; ++*nr) {
        struct spot spot;

        if (spot_get(edit, target, at, &spot, err)) {
            return -1;
        }
        if (spot.is_own) {
            return 0;
        }
        at = img_align_down(at, cluster_len) + cluster_len;
    }
    return 0;
}

/* Where COUNT clusters from the first of TARGET on go, if not elsewhere. */
static int clusters_new(struct qcow2_edit *edit, const struct target *target,
                        uint64_t wanted, uint64_t *host_off, uint64_t *got,
                        struct img_error *err)
{
    if (edit->data_file) {
        *host_off = img_align_down(target->off, edit->header.cluster_len);
        *got = wanted;
        return 0;
    }
    return qcow2_edit_alloc_data(edit, wanted, host_off, got, err);
}

static int place_new(struct qcow2_edit *edit, struct target *target,
                     uint64_t *host_off, uint64_t *len, struct img_error *err)
{
    uint32_t cluster_len = edit->header.cluster_len;
    uint64_t cluster = img_align_down(target->off, cluster_len);
    uint64_t wanted;
    uint64_t nr;

    if (count_new(edit, target, &wanted, err) ||
        clusters_new(edit, target, wanted, host_off, &nr, err)) {
        return -1;
    }
    for (uint64_t i = 0; i < nr; i++, cluster += cluster_len) {
        struct spot spot;
        uint64_t start;
        uint64_t stop;

        piece_of(edit, target, img_max(cluster, target->off), &start, &stop);
        if (spot_get(edit, target, cluster, &spot, err) ||
            check_whole(edit, &spot, cluster, start, stop, err) ||
            qcow2_edit_entry_release(edit, &spot.entry, err) ||
            (i == 0 &&
             qcow2_edit_l2_own(edit, target->l1_idx, &target->table, err))) {
            return qcow2_edit_abandon(edit);
        }
        spot_fill(edit, target->table, cluster, &spot,
                  *host_off + i * cluster_len,
                  qcow2_edit_subclusters(edit, start, stop));
        *len = cluster + stop - target->off;
    }
    edit->placed_len += *len;
    return 0;
}

int qcow2_edit_place(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                     struct qcow2_place *out, struct img_error *err)
{
    struct target target;
    struct spot first;
    uint64_t host_off;

    if (qcow2_edit_begin_change(edit, err) ||
        qcow2_edit_check_range(edit, off, len, err) ||
        target_init(edit, off, len, &target, err) ||
        spot_get(edit, &target, off, &first, err)) {
        return -1;
    }
    *out = (struct qcow2_place){.file = qcow2_edit_data(edit)};
    host_off = first.entry.host_off;
    if (first.is_own ? place_own(edit, &target, &first, &out->len, err)
                     : place_new(edit, &target, &host_off, &out->len, err)) {
        return -1;
    }
    out->host_off = host_off + off % edit->header.cluster_len;
    return edit->options.is_content_kept
               ? 0
               : qcow2_edit_bitmaps_mark(edit, off, out->len, err);
}
