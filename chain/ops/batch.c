/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving into an image in place: see batch.h.
 */
#include "batch.h"

#include <img/checked.h>

/* Between two looks whether a commit is due. */
#define STEP_LEN (8ull << 20)
/* Who writes more than that is faster past the page cache, where the kernel
   lets one thread at a time copy into a file. */
#define DIRECT_AFTER_LEN (32ull << 20)

int chain_batch_commit(struct chain_batch *batch, struct img_error *err)
{
    if (chain_mover_sync(batch->mover, err) < 0 ||
        (batch->edit && qcow2_edit_commit(batch->edit, err) < 0)) {
        return -1;
    }
    batch->committed_len = chain_mover_moved(batch->mover)->written_len;
    return 0;
}

/* What the editor wants whole, and the mover in its units. */
static int span(struct chain_batch *batch, uint64_t off, uint64_t len,
                uint64_t *span_off, uint64_t *span_len, struct img_error *err)
{
    uint64_t disk_len = chain_view_len(batch->from);

    *span_off = off;
    *span_len = len;
    if (batch->edit &&
        qcow2_edit_span(batch->edit, off, len, span_off, span_len, err) < 0) {
        return -1;
    }
    if (batch->beyond) {
        disk_len = img_max(disk_len, chain_view_len(batch->beyond));
    }
    uint64_t end = img_align_up(*span_off + *span_len, batch->granule);
    *span_off = img_align_down(*span_off, batch->granule);
    *span_len = img_min(end, disk_len) - *span_off;
    return 0;
}

/* [OFF, END), as FROM shows it, and beyond its end as BEYOND does. */
static int push(struct chain_batch *batch, uint64_t off, uint64_t end,
                struct img_error *err)
{
    uint64_t split =
        batch->beyond ? img_min(end, chain_view_len(batch->from)) : end;

    if (off < split && chain_mover_push_range(batch->mover, batch->from, off,
                                              split - off, false, err) < 0) {
        return -1;
    }
    return split < end ? chain_mover_push_range(batch->mover, batch->beyond,
                                                split, end - split, false, err)
                       : 0;
}

static int go_direct(struct chain_batch *batch, struct img_error *err)
{
    if (batch->has_tried_direct ||
        chain_mover_moved(batch->mover)->written_len < DIRECT_AFTER_LEN) {
        return 0;
    }
    batch->has_tried_direct = true;
    if (chain_mover_sync(batch->mover, err) < 0) {
        return -1;
    }
    (void)img_file_use_direct(batch->file);
    return 0;
}

int chain_batch_push(struct chain_batch *batch, uint64_t off, uint64_t len,
                     struct img_error *err)
{
    uint64_t span_off, span_len;

    while (len > 0) {
        uint64_t step_len = img_min(len, STEP_LEN);
        if (span(batch, off, step_len, &span_off, &span_len, err) < 0) {
            return -1;
        }
        uint64_t from = img_max(span_off, batch->end_off);
        uint64_t end = span_off + span_len;
        if (from < end) {
            if (push(batch, from, end, err) < 0) {
                return -1;
            }
            batch->end_off = end;
        }
        if (go_direct(batch, err) < 0) {
            return -1;
        }
        if (batch->edit && qcow2_edit_is_full(batch->edit) &&
            chain_batch_commit(batch, err) < 0) {
            return -1;
        }
        off += step_len;
        len -= step_len;
    }
    return 0;
}
