/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of a change of size; private to qcow2/edit. */
#ifndef QCOW2_EDIT_RESIZE_H
#define QCOW2_EDIT_RESIZE_H

#include "edit_impl.h"

/* resize.c: the size, and the bitmaps for it, in one sector. */
int qcow2_edit_size_switch(struct qcow2_edit *edit, uint64_t virtual_len,
                           struct img_error *err);

/* resize_grow.c: the L1 table, entries and data for what is new. */
int qcow2_edit_grow(struct qcow2_edit *edit, const struct qcow2_resize *resize,
                    struct img_error *err);

/*
 * resize_tail.c: the end of the disk as it is lies amid a cluster. What
 * follows it there is made to read as zeros when the disk is longer.
 */
int qcow2_edit_tail_clear(struct qcow2_edit *edit,
                          const struct qcow2_resize *resize,
                          struct img_error *err);

/* resize_shrink.c: can all entries beyond an end of VIRTUAL_LEN be read? */
int qcow2_edit_shrink_check(struct qcow2_edit *edit, uint64_t virtual_len,
                            struct img_error *err);

/* The same: what lies beyond the end, which was switched, is given up. */
int qcow2_edit_shrink(struct qcow2_edit *edit, struct img_error *err);

#endif
