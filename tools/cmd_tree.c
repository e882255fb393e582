/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tree: who backs whom among files and folders of images. */
#include <chain/forest.h>
#include <img/memory.h>

#include "command.h"
#include "message.h"
#include "session.h"
#include "tree/tree.h"
#include "values.h"

const struct option_spec tree_options[] = {
    {0, "output", "FORM", "human, json, dot or svg", option_tree_output,
     offsetof(struct tree_values, common.output)},
    {'R', "recursive", NULL, "look into folders in folders, too", option_flag,
     offsetof(struct tree_values, recursive)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static void chain_forest_free_ptr(struct chain_forest **forest)
{
    chain_forest_free(*forest);
}

int cmd_tree(void *opaque, char **operands, int nr)
{
    const struct tree_values *values = opaque;
    struct chain_forest_options options = {
        .roots = values->common.roots,
        .force_share = values->common.force_share,
        .allow_probe = values->common.allow_probe,
        .recursive = values->recursive,
    };
    struct img_error err;
    int code = EXIT_DONE;
    IMG_AUTO(chain_forest_free_ptr) struct chain_forest *forest = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    /* Images are opened to the end: there is no second step. */
    if (session_begin(&values->common, 0, &out, &err) < 0 ||
        chain_forest_new(&options, &forest, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    for (int i = 0; i < nr; i++) {
        if (chain_forest_add(forest, operands[i], &err) == 0) {
            continue;
        }
        /* The other paths are still worth showing. */
        code = session_fail(&err, EXIT_FAILED);
        if (err.code == IMG_LIMIT || err.code == IMG_MEMORY) {
            return code;
        }
    }
    if (chain_forest_link(forest, &err) < 0 ||
        (values->common.output == OUTPUT_JSON
             ? tree_json(out, forest, &err)
             : tree_picture(out, values->common.output, forest, &err)) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    return session_finish(out, code, EXIT_FAILED);
}
