/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A forest as JSON: one object an image, with links both ways. */
#include "tree.h"

static struct img_json *overlays_json(const struct chain_forest *forest,
                                      const struct chain_forest_node *node)
{
    struct img_json *list = img_json_array();

    for (size_t i = node->first_overlay; i != CHAIN_FOREST_NONE;
         i = chain_forest_at(forest, i)->next_overlay) {
        img_json_push(list, img_json_string(chain_forest_at(forest, i)->path));
    }
    return list;
}

static struct img_json *problems_json(const struct chain_forest *forest,
                                      const struct chain_forest_node *node)
{
    struct img_json *list = img_json_array();
    char text[PICTURE_REMARK_LEN];

    for (const struct tree_remark *one = tree_remarks; one->id; one++) {
        struct img_json *problem;

        if (!(node->remarks & (unsigned)one->bit)) {
            continue;
        }
        problem = img_json_object();
        img_json_set_string(problem, "id", one->id);
        img_json_set_string(problem, "level",
                            one->is_problem ? "error" : "note");
        img_json_set_string(problem, "message",
                            tree_remark_text(forest, node, one, text));
        img_json_push(list, problem);
    }
    return list;
}

static struct img_json *node_json(const struct chain_forest *forest,
                                  const struct chain_forest_node *node)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "filename", node->path);
    if (node->format) {
        img_json_set_string(json, "format", node->format);
        img_json_set_bool(json, "probed", node->is_probed);
        img_json_set_u64(json, "virtual-size", node->virtual_len);
        img_json_set_u64(json, "actual-size", node->allocated_len);
    }
    if (node->looks_like) {
        img_json_set_string(json, "looks-like", node->looks_like);
    }
    if (node->backing_name) {
        img_json_set_string(json, "backing-filename", node->backing_name);
    }
    if (node->backing_format) {
        img_json_set_string(json, "backing-filename-format",
                            node->backing_format);
    }
    if (node->backing != CHAIN_FOREST_NONE) {
        img_json_set_string(json, "base",
                            chain_forest_at(forest, node->backing)->path);
    }
    img_json_set(json, "overlays", overlays_json(forest, node));
    img_json_set(json, "problems", problems_json(forest, node));
    return json;
}

int tree_json(struct output *out, const struct chain_forest *forest,
              struct img_error *err)
{
    struct img_json *json = img_json_object(), *images = img_json_array();
    size_t hidden = 0;

    (void)err;
    for (size_t i = 0; i < chain_forest_len(forest); i++) {
        const struct chain_forest_node *node = chain_forest_at(forest, i);

        if (node->is_hidden) {
            hidden++;
        } else {
            img_json_push(images, node_json(forest, node));
        }
    }
    img_json_set(json, "images", images);
    img_json_set_u64(json, "other-files", hidden);
    output_json(out, json);
    return 0;
}
