/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is computed on a parcel: inflating, looking for zeros, deflating,
 * digesting. On
 * any thread; no I/O.
 */
#ifndef CHAIN_OPS_WORK_H
#define CHAIN_OPS_WORK_H

#include <qcow2/deflate.h>

#include "parcel.h"

struct chain_work_options {
    uint32_t zero_unit; /* data is searched for zeros in this aligned unit;
                           0: it is not */
    uint32_t unit_len;  /* compressed in units of this; 0: it is not */
    bool digest;        /* a unit becomes its SHA-256 instead */
    enum qcow2_compression compression;
    enum qcow2_effort effort;
};

/* What one thread needs. Zeroed but for the options is empty. */
struct chain_work {
    const struct chain_work_options *options;
    struct chain_inflate inflate;
    struct qcow2_deflater *deflater; /* made when first needed */
    uint8_t *last_unit; /* the disk's last one, filled up with zeros */
};

void chain_work_fini(struct chain_work *work);
/* All bytes of PARCEL have been read: make its outcomes. A failure is left in
   the parcel. */
void chain_work_do(struct chain_work *work, struct chain_parcel *parcel);

#endif
