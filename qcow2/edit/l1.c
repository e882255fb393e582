/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The active L1 table: held whole, written by sectors. Room: qcow2/edit.
 * Specification: "Cluster mapping".
 */
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "edit_impl.h"

#define ENTRIES_PER_SECTOR (QCOW2_SECTOR_LEN / 8u)
#define PIECE_ENTRIES 8192u

int qcow2_edit_l1_load(struct qcow2_edit *edit, struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;
    uint64_t file_len = img_file_len(edit->file);
    uint64_t len = (uint64_t)header->l1_entries * 8;
    IMG_AUTO(img_free_ptr) uint8_t *stored = img_calloc(1, len + 8, err);

    free(edit->l1);
    edit->l1 =
        img_calloc((size_t)header->l1_entries + 1, sizeof(*edit->l1), err);
    if (!stored || !edit->l1 ||
        img_file_read_padded(edit->file, stored, len, header->l1_off, NULL,
                             err)) {
        return -1;
    }
    for (uint32_t i = 0; i < header->l1_entries; i++) {
        struct qcow2_l1_entry entry;

        edit->l1[i] = img_load_be64(stored + (size_t)i * 8);
        if (edit->l1[i] == 0) {
            continue;
        }
        if (qcow2_l1_decode(header, edit->l1[i], file_len, &entry, err)) {
            err->has_off = true;
            err->off = header->l1_off + (uint64_t)i * 8;
            return -1;
        }
        if (qcow2_edit_part_add(edit, QCOW2_PART_L2, entry.l2_off,
                                header->cluster_len, err)) {
            return -1;
        }
    }
    return 0;
}

void qcow2_edit_l1_set(struct qcow2_edit *edit, uint32_t idx, uint64_t entry)
{
    if (edit->l1_dirty_end == edit->l1_dirty_start) {
        edit->l1_dirty_start = idx;
        edit->l1_dirty_end = idx;
    }
    edit->l1[idx] = entry;
    edit->l1_dirty_start = (uint32_t)img_min(edit->l1_dirty_start, idx);
    edit->l1_dirty_end = (uint32_t)img_max(edit->l1_dirty_end, idx + 1ull);
}

/* Entries [START, END) to a table at OFF. */
static int entries_write(struct qcow2_edit *edit, const uint64_t *entries,
                         uint64_t start, uint64_t end, uint64_t off,
                         struct img_error *err)
{
    uint64_t room = img_min(end - start, PIECE_ENTRIES);
    IMG_AUTO(img_free_ptr) uint8_t *buf = img_calloc(room, 8, err);

    if (!buf) {
        return -1;
    }
    while (start < end) {
        uint64_t nr = img_min(end - start, room);

        for (uint64_t i = 0; i < nr; i++) {
            img_store_be64(buf + i * 8, entries[start + i]);
        }
        if (qcow2_edit_write(edit, QCOW2_PART_L1, buf, nr * 8, off + start * 8,
                             err)) {
            return -1;
        }
        start += nr;
    }
    return 0;
}

int qcow2_edit_l1_store(struct qcow2_edit *edit, bool *any,
                        struct img_error *err)
{
    uint64_t start = img_align_down(edit->l1_dirty_start, ENTRIES_PER_SECTOR);
    uint64_t end = img_min(img_align_up(edit->l1_dirty_end, ENTRIES_PER_SECTOR),
                           edit->header.l1_entries);

    if (edit->l1_dirty_end == edit->l1_dirty_start) {
        return 0;
    }
    *any = true;
    if (entries_write(edit, edit->l1, start, end, edit->header.l1_off, err)) {
        return -1;
    }
    edit->l1_dirty_start = 0;
    edit->l1_dirty_end = 0;
    return 0;
}

/* TABLE, of the header's number of entries, in new clusters at *OFF; with
   refcounts that are stable. */
static int table_store(struct qcow2_edit *edit, const uint64_t *table,
                       uint32_t entries, uint64_t *off, struct img_error *err)
{
    uint64_t clusters =
        img_max(img_div_up((uint64_t)entries * 8, edit->header.cluster_len), 1);

    return qcow2_edit_alloc(edit, clusters, QCOW2_PART_L1, off, err) ||
                   entries_write(edit, table, 0, entries, *off, err) ||
                   qcow2_edit_commit(edit, err)
               ? -1
               : 0;
}

/* Let the header name TABLE instead (taken over), of ENTRIES, and VIRTUAL_LEN.
   Its other fields are those after the table was stored: that may have moved
   the refcount table. */
static int table_switch(struct qcow2_edit *edit, uint64_t **table,
                        uint32_t entries, uint64_t virtual_len,
                        struct img_error *err)
{
    struct qcow2_header header;
    uint64_t off;

    if (table_store(edit, *table, entries, &off, err)) {
        return qcow2_edit_abandon(edit);
    }
    header = edit->header;
    header.l1_off = off;
    header.l1_entries = entries;
    header.virtual_len = virtual_len;
    if (qcow2_edit_header_store(edit, &header, err)) {
        return qcow2_edit_abandon(edit);
    }
    free(edit->l1);
    edit->l1 = img_steal(table);
    return 0;
}

static int check_cut(const struct qcow2_edit *edit, uint32_t entries,
                     struct img_error *err)
{
    for (uint32_t i = entries; i < edit->header.l1_entries; i++) {
        if (edit->l1[i] != 0) {
            return img_fail(err, IMG_USAGE,
                            "L1 entry %u is in use, expected it to be 0 beyond "
                            "the new end",
                            i);
        }
    }
    return 0;
}

int qcow2_edit_l1_replace(struct qcow2_edit *edit, uint32_t entries,
                          uint64_t virtual_len, struct img_error *err)
{
    struct qcow2_header old = edit->header;
    IMG_AUTO(img_free_ptr) uint64_t *table = NULL;

    if (check_cut(edit, entries, err) || qcow2_edit_commit(edit, err)) {
        return -1;
    }
    if (entries == old.l1_entries) {
        struct qcow2_header header = edit->header;

        header.virtual_len = virtual_len;
        return qcow2_edit_header_store(edit, &header, err);
    }
    table = img_calloc((size_t)entries + 1, sizeof(*table), err);
    if (!table) {
        return -1;
    }
    memcpy(table, edit->l1,
           (size_t)img_min(entries, old.l1_entries) * sizeof(*table));
    return table_switch(edit, &table, entries, virtual_len, err) ||
                   qcow2_edit_release(edit, old.l1_off,
                                      (uint64_t)old.l1_entries * 8, err) ||
                   qcow2_edit_commit(edit, err)
               ? -1
               : 0;
}

int qcow2_edit_l1_clear(struct qcow2_edit *edit, struct img_error *err)
{
    uint32_t entries = edit->header.l1_entries;
    IMG_AUTO(img_free_ptr)
    uint64_t *table = img_calloc((size_t)entries + 1, sizeof(*table), err);

    if (!table ||
        table_switch(edit, &table, entries, edit->header.virtual_len, err)) {
        return -1;
    }
    qcow2_cache_drop(&edit->l2, NULL);
    return 0;
}
