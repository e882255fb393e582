/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sink that is a new qcow2 image: see mover.h.
 */
#include "mover.h"

static struct qcow2_fresh *fresh_of(struct chain_sink *sink)
{
    return ((struct chain_fresh_sink *)sink)->fresh;
}

static int fresh_data(struct chain_sink *sink, uint64_t off, uint64_t len,
                      struct qcow2_place *out, struct img_error *err)
{
    return qcow2_fresh_data(fresh_of(sink), off, len, out, err);
}

/* Version 2 has no zero clusters: over a backing file zeros are data there. */
static int fresh_zero(struct chain_sink *sink, uint64_t off, uint64_t len,
                      bool *as_data, struct img_error *err)
{
    const struct chain_fresh_sink *fresh = (struct chain_fresh_sink *)sink;

    if (!fresh->has_backing) {
        return 0;
    }
    int rc = qcow2_fresh_zero(fresh->fresh, off, len, err);
    *as_data = rc != 0 && err->code == IMG_UNSUPPORTED;
    return *as_data ? 0 : rc;
}

static int fresh_compressed(struct chain_sink *sink, uint64_t off, uint32_t len,
                            struct qcow2_place *out, struct img_error *err)
{
    struct chain_fresh_sink *fresh = (struct chain_fresh_sink *)sink;

    out->file = fresh->file;
    out->len = len;
    return qcow2_fresh_compressed(fresh->fresh, off, len, &out->host_off, err);
}

static const struct chain_sink_ops fresh_ops = {
    .data = fresh_data,
    .zero = fresh_zero,
    .compressed = fresh_compressed,
};

void chain_fresh_sink_init(struct chain_fresh_sink *sink,
                           struct qcow2_fresh *fresh, struct img_file *file,
                           bool has_backing, uint32_t unit_len)
{
    *sink = (struct chain_fresh_sink){
        .sink = {.ops = &fresh_ops,
                 .granule = qcow2_fresh_granule(fresh),
                 .unit_len = unit_len},
        .fresh = fresh,
        .file = file,
        .has_backing = has_backing,
    };
}
