/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The refcount table as values; private to qcow2/image.
 */
#ifndef QCOW2_IMAGE_REFTABLE_H
#define QCOW2_IMAGE_REFTABLE_H

#include <stdint.h>

#include <img/error.h>

struct qcow2_image;

/*
 * Offsets of refcount blocks, 0 for none. Nothing is checked: an offset may
 * be anything but in its low nine bits, which ENTRY alone keeps.
 */
struct qcow2_reftable {
    uint64_t *off;   /* the entries without their reserved bits */
    uint64_t *entry; /* the entries */
    uint64_t nr;
};

int qcow2_reftable_load(struct qcow2_image *q, struct qcow2_reftable *out,
                        struct img_error *err);
/* Accepts a zeroed one. */
void qcow2_reftable_fini(struct qcow2_reftable *table);

#endif
