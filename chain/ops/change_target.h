/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one image that amend and resize change in place, opened once, and what
 * is under it.
 */
#ifndef CHAIN_OPS_CHANGE_TARGET_H
#define CHAIN_OPS_CHANGE_TARGET_H

#include <chain/amend.h>
#include <chain/view.h>
#include <qcow2/edit.h>

struct chain_change_target {
    const struct chain_amend_request *request;
    struct chain *chain;
    struct chain_view *below; /* NULL: nothing is under it, or not opened */
    struct qcow2_edit *edit;  /* NULL: no qcow2 image */
    /* Borrowed. */
    struct img_file *file;
    struct img_image *image;
    const char *path;
};

/*
 * Open REQUEST's image for writing, with a writer's locks; WHOLE: with its
 * backing chain. A format that was probed and is not qcow2 is refused: a guest
 * can write any header into a raw disk.
 */
int chain_change_open(const struct chain_amend_request *request, bool whole,
                      struct chain_change_target *out, struct img_error *err);
/* Accepts a zeroed one. */
void chain_change_close(struct chain_change_target *target);

/*
 * Let EDIT, of a layer over what BELOW shows (NULL: nothing), have another
 * size; with CHECK_ONLY nothing is written.
 */
int chain_resize_edit(struct qcow2_edit *edit, struct chain_view *below,
                      uint64_t virtual_len, enum qcow2_prealloc prealloc,
                      bool check_only, struct img_error *err);

#endif
