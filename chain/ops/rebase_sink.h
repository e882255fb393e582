/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a rebase's bytes go. */
#ifndef CHAIN_OPS_REBASE_SINK_H
#define CHAIN_OPS_REBASE_SINK_H

#include "mover.h"

/*
 * Into the overlay's editor; but zeros are left out where the new backing file
 * shows zeros as well.
 */
struct chain_rebase_sink {
    struct chain_sink sink;
    struct chain_edit_sink inner;
    struct chain_view *next; /* borrowed: the overlay over its new backing */
    bool is_used;            /* the overlay had to change */
};
void chain_rebase_sink_init(struct chain_rebase_sink *sink,
                            struct qcow2_edit *edit, struct chain_view *next);

#endif
