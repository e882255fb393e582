/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sweeps over ranges: see sweep.h. Room: qcow2/image. */
#include "sweep.h"

#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

int qcow2_sweep_init(struct qcow2_sweep *sweep, size_t nr,
                     struct img_error *err)
{
    *sweep = (struct qcow2_sweep){.nr = nr};
    sweep->starts = img_calloc(nr, sizeof(*sweep->starts), err);
    sweep->ends = img_calloc(nr, sizeof(*sweep->ends), err);
    return sweep->starts && sweep->ends ? 0 : -1;
}

void qcow2_sweep_fini(struct qcow2_sweep *sweep)
{
    free(sweep->starts);
    free(sweep->ends);
    *sweep = (struct qcow2_sweep){0};
}

static int off_compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Pass all bounds at or before POS. */
static void sweep_pass(struct qcow2_sweep *sweep)
{
    while (sweep->start_idx < sweep->nr &&
           sweep->starts[sweep->start_idx] <= sweep->pos) {
        sweep->start_idx++;
    }
    while (sweep->end_idx < sweep->nr &&
           sweep->ends[sweep->end_idx] <= sweep->pos) {
        sweep->end_idx++;
    }
}

bool qcow2_sweep_next(struct qcow2_sweep *sweep, uint64_t *start, uint64_t *end,
                      uint64_t *depth)
{
    if (sweep->start_idx == 0 && sweep->end_idx == 0) {
        qsort(sweep->starts, sweep->nr, sizeof(uint64_t), off_compare);
        qsort(sweep->ends, sweep->nr, sizeof(uint64_t), off_compare);
    }
    while (sweep->end_idx < sweep->nr) {
        sweep_pass(sweep);

        uint64_t next_start = sweep->start_idx < sweep->nr
                                  ? sweep->starts[sweep->start_idx]
                                  : UINT64_MAX;
        uint64_t next_end = sweep->end_idx < sweep->nr
                                ? sweep->ends[sweep->end_idx]
                                : UINT64_MAX;
        uint64_t next = img_min(next_start, next_end);

        *start = sweep->pos;
        *end = next;
        *depth = sweep->start_idx - sweep->end_idx;
        sweep->pos = next;
        if (*depth > 0) {
            return true;
        }
    }
    return false;
}
