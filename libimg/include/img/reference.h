/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an image refers to outside of its own file.
 *
 * The kinds stand in one list. Whoever judges references makes his checks out
 * of it, so that a kind that a format learns to report is judged from that
 * day on.
 */
#ifndef IMG_REFERENCE_H
#define IMG_REFERENCE_H

#include <img/image.h>

/* X(constant, word for ids, words for people) */
#define IMG_REFERENCE_KINDS(X)                                                 \
    X(IMG_REFERENCE_BACKING, "backing-file", "backing file")                   \
    X(IMG_REFERENCE_DATA_FILE, "data-file", "external data file")              \
    X(IMG_REFERENCE_EXTENT, "extent", "extent in another file")                \
    X(IMG_REFERENCE_PARENT, "parent", "parent disk")

enum img_reference_kind {
#define IMG_REFERENCE_ENUM(kind, word, text) kind,
    IMG_REFERENCE_KINDS(IMG_REFERENCE_ENUM)
#undef IMG_REFERENCE_ENUM
        IMG_REFERENCES_NR,
};

struct img_references {
    uint64_t nr[IMG_REFERENCES_NR]; /* how many of each kind */
    /* The name of the first, raw bytes; NULL: none is recorded. Own. */
    char *name[IMG_REFERENCES_NR];
};

const char *img_reference_word(enum img_reference_kind kind);
const char *img_reference_text(enum img_reference_kind kind);

/*
 * Everything that IMAGE refers to: what struct img_image says of backing and
 * data files, and what its format reports beyond that. Nothing is opened.
 */
int img_image_references(struct img_image *image, struct img_references *out,
                         struct img_error *err);
/* For implementations: one more of KIND; NAME may be NULL. */
int img_references_add(struct img_references *references,
                       enum img_reference_kind kind, const char *name,
                       struct img_error *err);
/* Accepts a zeroed one. */
void img_references_fini(struct img_references *references);

#endif
