/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Overlapping tables, each part once; private to qcow2/image.
 *
 * Thousands of snapshots or bitmaps may claim the same bytes as their table.
 * A sweep cuts a set of ranges into disjoint ones, each with the number of
 * ranges that cover it, so that work is bounded by the file.
 */
#ifndef QCOW2_IMAGE_SWEEP_H
#define QCOW2_IMAGE_SWEEP_H

#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

struct qcow2_sweep {
    uint64_t *starts; /* own; NR each, sorted by the first step */
    uint64_t *ends;
    size_t nr;
    size_t start_idx, end_idx;
    uint64_t pos;
};

/* Room for NR ranges: set starts[i] and ends[i] (start <= end). */
int qcow2_sweep_init(struct qcow2_sweep *sweep, size_t nr,
                     struct img_error *err);
/* Accepts a zeroed one. */
void qcow2_sweep_fini(struct qcow2_sweep *sweep);

/* The next disjoint range that DEPTH > 0 ranges cover; false at the end. */
bool qcow2_sweep_next(struct qcow2_sweep *sweep, uint64_t *start, uint64_t *end,
                      uint64_t *depth);

#endif
