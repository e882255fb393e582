/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sink of a rebase: see rebase_sink.h.
 */
#include "rebase_sink.h"

#include <string.h>

#include <img/checked.h>

static int sink_data(struct chain_sink *sink, uint64_t off, uint64_t len,
                     struct qcow2_place *out, struct img_error *err)
{
    struct chain_rebase_sink *rebase = (struct chain_rebase_sink *)sink;
    struct chain_sink *inner = &rebase->inner.sink;

    rebase->is_used = true;
    return inner->ops->data(inner, off, len, out, err);
}

/*
 * The next run of granules from *off on, below END, that the new backing file
 * does not show as zeros: [*off, *off + *len), *len 0 when there is none.
 */
static int next_shown(struct chain_rebase_sink *sink, uint64_t *off,
                      uint64_t end, uint64_t *len, struct img_error *err)
{
    uint64_t granule = sink->sink.granule;
    uint64_t at = *off;
    struct chain_extent extent;

    *len = 0;
    while (at < end) {
        if (chain_view_at(sink->next, at, end - at, &extent, err) < 0) {
            return -1;
        }
        bool is_zero = extent.e.kind == IMG_EXTENT_ZERO;
        uint64_t next = at + extent.e.len;
        if (!is_zero && *len == 0) {
            *off = img_align_down(at, granule);
        }
        if (!is_zero) {
            *len = img_min(img_align_up(next, granule), end) - *off;
        } else if (*len > 0 && next > *off + *len) {
            return 0;
        }
        at = next;
    }
    return 0;
}

static int zero(struct chain_rebase_sink *rebase, uint64_t off, uint64_t len,
                bool *as_data, struct img_error *err)
{
    struct chain_sink *inner = &rebase->inner.sink;

    rebase->is_used = true;
    return inner->ops->zero(inner, off, len, as_data, err);
}

/* [OFF, END) where the new backing file shows anything else. */
static int zero_shown(struct chain_rebase_sink *rebase, uint64_t off,
                      uint64_t end, bool *as_data, struct img_error *err)
{
    uint64_t run_len;

    for (;;) {
        if (next_shown(rebase, &off, end, &run_len, err) < 0) {
            return -1;
        }
        if (run_len == 0) {
            return 0;
        }
        if (zero(rebase, off, run_len, as_data, err) < 0) {
            return -1;
        }
        if (*as_data) {
            return 0;
        }
        off += run_len;
    }
}

/* From OFF to the end of the first cluster, or of all whole clusters. */
static uint64_t part_end(uint64_t off, uint64_t end, uint64_t cluster_len)
{
    uint64_t last = img_align_down(end, cluster_len);

    if (off % cluster_len != 0) {
        return img_min(end, img_align_up(off, cluster_len));
    }
    return last > off ? last : end;
}

/* That zeros can only be stored holds for all or for none of them. */
static int sink_zero(struct chain_sink *sink, uint64_t off, uint64_t len,
                     bool *as_data, struct img_error *err)
{
    struct chain_rebase_sink *rebase = (struct chain_rebase_sink *)sink;
    uint64_t cluster_len = qcow2_edit_header(rebase->inner.edit)->cluster_len;
    uint64_t end = off + len, stop;

    *as_data = false;
    for (; off < end && !*as_data; off = stop) {
        bool is_whole = false;
        stop = part_end(off, end, cluster_len);
        if ((stop - off) % cluster_len != 0 &&
            chain_edit_sink_is_whole(&rebase->inner, off, &is_whole, err) < 0) {
            return -1;
        }
        int r = is_whole ? zero(rebase, off, stop - off, as_data, err)
                         : zero_shown(rebase, off, stop, as_data, err);
        if (r < 0) {
            return -1;
        }
    }
    return 0;
}

static const struct chain_sink_ops sink_ops = {
    .data = sink_data,
    .zero = sink_zero,
};

void chain_rebase_sink_init(struct chain_rebase_sink *sink,
                            struct qcow2_edit *edit, struct chain_view *next)
{
    memset(sink, 0, sizeof(*sink));
    chain_edit_sink_init(&sink->inner, edit);
    sink->sink.ops = &sink_ops;
    sink->sink.granule = sink->inner.sink.granule;
    sink->next = next;
}
