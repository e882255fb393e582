/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent bitmaps. Room: qcow2/repair.
 *
 * A piece that is lost says from now on that everything changed: a backup
 * copies too much then, never too little. Where the directory or a table is no
 * good all bitmaps are given up, by the bit that vouches for them.
 * Specification: "Bitmaps".
 */
#include "repair_impl.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

/* Bits 1 to 8 and 56 to 63 of a table's entry. */
#define RESERVED 0xff000000000001feull
#define ALL_ONES 1ull

static int drop_all(struct qcow2_repair *r, const char *why)
{
    struct qcow2_repair_told told = {
        .kind = QCOW2_REPAIR_BITMAP,
        .off = qcow2_image_extensions(r->image)->bitmap_directory_off,
        .is_lost = true,
    };

    qcow2_repair_tell(r, &told, "the bitmaps are given up: %s", why);
    r->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
    return 0;
}

/* Is ENTRY one whose piece can stay? *off: where it is, 0 for nowhere. */
static bool is_good(const struct qcow2_repair *r, uint64_t entry, uint64_t *off)
{
    uint32_t cluster_len = r->header.cluster_len;
    uint64_t cluster;

    *off = entry & QCOW2_ENTRY_OFFSET_MASK;
    cluster = *off >> r->header.cluster_bits;
    if ((entry & RESERVED) ||
        (*off != 0 && ((entry & ALL_ONES) || (*off & (cluster_len - 1u)) ||
                       *off >= r->old_len))) {
        return false;
    }
    return !r->fixes || *off == 0 ||
           (!qcow2_runs_find(&r->exclusive, cluster) &&
            !qcow2_l2_refs_find(&r->tables, cluster) &&
            qcow2_refs_get(&r->refs, cluster) < r->refcount_max);
}

static int entry_see(struct qcow2_repair *r,
                     const struct qcow2_bitmap_info *bitmap, uint64_t entry_off,
                     uint8_t *p, struct img_error *err)
{
    uint64_t entry = img_load_be64(p);
    uint64_t off;
    char name[256];

    if (entry == 0) {
        return 0;
    }
    if (is_good(r, entry, &off)) {
        return off == 0
                   ? 0
                   : qcow2_repair_refer(r, off, r->header.cluster_len, 1, err);
    }
    if (r->fixes) {
        img_store_be64(p, ALL_ONES);
        img_escape(bitmap->name, strlen(bitmap->name), name, sizeof(name));
        qcow2_repair_tell(r,
                          &(struct qcow2_repair_told){
                              .kind = QCOW2_REPAIR_BITMAP,
                              .off = entry_off,
                              .is_lost = true,
                          },
                          "a piece of bitmap '%s' was lost (entry "
                          "0x%016llx): it says now that all of it changed",
                          name, (unsigned long long)entry);
    }
    return 0;
}

static int table_see(struct qcow2_repair *r,
                     const struct qcow2_bitmap_info *bitmap,
                     struct img_error *err)
{
    for (uint32_t base = 0; base < bitmap->table_entries;) {
        uint32_t nr =
            (uint32_t)img_min(bitmap->table_entries - base, QCOW2_REPAIR_PIECE);
        uint64_t off = bitmap->table_off + (uint64_t)base * 8;
        size_t len = (size_t)nr * 8;

        if (qcow2_repair_is_wanted(r, err) ||
            img_file_read_padded(r->staged, r->words, len, off, NULL, err)) {
            return -1;
        }
        memcpy(r->words_was, r->words, len);
        for (uint32_t i = 0; i < nr; i++) {
            if (entry_see(r, bitmap, off + (uint64_t)i * 8,
                          r->words + (size_t)i * 8, err)) {
                return -1;
            }
        }
        if (qcow2_repair_stage(r, r->words_was, r->words, len, off, err)) {
            return -1;
        }
        base += nr;
    }
    return 0;
}

/* Count [OFF, OFF + LEN), unless something lies there. */
static int table_mark(struct qcow2_repair *r, uint64_t off, uint64_t len,
                      bool *is_free, struct img_error *err)
{
    *is_free = !r->fixes || (off + len < r->old_len + r->header.cluster_len &&
                             !qcow2_repair_is_used(r, off, len));
    return *is_free ? qcow2_repair_refer(r, off, len, 1, err) : 0;
}

/* Count the directory and all tables; *is_whole false: none of them, since
   one has no place of its own. */
static int tables_mark(struct qcow2_repair *r,
                       const struct qcow2_bitmap_info *bitmaps, size_t nr,
                       bool *is_whole, struct img_error *err)
{
    const struct qcow2_extensions *ext = qcow2_image_extensions(r->image);
    size_t marked = 0;

    if (table_mark(r, ext->bitmap_directory_off, ext->bitmap_directory_len,
                   is_whole, err)) {
        return -1;
    }
    if (!*is_whole) {
        return 0;
    }
    for (; *is_whole && marked < nr; marked += *is_whole) {
        if (table_mark(r, bitmaps[marked].table_off,
                       (uint64_t)bitmaps[marked].table_entries * 8, is_whole,
                       err)) {
            return -1;
        }
    }
    if (*is_whole) {
        return 0;
    }
    for (size_t i = 0; i < marked; i++) {
        if (qcow2_repair_refer(r, bitmaps[i].table_off,
                               (uint64_t)bitmaps[i].table_entries * 8, -1,
                               err)) {
            return -1;
        }
    }
    return qcow2_repair_refer(r, ext->bitmap_directory_off,
                              ext->bitmap_directory_len, -1, err);
}

int qcow2_repair_bitmaps(struct qcow2_repair *r, struct img_error *err)
{
    const struct qcow2_bitmap_info *bitmaps;
    uint64_t total = 0;
    bool is_whole = true;
    size_t nr;

    if (!(r->autoclear & QCOW2_AUTOCLEAR_BITMAPS) ||
        !qcow2_image_extensions(r->image)->has_bitmaps) {
        return 0;
    }
    if (qcow2_image_bitmaps(r->image, &bitmaps, &nr, err)) {
        return r->fixes && err->code == IMG_CORRUPT ? drop_all(r, err->text)
                                                    : -1;
    }
    for (size_t i = 0; i < nr; i++) {
        total += (uint64_t)bitmaps[i].table_entries * 8;
    }
    if (total > r->old_len) {
        return r->fixes ? drop_all(r, "their tables overlap")
                        : img_fail(err, IMG_LIMIT, "bitmap tables overlap");
    }
    if (tables_mark(r, bitmaps, nr, &is_whole, err)) {
        return -1;
    }
    if (!is_whole) {
        return drop_all(r, "something else lies in one of their tables");
    }
    for (size_t i = 0; i < nr; i++) {
        if (table_see(r, &bitmaps[i], err)) {
            return -1;
        }
    }
    return 0;
}
