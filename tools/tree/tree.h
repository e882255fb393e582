/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pictures of a forest. */
#ifndef TREE_H
#define TREE_H

#include <chain/forest.h>

#include "../options.h"
#include "../picture/picture.h"

struct tree_remark {
    const char *id;
    enum chain_forest_remark bit;
    bool is_problem; /* else a note */
};
/* All remarks there are, ended by id NULL. */
extern const struct tree_remark tree_remarks[];
/* One line about NODE for REMARK; printable. */
const char *tree_remark_text(const struct chain_forest *forest,
                             const struct chain_forest_node *node,
                             const struct tree_remark *remark,
                             char out[PICTURE_REMARK_LEN]);

/* "qcow2, 64 GiB", or that it was not read. */
const char *tree_summary(const struct chain_forest_node *node,
                         char out[PICTURE_SUMMARY_LEN]);

int tree_json(struct output *out, const struct chain_forest *forest,
              struct img_error *err);
/* In any form but JSON. */
int tree_picture(struct output *out, enum output_format form,
                 const struct chain_forest *forest, struct img_error *err);

#endif
