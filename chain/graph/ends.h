/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the answers of the layers end: an array of offsets that finds the
 * first one not after a given offset, and the least of the first few, in
 * logarithmic time.
 */
#ifndef CHAIN_GRAPH_ENDS_H
#define CHAIN_GRAPH_ENDS_H

#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

struct ends {
    uint64_t *tree; /* a heap of minima; leaves from index width on */
    size_t width;   /* a power of two, at least the number of values */
};

/* NR values, all 0. */
int ends_init(struct ends *ends, size_t nr, struct img_error *err);
void ends_fini(struct ends *ends);

void ends_set(struct ends *ends, size_t idx, uint64_t value);
/* Set all to 0. */
void ends_clear(struct ends *ends);
/* The first index whose value is at most OFF; past NR if there is none. */
size_t ends_first_at_most(const struct ends *ends, uint64_t off);
/* The least of the values before IDX; UINT64_MAX when there is none. */
uint64_t ends_least_before(const struct ends *ends, size_t idx);

#endif
