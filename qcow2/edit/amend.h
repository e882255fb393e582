/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of an amendment; private to qcow2/edit. */
#ifndef QCOW2_EDIT_AMEND_H
#define QCOW2_EDIT_AMEND_H

#include "edit_impl.h"

/* amend_refcounts.c: may no refcount be too large for BITS? Writes nothing. */
int qcow2_edit_width_check(struct qcow2_edit *edit, uint32_t bits,
                           struct img_error *err);
/* Refcounts of BITS bits. Nothing is pending. */
int qcow2_edit_width_change(struct qcow2_edit *edit,
                            const struct qcow2_amend_options *options,
                            struct img_error *err);

/* amend_zeros.c: no entry of any L2 table says zero any more, snapshots'
   tables included; the guest sees the same. Nothing is pending. */
int qcow2_edit_expand_zeros(struct qcow2_edit *edit,
                            const struct qcow2_amend_options *options,
                            struct img_error *err);

/* amend_version.c */
int qcow2_edit_downgrade_check(struct qcow2_edit *edit, struct img_error *err);
int qcow2_edit_downgrade(struct qcow2_edit *edit,
                         const struct qcow2_amend_options *options,
                         struct img_error *err);
int qcow2_edit_upgrade(struct qcow2_edit *edit, struct img_error *err);

#endif
