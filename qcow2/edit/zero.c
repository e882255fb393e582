/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ranges that become zeros, or the image's no more. Room: qcow2/edit.
 *
 * Tables are only made or copied where an entry changes. What is given up is
 * released by the next commit.
 * Specification: "Cluster mapping", "Extended L2 Entries".
 */
#include <inttypes.h>

#include <img/checked.h>

#include "edit_impl.h"

/* What is to become of a range. */
struct change {
    bool is_zero; /* else: to be the image's no more */
    bool keep;    /* clusters keep their places */
};

int qcow2_edit_check_range(const struct qcow2_edit *edit, uint64_t off,
                           uint64_t len, struct img_error *err)
{
    if (len > 0 && img_range_fits(off, len, edit->virtual_len)) {
        return 0;
    }
    return img_fail(err, IMG_USAGE,
                    "found %" PRIu64 " guest bytes from %" PRIu64
                    " on, expected a range of the disk's %" PRIu64 " bytes",
                    len, off, edit->virtual_len);
}

static int check_granules(const struct qcow2_edit *edit, uint64_t off,
                          uint64_t len, struct img_error *err)
{
    uint32_t granule = edit->header.subcluster_len;

    if (off % granule == 0 &&
        (len % granule == 0 || off + len == edit->virtual_len)) {
        return 0;
    }
    return img_fail(err, IMG_USAGE,
                    "found guest bytes %" PRIu64 " to %" PRIu64
                    ", expected multiples of %" PRIu32,
                    off, off + len, granule);
}

/* What an entry of which only the subclusters of MASK change becomes. */
static void entry_change_part(struct qcow2_l2_entry *entry, uint32_t mask,
                              const struct change *change)
{
    entry->alloc &= ~mask;
    entry->zero = change->is_zero ? entry->zero | mask : entry->zero & ~mask;
    qcow2_edit_entry_settle(entry);
    if (entry->kind == QCOW2_CLUSTER_UNALLOCATED) {
        *entry = (struct qcow2_l2_entry){.kind = QCOW2_CLUSTER_UNALLOCATED};
    }
}

static void entry_change(const struct qcow2_edit *edit,
                         struct qcow2_l2_entry *entry,
                         const struct change *change)
{
    bool keep = change->is_zero && change->keep &&
                entry->kind != QCOW2_CLUSTER_COMPRESSED;

    if (!keep) {
        *entry = (struct qcow2_l2_entry){0};
    }
    entry->kind =
        change->is_zero ? QCOW2_CLUSTER_ZERO : QCOW2_CLUSTER_UNALLOCATED;
    entry->alloc = 0;
    entry->zero =
        change->is_zero && edit->header.has_extended_l2 ? UINT32_MAX : 0;
}

/* The entry of GUEST_OFF's cluster, of which bytes up to END are concerned. */
static int cluster_change(struct qcow2_edit *edit, struct qcow2_table **table,
                          uint64_t guest_off, uint64_t end,
                          const struct change *change, struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    uint64_t start = guest_off % header->cluster_len;
    uint64_t stop = start + (end - guest_off);
    uint32_t i =
        (uint32_t)((guest_off % header->l2_covers_len) >> header->cluster_bits);
    struct qcow2_l2_entry old;

    if (qcow2_edit_entry_get(edit, *table, i, &old, err)) {
        return -1;
    }
    struct qcow2_l2_entry entry = old;
    if (start == 0 &&
        (stop == header->cluster_len || end == edit->virtual_len)) {
        entry_change(edit, &entry, change);
    } else if (old.kind == QCOW2_CLUSTER_COMPRESSED) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "a part of a compressed cluster cannot be given up");
    } else {
        entry_change_part(&entry, qcow2_edit_subclusters(edit, start, stop),
                          change);
    }
    if (entry.kind == old.kind && entry.has_host == old.has_host &&
        entry.alloc == old.alloc && entry.zero == old.zero) {
        return 0;
    }
    if (qcow2_edit_l2_own(edit, (uint32_t)(*table)->key, table, err) ||
        (!entry.has_host && qcow2_edit_entry_release(edit, &old, err))) {
        return qcow2_edit_abandon(edit);
    }
    qcow2_edit_entry_set(edit, *table, i, &entry);
    return 0;
}

/* Where there is no table, nothing is the image's; does that do? */
static bool is_absent_enough(const struct qcow2_edit *edit,
                             const struct change *change)
{
    return !change->is_zero ||
           (!edit->extensions.backing_name && !edit->options.is_content_kept);
}

/* [OFF, END), which one L2 table maps. */
static int table_change(struct qcow2_edit *edit, uint64_t off, uint64_t end,
                        const struct change *change, struct img_error *err)
{
    uint32_t cluster_len = edit->header.cluster_len;
    uint32_t l1_idx = (uint32_t)(off / edit->header.l2_covers_len);
    struct qcow2_table *table;

    if (qcow2_edit_l2_get(edit, l1_idx, &table, err)) {
        return -1;
    }
    if (!table && is_absent_enough(edit, change)) {
        return 0;
    }
    if (!table && qcow2_edit_l2_own(edit, l1_idx, &table, err)) {
        return -1;
    }
    while (off < end) {
        uint64_t stop =
            img_min(img_align_down(off, cluster_len) + cluster_len, end);

        if (cluster_change(edit, &table, off, stop, change, err)) {
            return -1;
        }
        off = stop;
    }
    return 0;
}

static int range_change(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                        const struct change *change, struct img_error *err)
{
    uint64_t covers = edit->header.l2_covers_len;
    uint64_t end = off + len;

    if (qcow2_edit_check_range(edit, off, len, err) ||
        check_granules(edit, off, len, err) ||
        qcow2_edit_begin_change(edit, err)) {
        return -1;
    }
    if (!edit->options.is_content_kept &&
        qcow2_edit_bitmaps_mark(edit, off, len, err)) {
        return -1;
    }
    /* A raw data file shows the same contents without the tables. */
    if (edit->header.is_data_file_raw &&
        img_file_zero(edit->data_file, off, len,
                      change->keep ? IMG_ZERO_KEEP : IMG_ZERO_UNMAP, err)) {
        return qcow2_edit_abandon(edit);
    }
    while (off < end) {
        uint64_t stop = img_min(img_align_down(off, covers) + covers, end);

        if (table_change(edit, off, stop, change, err)) {
            return -1;
        }
        off = stop;
    }
    return 0;
}

int qcow2_edit_zero(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                    bool keep, struct img_error *err)
{
    struct change change = {.is_zero = true, .keep = keep};

    if (edit->header.version < 3) {
        if (edit->extensions.backing_name || edit->options.is_content_kept) {
            return img_fail(err, IMG_UNSUPPORTED,
                            "version 2 has no clusters that read as zeros over "
                            "a backing file");
        }
        change.is_zero = false;
    }
    return range_change(edit, off, len, &change, err);
}

int qcow2_edit_discard(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                       struct img_error *err)
{
    struct change change = {0};

    return range_change(edit, off, len, &change, err);
}
