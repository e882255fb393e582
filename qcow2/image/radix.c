/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An in-place radix sort ("American flag"): see radix.h. Room: qcow2/image.
 *
 * Keys are put where their highest digit belongs, by swapping; then the keys
 * of each digit by the next one, and so on. Bits in which all keys are alike
 * are not looked at: offsets of clusters have many of these.
 */
#include "radix.h"

#include <stdbool.h>

#define DIGIT_BITS 8u
#define DIGITS (1u << DIGIT_BITS)
#define LEVELS (64u / DIGIT_BITS)
/* So few keys are sorted faster one by one. */
#define FEW 24u

/* Keys [from, to) that agree in all bits from BITS up. */
struct part {
    size_t from, to;
    unsigned bits;
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

/* The number of low bits outside of which all keys are alike. */
static unsigned differing_bits(const uint64_t *keys, size_t nr)
{
    uint64_t differing = 0;

    for (size_t i = 1; i < nr; i++) {
        differing |= keys[i] ^ keys[0];
    }
    return differing ? 64u - (unsigned)__builtin_clzll(differing) : 0;
}

static void sort_few(uint64_t *keys, const struct part *part)
{
    for (size_t i = part->from + 1; i < part->to; i++) {
        uint64_t key = keys[i];
        size_t at = i;

        for (; at > part->from && keys[at - 1] > key; at--) {
            keys[at] = keys[at - 1];
        }
        keys[at] = key;
    }
}

/* Swap the keys of PART to where their digit at SHIFT belongs; ENDS gets where
   each digit's keys end. */
static void split(uint64_t *keys, const struct part *part, unsigned shift,
                  size_t ends[DIGITS])
{
    size_t next[DIGITS] = {0};
    size_t at = part->from;

    for (size_t i = part->from; i < part->to; i++) {
        next[(keys[i] >> shift) % DIGITS]++;
    }
    for (unsigned digit = 0; digit < DIGITS; digit++) {
        size_t nr = next[digit];

        next[digit] = at;
        at += nr;
        ends[digit] = at;
    }
    for (unsigned digit = 0; digit < DIGITS; digit++) {
        while (next[digit] < ends[digit]) {
            uint64_t key = keys[next[digit]];
            size_t *home = &next[(key >> shift) % DIGITS];

            keys[next[digit]] = keys[*home];
            keys[*home] = key;
            (*home)++;
        }
    }
}

void qcow2_radix_sort(uint64_t *keys, size_t nr)
{
    /* Of each level all digits but the one that is under way may wait. */
    struct part waiting[LEVELS * DIGITS];
    size_t waiting_nr = 0, ends[DIGITS];

    if (is_sorted(keys, nr)) {
        return;
    }
    waiting[waiting_nr++] = (struct part){0, nr, differing_bits(keys, nr)};
    while (waiting_nr > 0) {
        struct part part = waiting[--waiting_nr];

        if (part.to - part.from <= FEW) {
            sort_few(keys, &part);
            continue;
        }
        unsigned shift = part.bits > DIGIT_BITS ? part.bits - DIGIT_BITS : 0;
        split(keys, &part, shift, ends);
        for (unsigned digit = 0; shift > 0 && digit < DIGITS; digit++) {
            if (ends[digit] - part.from > 1) {
                waiting[waiting_nr++] =
                    (struct part){part.from, ends[digit], shift};
            }
            part.from = ends[digit];
        }
    }
}
