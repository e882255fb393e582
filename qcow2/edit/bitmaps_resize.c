/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bitmaps for a disk of another size (specification: "Bitmap directory",
 * "Bitmap table").
 *
 * Room: qcow2/edit. A table has exactly as many entries as the disk needs, so
 * tables, directory and virtual size have to change at once: new ones are
 * written beside the old, and the header switches. What a disk gains is clean,
 * as in QEMU; of what it loses no bit stays set.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "bitmaps.h"

/* What one bitmap must have for a size. */
struct bitmap_shape {
    uint64_t bits;
    uint64_t entries;   /* of the table */
    uint64_t last_bits; /* of the last entry's cluster that are the disk's */
};

static struct bitmap_shape shape_for(const struct qcow2_edit *edit,
                                     const struct edit_bitmap *bitmap,
                                     uint64_t virtual_len)
{
    uint64_t per_cluster = (uint64_t)edit->header.cluster_len * 8;
    struct bitmap_shape shape;

    shape.bits =
        img_div_up(virtual_len, 1ull << bitmap->entry.granularity_bits);
    shape.entries = img_max(img_div_up(shape.bits, per_cluster), 1);
    shape.last_bits = shape.bits - (shape.entries - 1) * per_cluster;
    return shape;
}

static int fail_bitmap(const struct edit_bitmap *bitmap, enum img_code code,
                       const char *why, struct img_error *err)
{
    char name[256];

    img_escape(bitmap->entry.name, bitmap->entry.name_len, name, sizeof(name));
    return img_fail(err, code, "bitmap '%s' %s", name, why);
}

static int check_bitmap(const struct qcow2_edit *edit,
                        const struct edit_bitmap *bitmap, uint64_t virtual_len,
                        struct img_error *err)
{
    struct bitmap_shape shape = shape_for(edit, bitmap, virtual_len);

    if (bitmap->entry.flags & QCOW2_BITMAP_FLAG_IN_USE) {
        return fail_bitmap(bitmap, IMG_UNSUPPORTED,
                           "is inconsistent (in use when the image was last"
                           " closed): it cannot follow another size, expected"
                           " it to be removed first (qemu-img bitmap --remove)",
                           err);
    }
    if (shape.entries > QCOW2_MAX_BITMAP_PHYSICAL_LEN >>
        edit->header.cluster_bits) {
        return fail_bitmap(bitmap, IMG_LIMIT,
                           "would be longer than 512 MiB for this size", err);
    }
    return 0;
}

int qcow2_edit_bitmaps_check_resize(struct qcow2_edit *edit,
                                    uint64_t virtual_len, struct img_error *err)
{
    struct edit_bitmaps b;
    int result = 0;

    if (qcow2_edit_bitmaps_load(edit, &b, err)) {
        return -1;
    }
    for (uint32_t i = 0; i < b.nr && result == 0; i++) {
        result = check_bitmap(edit, &b.items[i], virtual_len, err);
    }
    qcow2_edit_bitmaps_release(&b);
    return result;
}

static int add_old(struct edit_bitmaps_switch *s, uint64_t off, uint64_t len,
                   struct img_error *err)
{
    if (s->old_nr == s->old_room) {
        size_t room = s->old_room ? s->old_room * 2 : 64;
        struct edit_bitmaps_range *old =
            reallocarray(s->old, room, sizeof(*old));

        if (!old) {
            return img_fail_memory(err);
        }
        s->old = old;
        s->old_room = room;
    }
    s->old[s->old_nr++] = (struct edit_bitmaps_range){off, len};
    return 0;
}

/* Bits from NR on are cleared; were there any? */
static bool clear_tail(uint8_t *bytes, uint64_t nr, uint32_t len)
{
    uint64_t byte = nr / 8;
    bool any = false;

    if (nr % 8 != 0) {
        uint8_t mask = (uint8_t)(0xffu >> (8 - nr % 8));

        any = (bytes[byte] & ~mask) != 0;
        bytes[byte] &= mask;
        byte++;
    }
    for (; byte < len; byte++) {
        any |= bytes[byte] != 0;
        bytes[byte] = 0;
    }
    return any;
}

/*
 * Entry IDX keeps its first NR bits. *ENTRY becomes the new one; what it names
 * is as it was unless bits had to go.
 */
static int cut_cluster(struct qcow2_edit *edit, struct edit_bitmap *bitmap,
                       uint64_t idx, uint64_t nr, uint64_t *entry,
                       struct img_error *err)
{
    uint32_t len = edit->header.cluster_len;
    IMG_AUTO(img_free_ptr) uint8_t *bytes = img_calloc(1, len, err);
    uint64_t off;
    bool ones;

    if (!bytes ||
        qcow2_edit_bitmap_entry(edit, bitmap, idx, &off, &ones, err)) {
        return -1;
    }
    *entry = bitmap->table[idx];
    if (off == 0 && !ones) {
        return 0;
    }
    if (ones) {
        memset(bytes, 0xff, len);
    } else if (img_file_read_padded(edit->file, bytes, len, off, NULL, err)) {
        return -1;
    }
    if (!clear_tail(bytes, nr, len)) {
        return 0;
    }
    if (qcow2_edit_alloc(edit, 1, QCOW2_PART_BITMAP, entry, err)) {
        return -1;
    }
    return qcow2_edit_write(edit, QCOW2_PART_BITMAP, bytes, len, *entry, err);
}

/* The new table of BITMAP into TABLE, a copy with room for both sizes. */
static int plan_table(struct qcow2_edit *edit, struct edit_bitmap *bitmap,
                      uint64_t virtual_len, uint64_t *table, bool *is_changed,
                      struct img_error *err)
{
    uint64_t old_nr = bitmap->entry.table_entries;
    struct bitmap_shape shape = shape_for(edit, bitmap, virtual_len);
    struct bitmap_shape now = shape_for(edit, bitmap, edit->header.virtual_len);
    /* The last cluster that both sizes have; its bits that both have. */
    struct bitmap_shape cut = shape.bits < now.bits ? shape : now;

    memcpy(table, bitmap->table, img_min(old_nr, shape.entries) * 8);
    *is_changed = old_nr != shape.entries;
    if (cut.entries > img_min(old_nr, shape.entries)) {
        return 0;
    }
    if (cut_cluster(edit, bitmap, cut.entries - 1, cut.last_bits,
                    &table[cut.entries - 1], err)) {
        return -1;
    }
    *is_changed |= table[cut.entries - 1] != bitmap->table[cut.entries - 1];
    return 0;
}

/* What the old table has and the new one, of NR entries, has not. TABLE NULL:
   there is no new one. */
static int list_old(struct qcow2_edit *edit, struct edit_bitmap *bitmap,
                    const uint64_t *table, uint64_t nr,
                    struct edit_bitmaps_switch *s, struct img_error *err)
{
    for (uint64_t i = 0; i < bitmap->entry.table_entries; i++) {
        uint64_t off;
        bool ones;

        if (table && i < nr && table[i] == bitmap->table[i]) {
            continue;
        }
        if (qcow2_edit_bitmap_entry(edit, bitmap, i, &off, &ones, err) ||
            (off != 0 && add_old(s, off, edit->header.cluster_len, err))) {
            return -1;
        }
    }
    return add_old(s, bitmap->entry.table_off,
                   (uint64_t)bitmap->entry.table_entries * 8, err);
}

static int write_new(struct qcow2_edit *edit, enum qcow2_part part,
                     const void *bytes, uint64_t len, uint64_t *off,
                     struct img_error *err)
{
    uint64_t clusters = img_div_up(len, edit->header.cluster_len);

    return qcow2_edit_alloc(edit, clusters, part, off, err) ||
                   qcow2_edit_write(edit, part, bytes, len, *off, err)
               ? -1
               : 0;
}

static int resize_bitmap(struct qcow2_edit *edit, struct edit_bitmap *bitmap,
                         uint64_t virtual_len, struct edit_bitmaps_switch *s,
                         struct img_error *err)
{
    struct bitmap_shape shape = shape_for(edit, bitmap, virtual_len);
    uint64_t room = img_max(shape.entries, bitmap->entry.table_entries);
    uint64_t table_len =
        img_align_up(shape.entries * 8, edit->header.cluster_len);
    IMG_AUTO(img_free_ptr) uint64_t *table = img_calloc(room, 8, err);
    IMG_AUTO(img_free_ptr) uint8_t *bytes = NULL;
    bool is_changed;

    if (!table || qcow2_edit_bitmap_load_table(edit, bitmap, err) ||
        plan_table(edit, bitmap, virtual_len, table, &is_changed, err)) {
        return -1;
    }
    if (!is_changed) {
        return 0;
    }
    s->is_needed = true;
    bytes = qcow2_edit_table_encode(table, shape.entries, table_len, err);
    if (!bytes || list_old(edit, bitmap, table, shape.entries, s, err) ||
        write_new(edit, QCOW2_PART_BITMAP_TABLE, bytes, table_len,
                  &bitmap->entry.table_off, err)) {
        return -1;
    }
    bitmap->entry.table_entries = (uint32_t)shape.entries;
    return 0;
}

static int write_directory(struct qcow2_edit *edit, struct edit_bitmaps *b,
                           struct edit_bitmaps_switch *s, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *bytes = img_calloc(1, b->len, err);

    if (!bytes) {
        return -1;
    }
    for (uint32_t i = 0; i < b->nr; i++) {
        qcow2_bitmap_encode(&b->items[i].entry, bytes + b->items[i].entry_pos);
    }
    s->directory_len = b->len;
    return add_old(s, b->off, b->len, err) ||
                   write_new(edit, QCOW2_PART_BITMAP_DIRECTORY, bytes, b->len,
                             &s->directory_off, err)
               ? -1
               : 0;
}

int qcow2_edit_bitmaps_resize(struct qcow2_edit *edit, uint64_t virtual_len,
                              struct edit_bitmaps_switch *out,
                              struct img_error *err)
{
    struct edit_bitmaps b;
    int result = 0;

    *out = (struct edit_bitmaps_switch){0};
    if (qcow2_edit_bitmaps_load(edit, &b, err)) {
        return -1;
    }
    for (uint32_t i = 0; i < b.nr && result == 0; i++) {
        result = resize_bitmap(edit, &b.items[i], virtual_len, out, err);
    }
    if (result == 0 && out->is_needed) {
        result = write_directory(edit, &b, out, err);
    }
    qcow2_edit_bitmaps_release(&b);
    return result;
}

int qcow2_edit_bitmaps_list_all(struct qcow2_edit *edit,
                                struct edit_bitmaps_switch *out,
                                struct img_error *err)
{
    struct edit_bitmaps b;
    int result = 0;

    *out = (struct edit_bitmaps_switch){0};
    if (qcow2_edit_bitmaps_load(edit, &b, err)) {
        return -1;
    }
    for (uint32_t i = 0; i < b.nr && result == 0; i++) {
        result = qcow2_edit_bitmap_load_table(edit, &b.items[i], err) ||
                         list_old(edit, &b.items[i], NULL, 0, out, err)
                     ? -1
                     : 0;
    }
    if (result == 0 && b.nr > 0) {
        result = add_old(out, b.off, b.len, err);
    }
    qcow2_edit_bitmaps_release(&b);
    return result;
}

int qcow2_edit_bitmaps_drop_old(struct qcow2_edit *edit,
                                const struct edit_bitmaps_switch *done,
                                struct img_error *err)
{
    for (size_t i = 0; i < done->old_nr; i++) {
        if (qcow2_edit_release(edit, done->old[i].off, done->old[i].len, err)) {
            return -1;
        }
    }
    return 0;
}

void qcow2_edit_bitmaps_switch_fini(struct edit_bitmaps_switch *done)
{
    free(done->old);
    *done = (struct edit_bitmaps_switch){0};
}
