/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hints for misspelt words: optimal string alignment distance over three
 * rows, so that a swapped pair of letters counts as one mistake.
 */
#include "nearest.h"

#include <string.h>

#define WORD_MAX_LEN 63

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t nearest_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX_LEN + 1];
    size_t a_len = strnlen(a, WORD_MAX_LEN), b_len = strnlen(b, WORD_MAX_LEN);

    for (size_t j = 0; j <= b_len; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3],
               *above2 = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);

            best = min2(best, min2(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
                a[i - 2] == b[j - 1]) {
                best = min2(best, above2[j - 2] + 1);
            }
            row[j] = best;
        }
    }
    return rows[a_len % 3][b_len];
}

void nearest_offer(struct nearest *best, const char *word,
                   const char *candidate)
{
    size_t distance = nearest_distance(word, candidate);
    size_t len = strlen(word);

    /* What begins with the word is meant more often than what resembles it. */
    if (len >= 2 && strncmp(candidate, word, len) == 0) {
        distance = 0;
    }
    if (distance > 1 + len / 3) {
        return;
    }
    if (!best->word || distance < best->distance) {
        best->word = candidate;
        best->distance = distance;
    }
}
