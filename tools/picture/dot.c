/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A picture for graphviz: an arrow from each node to what it hangs on. */
#include <img/memory.h>
#include <string.h>

#include "picture.h"

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

static void put_node(struct output *out, const struct picture *picture,
                     size_t idx)
{
    struct picture_remark remark;
    char summary[PICTURE_SUMMARY_LEN];
    bool is_bad = false;

    output_printf(out, "  n%zu [label=\"", idx);
    put_quoted(out, picture->title(picture->opaque, idx));
    output_text(out, "\\n");
    put_quoted(out, picture->summary(picture->opaque, idx, summary));
    for (size_t k = 0; picture->remark(picture->opaque, idx, k, &remark); k++) {
        is_bad = is_bad || remark.is_problem;
        output_text(out, "\\n");
        put_quoted(out, remark.text);
    }
    output_printf(out, "\"%s%s];\n",
                  picture->links[idx].is_marked ? ", penwidth=2" : "",
                  is_bad ? ", color=red" : "");
}

int picture_dot(struct output *out, const struct picture *picture,
                struct img_error *err)
{
    (void)err;
    output_printf(out,
                  "digraph %s {\n  rankdir=BT;\n"
                  "  node [shape=box, fontname=\"monospace\"];\n",
                  picture->name);
    for (size_t i = 0; i < picture->nr; i++) {
        if (picture->links[i].is_hidden) {
            continue;
        }
        put_node(out, picture, i);
        if (picture->links[i].parent != PICTURE_NONE) {
            output_printf(out, "  n%zu -> n%zu;\n", i,
                          picture->links[i].parent);
        }
    }
    output_text(out, "}\n");
    return 0;
}
