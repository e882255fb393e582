/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a view is made of. For view.c and view_read.c. */
#ifndef CHAIN_GRAPH_VIEW_IMPL_H
#define CHAIN_GRAPH_VIEW_IMPL_H

#include <chain/view.h>

#include "ends.h"
#include "graph.h"

/* What a layer answered last. */
struct chain_view_cursor {
    struct chain_extent answer;
    uint64_t end; /* where it stops to hold; 0: nothing was asked yet */
};

/* The compressed cluster that was inflated last (view_read.c). */
struct chain_view_unit {
    struct img_inflater *inflater; /* NULL: not needed so far */
    void *stored, *bytes;
    size_t stored_capacity, bytes_capacity;
    const struct img_file *file; /* NULL: bytes hold nothing */
    uint64_t host_off;
};

struct chain_view {
    const struct chain *chain;
    size_t first; /* layer of cursor 0 */
    size_t nr;    /* cursors */
    uint64_t len;
    struct chain_view_cursor *cursors;
    /* Of each cursor: its end where the layer has nothing to say, 0 where it
       decides or was not asked. */
    struct chain_ends ends;
    uint64_t asked_off;       /* no cursor's answer begins after this */
    struct chain_extent last; /* what was found last, before it was cut to the
                                 length asked for */
    struct chain_view_unit unit;
};

void chain_view_unit_fini(struct chain_view_unit *unit);

#endif
