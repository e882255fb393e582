/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A forest for graphviz: an arrow from each overlay to its base. */
#include <img/memory.h>
#include <string.h>

#include "tree.h"

/* Inside quotes DOT knows \" and \\; RAW may be any bytes. */
static void put_quoted(struct output *out, const char *raw)
{
    char shown[4 * IMG_ERROR_PATH_MAX];

    img_escape(raw, strlen(raw), shown, sizeof(shown));
    for (const char *p = shown; *p; p++) {
        if (*p == '"' || *p == '\\') {
            output_text(out, "\\");
        }
        output_bytes(out, p, 1);
    }
}

static void put_node(struct output *out, const struct chain_forest *forest,
                     size_t idx)
{
    const struct chain_forest_node *node = chain_forest_at(forest, idx);
    char summary[TREE_SUMMARY_LEN], text[TREE_REMARK_LEN];
    bool is_bad = false;

    output_printf(out, "  n%zu [label=\"", idx);
    put_quoted(out, node->path);
    output_printf(out, "\\n%s", tree_summary(node, summary));
    for (const struct tree_remark *one = tree_remarks; one->id; one++) {
        if (node->remarks & (unsigned)one->bit) {
            is_bad = is_bad || one->is_problem;
            output_text(out, "\\n");
            put_quoted(out, tree_remark_text(forest, node, one, text));
        }
    }
    output_printf(out, "\"%s];\n", is_bad ? ", color=red" : "");
}

int tree_dot(struct output *out, const struct chain_forest *forest,
             struct img_error *err)
{
    (void)err;
    output_text(out, "digraph images {\n  rankdir=BT;\n"
                     "  node [shape=box, fontname=\"monospace\"];\n");
    for (size_t i = 0; i < chain_forest_len(forest); i++) {
        const struct chain_forest_node *node = chain_forest_at(forest, i);

        if (node->is_hidden) {
            continue;
        }
        put_node(out, forest, i);
        if (node->backing != CHAIN_FOREST_NONE) {
            output_printf(out, "  n%zu -> n%zu;\n", i, node->backing);
        }
    }
    output_text(out, "}\n");
    return 0;
}
