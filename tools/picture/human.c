/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A picture for people: nodes indented under what they hang on. */
#include <img/memory.h>

#include "picture.h"

/* Is there a line to draw at each depth? */
struct rails {
    bool is_open[PICTURE_MAX_INDENT + 1];
};

static void put_rails(struct output *out, const struct rails *rails,
                      size_t depth)
{
    for (size_t i = 1; i < depth && i <= PICTURE_MAX_INDENT; i++) {
        output_text(out, rails->is_open[i] ? "│  " : "   ");
    }
}

static void put_remarks(struct output *out, const struct picture *picture,
                        const struct picture_row *row,
                        const struct rails *rails)
{
    struct picture_remark remark;

    for (size_t k = 0; picture->remark(picture->opaque, row->node, k, &remark);
         k++) {
        put_rails(out, rails, row->depth + 1);
        output_text(out, "     ");
        output_style(out, remark.is_problem ? STYLE_BAD : STYLE_DIM);
        output_text(out, remark.is_problem ? "" : "note: ");
        output_text(out, remark.text);
        output_style(out, STYLE_PLAIN);
        output_text(out, "\n");
    }
}

static void put_row(struct output *out, const struct picture *picture,
                    const struct picture_row *row, struct rails *rails)
{
    char summary[PICTURE_SUMMARY_LEN];

    put_rails(out, rails, row->depth);
    if (row->depth > 0 && row->depth <= PICTURE_MAX_INDENT) {
        output_text(out, row->is_last ? "└─ " : "├─ ");
        rails->is_open[row->depth] = !row->is_last;
    } else if (row->depth > 0) {
        output_printf(out, "(depth %zu) ", row->depth);
    }
    output_style(out, STYLE_BOLD);
    output_escaped(out, picture->title(picture->opaque, row->node));
    output_style(out, STYLE_PLAIN);
    output_printf(out, "  %s\n",
                  picture->summary(picture->opaque, row->node, summary));
    put_remarks(out, picture, row, rails);
}

int picture_human(struct output *out, const struct picture *picture,
                  struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct picture_row *rows = NULL;
    struct rails rails = {.is_open = {false}};
    size_t nr;

    if (picture_rows(picture, &rows, &nr, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        put_row(out, picture, &rows[i], &rails);
    }
    return 0;
}
