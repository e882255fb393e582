/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rows of a drawing: a walk over each tree that needs no stack, because
 * nodes know their parent and their next sibling.
 */
#include <img/memory.h>
#include <stdlib.h>

#include "picture.h"

struct walk {
    const struct picture_link *links;
    bool *is_seen;
    size_t *row_of;
    struct picture_row *rows;
    size_t nr;
};

/* The first of NODE and its next siblings that was not drawn yet. */
static size_t skip_seen(const struct walk *walk, size_t node)
{
    while (node != PICTURE_NONE && walk->is_seen[node]) {
        node = walk->links[node].next;
    }
    return node;
}

static void draw(struct walk *walk, size_t node, size_t parent)
{
    struct picture_row *row = &walk->rows[walk->nr];

    walk->is_seen[node] = true;
    walk->row_of[node] = walk->nr++;
    row->node = node;
    row->parent = parent;
    row->depth = parent == PICTURE_NONE ? 0 : walk->rows[parent].depth + 1;
    row->is_last = parent == PICTURE_NONE ||
                   skip_seen(walk, walk->links[node].next) == PICTURE_NONE;
}

static void draw_tree(struct walk *walk, size_t root)
{
    size_t at = root;

    draw(walk, root, PICTURE_NONE);
    for (;;) {
        size_t next = skip_seen(walk, walk->links[at].first);

        while (next == PICTURE_NONE && at != root) {
            next = skip_seen(walk, walk->links[at].next);
            at = walk->links[at].parent;
        }
        if (next == PICTURE_NONE) {
            return;
        }
        draw(walk, next, walk->row_of[at]);
        at = next;
    }
}

int picture_rows(const struct picture *picture, struct picture_row **out,
                 size_t *nr, struct img_error *err)
{
    const struct picture_link *links = picture->links;
    size_t all = picture->nr;
    IMG_AUTO(img_free_ptr) bool *is_seen = img_calloc(all + 1, 1, err);
    IMG_AUTO(img_free_ptr)
    size_t *row_of = is_seen ? img_calloc(all + 1, sizeof(*row_of), err) : NULL;
    struct picture_row *rows =
        row_of ? img_calloc(all + 1, sizeof(*rows), err) : NULL;
    struct walk walk = {
        .links = links, .is_seen = is_seen, .row_of = row_of, .rows = rows};

    if (!rows) {
        return -1;
    }
    for (size_t i = 0; i < all; i++) {
        if (links[i].parent == PICTURE_NONE && !links[i].is_hidden) {
            draw_tree(&walk, i);
        }
    }
    /* What hangs on no root hangs on a loop. */
    for (size_t i = 0; i < all; i++) {
        if (links[i].is_looped && !is_seen[i]) {
            draw_tree(&walk, i);
        }
    }
    *out = rows;
    *nr = walk.nr;
    return 0;
}

int picture_draw(struct output *out, enum output_format form,
                 const struct picture *picture, struct img_error *err)
{
    switch (form) {
    case OUTPUT_DOT:
        return picture_dot(out, picture, err);
    case OUTPUT_SVG:
        return picture_svg(out, picture, err);
    case OUTPUT_HUMAN:
    case OUTPUT_JSON:
        break;
    }
    return picture_human(out, picture, err);
}
