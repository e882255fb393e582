/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pictures of what hangs on each other (images on their bases, snapshots on
 * their parents), each node with remarks: as text, for graphviz, as SVG.
 */
#ifndef PICTURE_H
#define PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../options.h"
#include "../output.h"

#define PICTURE_NONE SIZE_MAX
/* Deeper nodes are not indented further: lines stay bounded. */
#define PICTURE_MAX_INDENT 40u
#define PICTURE_SUMMARY_LEN 256u
#define PICTURE_REMARK_LEN 2048u

/* Indices of nodes, or NONE. */
struct picture_link {
    size_t parent; /* what it hangs on */
    size_t first;  /* of what hangs on it */
    size_t next;   /* the next one on the same parent */
    bool is_hidden, is_looped;
    bool is_marked; /* stands out */
};

struct picture_remark {
    const char *id;                /* static */
    bool is_problem;               /* else a note */
    char text[PICTURE_REMARK_LEN]; /* one line, printable */
};

struct picture {
    const char *name; /* of the graph: a word */
    const struct picture_link *links;
    size_t nr;
    const void *opaque; /* for what follows */
    /* Any bytes. */
    const char *(*title)(const void *opaque, size_t idx);
    /* One line, printable; into BUF, or static. */
    const char *(*summary)(const void *opaque, size_t idx,
                           char buf[PICTURE_SUMMARY_LEN]);
    /* Remark K, counted from 0. Returns false when there are not as many. */
    bool (*remark)(const void *opaque, size_t idx, size_t k,
                   struct picture_remark *out);
};

/* A node in the order of a drawing: parents first, the others under them. */
struct picture_row {
    size_t node;
    size_t parent; /* index of the row of what it hangs on, or NONE */
    size_t depth;
    bool is_last; /* the last one on its parent */
};

/*
 * All nodes that are to be shown, each once. A loop begins at the first of
 * its nodes. Free with free().
 */
int picture_rows(const struct picture *picture, struct picture_row **out,
                 size_t *nr, struct img_error *err);

/* In the form FORM, which is not JSON. */
int picture_draw(struct output *out, enum output_format form,
                 const struct picture *picture, struct img_error *err);
int picture_human(struct output *out, const struct picture *picture,
                  struct img_error *err);
int picture_dot(struct output *out, const struct picture *picture,
                struct img_error *err);
int picture_svg(struct output *out, const struct picture *picture,
                struct img_error *err);

#endif
