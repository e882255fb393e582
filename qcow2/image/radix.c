/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A binary radix exchange sort: see radix.h. Room: qcow2/image.
 */
#include "radix.h"

#include <stdbool.h>

#define BITS 64u

/* Keys [from, to) that agree in all bits above BIT. */
struct part {
    size_t from, to;
    unsigned bit; /* 0: nothing is left to look at */
};

static bool is_sorted(const uint64_t *keys, size_t nr)
{
    for (size_t i = 1; i < nr; i++) {
        if (keys[i - 1] > keys[i]) {
            return false;
        }
    }
    return true;
}

/* Those without BIT to the front; returns where the others begin. */
static size_t split(uint64_t *keys, const struct part *part)
{
    uint64_t mask = 1ull << (part->bit - 1);
    size_t low = part->from, high = part->to;

    while (low < high) {
        if (!(keys[low] & mask)) {
            low++;
        } else {
            uint64_t key = keys[--high];

            keys[high] = keys[low];
            keys[low] = key;
        }
    }
    return low;
}

void qcow2_radix_sort(uint64_t *keys, size_t nr)
{
    /* One waiting part for each bit at most. */
    struct part waiting[BITS + 1];
    size_t waiting_nr = 0;
    struct part part = {0, nr, BITS};

    if (is_sorted(keys, nr)) {
        return;
    }
    for (;;) {
        while (part.bit > 0 && part.to - part.from > 1) {
            size_t middle = split(keys, &part);

            part.bit--;
            if (middle < part.to && middle > part.from) {
                waiting[waiting_nr++] =
                    (struct part){middle, part.to, part.bit};
                part.to = middle;
            }
        }
        if (waiting_nr == 0) {
            return;
        }
        part = waiting[--waiting_nr];
    }
}
