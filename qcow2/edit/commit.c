/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was gathered becomes stable, in an order in which every prefix, and
 * every subset between two flushes, is an image. Room: qcow2/edit.
 *
 *   1  raised refcounts, new refcount blocks, new L2 tables; the guest's data
 *      is in the file already: nothing refers to any of it yet    -> flush
 *   2  the refcount table's entries for new blocks, or a new table and then
 *      the header's pointer to it                                 -> flush
 *   3  entries of existing L2 tables and of the L1 table: what they name is
 *      stable, and each of them is right by itself                -> flush
 *      bitmaps that followed what was written (bitmaps_mark.c)   -> flush
 *   4  lowered refcounts: what referred to these clusters is gone -> flush
 *
 * A table that is written in place may be torn between sectors: entries do
 * not cross them, and any mixture of old and new ones is right.
 */
#include <img/checked.h>

#include "bitmaps.h"
#include "edit_impl.h"

/* So much new data may be lost by a crash, not more. */
#define MAX_PLACED_LEN (1ull << 30)
#define MAX_RELEASES 65536u

bool qcow2_edit_is_full(const struct qcow2_edit *edit)
{
    return edit->l2.dirty_nr >= edit->l2.max_nr / 2 ||
           edit->blocks.dirty_nr >= edit->blocks.max_nr / 2 ||
           edit->releases_nr >= MAX_RELEASES ||
           edit->placed_len >= MAX_PLACED_LEN;
}

/* The bytes beyond the end of the disk in a new last cluster. */
static int tail_store(struct qcow2_edit *edit, struct img_error *err)
{
    uint64_t len = edit->tail_len;

    edit->tail_len = 0;
    return len == 0 ? 0
                    : img_file_zero(edit->tail_file, edit->tail_off, len,
                                    IMG_ZERO_UNMAP, err);
}

static int new_store(struct qcow2_edit *edit, struct img_error *err)
{
    bool any = false;

    return tail_store(edit, err) || qcow2_edit_blocks_store(edit, err) ||
                   qcow2_edit_l2_store(edit, true, &any, err) ||
                   qcow2_edit_flush(edit, err) ||
                   qcow2_edit_reftable_store(edit, err)
               ? -1
               : 0;
}

static int entries_store(struct qcow2_edit *edit, struct img_error *err)
{
    bool any = false;

    if (qcow2_edit_l2_store(edit, false, &any, err) ||
        qcow2_edit_l1_store(edit, &any, err)) {
        return -1;
    }
    return any ? img_file_flush(edit->file, err) : 0;
}

static int lowered_store(struct qcow2_edit *edit, struct img_error *err)
{
    bool any = false;

    if (qcow2_edit_releases_store(edit, &any, err)) {
        return -1;
    }
    return any ? img_file_flush(edit->file, err) : 0;
}

static bool is_anything_pending(const struct qcow2_edit *edit)
{
    return edit->l2.dirty_nr > 0 || edit->blocks.dirty_nr > 0 ||
           edit->l1_dirty_end > edit->l1_dirty_start || edit->releases_nr > 0;
}

int qcow2_edit_commit(struct qcow2_edit *edit, struct img_error *err)
{
    if (is_anything_pending(edit) ? qcow2_edit_begin_change(edit, err)
                                  : qcow2_edit_check_usable(edit, err)) {
        return -1;
    }
    edit->stable_len = UINT64_MAX;
    if (qcow2_edit_bitmaps_prepare(edit, err) || new_store(edit, err) ||
        entries_store(edit, err) || qcow2_edit_bitmaps_finish(edit, err) ||
        lowered_store(edit, err)) {
        return qcow2_edit_abandon(edit);
    }
    edit->placed_len = 0;
    edit->stable_len = img_file_len(edit->file);
    return 0;
}
