/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent bitmaps of the image that is edited; private to qcow2/edit.
 */
#ifndef QCOW2_EDIT_BITMAPS_H
#define QCOW2_EDIT_BITMAPS_H

#include "edit_impl.h"

/* One bitmap: its directory entry and, when loaded, its table. */
struct edit_bitmap {
    struct qcow2_bitmap entry; /* the name is a part of the directory */
    uint64_t entry_pos;        /* in the directory */
    uint64_t *table;           /* host byte order; NULL: not loaded */
    bool is_table_dirty;
};

/* The bitmap directory, as stored but for what was changed in it. */
struct edit_bitmaps {
    uint8_t *directory;
    uint64_t off, len;
    struct edit_bitmap *items;
    uint32_t nr;
};

/* ---- bitmaps_load.c */

/* Are there bitmaps that the autoclear bit vouches for? */
bool qcow2_edit_has_bitmaps(const struct qcow2_edit *edit);
/* nr 0 where there are none. */
int qcow2_edit_bitmaps_load(struct qcow2_edit *edit, struct edit_bitmaps *out,
                            struct img_error *err);
/* Accepts a zeroed value. */
void qcow2_edit_bitmaps_release(struct edit_bitmaps *bitmaps);
int qcow2_edit_bitmap_load_table(struct qcow2_edit *edit,
                                 struct edit_bitmap *bitmap,
                                 struct img_error *err);
/* Write the table where it lies (loaded, dirty). Not flushed. */
int qcow2_edit_bitmap_store_table(struct qcow2_edit *edit,
                                  struct edit_bitmap *bitmap,
                                  struct img_error *err);
/* NR values of TABLE as they are stored; free with free(). */
uint8_t *qcow2_edit_table_encode(const uint64_t *table, uint64_t nr,
                                 uint64_t room, struct img_error *err);
/*
 * Entry IDX of a loaded table, decoded: *off is where its bits are, 0 when
 * they are all alike (*ones: all ones).
 */
int qcow2_edit_bitmap_entry(struct qcow2_edit *edit,
                            const struct edit_bitmap *bitmap, uint64_t idx,
                            uint64_t *off, bool *ones, struct img_error *err);

/* ---- bitmaps_mark.c: steps of a commit. */

/*
 * Before anything is stored: bits that were marked go to their clusters; new
 * clusters are allocated for them.
 */
int qcow2_edit_bitmaps_prepare(struct qcow2_edit *edit, struct img_error *err);
/*
 * When all else but releases is stable: tables point to the new clusters, and
 * the bitmaps are no longer in use. Ends with a flush.
 */
int qcow2_edit_bitmaps_finish(struct qcow2_edit *edit, struct img_error *err);
void qcow2_edit_bitmaps_fini(struct qcow2_edit *edit);

/* ---- bitmaps_resize.c */

/* A new directory, not yet switched to, and what it makes superfluous. */
struct edit_bitmaps_range {
    uint64_t off, len; /* in the file */
};
struct edit_bitmaps_switch {
    bool is_needed; /* else everything may stay as it is */
    uint64_t directory_off, directory_len;
    struct edit_bitmaps_range *old;
    size_t old_nr, old_room;
};

/* IMG_UNSUPPORTED: a bitmap that is in use cannot follow; IMG_LIMIT. */
int qcow2_edit_bitmaps_check_resize(struct qcow2_edit *edit,
                                    uint64_t virtual_len,
                                    struct img_error *err);
/*
 * Write bitmaps for a disk of VIRTUAL_LEN beside those there are. The caller
 * commits, switches the header to *OUT and the size in one step, and then
 * gives up the old ones (qcow2_edit_bitmaps_drop_old, commit).
 */
int qcow2_edit_bitmaps_resize(struct qcow2_edit *edit, uint64_t virtual_len,
                              struct edit_bitmaps_switch *out,
                              struct img_error *err);
int qcow2_edit_bitmaps_drop_old(struct qcow2_edit *edit,
                                const struct edit_bitmaps_switch *done,
                                struct img_error *err);
/* All there is to the bitmaps becomes old: the header is to have none. */
int qcow2_edit_bitmaps_list_all(struct qcow2_edit *edit,
                                struct edit_bitmaps_switch *out,
                                struct img_error *err);
void qcow2_edit_bitmaps_switch_fini(struct edit_bitmaps_switch *done);

#endif
