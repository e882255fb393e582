/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A forest as SVG: one row an image, overlays to the right under their base,
 * a line from each to what it hangs on.
 */
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "../xml.h"
#include "tree.h"

#define ROW_HEIGHT 46u
#define INDENT 26u
#define MARGIN 12u
#define BOX_WIDTH 560u
#define BOX_HEIGHT 36u
/* Of a monospace font of 13 px, about: what fits into a box. */
#define BOX_CHARS 66u

static unsigned left(const struct tree_row *row)
{
    size_t depth = row->depth < TREE_MAX_INDENT ? row->depth : TREE_MAX_INDENT;

    return MARGIN + (unsigned)depth * INDENT;
}

static size_t top(size_t idx)
{
    return MARGIN + idx * ROW_HEIGHT;
}

static bool has_problem(const struct chain_forest_node *node)
{
    for (const struct tree_remark *one = tree_remarks; one->id; one++) {
        if (one->is_problem && (node->remarks & (unsigned)one->bit)) {
            return true;
        }
    }
    return false;
}

/* The end of a path says more than its beginning. */
static int put_name(struct output *out, const char *path, struct img_error *err)
{
    char shown[4 * IMG_ERROR_PATH_MAX];
    size_t len = img_escape(path, strlen(path), shown, sizeof(shown));
    const char *tail = shown;
    IMG_AUTO(img_free_ptr) char *safe = NULL;

    if (len > BOX_CHARS) {
        tail = shown + len - BOX_CHARS;
        while (((unsigned char)*tail & 0xc0u) == 0x80u) {
            tail++;
        }
    }
    /* Backslashes of the first escaping stay what they are. */
    safe = xml_printable(tail, err);
    if (!safe) {
        return -1;
    }
    output_printf(out, "%s%s", tail == shown ? "" : "…", safe);
    return 0;
}

/* A tooltip: the whole path and all remarks. */
static int put_title(struct output *out, const struct chain_forest *forest,
                     const struct chain_forest_node *node,
                     struct img_error *err)
{
    char text[TREE_REMARK_LEN];
    IMG_AUTO(img_free_ptr) char *path = xml_text(node->path, err);

    if (!path) {
        return -1;
    }
    output_printf(out, "<title>%s", path);
    for (const struct tree_remark *one = tree_remarks; one->id; one++) {
        if (node->remarks & (unsigned)one->bit) {
            IMG_AUTO(img_free_ptr)
            char *safe =
                xml_printable(tree_remark_text(forest, node, one, text), err);

            if (!safe) {
                return -1;
            }
            output_printf(out, "\n%s", safe);
        }
    }
    output_text(out, "</title>");
    return 0;
}

static void put_line(struct output *out, const struct tree_row *rows,
                     size_t idx)
{
    const struct tree_row *row = &rows[idx];
    unsigned x = left(&rows[row->parent]) + INDENT / 2;

    output_printf(out, "<path class=\"link\" d=\"M%u %zu V%zu H%u\"/>\n", x,
                  top(row->parent) + BOX_HEIGHT, top(idx) + BOX_HEIGHT / 2,
                  left(row));
}

static int put_box(struct output *out, const struct chain_forest *forest,
                   const struct tree_row *row, size_t idx,
                   struct img_error *err)
{
    const struct chain_forest_node *node = chain_forest_at(forest, row->node);
    char summary[TREE_SUMMARY_LEN];
    const char *first = "";

    for (const struct tree_remark *one = tree_remarks; one->id; one++) {
        if (!first[0] && (node->remarks & (unsigned)one->bit)) {
            first = one->id;
        }
    }
    output_text(out, "<g>");
    if (put_title(out, forest, node, err) < 0) {
        return -1;
    }
    output_printf(out,
                  "<rect class=\"%s\" x=\"%u\" y=\"%zu\" width=\"%u\" "
                  "height=\"%u\" rx=\"4\"/><text class=\"name\" x=\"%u\" "
                  "y=\"%zu\">",
                  has_problem(node) ? "bad" : "good", left(row), top(idx),
                  BOX_WIDTH, BOX_HEIGHT, left(row) + 8, top(idx) + 15);
    if (put_name(out, node->path, err) < 0) {
        return -1;
    }
    output_printf(out, "</text><text x=\"%u\" y=\"%zu\">%s%s%s</text></g>\n",
                  left(row) + 8, top(idx) + 30, tree_summary(node, summary),
                  first[0] ? " · " : "", first);
    return 0;
}

int tree_svg(struct output *out, const struct chain_forest *forest,
             struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct tree_row *rows = NULL;
    size_t nr;
    unsigned width = 0;

    if (tree_rows(forest, &rows, &nr, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        width = left(&rows[i]) > width ? left(&rows[i]) : width;
    }
    output_printf(out,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" "
                  "height=\"%zu\">\n",
                  width + BOX_WIDTH + MARGIN, top(nr) + MARGIN);
    output_text(out, "<style>text{font:11px monospace;fill:#333}"
                     ".name{font-size:13px;fill:#000}"
                     "rect{fill:#fff;stroke:#777}.bad{stroke:#c00;"
                     "fill:#fee}.link{fill:none;stroke:#777}</style>\n");
    for (size_t i = 0; i < nr; i++) {
        if (rows[i].parent != CHAIN_FOREST_NONE) {
            put_line(out, rows, i);
        }
    }
    for (size_t i = 0; i < nr; i++) {
        if (put_box(out, forest, &rows[i], i, err) < 0) {
            return -1;
        }
    }
    output_text(out, "</svg>\n");
    return 0;
}
