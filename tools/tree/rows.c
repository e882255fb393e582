/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows of a drawing: a walk over each tree that needs no stack, because
 * nodes know their base and their next sibling.
 */
#include <img/memory.h>
#include <stdlib.h>

#include "tree.h"

struct walk {
    const struct chain_forest *forest;
    bool *is_seen;
    size_t *row_of;
    struct tree_row *rows;
    size_t nr;
};

/* The first of NODE and its next siblings that was not drawn yet. */
static size_t skip_seen(const struct walk *walk, size_t node)
{
    while (node != CHAIN_FOREST_NONE && walk->is_seen[node]) {
        node = chain_forest_at(walk->forest, node)->next_overlay;
    }
    return node;
}

static void draw(struct walk *walk, size_t node, size_t parent)
{
    struct tree_row *row = &walk->rows[walk->nr];

    walk->is_seen[node] = true;
    walk->row_of[node] = walk->nr++;
    row->node = node;
    row->parent = parent;
    row->depth = parent == CHAIN_FOREST_NONE ? 0 : walk->rows[parent].depth + 1;
    row->is_last =
        parent == CHAIN_FOREST_NONE ||
        skip_seen(walk, chain_forest_at(walk->forest, node)->next_overlay) ==
            CHAIN_FOREST_NONE;
}

static void draw_tree(struct walk *walk, size_t root)
{
    size_t at = root;

    draw(walk, root, CHAIN_FOREST_NONE);
    for (;;) {
        size_t next =
            skip_seen(walk, chain_forest_at(walk->forest, at)->first_overlay);

        while (next == CHAIN_FOREST_NONE && at != root) {
            next = skip_seen(walk,
                             chain_forest_at(walk->forest, at)->next_overlay);
            at = chain_forest_at(walk->forest, at)->backing;
        }
        if (next == CHAIN_FOREST_NONE) {
            return;
        }
        draw(walk, next, walk->row_of[at]);
        at = next;
    }
}

int tree_rows(const struct chain_forest *forest, struct tree_row **out,
              size_t *nr, struct img_error *err)
{
    size_t all = chain_forest_len(forest);
    IMG_AUTO(img_free_ptr) bool *is_seen = img_calloc(all + 1, 1, err);
    IMG_AUTO(img_free_ptr)
    size_t *row_of = is_seen ? img_calloc(all + 1, sizeof(*row_of), err) : NULL;
    struct tree_row *rows =
        row_of ? img_calloc(all + 1, sizeof(*rows), err) : NULL;
    struct walk walk = {
        .forest = forest, .is_seen = is_seen, .row_of = row_of, .rows = rows};

    if (!rows) {
        return -1;
    }
    for (size_t i = 0; i < all; i++) {
        const struct chain_forest_node *node = chain_forest_at(forest, i);

        if (node->backing == CHAIN_FOREST_NONE && !node->is_hidden) {
            draw_tree(&walk, i);
        }
    }
    /* What hangs on no root hangs on a loop. */
    for (size_t i = 0; i < all; i++) {
        const struct chain_forest_node *node = chain_forest_at(forest, i);

        if ((node->remarks & CHAIN_FOREST_LOOP) && !is_seen[i]) {
            draw_tree(&walk, i);
        }
    }
    *out = rows;
    *nr = walk.nr;
    return 0;
}
