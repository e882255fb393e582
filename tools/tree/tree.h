/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pictures of a forest. */
#ifndef TREE_H
#define TREE_H

#include <chain/forest.h>

#include "../output.h"

/* Deeper nodes are not indented further: lines stay bounded. */
#define TREE_MAX_INDENT 40u

/* A node in the order of a drawing: bases first, overlays under them. */
struct tree_row {
    size_t node;
    size_t
        parent; /* index of the row of what it hangs on, or CHAIN_FOREST_NONE */
    size_t depth;
    bool is_last; /* the last one on its parent */
};

/*
 * All nodes that are to be shown, each once. A loop begins at the first of
 * its nodes. Free with free().
 */
int tree_rows(const struct chain_forest *forest, struct tree_row **out,
              size_t *nr, struct img_error *err);

struct tree_remark {
    const char *id;
    enum chain_forest_remark bit;
    bool is_problem; /* else a note */
};
/* All remarks there are, ended by id NULL. */
extern const struct tree_remark tree_remarks[];
/* One line about NODE for REMARK; printable. */
#define TREE_REMARK_LEN 2048u
const char *tree_remark_text(const struct chain_forest *forest,
                             const struct chain_forest_node *node,
                             const struct tree_remark *remark,
                             char out[TREE_REMARK_LEN]);

/* "qcow2, 64 GiB", or that it was not read. */
#define TREE_SUMMARY_LEN 128u
const char *tree_summary(const struct chain_forest_node *node,
                         char out[TREE_SUMMARY_LEN]);

int tree_human(struct output *out, const struct chain_forest *forest,
               struct img_error *err);
int tree_json(struct output *out, const struct chain_forest *forest,
              struct img_error *err);
int tree_dot(struct output *out, const struct chain_forest *forest,
             struct img_error *err);
int tree_svg(struct output *out, const struct chain_forest *forest,
             struct img_error *err);

#endif
