/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sink that is a qcow2 image which is edited in place: see mover.h.
 */
#include "mover.h"

static int edit_data(struct chain_sink *sink, uint64_t off, uint64_t len,
                     struct qcow2_place *out, struct img_error *err)
{
    struct qcow2_edit *edit = ((struct chain_edit_sink *)sink)->edit;

    return qcow2_edit_place(edit, off, len, out, err);
}

/* Version 2 has no zero clusters: over a backing file zeros are data there. */
static int edit_zero(struct chain_sink *sink, uint64_t off, uint64_t len,
                     bool *as_data, struct img_error *err)
{
    struct qcow2_edit *edit = ((struct chain_edit_sink *)sink)->edit;
    int rc = qcow2_edit_zero(edit, off, len, false, err);

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
    };
}
