/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hints for misspelt words. */
#ifndef NEAREST_H
#define NEAREST_H

#include <stddef.h>

/*
 * Edits (insert, delete, replace, swap neighbours) that make A into B; words
 * longer than 63 bytes are cut there.
 */
size_t nearest_distance(const char *a, const char *b);

struct nearest {
    const char *word; /* best so far, or NULL */
    size_t distance;
};

/* Consider CANDIDATE as what WORD may have meant. */
void nearest_offer(struct nearest *best, const char *word,
                   const char *candidate);

#endif
