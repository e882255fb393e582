/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replacing the first cluster of the image that is edited; private to
 * qcow2/edit.
 */
#ifndef QCOW2_EDIT_HEADER_SWITCH_H
#define QCOW2_EDIT_HEADER_SWITCH_H

#include "edit_impl.h"
#include "header_page.h"

/* The first cluster as it is stored, decoded, with memory of its own. */
int qcow2_edit_page(const struct qcow2_edit *edit, struct header_page *out,
                    struct img_error *err);

/*
 * Switch to the values of HEADER and EXTENSIONS, which are not the edit's own
 * (a page's). Atomic: what they point to must have been written (it is flushed
 * first); ends with a flush; edit->header and edit->extensions follow. Nothing
 * else may be pending that the header matters to. IMG_LIMIT, nothing changed:
 * there is no room in the cluster.
 */
int qcow2_edit_switch_header(struct qcow2_edit *edit,
                             const struct qcow2_header *header,
                             const struct qcow2_extensions *extensions,
                             struct img_error *err);

/*
 * Make PAGE, which may replace OLD (what is stored), the first cluster: the
 * step that qcow2_edit_switch_header is made of.
 */
int qcow2_edit_store_page(struct qcow2_edit *edit,
                          const struct header_page *old,
                          const struct header_page *page,
                          struct img_error *err);

#endif
