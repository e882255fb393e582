/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bitmap directory and bitmap tables, to be changed (specification:
 * "Bitmaps extension", "Bitmap directory", "Bitmap table").
 *
 * Room: qcow2/edit. Limits were checked when the image was opened, and are
 * again here: memory is taken for no more than the file has.
 */
#include "bitmaps.h"

#include <inttypes.h>
#include <stdlib.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define ALL_ONES 1ull

bool qcow2_edit_has_bitmaps(const struct qcow2_edit *edit)
{
    return edit->extensions.has_bitmaps &&
           (edit->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS) != 0;
}

static int load_directory(struct qcow2_edit *edit, struct edit_bitmaps *b,
                          struct img_error *err)
{
    const struct qcow2_extensions *x = &edit->extensions;

    b->off = x->bitmap_directory_off;
    b->len = x->bitmap_directory_len;
    if (x->bitmaps_nr > QCOW2_MAX_BITMAPS ||
        b->len > QCOW2_MAX_BITMAP_DIRECTORY_LEN ||
        !img_range_fits(b->off, b->len, img_file_len(edit->file))) {
        return img_fail(err, IMG_CORRUPT,
                        "bitmaps extension: found a directory of %" PRIu64
                        " bytes at %" PRIu64 ", expected it inside the file",
                        b->len, b->off);
    }
    b->directory = img_calloc(1, b->len, err);
    b->items = img_calloc(x->bitmaps_nr, sizeof(*b->items), err);
    if (!b->directory || !b->items) {
        return -1;
    }
    return img_file_read(edit->file, b->directory, b->len, b->off, err);
}

static int decode_directory(struct qcow2_edit *edit, struct edit_bitmaps *b,
                            struct img_error *err)
{
    uint64_t pos = 0;

    for (uint32_t i = 0; i < edit->extensions.bitmaps_nr; i++) {
        struct edit_bitmap *item = &b->items[i];

        if (qcow2_bitmap_decode(&edit->header, b->directory + pos,
                                (size_t)(b->len - pos), b->off + pos,
                                img_file_len(edit->file), &item->entry, err)) {
            return -1;
        }
        item->entry_pos = pos;
        pos += item->entry.entry_len;
        b->nr = i + 1;
    }
    if (pos != b->len) {
        return img_fail_at(err, IMG_CORRUPT, b->off,
                           "bitmap directory: found %" PRIu64
                           " bytes of entries, expected %" PRIu64,
                           pos, b->len);
    }
    return 0;
}

int qcow2_edit_bitmaps_load(struct qcow2_edit *edit, struct edit_bitmaps *out,
                            struct img_error *err)
{
    *out = (struct edit_bitmaps){0};
    if (!qcow2_edit_has_bitmaps(edit)) {
        return 0;
    }
    if (load_directory(edit, out, err) || decode_directory(edit, out, err)) {
        qcow2_edit_bitmaps_release(out);
        return -1;
    }
    return 0;
}

void qcow2_edit_bitmaps_release(struct edit_bitmaps *b)
{
    for (uint32_t i = 0; i < b->nr; i++) {
        free(b->items[i].table);
    }
    free(b->items);
    free(b->directory);
    *b = (struct edit_bitmaps){0};
}

int qcow2_edit_bitmap_load_table(struct qcow2_edit *edit,
                                 struct edit_bitmap *bitmap,
                                 struct img_error *err)
{
    uint32_t nr = bitmap->entry.table_entries;
    IMG_AUTO(img_free_ptr) uint8_t *bytes = NULL;

    if (bitmap->table) {
        return 0;
    }
    bytes = img_calloc(nr, 8, err);
    bitmap->table = img_calloc(nr, sizeof(*bitmap->table), err);
    if (!bytes || !bitmap->table ||
        img_file_read_padded(edit->file, bytes, (size_t)nr * 8,
                             bitmap->entry.table_off, NULL, err)) {
        free(bitmap->table);
        bitmap->table = NULL;
        return -1;
    }
    for (uint32_t i = 0; i < nr; i++) {
        bitmap->table[i] = img_load_be64(bytes + (size_t)i * 8);
    }
    return 0;
}

uint8_t *qcow2_edit_table_encode(const uint64_t *table, uint64_t nr,
                                 uint64_t room, struct img_error *err)
{
    uint8_t *bytes = img_calloc(1, room, err);

    if (bytes) {
        for (uint64_t i = 0; i < nr; i++) {
            img_store_be64(bytes + i * 8, table[i]);
        }
    }
    return bytes;
}

int qcow2_edit_bitmap_store_table(struct qcow2_edit *edit,
                                  struct edit_bitmap *bitmap,
                                  struct img_error *err)
{
    uint64_t nr = bitmap->entry.table_entries;
    IMG_AUTO(img_free_ptr)
    uint8_t *bytes = qcow2_edit_table_encode(bitmap->table, nr, nr * 8, err);

    if (!bytes || qcow2_edit_write(edit, QCOW2_PART_BITMAP_TABLE, bytes, nr * 8,
                                   bitmap->entry.table_off, err)) {
        return -1;
    }
    bitmap->is_table_dirty = false;
    return 0;
}

int qcow2_edit_bitmap_entry(struct qcow2_edit *edit,
                            const struct edit_bitmap *bitmap, uint64_t idx,
                            uint64_t *off, bool *ones, struct img_error *err)
{
    uint64_t entry = bitmap->table[idx];

    if (qcow2_bitmap_entry_decode(&edit->header, entry,
                                  img_file_len(edit->file), off, err)) {
        err->has_off = true;
        err->off = bitmap->entry.table_off + idx * 8;
        return -1;
    }
    *ones = *off == 0 && (entry & ALL_ONES) != 0;
    return *off == 0 ? 0
                     : qcow2_edit_part_add(edit, QCOW2_PART_BITMAP, *off,
                                           edit->header.cluster_len, err);
}
