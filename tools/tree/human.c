/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A forest for people: overlays indented under their bases. */
#include <img/memory.h>
#include <inttypes.h>

#include "tree.h"

/* Is there a line to draw at each depth? */
struct rails {
    bool is_open[TREE_MAX_INDENT + 1];
};

static void put_rails(struct output *out, const struct rails *rails,
                      size_t depth)
{
    for (size_t i = 1; i < depth && i <= TREE_MAX_INDENT; i++) {
        output_text(out, rails->is_open[i] ? "│  " : "   ");
    }
}

static void put_remarks(struct output *out, const struct chain_forest *forest,
                        const struct chain_forest_node *node,
                        const struct rails *rails, size_t depth)
{
    char text[TREE_REMARK_LEN];

    for (const struct tree_remark *one = tree_remarks; one->id; one++) {
        if (!(node->remarks & (unsigned)one->bit)) {
            continue;
        }
        put_rails(out, rails, depth + 1);
        output_text(out, "     ");
        output_style(out, one->is_problem ? STYLE_BAD : STYLE_DIM);
        output_text(out, one->is_problem ? "" : "note: ");
        output_text(out, tree_remark_text(forest, node, one, text));
        output_style(out, STYLE_PLAIN);
        output_text(out, "\n");
    }
}

static void put_row(struct output *out, const struct chain_forest *forest,
                    const struct tree_row *row, struct rails *rails)
{
    const struct chain_forest_node *node = chain_forest_at(forest, row->node);
    char summary[TREE_SUMMARY_LEN];

    put_rails(out, rails, row->depth);
    if (row->depth > 0 && row->depth <= TREE_MAX_INDENT) {
        output_text(out, row->is_last ? "└─ " : "├─ ");
        rails->is_open[row->depth] = !row->is_last;
    } else if (row->depth > 0) {
        output_printf(out, "(depth %zu) ", row->depth);
    }
    output_style(out, STYLE_BOLD);
    output_escaped(out, node->path);
    output_style(out, STYLE_PLAIN);
    output_printf(out, "  %s\n", tree_summary(node, summary));
    put_remarks(out, forest, node, rails, row->depth);
}

int tree_human(struct output *out, const struct chain_forest *forest,
               struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct tree_row *rows = NULL;
    struct rails rails = {.is_open = {false}};
    size_t nr, hidden = 0;

    if (tree_rows(forest, &rows, &nr, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        put_row(out, forest, &rows[i], &rails);
    }
    for (size_t i = 0; i < chain_forest_len(forest); i++) {
        hidden += chain_forest_at(forest, i)->is_hidden;
    }
    if (hidden > 0) {
        output_printf(out, "%zu other file%s: no image format recognised\n",
                      hidden, hidden == 1 ? "" : "s");
    }
    return 0;
}
