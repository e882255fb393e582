/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tree of minima over the ends of the layers' answers. Room: chain/graph.
 *
 * With it a step of the view costs the logarithm of the depth, however deep
 * the layer lies that decides.
 */
#include "ends.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

int chain_ends_init(struct chain_ends *ends, size_t nr, struct img_error *err)
{
    ends->width = 1;
    while (ends->width < nr) {
        ends->width *= 2;
    }
    ends->tree = img_calloc(2 * ends->width, sizeof(ends->tree[0]), err);
    if (!ends->tree) {
        return -1;
    }
    chain_ends_clear(ends);
    return 0;
}

void chain_ends_fini(struct chain_ends *ends)
{
    free(ends->tree);
    ends->tree = NULL;
}

void chain_ends_set(struct chain_ends *ends, size_t idx, uint64_t value)
{
    size_t at = ends->width + idx;

    ends->tree[at] = value;
    while (at > 1) {
        at /= 2;
        ends->tree[at] = img_min(ends->tree[2 * at], ends->tree[2 * at + 1]);
    }
}

void chain_ends_clear(struct chain_ends *ends)
{
    memset(ends->tree, 0, 2 * ends->width * sizeof(ends->tree[0]));
}

size_t chain_ends_first_at_most(const struct chain_ends *ends, uint64_t off)
{
    size_t at = 1;

    if (ends->tree[1] > off) {
        return ends->width;
    }
    while (at < ends->width) {
        at *= 2;
        if (ends->tree[at] > off) {
            at++;
        }
    }
    return at - ends->width;
}

uint64_t chain_ends_least_before(const struct chain_ends *ends, size_t idx)
{
    uint64_t least = UINT64_MAX;

    /* Each left neighbour on the way up covers values before IDX. */
    for (size_t at = ends->width + idx; at > 1; at /= 2) {
        if (at % 2 == 1) {
            least = img_min(least, ends->tree[at - 1]);
        }
    }
    return least;
}
