/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A picture as SVG: one row a node, to the right under what it hangs on, a line
 * from each to that.
 */
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "../xml.h"
#include "picture.h"

#define ROW_HEIGHT 46u
#define INDENT 26u
#define MARGIN 12u
#define BOX_WIDTH 560u
#define BOX_HEIGHT 36u
/* Of a monospace font of 13 px, about: what fits into a box. */
#define BOX_CHARS 66u

static unsigned left(const struct picture_row *row)
{
    size_t depth =
        row->depth < PICTURE_MAX_INDENT ? row->depth : PICTURE_MAX_INDENT;

    return MARGIN + (unsigned)depth * INDENT;
}

static size_t top(size_t idx)
{
    return MARGIN + idx * ROW_HEIGHT;
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

/* A tooltip: the whole title and all remarks. IS_BAD: a problem is among them;
   ID: of the first one, "" for none. */
static int put_tooltip(struct output *out, const struct picture *picture,
                       size_t node, bool *is_bad, const char **id,
                       struct img_error *err)
{
    struct picture_remark remark;
    IMG_AUTO(img_free_ptr)
    char *title = xml_text(picture->title(picture->opaque, node), err);

    if (!title) {
        return -1;
    }
    output_printf(out, "<title>%s", title);
    for (size_t k = 0; picture->remark(picture->opaque, node, k, &remark);
         k++) {
        IMG_AUTO(img_free_ptr) char *safe = xml_printable(remark.text, err);

        if (!safe) {
            return -1;
        }
        output_printf(out, "\n%s", safe);
        *is_bad = *is_bad || remark.is_problem;
        *id = k == 0 ? remark.id : *id;
    }
    output_text(out, "</title>");
    return 0;
}

static void put_line(struct output *out, const struct picture_row *rows,
                     size_t idx)
{
    const struct picture_row *row = &rows[idx];
    unsigned x = left(&rows[row->parent]) + INDENT / 2;

    output_printf(out, "<path class=\"link\" d=\"M%u %zu V%zu H%u\"/>\n", x,
                  top(row->parent) + BOX_HEIGHT, top(idx) + BOX_HEIGHT / 2,
                  left(row));
}

static int put_box(struct output *out, const struct picture *picture,
                   const struct picture_row *row, size_t idx,
                   struct img_error *err)
{
    const struct picture_link *link = &picture->links[row->node];
    char buf[PICTURE_SUMMARY_LEN];
    const char *first = "";
    bool is_bad = false;
    IMG_AUTO(img_free_ptr)
    char *summary =
        xml_printable(picture->summary(picture->opaque, row->node, buf), err);

    output_text(out, "<g>");
    if (!summary ||
        put_tooltip(out, picture, row->node, &is_bad, &first, err) < 0) {
        return -1;
    }
    output_printf(out,
                  "<rect class=\"%s%s\" x=\"%u\" y=\"%zu\" width=\"%u\" "
                  "height=\"%u\" rx=\"4\"/><text class=\"name\" x=\"%u\" "
                  "y=\"%zu\">",
                  is_bad ? "bad" : "good", link->is_marked ? " marked" : "",
                  left(row), top(idx), BOX_WIDTH, BOX_HEIGHT, left(row) + 8,
                  top(idx) + 15);
    if (put_name(out, picture->title(picture->opaque, row->node), err) < 0) {
        return -1;
    }
    output_printf(out, "</text><text x=\"%u\" y=\"%zu\">%s%s%s</text></g>\n",
                  left(row) + 8, top(idx) + 30, summary, first[0] ? " · " : "",
                  first);
    return 0;
}

int picture_svg(struct output *out, const struct picture *picture,
                struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct picture_row *rows = NULL;
    size_t nr;
    unsigned width = 0;

    if (picture_rows(picture, &rows, &nr, err) < 0) {
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
                     "fill:#fee}.marked{stroke-width:3}.link{fill:none;stroke:#"
                     "777}</style>\n");
    for (size_t i = 0; i < nr; i++) {
        if (rows[i].parent != PICTURE_NONE) {
            put_line(out, rows, i);
        }
    }
    for (size_t i = 0; i < nr; i++) {
        if (put_box(out, picture, &rows[i], i, err) < 0) {
            return -1;
        }
    }
    output_text(out, "</svg>\n");
    return 0;
}
