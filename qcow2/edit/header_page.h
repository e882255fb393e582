/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first cluster of an image, as it is and as it is to be; private to
 * qcow2/edit. Pure: no I/O.
 *
 * A page is replaced in two steps: first the bytes that only the new state
 * uses, then the first sector, which alone decides. So a new page may differ
 * from the old one beyond the first sector only where the old one uses
 * nothing.
 */
#ifndef QCOW2_EDIT_HEADER_PAGE_H
#define QCOW2_EDIT_HEADER_PAGE_H

#include <qcow2/extensions.h>

/* What is written in one piece whatever happens. */
#define HEADER_SECTOR_LEN 512u

struct header_page {
    uint8_t *bytes; /* a cluster; own memory */
    struct qcow2_header header;
    struct qcow2_extensions extensions;
};

/* Takes over BYTES, a whole first cluster, also on failure. */
int header_page_decode(uint8_t *bytes, size_t len, struct header_page *out,
                       struct img_error *err);
/* Accepts a zeroed page. */
void header_page_fini(struct header_page *page);

/*
 * Lay out a page with the values of HEADER and EXTENSIONS that may replace
 * OLD as said above. *is_whole: the feature name table, where EXTENSIONS has
 * one, is there; else it had to be left out, and laying out once more, with
 * the new page as the old one, may bring it in. IMG_LIMIT: there is no such
 * page.
 */
int header_page_plan(const struct header_page *old,
                     const struct qcow2_header *header,
                     const struct qcow2_extensions *extensions,
                     struct header_page *out, bool *is_whole,
                     struct img_error *err);

/* May NEW replace OLD? (Of pages that another program made, too.) */
bool header_page_may_replace(const struct header_page *old,
                             const struct header_page *page);

#endif
