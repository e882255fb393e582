/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sink that is a qcow2 image which is edited in place: see mover.h.
 */
#include <img/checked.h>

#include "mover.h"

static uint64_t cluster_of(const struct chain_edit_sink *sink, uint64_t off)
{
    return img_align_down(off, qcow2_edit_header(sink->edit)->cluster_len);
}

int chain_edit_sink_is_whole(struct chain_edit_sink *sink, uint64_t off,
                             bool *out, struct img_error *err)
{
    uint64_t span_off, span_len;

    *out = qcow2_edit_header(sink->edit)->has_extended_l2;
    if (!*out || sink->whole_off == cluster_of(sink, off)) {
        return 0;
    }
    if (qcow2_edit_span(sink->edit, off, 1, &span_off, &span_len, err) != 0) {
        return -1;
    }
    *out = span_len > sink->sink.granule;
    return 0;
}

/*
 * The editor wants some clusters whole of which data and zeros come apart here
 * (compressed, or shared with a snapshot): the one of OFF gets a place for all
 * of it first. The pusher sees to it that all of it comes; it may be nothing
 * but zeros, and then nobody else would write there.
 */
static int own_cluster(struct chain_edit_sink *sink, uint64_t off,
                       struct img_error *err)
{
    struct qcow2_place place;
    uint64_t span_off, span_len;
    bool is_whole;

    if (chain_edit_sink_is_whole(sink, off, &is_whole, err) != 0) {
        return -1;
    }
    if (!is_whole || sink->whole_off == cluster_of(sink, off)) {
        return 0;
    }
    sink->whole_off = cluster_of(sink, off);
    if (qcow2_edit_span(sink->edit, off, 1, &span_off, &span_len, err) != 0 ||
        qcow2_edit_place(sink->edit, span_off, span_len, &place, err) != 0) {
        return -1;
    }
    if (img_file_zero(place.file, place.host_off, place.len, IMG_ZERO_UNMAP,
                      err) != 0) {
        img_error_set_path(err, img_file_path(place.file));
        return -1;
    }
    return 0;
}

/* The clusters that [OFF, OFF + LEN) covers in part: its ends. */
static int own_ends(struct chain_edit_sink *sink, uint64_t off, uint64_t len,
                    struct img_error *err)
{
    uint64_t end = off + len;

    return (off != cluster_of(sink, off) && own_cluster(sink, off, err) != 0) ||
                   (end != cluster_of(sink, end) &&
                    own_cluster(sink, end - 1, err) != 0)
               ? -1
               : 0;
}

static int edit_data(struct chain_sink *sink, uint64_t off, uint64_t len,
                     struct qcow2_place *out, struct img_error *err)
{
    struct chain_edit_sink *edit = (struct chain_edit_sink *)sink;

    return own_ends(edit, off, len, err) != 0
               ? -1
               : qcow2_edit_place(edit->edit, off, len, out, err);
}

/* Version 2 has no zero clusters: over a backing file zeros are data there. */
static int edit_zero(struct chain_sink *sink, uint64_t off, uint64_t len,
                     bool *as_data, struct img_error *err)
{
    struct chain_edit_sink *edit = (struct chain_edit_sink *)sink;

    *as_data = false;
    if (own_ends(edit, off, len, err) != 0) {
        return -1;
    }
    if (edit->is_zero_below) {
        return qcow2_edit_discard(edit->edit, off, len, err);
    }
    int rc = qcow2_edit_zero(edit->edit, off, len, false, err);
    *as_data = rc != 0 && err->code == IMG_UNSUPPORTED;
    return *as_data ? 0 : rc;
}

static const struct chain_sink_ops edit_ops = {
    .data = edit_data,
    .zero = edit_zero,
};

void chain_edit_sink_init(struct chain_edit_sink *sink, struct qcow2_edit *edit)
{
    *sink = (struct chain_edit_sink){
        .sink = {.ops = &edit_ops, .granule = qcow2_edit_granule(edit)},
        .edit = edit,
        .whole_off = UINT64_MAX,
    };
}
