/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A forest as a picture: overlays hang on their bases. */
#include <img/memory.h>

#include "tree.h"

static const char *title(const void *opaque, size_t idx)
{
    return chain_forest_at(opaque, idx)->path;
}

static const char *summary(const void *opaque, size_t idx,
                           char buf[PICTURE_SUMMARY_LEN])
{
    return tree_summary(chain_forest_at(opaque, idx), buf);
}

static bool remark(const void *opaque, size_t idx, size_t k,
                   struct picture_remark *out)
{
    const struct chain_forest_node *node = chain_forest_at(opaque, idx);

    for (const struct tree_remark *one = tree_remarks; one->id; one++) {
        if ((node->remarks & (unsigned)one->bit) && k-- == 0) {
            out->id = one->id;
            out->is_problem = one->is_problem;
            tree_remark_text(opaque, node, one, out->text);
            return true;
        }
    }
    return false;
}

/* Their ends are alike, and all else is an index. */
_Static_assert(CHAIN_FOREST_NONE == PICTURE_NONE, "indices are taken over");

static struct picture_link *links(const struct chain_forest *forest,
                                  size_t *hidden_nr, struct img_error *err)
{
    size_t nr = chain_forest_len(forest);
    struct picture_link *list = img_calloc(nr + 1, sizeof(*list), err);

    for (size_t i = 0; list && i < nr; i++) {
        const struct chain_forest_node *node = chain_forest_at(forest, i);

        list[i].parent = node->backing;
        list[i].first = node->first_overlay;
        list[i].next = node->next_overlay;
        list[i].is_hidden = node->is_hidden;
        list[i].is_looped = (node->remarks & CHAIN_FOREST_LOOP) != 0;
        *hidden_nr += node->is_hidden;
    }
    return list;
}

int tree_picture(struct output *out, enum output_format form,
                 const struct chain_forest *forest, struct img_error *err)
{
    size_t hidden = 0;
    IMG_AUTO(img_free_ptr)
    struct picture_link *list = links(forest, &hidden, err);
    const struct picture picture = {
        .name = "images",
        .links = list,
        .nr = chain_forest_len(forest),
        .opaque = forest,
        .title = title,
        .summary = summary,
        .remark = remark,
    };

    if (!list || picture_draw(out, form, &picture, err) < 0) {
        return -1;
    }
    if (form == OUTPUT_HUMAN && hidden > 0) {
        output_printf(out, "%zu other file%s: no image format recognised\n",
                      hidden, hidden == 1 ? "" : "s");
    }
    return 0;
}
