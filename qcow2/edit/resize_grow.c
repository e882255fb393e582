/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a longer disk needs: L1 entries, entries that read as zeros, places
 * where preallocation is asked for (specification: "Cluster mapping").
 *
 * Room: qcow2/edit. All of it is stable before the size is switched; until
 * then it lies beyond the end, where nobody looks. For the calls that change
 * ranges the edit is made to believe that the disk is longer already.
 */
#include <img/checked.h>

#include "resize.h"

/* Pieces in which ranges are changed, between looks at the memory used. */
#define PIECE_LEN (1ull << 30)

static int data_file_grow(struct qcow2_edit *edit,
                          const struct qcow2_resize *resize,
                          struct img_error *err)
{
    struct img_file *file = edit->data_file;
    uint64_t len = file ? img_file_len(file) : 0;
    uint64_t stale_end = img_min(len, resize->virtual_len);

    /* What somebody left there would be seen. */
    if (file && stale_end > edit->virtual_len &&
        img_file_zero(file, edit->virtual_len, stale_end - edit->virtual_len,
                      IMG_ZERO_UNMAP, err)) {
        return -1;
    }
    if (!file || len >= resize->virtual_len) {
        return 0;
    }
    return img_file_resize(file, resize->virtual_len, err);
}

enum range_wish {
    RANGE_ABSENT, /* the image has nothing there */
    RANGE_ZERO,
};

/* Guest data that will be new; bitmaps need not know. */
static int change_range(struct qcow2_edit *edit, uint64_t start, uint64_t end,
                        uint64_t disk_len, enum range_wish wish,
                        struct img_error *err)
{
    while (start < end) {
        uint64_t stop =
            img_min(end, img_align_down(start, PIECE_LEN) + PIECE_LEN);
        int rc;

        /* Whatever stored the header made the edit look at it again. */
        edit->virtual_len = disk_len;
        rc = wish == RANGE_ZERO
                 ? qcow2_edit_zero(edit, start, stop - start, false, err)
                 : qcow2_edit_discard(edit, start, stop - start, err);
        if (rc || (qcow2_edit_is_full(edit) && qcow2_edit_commit(edit, err))) {
            return -1;
        }
        start = stop;
    }
    return 0;
}

/* Entries that say zero as far as the backing file goes; none behind. */
static int clear_range(struct qcow2_edit *edit, uint64_t start,
                       const struct qcow2_resize *resize, struct img_error *err)
{
    uint64_t end = resize->virtual_len;
    uint64_t granule = edit->header.subcluster_len;
    uint64_t zero_end = start;

    if (resize->backing_len > start && edit->header.version >= 3) {
        zero_end = resize->backing_len < end
                       ? img_align_up(resize->backing_len, granule)
                       : end;
        zero_end = img_min(zero_end, end);
    }
    return change_range(edit, start, zero_end, resize->virtual_len, RANGE_ZERO,
                        err) ||
                   change_range(edit, zero_end, end, resize->virtual_len,
                                RANGE_ABSENT, err)
               ? -1
               : 0;
}

/* A place that reads as zeros, whatever was there. */
static int fill_place(const struct qcow2_place *place,
                      enum qcow2_prealloc prealloc, struct img_error *err)
{
    bool is_sparse = prealloc == QCOW2_PREALLOC_METADATA;

    if (img_file_zero(place->file, place->host_off, place->len,
                      is_sparse ? IMG_ZERO_UNMAP : IMG_ZERO_KEEP, err)) {
        return -1;
    }
    return is_sparse
               ? 0
               : img_file_reserve(place->file, place->host_off, place->len,
                                  prealloc == QCOW2_PREALLOC_FULL, err);
}

static int preallocate(struct qcow2_edit *edit, uint64_t start,
                       uint64_t virtual_len, enum qcow2_prealloc prealloc,
                       struct img_error *err)
{
    while (start < virtual_len) {
        struct qcow2_place place;

        edit->virtual_len = virtual_len;
        if (qcow2_edit_place(edit, start, virtual_len - start, &place, err) ||
            fill_place(&place, prealloc, err) ||
            (qcow2_edit_is_full(edit) && qcow2_edit_commit(edit, err))) {
            return -1;
        }
        start += place.len;
    }
    return 0;
}

static int grow_ranges(struct qcow2_edit *edit,
                       const struct qcow2_resize *resize, uint64_t start,
                       struct img_error *err)
{
    enum qcow2_prealloc prealloc = resize->prealloc;

    /* A raw data file is the disk: every cluster is mapped. */
    if (edit->header.is_data_file_raw && prealloc == QCOW2_PREALLOC_OFF) {
        prealloc = QCOW2_PREALLOC_METADATA;
    }
    if (clear_range(edit, start, resize, err)) {
        return -1;
    }
    return prealloc == QCOW2_PREALLOC_OFF
               ? 0
               : preallocate(edit, start, resize->virtual_len, prealloc, err);
}

int qcow2_edit_grow(struct qcow2_edit *edit, const struct qcow2_resize *resize,
                    struct img_error *err)
{
    uint32_t entries =
        (uint32_t)img_div_up(resize->virtual_len, edit->header.l2_covers_len);
    bool is_content_kept = edit->options.is_content_kept;
    uint64_t old_len = edit->virtual_len;
    int result;

    if ((entries > edit->header.l1_entries &&
         qcow2_edit_l1_replace(edit, entries, edit->header.virtual_len, err)) ||
        data_file_grow(edit, resize, err)) {
        return qcow2_edit_abandon(edit);
    }
    edit->options.is_content_kept = true;
    result =
        qcow2_edit_tail_clear(edit, resize, err) ||
                grow_ranges(edit, resize,
                            img_align_up(old_len, edit->header.subcluster_len),
                            err) ||
                qcow2_edit_commit(edit, err)
            ? -1
            : 0;
    edit->options.is_content_kept = is_content_kept;
    edit->virtual_len = old_len;
    return result == 0 ? 0 : qcow2_edit_abandon(edit);
}
