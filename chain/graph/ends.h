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

struct chain_ends {
    uint64_t *tree; /* a heap of minima; leaves from index width on */
    size_t width;   /* a power of two, at least the number of values */
};

/* NR values, all 0. */
int chain_ends_init(struct chain_ends *ends, size_t nr, struct img_error *err);
void chain_ends_fini(struct chain_ends *ends);

void chain_ends_set(struct chain_ends *ends, size_t idx, uint64_t value);
/* Set all to 0. */
void chain_ends_clear(struct chain_ends *ends);
/* The first index whose value is at most OFF; past NR if there is none. */
size_t chain_ends_first_at_most(const struct chain_ends *ends, uint64_t off);
/* The least of the values before IDX; UINT64_MAX when there is none. */
uint64_t chain_ends_least_before(const struct chain_ends *ends, size_t idx);

#endif
