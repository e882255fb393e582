/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening and closing an edit. Room: qcow2/edit.
 *
 * Nothing is written to an image whose tables could be wrong: what a reader
 * would pass over (a corrupt or dirty bit, tables that overlap) is refused.
 */
#include <qcow2/edit.h>

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "bitmaps.h"
#include "edit_impl.h"

#define KNOWN_AUTOCLEAR                                                        \
    (QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_DATA_FILE_RAW)

int qcow2_edit_abandon(struct qcow2_edit *edit)
{
    edit->is_failed = true;
    return -1;
}

int qcow2_edit_check_usable(struct qcow2_edit *edit, struct img_error *err)
{
    if (edit->is_failed) {
        return img_fail(err, IMG_USAGE,
                        "an earlier change of the image failed, nothing more "
                        "can be done to it before it is opened again");
    }
    if (edit->options.cancel && *edit->options.cancel) {
        return img_fail(err, IMG_CANCELLED, "cancelled");
    }
    return 0;
}

int qcow2_edit_begin_change(struct qcow2_edit *edit, struct img_error *err)
{
    struct qcow2_header header = edit->header;

    if (qcow2_edit_check_usable(edit, err)) {
        return -1;
    }
    header.autoclear &= KNOWN_AUTOCLEAR;
    if (!edit->is_changed && header.autoclear != edit->header.autoclear &&
        qcow2_edit_header_store(edit, &header, err)) {
        return -1;
    }
    edit->is_changed = true;
    return 0;
}

int qcow2_edit_flush(struct qcow2_edit *edit, struct img_error *err)
{
    return (edit->data_file && img_file_flush(edit->data_file, err)) ||
                   img_file_flush(edit->file, err)
               ? -1
               : 0;
}

const struct qcow2_header *qcow2_edit_header(const struct qcow2_edit *edit)
{
    return &edit->header;
}

const struct qcow2_extensions *
qcow2_edit_extensions(const struct qcow2_edit *edit)
{
    return &edit->extensions;
}

uint32_t qcow2_edit_granule(const struct qcow2_edit *edit)
{
    return edit->header.subcluster_len;
}

/* ---- Opening. */

static int check_state(const struct qcow2_edit *edit, struct img_error *err)
{
    const struct img_image *image = edit->image;
    const char *path = img_file_path(edit->file);
    char name[1024];

    img_escape(path, strlen(path), name, sizeof(name));
    if (image->is_encrypted) {
        return img_fail(err, IMG_UNSUPPORTED, "cannot be changed: %s",
                        image->unreadable_why);
    }
    if (image->is_corrupt) {
        return img_fail(err, IMG_CORRUPT,
                        "is marked corrupt, nothing is written to it; repair "
                        "it first: qemu-img check -r all %s",
                        name);
    }
    if (image->is_dirty) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "was not closed cleanly, its refcounts may be wrong; "
                        "repair it first: qemu-img check -r all %s",
                        name);
    }
    return 0;
}

static int check_files(const struct qcow2_edit *edit, struct img_error *err)
{
    bool wants = edit->image->wants_data_file;

    if (wants != (edit->data_file != NULL)) {
        return img_fail(err, IMG_USAGE,
                        wants ? "has its data in an external data file, none "
                                "was given"
                              : "has no external data file, one was given");
    }
    if (!img_file_is_writable(edit->file) ||
        (wants && !img_file_is_writable(edit->data_file))) {
        return img_fail(err, IMG_USAGE, "is not open for writing");
    }
    return 0;
}

static int first_load(struct qcow2_edit *edit, struct img_error *err)
{
    const struct qcow2_header *header = qcow2_image_header(edit->image);
    uint32_t len = header->cluster_len;

    edit->first = img_calloc(1, len, err);
    if (!edit->first ||
        img_file_read_padded(edit->file, edit->first, len, 0, NULL, err) ||
        qcow2_header_decode(edit->first, len, &edit->header, err) ||
        qcow2_extensions_decode(&edit->header, edit->first, len,
                                &edit->extensions, err)) {
        return -1;
    }
    edit->virtual_len =
        img_align_down(edit->header.virtual_len, QCOW2_SECTOR_LEN);
    return 0;
}

static int bitmaps_note(struct qcow2_edit *edit, struct img_error *err)
{
    const struct qcow2_bitmap_info *bitmaps;
    size_t nr;

    if (qcow2_image_bitmaps(edit->image, &bitmaps, &nr, err)) {
        return -1;
    }
    if (nr > 0 &&
        qcow2_edit_part_add(edit, QCOW2_PART_BITMAP_DIRECTORY,
                            edit->extensions.bitmap_directory_off,
                            edit->extensions.bitmap_directory_len, err)) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        if (qcow2_edit_part_add(edit, QCOW2_PART_BITMAP_TABLE,
                                bitmaps[i].table_off,
                                (uint64_t)bitmaps[i].table_entries * 8, err)) {
            return -1;
        }
    }
    return 0;
}

static int snapshots_note(struct qcow2_edit *edit, struct img_error *err)
{
    const struct img_image *image = edit->image;

    if (qcow2_edit_part_add(edit, QCOW2_PART_SNAPSHOT_TABLE,
                            edit->header.snapshots_off,
                            qcow2_image_snapshot_table_len(image), err)) {
        return -1;
    }
    for (size_t i = 0; i < image->snapshots_nr; i++) {
        uint64_t off;
        uint32_t entries;

        qcow2_image_snapshot_l1(image, i, &off, &entries);
        if (qcow2_edit_part_add(edit, QCOW2_PART_SNAPSHOT_L1, off,
                                (uint64_t)entries * 8, err)) {
            return -1;
        }
    }
    return 0;
}

/* What tables of many clusters hold; single clusters are noted as they are
   met in the L1 and refcount tables. */
static int tables_note(struct qcow2_edit *edit, struct img_error *err)
{
    const struct qcow2_header *header = &edit->header;

    return qcow2_edit_part_add(edit, QCOW2_PART_HEADER, 0, header->cluster_len,
                               err) ||
                   qcow2_edit_part_add(edit, QCOW2_PART_L1, header->l1_off,
                                       (uint64_t)header->l1_entries * 8, err) ||
                   qcow2_edit_part_add(edit, QCOW2_PART_REFTABLE,
                                       header->reftable_off,
                                       (uint64_t)header->reftable_clusters *
                                           header->cluster_len,
                                       err) ||
                   snapshots_note(edit, err) || bitmaps_note(edit, err)
               ? -1
               : 0;
}

static int edit_load(struct qcow2_edit *edit, struct img_error *err)
{
    if (qcow2_open(edit->file, &(struct qcow2_options){0}, &edit->image, err) ||
        check_state(edit, err) || check_files(edit, err) ||
        first_load(edit, err) || tables_note(edit, err) ||
        qcow2_cache_init(&edit->l2, edit->header.cluster_len,
                         edit->memory / 4 * 3, err) ||
        qcow2_edit_l1_load(edit, err) || qcow2_edit_refcounts_load(edit, err)) {
        return -1;
    }
    if (edit->data_file) {
        img_image_set_data_file(edit->image, edit->data_file);
    }
    edit->stable_len = img_file_len(edit->file);
    return 0;
}

static void edit_fini(struct qcow2_edit *edit)
{
    qcow2_edit_bitmaps_fini(edit);
    qcow2_cache_fini(&edit->l2);
    qcow2_edit_refcounts_fini(edit);
    qcow2_edit_parts_fini(&edit->parts);
    qcow2_extensions_fini(&edit->extensions);
    img_image_free(edit->image);
    img_file_unref(edit->file);
    img_file_unref(edit->data_file);
    free(edit->first);
    free(edit->l1);
    free(edit->releases);
    free(edit);
}

int qcow2_edit_open(struct img_file *file, struct img_file *data_file,
                    const struct qcow2_edit_options *options,
                    struct qcow2_edit **out, struct img_error *err)
{
    struct qcow2_edit *edit = img_calloc(1, sizeof(*edit), err);

    if (!edit) {
        return -1;
    }
    edit->file = img_file_ref(file);
    edit->data_file = data_file ? img_file_ref(data_file) : NULL;
    edit->options = *options;
    edit->memory =
        options->max_memory ? options->max_memory : QCOW2_EDIT_MEMORY;
    if (edit_load(edit, err)) {
        img_error_set_path(err, img_file_path(file));
        edit_fini(edit);
        return -1;
    }
    *out = edit;
    return 0;
}

/* What was written for a commit that never came takes no space. */
static void cut_placed(struct qcow2_edit *edit)
{
    struct img_error ignored;

    if (edit->placed_len > 0 && edit->stable_len < img_file_len(edit->file) &&
        img_file_kind(edit->file) != IMG_FILE_BLOCK) {
        (void)img_file_resize(edit->file, edit->stable_len, &ignored);
    }
}

void qcow2_edit_free(struct qcow2_edit *edit)
{
    if (!edit) {
        return;
    }
    cut_placed(edit);
    if (!edit->is_failed) {
        qcow2_edit_discard_free(edit);
    }
    edit_fini(edit);
}
