/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L2 tables and their entries. Room: qcow2/edit.
 *
 * A table that a snapshot shares is copied before it is changed: the copy is
 * new until a commit has made it stable and pointed the L1 entry to it. The
 * refcounts of what it refers to stay: they count the ways that lead to a
 * cluster, and there are as many as before.
 * Specification: "Cluster mapping", "Extended L2 Entries".
 */
#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "edit_impl.h"

static uint64_t l2_off_of(const struct qcow2_edit *edit, uint32_t idx)
{
    return edit->l1[idx] & QCOW2_ENTRY_OFFSET_MASK;
}

int qcow2_edit_l2_get(struct qcow2_edit *edit, uint32_t idx,
                      struct qcow2_table **out, struct img_error *err)
{
    *out = NULL;
    if (l2_off_of(edit, idx) == 0) {
        return 0;
    }
    *out = qcow2_cache_find(&edit->l2, idx);
    if (*out) {
        return 0;
    }
    struct qcow2_table *table = qcow2_cache_add(&edit->l2, idx, err);
    if (!table) {
        return -1;
    }
    table->off = l2_off_of(edit, idx);
    if (img_file_read_padded(edit->file, table->bytes, edit->header.cluster_len,
                             table->off, NULL, err)) {
        qcow2_cache_drop(&edit->l2, table);
        return -1;
    }
    *out = table;
    return 0;
}

int qcow2_edit_l2_is_private(struct qcow2_edit *edit, uint32_t idx, bool *out,
                             struct img_error *err)
{
    uint64_t off = l2_off_of(edit, idx);
    uint64_t count;

    if (qcow2_edit_refcount_get(edit, qcow2_edit_cluster_of(edit, off), &count,
                                err)) {
        return -1;
    }
    if (count == 0) {
        img_fail_at(err, IMG_CORRUPT, off,
                    "refcount: found 0 for an L2 table, expected at least 1");
        return qcow2_edit_mark_corrupt(edit, err);
    }
    *out = count == 1 && (edit->l1[idx] & QCOW2_ENTRY_COPIED);
    return 0;
}

/* A new cluster for TABLE, held under IDX, with what it holds now. */
static int table_move(struct qcow2_edit *edit, uint32_t idx,
                      struct qcow2_table *table, struct img_error *err)
{
    uint64_t off;

    if (qcow2_edit_alloc(edit, 1, QCOW2_PART_L2, &off, err)) {
        return -1;
    }
    table->off = off;
    qcow2_cache_set_new(&edit->l2, table);
    qcow2_edit_l1_set(edit, idx, off | QCOW2_ENTRY_COPIED);
    return 0;
}

int qcow2_edit_l2_own(struct qcow2_edit *edit, uint32_t idx,
                      struct qcow2_table **out, struct img_error *err)
{
    uint32_t cluster_len = edit->header.cluster_len;
    uint64_t old_off = l2_off_of(edit, idx);
    bool is_private = false;

    if (qcow2_edit_l2_get(edit, idx, out, err)) {
        return -1;
    }
    if (!*out) {
        *out = qcow2_cache_add(&edit->l2, idx, err);
        return *out ? table_move(edit, idx, *out, err) : -1;
    }
    if (qcow2_edit_l2_is_private(edit, idx, &is_private, err)) {
        return -1;
    }
    if (is_private) {
        return 0;
    }
    return table_move(edit, idx, *out, err) ||
                   qcow2_edit_release(edit, old_off, cluster_len, err)
               ? -1
               : 0;
}

/*
 * How far entries may point. New clusters may lie beyond the end of the file
 * until their data is written, all of them before the hint.
 */
static uint64_t host_limit(const struct qcow2_edit *edit)
{
    uint64_t len = img_file_len(qcow2_edit_data(edit));

    return edit->data_file
               ? img_max(len, edit->header.virtual_len)
               : img_max(len, edit->hint << edit->header.cluster_bits);
}

int qcow2_edit_entry_get(struct qcow2_edit *edit,
                         const struct qcow2_table *table, uint32_t i,
                         struct qcow2_l2_entry *out, struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    const uint8_t *at = table->bytes + (size_t)i * header->l2_entry_len;
    uint64_t guest_off =
        table->key * header->l2_covers_len + (uint64_t)i * header->cluster_len;
    uint64_t bitmap = header->has_extended_l2 ? img_load_be64(at + 8) : 0;

    if (qcow2_l2_decode(header, img_load_be64(at), bitmap, guest_off,
                        host_limit(edit), out, err)) {
        err->has_off = true;
        err->off = table->off + (uint64_t)i * header->l2_entry_len;
        img_error_set_path(err, img_file_path(edit->file));
        return -1;
    }
    return 0;
}

void qcow2_edit_entry_set(struct qcow2_edit *edit, struct qcow2_table *table,
                          uint32_t i, const struct qcow2_l2_entry *entry)
{
    const struct qcow2_header *header = &edit->header;
    uint32_t start = i * header->l2_entry_len;
    uint64_t bitmap;
    uint64_t value = qcow2_l2_encode(header, entry, &bitmap);

    img_store_be64(table->bytes + start, value);
    if (header->has_extended_l2) {
        img_store_be64(table->bytes + start + 8, bitmap);
    }
    qcow2_cache_touch(&edit->l2, table, start, start + header->l2_entry_len);
}

int qcow2_edit_entry_is_own(struct qcow2_edit *edit,
                            const struct qcow2_l2_entry *entry,
                            bool table_is_private, bool *out,
                            struct img_error *err)
{
    uint64_t count;

    *out = entry->has_host && entry->kind != QCOW2_CLUSTER_COMPRESSED;
    if (!*out || edit->data_file) {
        return 0;
    }
    if (!table_is_private || !entry->is_copied) {
        *out = false;
        return 0;
    }
    if (qcow2_edit_refcount_get(
            edit, qcow2_edit_cluster_of(edit, entry->host_off), &count, err)) {
        return -1;
    }
    if (count == 0) {
        img_fail_at(err, IMG_CORRUPT, entry->host_off,
                    "refcount: found 0 for a data cluster, expected at least "
                    "1");
        return qcow2_edit_mark_corrupt(edit, err);
    }
    *out = count == 1;
    return *out ? qcow2_edit_check_guest(edit, entry->host_off,
                                         edit->header.cluster_len, err)
                : 0;
}

void qcow2_edit_entry_settle(struct qcow2_l2_entry *entry)
{
    if (entry->alloc == UINT32_MAX) {
        entry->kind = QCOW2_CLUSTER_DATA;
    } else if (entry->zero == UINT32_MAX) {
        entry->kind = QCOW2_CLUSTER_ZERO;
    } else if ((entry->alloc | entry->zero) == 0) {
        entry->kind = QCOW2_CLUSTER_UNALLOCATED;
    } else {
        entry->kind = QCOW2_CLUSTER_MIXED;
    }
}

uint32_t qcow2_edit_subclusters(const struct qcow2_edit *edit, uint64_t start,
                                uint64_t end)
{
    uint64_t len = edit->header.subcluster_len;
    uint64_t first = start / len;
    uint64_t nr = img_div_up(end, len) - first;

    if (!edit->header.has_extended_l2) {
        return UINT32_MAX;
    }
    return (uint32_t)((1ull << nr) - 1) << first;
}

int qcow2_edit_entry_release(struct qcow2_edit *edit,
                             const struct qcow2_l2_entry *entry,
                             struct img_error *err)
{
    uint64_t off = entry->host_off;
    uint64_t len = edit->header.cluster_len;

    if (!entry->has_host || edit->data_file) {
        return 0;
    }
    /* Compressed data counts as whole sectors, as it is written. */
    if (entry->kind == QCOW2_CLUSTER_COMPRESSED) {
        off = img_align_down(entry->host_off, QCOW2_SECTOR_LEN);
        len = entry->host_len + entry->host_off % QCOW2_SECTOR_LEN;
    }
    return qcow2_edit_check_guest(edit, off, len, err) ||
                   qcow2_edit_release(edit, off, len, err)
               ? -1
               : 0;
}

static int table_write(struct qcow2_edit *edit, struct qcow2_table *table,
                       struct img_error *err)
{
    uint32_t start = 0;
    uint32_t end = edit->header.cluster_len;

    if (!table->is_new) {
        start = (uint32_t)img_align_down(table->dirty_start, QCOW2_SECTOR_LEN);
        end = (uint32_t)img_align_up(table->dirty_end, QCOW2_SECTOR_LEN);
    }
    if (qcow2_edit_write(edit, QCOW2_PART_L2, table->bytes + start, end - start,
                         table->off + start, err)) {
        return -1;
    }
    qcow2_cache_clean(&edit->l2, table);
    return 0;
}

int qcow2_edit_l2_store(struct qcow2_edit *edit, bool new_ones, bool *any,
                        struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct qcow2_table **dirty = NULL;
    size_t nr;

    if (qcow2_cache_dirty(&edit->l2, &dirty, &nr, err)) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        if (dirty[i]->is_new != new_ones) {
            continue;
        }
        *any = true;
        if (table_write(edit, dirty[i], err)) {
            return -1;
        }
    }
    return 0;
}
