/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a forest is made of. For this room only. */
#ifndef CHAIN_GRAPH_FOREST_H
#define CHAIN_GRAPH_FOREST_H

#include <chain/forest.h>

#include "identity.h"

struct chain_forest_item {
    struct chain_forest_node pub;
    bool is_regular;
    uint32_t mode;
    int64_t mtime_ns;
};

/* Which node a file is. */
struct chain_forest_identity {
    struct chain_identity_key key;
    size_t node;
};

struct chain_forest {
    struct chain_forest_options options;
    struct chain_forest_item *nodes;
    size_t nr, capacity;
    void *identities; /* tsearch(3) of struct chain_forest_identity */
};

/*
 * The node of the file at PATH, a new one if it is not there yet. FORMAT:
 * what it is said to be; NULL: probe. *out is its index. Whatever is wrong
 * with the file becomes the node's remark; only IMG_LIMIT and IMG_MEMORY
 * fail.
 */
int chain_forest_node_for(struct chain_forest *forest, const char *path,
                          const char *format, size_t *out,
                          struct img_error *err);

#endif
