/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Enabled bitmaps follow what is written (specification: "Bitmap directory",
 * flags in_use and auto).
 *
 * Room: qcow2/edit. As in QEMU a bitmap is marked as in use, and that is
 * stable, before the first guest byte can change; the mark goes when bits and
 * data are stable. A crash between leaves a bitmap that every reader takes for
 * inconsistent. Bits are gathered as guest ranges and set by the next commit;
 * too many are harmless.
 */
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#include "bitmaps.h"

/* Of flags in a directory entry. */
#define OFF_FLAGS 12u
/* More separate ranges than that are made fewer, and wider. */
#define MAX_RANGES 16384u

struct mark_range {
    uint64_t start, end; /* guest bytes */
};

struct qcow2_edit_marks {
    struct edit_bitmaps bitmaps; /* loaded with the first mark of a commit */
    bool is_in_use;              /* the file says so, stable */
    struct mark_range *ranges;   /* MAX_RANGES of them */
    size_t ranges_nr;
    uint64_t unit_len; /* ranges begin and end at multiples of it */
};

/* An enabled bitmap that is not inconsistent already. */
static bool is_enabled(const struct edit_bitmap *bitmap)
{
    return (bitmap->entry.flags & QCOW2_BITMAP_FLAG_AUTO) != 0 &&
           (bitmap->entry.flags & QCOW2_BITMAP_FLAG_IN_USE) == 0;
}

/* Set or clear the in_use flag of the enabled ones. */
static int store_flags(struct qcow2_edit *edit, struct edit_bitmaps *b,
                       uint32_t in_use, struct img_error *err)
{
    for (uint32_t i = 0; i < b->nr; i++) {
        if (is_enabled(&b->items[i])) {
            img_store_be32(b->directory + b->items[i].entry_pos + OFF_FLAGS,
                           b->items[i].entry.flags | in_use);
        }
    }
    if (qcow2_edit_write(edit, QCOW2_PART_BITMAP_DIRECTORY, b->directory,
                         b->len, b->off, err)) {
        return -1;
    }
    return qcow2_edit_flush(edit, err);
}

static bool has_enabled(const struct edit_bitmaps *b)
{
    for (uint32_t i = 0; i < b->nr; i++) {
        if (is_enabled(&b->items[i])) {
            return true;
        }
    }
    return false;
}

static int marks_new(struct qcow2_edit *edit, struct img_error *err)
{
    struct qcow2_edit_marks *marks = img_calloc(1, sizeof(*marks), err);

    if (!marks) {
        return -1;
    }
    marks->unit_len = QCOW2_SECTOR_LEN;
    marks->ranges = img_calloc(MAX_RANGES, sizeof(*marks->ranges), err);
    if (!marks->ranges) {
        free(marks);
        return -1;
    }
    edit->marks = marks;
    return 0;
}

/* The first mark of a commit: from now on the bitmaps are in use. */
static int marks_begin(struct qcow2_edit *edit, struct img_error *err)
{
    struct qcow2_edit_marks *marks = edit->marks;

    if (qcow2_edit_begin_change(edit, err) ||
        qcow2_edit_bitmaps_load(edit, &marks->bitmaps, err)) {
        return -1;
    }
    if (has_enabled(&marks->bitmaps) &&
        store_flags(edit, &marks->bitmaps, QCOW2_BITMAP_FLAG_IN_USE, err)) {
        return qcow2_edit_abandon(edit);
    }
    marks->is_in_use = true;
    return 0;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct mark_range *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

/* Sort, and let those that touch be one. */
static void merge_ranges(struct qcow2_edit_marks *marks)
{
    struct mark_range *r = marks->ranges;
    size_t nr = 0;

    qsort(r, marks->ranges_nr, sizeof(*r), compare_ranges);
    for (size_t i = 0; i < marks->ranges_nr; i++) {
        if (nr > 0 && r[i].start <= r[nr - 1].end) {
            r[nr - 1].end = img_max(r[nr - 1].end, r[i].end);
        } else {
            r[nr++] = r[i];
        }
    }
    marks->ranges_nr = nr;
}

/* Make room: coarser and coarser, until half of the array is free. */
static void thin_ranges(struct qcow2_edit_marks *marks)
{
    merge_ranges(marks);
    while (marks->ranges_nr > MAX_RANGES / 2) {
        marks->unit_len *= 2;
        for (size_t i = 0; i < marks->ranges_nr; i++) {
            struct mark_range *r = &marks->ranges[i];

            r->start = img_align_down(r->start, marks->unit_len);
            r->end = img_align_up(r->end, marks->unit_len);
        }
        merge_ranges(marks);
    }
}

int qcow2_edit_bitmaps_mark(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                            struct img_error *err)
{
    struct qcow2_edit_marks *marks = edit->marks;

    if (len == 0 || !qcow2_edit_has_bitmaps(edit)) {
        return 0;
    }
    if (!marks) {
        if (marks_new(edit, err)) {
            return -1;
        }
        marks = edit->marks;
    }
    if (!marks->is_in_use && marks_begin(edit, err)) {
        return -1;
    }
    if (marks->ranges_nr > 0) {
        struct mark_range *last = &marks->ranges[marks->ranges_nr - 1];

        if (off >= last->start && off <= last->end) {
            last->end = img_max(last->end, off + len);
            return 0;
        }
    }
    if (marks->ranges_nr == MAX_RANGES) {
        thin_ranges(marks);
    }
    marks->ranges[marks->ranges_nr++] = (struct mark_range){off, off + len};
    return 0;
}

/* Bits [FIRST, LAST] of BYTES become ones; *changed: some were not. */
static void set_bits(uint8_t *bytes, uint64_t first, uint64_t last,
                     bool *changed)
{
    uint64_t i = first;

    while (i <= last) {
        uint8_t mask = (uint8_t)(0xffu << (i % 8));
        uint64_t byte = i / 8;

        if (last / 8 == byte) {
            mask &= (uint8_t)(0xffu >> (7 - last % 8));
        }
        if ((bytes[byte] & mask) != mask) {
            bytes[byte] |= mask;
            *changed = true;
        }
        i = (byte + 1) * 8;
    }
}

/* The cluster of a bitmap that bits are set in. */
struct bitmap_window {
    struct qcow2_edit *edit;
    struct edit_bitmap *bitmap;
    uint8_t *bytes; /* a cluster */
    bool is_open, is_changed;
    uint64_t idx; /* of the table */
    uint64_t off; /* 0: it has no place yet */
};

static int window_close(struct bitmap_window *w, struct img_error *err)
{
    uint32_t len = w->edit->header.cluster_len;

    if (!w->is_open || !w->is_changed) {
        w->is_open = false;
        return 0;
    }
    w->is_open = false;
    if (w->off == 0) {
        if (qcow2_edit_alloc(w->edit, 1, QCOW2_PART_BITMAP, &w->off, err)) {
            return -1;
        }
        w->bitmap->table[w->idx] = w->off;
        w->bitmap->is_table_dirty = true;
    }
    return qcow2_edit_write(w->edit, QCOW2_PART_BITMAP, w->bytes, len, w->off,
                            err);
}

/* *skip: every bit of the cluster is set already. */
static int window_open(struct bitmap_window *w, uint64_t idx, bool *skip,
                       struct img_error *err)
{
    uint32_t len = w->edit->header.cluster_len;

    *skip = false;
    if (w->is_open && w->idx == idx) {
        return 0;
    }
    if (window_close(w, err) ||
        qcow2_edit_bitmap_entry(w->edit, w->bitmap, idx, &w->off, skip, err)) {
        return -1;
    }
    if (*skip) {
        return 0;
    }
    w->is_open = true;
    w->is_changed = false;
    w->idx = idx;
    if (w->off == 0) {
        memset(w->bytes, 0, len);
        return 0;
    }
    return img_file_read_padded(w->edit->file, w->bytes, len, w->off, NULL,
                                err);
}

static int mark_range(struct bitmap_window *w, struct mark_range range,
                      struct img_error *err)
{
    uint64_t per_cluster = (uint64_t)w->edit->header.cluster_len * 8;
    uint32_t bits = w->bitmap->entry.granularity_bits;
    uint64_t end = img_min(range.end, w->edit->header.virtual_len);
    uint64_t i = range.start >> bits;

    if (range.start >= end) {
        return 0;
    }
    while (i <= (end - 1) >> bits) {
        uint64_t idx = i / per_cluster;
        uint64_t last = img_min((end - 1) >> bits, (idx + 1) * per_cluster - 1);
        bool skip;

        if (window_open(w, idx, &skip, err)) {
            return -1;
        }
        if (!skip) {
            set_bits(w->bytes, i % per_cluster, last % per_cluster,
                     &w->is_changed);
        }
        i = last + 1;
    }
    return 0;
}

static int mark_bitmap(struct qcow2_edit *edit, struct edit_bitmap *bitmap,
                       struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    uint8_t *bytes = img_calloc(1, edit->header.cluster_len, err);
    struct bitmap_window w = {.edit = edit, .bitmap = bitmap, .bytes = bytes};

    if (!bytes || qcow2_edit_bitmap_load_table(edit, bitmap, err)) {
        return -1;
    }
    for (size_t i = 0; i < edit->marks->ranges_nr; i++) {
        if (mark_range(&w, edit->marks->ranges[i], err)) {
            return -1;
        }
    }
    return window_close(&w, err);
}

int qcow2_edit_bitmaps_prepare(struct qcow2_edit *edit, struct img_error *err)
{
    struct qcow2_edit_marks *marks = edit->marks;

    if (!marks || !marks->is_in_use) {
        return 0;
    }
    merge_ranges(marks);
    for (uint32_t i = 0; i < marks->bitmaps.nr; i++) {
        struct edit_bitmap *bitmap = &marks->bitmaps.items[i];

        if (is_enabled(bitmap) && mark_bitmap(edit, bitmap, err)) {
            return qcow2_edit_abandon(edit);
        }
    }
    marks->ranges_nr = 0;
    return 0;
}

int qcow2_edit_bitmaps_finish(struct qcow2_edit *edit, struct img_error *err)
{
    struct qcow2_edit_marks *marks = edit->marks;

    if (!marks || !marks->is_in_use) {
        return 0;
    }
    for (uint32_t i = 0; i < marks->bitmaps.nr; i++) {
        struct edit_bitmap *bitmap = &marks->bitmaps.items[i];

        if (bitmap->is_table_dirty &&
            qcow2_edit_bitmap_store_table(edit, bitmap, err)) {
            return qcow2_edit_abandon(edit);
        }
    }
    if (has_enabled(&marks->bitmaps) &&
        (qcow2_edit_flush(edit, err) ||
         store_flags(edit, &marks->bitmaps, 0, err))) {
        return qcow2_edit_abandon(edit);
    }
    qcow2_edit_bitmaps_release(&marks->bitmaps);
    marks->is_in_use = false;
    return 0;
}

void qcow2_edit_bitmaps_fini(struct qcow2_edit *edit)
{
    if (edit->marks) {
        qcow2_edit_bitmaps_release(&edit->marks->bitmaps);
        free(edit->marks->ranges);
        free(edit->marks);
        edit->marks = NULL;
    }
}
