/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another virtual size (specification: "Header", size, l1_size).
 *
 * Room: qcow2/edit. Growing: everything for the new range is made stable while
 * the disk still ends before it, then the size is switched. Shrinking: the
 * size is switched, then what lies beyond is given up. What QEMU refuses is
 * refused before anything is written.
 */
#include "resize.h"

#include <inttypes.h>
#include <stdio.h>

#include <img/checked.h>

#include "bitmaps.h"
#include "header_switch.h"

/* The size is switched: it is too late to cancel. */
static int drop_old_bitmaps(struct qcow2_edit *edit,
                            struct edit_bitmaps_switch *bitmaps,
                            struct img_error *err)
{
    const volatile int *cancel = edit->options.cancel;

    edit->options.cancel = NULL;
    int result = qcow2_edit_bitmaps_drop_old(edit, bitmaps, err) ||
                         qcow2_edit_commit(edit, err)
                     ? -1
                     : 0;
    edit->options.cancel = cancel;
    return result;
}

int qcow2_edit_size_switch(struct qcow2_edit *edit, uint64_t virtual_len,
                           struct img_error *err)
{
    struct edit_bitmaps_switch bitmaps;
    struct header_page want = {0};
    int result = -1;

    if (qcow2_edit_bitmaps_resize(edit, virtual_len, &bitmaps, err) == 0 &&
        qcow2_edit_commit(edit, err) == 0 &&
        qcow2_edit_page(edit, &want, err) == 0) {
        want.header.virtual_len = virtual_len;
        if (bitmaps.is_needed) {
            want.extensions.bitmap_directory_off = bitmaps.directory_off;
            want.extensions.bitmap_directory_len = bitmaps.directory_len;
            result = qcow2_edit_switch_header(edit, &want.header,
                                              &want.extensions, err);
        } else {
            result = qcow2_edit_header_store(edit, &want.header, err);
        }
    }
    if (result == 0) {
        result = drop_old_bitmaps(edit, &bitmaps, err);
    }
    header_page_fini(&want);
    qcow2_edit_bitmaps_switch_fini(&bitmaps);
    return result == 0 ? 0 : qcow2_edit_abandon(edit);
}

static int check_len(const struct qcow2_edit *edit,
                     const struct qcow2_resize *resize, struct img_error *err)
{
    uint64_t len = resize->virtual_len;
    uint64_t max_entries = QCOW2_MAX_L1_LEN / 8;
    uint64_t entries = img_div_up(len, edit->header.l2_covers_len);

    if (len == 0 || len % QCOW2_SECTOR_LEN != 0) {
        return img_fail(err, IMG_USAGE,
                        "virtual size: found %" PRIu64
                        " bytes, expected a multiple of 512 above 0",
                        len);
    }
    if (len > QCOW2_MAX_VIRTUAL_LEN || entries > max_entries) {
        return img_fail(
            err, IMG_LIMIT,
            "virtual size: found %" PRIu64 " bytes, expected at most %" PRIu64
            " with clusters of %" PRIu32 " bytes (the L1 table would be"
            " longer than 32 MiB)",
            len, max_entries * edit->header.l2_covers_len,
            edit->header.cluster_len);
    }
    return 0;
}

/* Version 2 has no entry that says zero over a backing file. */
static int check_version_2(const struct qcow2_edit *edit,
                           const struct qcow2_resize *resize,
                           struct img_error *err)
{
    uint64_t old_end =
        img_align_up(edit->virtual_len, edit->header.cluster_len);

    if (edit->header.version >= 3) {
        return 0;
    }
    if (edit->header.snapshots_nr > 0) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "a version 2 image with internal snapshots cannot be"
                        " resized: found %" PRIu32 " of them, expected none or"
                        " compat=1.1 (amend -o compat=1.1)",
                        edit->header.snapshots_nr);
    }
    if (resize->virtual_len > old_end &&
        resize->backing_len > edit->virtual_len &&
        resize->prealloc != QCOW2_PREALLOC_FALLOC &&
        resize->prealloc != QCOW2_PREALLOC_FULL) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "a version 2 image cannot hide its longer backing file"
                        " in what it gains: expected compat=1.1 (amend -o"
                        " compat=1.1) or preallocation falloc or full");
    }
    return 0;
}

static int check_data_file(const struct qcow2_edit *edit,
                           const struct qcow2_resize *resize,
                           struct img_error *err)
{
    uint64_t len;

    if (!edit->data_file || img_file_kind(edit->data_file) != IMG_FILE_BLOCK) {
        return 0;
    }
    len = img_file_len(edit->data_file);
    if (resize->virtual_len > len) {
        img_fail(err, IMG_LIMIT,
                 "the external data file is a device of %" PRIu64
                 " bytes, expected at least %" PRIu64,
                 len, resize->virtual_len);
        img_error_set_path(err, img_file_path(edit->data_file));
        return -1;
    }
    return 0;
}

/* What is new would have to hide the backing file, in the data file's own
   bytes: no writer makes such an image. */
static int check_raw(const struct qcow2_edit *edit,
                     const struct qcow2_resize *resize, struct img_error *err)
{
    if (resize->virtual_len > edit->virtual_len &&
        edit->header.is_data_file_raw && edit->extensions.backing_name) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "an image whose data file is raw (data_file_raw) can"
                        " have no backing file: found one, which must be"
                        " removed to make it longer");
    }
    return 0;
}

int qcow2_edit_resize_check(struct qcow2_edit *edit,
                            const struct qcow2_resize *resize,
                            struct img_error *err)
{
    if (resize->virtual_len <= edit->virtual_len &&
        resize->prealloc != QCOW2_PREALLOC_OFF) {
        return img_fail(err, IMG_USAGE,
                        "preallocation is for growing images only");
    }
    return check_len(edit, resize, err) || check_version_2(edit, resize, err) ||
                   check_data_file(edit, resize, err) ||
                   check_raw(edit, resize, err) ||
                   qcow2_edit_bitmaps_check_resize(edit, resize->virtual_len,
                                                   err) ||
                   (resize->virtual_len < edit->virtual_len &&
                    qcow2_edit_shrink_check(edit, resize->virtual_len, err))
               ? -1
               : 0;
}

/* As long as the disk, as QEMU leaves it. Devices stay. */
static int data_file_cut(struct qcow2_edit *edit, struct img_error *err)
{
    struct img_file *file = edit->data_file;

    if (!file || img_file_kind(file) == IMG_FILE_BLOCK ||
        img_file_len(file) <= edit->virtual_len) {
        return 0;
    }
    return img_file_resize(file, edit->virtual_len, err) ||
                   img_file_flush(file, err)
               ? qcow2_edit_abandon(edit)
               : 0;
}

/* The size is switched. */
static int give_up_rest(struct qcow2_edit *edit, struct img_error *err)
{
    if (qcow2_edit_shrink(edit, err) == 0) {
        return 0;
    }
    struct img_error said = *err;

    (void)snprintf(err->text, sizeof(err->text),
                   "%.800s; it has its new size already, what lay beyond is"
                   " lost, and some of that may still take up space (qemu-img"
                   " check -r leaks)",
                   said.text);
    return -1;
}

int qcow2_edit_resize_over(struct qcow2_edit *edit,
                           const struct qcow2_resize *resize,
                           struct img_error *err)
{
    uint64_t old_len = edit->virtual_len;

    if (qcow2_edit_commit(edit, err) ||
        qcow2_edit_resize_check(edit, resize, err)) {
        return -1;
    }
    if (resize->virtual_len == edit->header.virtual_len) {
        return data_file_cut(edit, err);
    }
    if (qcow2_edit_begin_change(edit, err) ||
        (resize->virtual_len > old_len && qcow2_edit_grow(edit, resize, err)) ||
        qcow2_edit_size_switch(edit, resize->virtual_len, err) ||
        (resize->virtual_len < old_len && give_up_rest(edit, err))) {
        return -1;
    }
    return data_file_cut(edit, err);
}

int qcow2_edit_resize(struct qcow2_edit *edit, uint64_t virtual_len,
                      enum qcow2_prealloc prealloc, struct img_error *err)
{
    struct qcow2_resize resize = {
        .virtual_len = virtual_len,
        .prealloc = prealloc,
        .backing_len = edit->extensions.backing_name ? UINT64_MAX : 0,
    };

    return qcow2_edit_resize_over(edit, &resize, err);
}
