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

/* What is sorted: by the keys, as far as MASK shows them, or by the tags. */
struct items {
    uint64_t *keys;
    uint32_t *tags; /* go where their keys go; or NULL */
    uint64_t mask;
    bool is_by_tag;
};

/* Items [from, to) that agree in all bits from BITS up. */
struct part {
    size_t from, to;
    unsigned bits;
};

static inline uint64_t value(const struct items *items, size_t i)
{
    return items->is_by_tag ? items->tags[i] : items->keys[i] & items->mask;
}

static inline void swap(const struct items *items, size_t a, size_t b)
{
    uint64_t key = items->keys[a];

    items->keys[a] = items->keys[b];
    items->keys[b] = key;
    if (items->tags) {
        uint32_t tag = items->tags[a];

        items->tags[a] = items->tags[b];
        items->tags[b] = tag;
    }
}

static bool is_sorted(const struct items *items, size_t from, size_t to)
{
    for (size_t i = from + 1; i < to; i++) {
        if (value(items, i - 1) > value(items, i)) {
            return false;
        }
    }
    return true;
}

/* The number of low bits outside of which all items are alike. */
static unsigned differing_bits(const struct items *items, size_t from,
                               size_t to)
{
    uint64_t differing = 0;

    for (size_t i = from + 1; i < to; i++) {
        differing |= value(items, i) ^ value(items, from);
    }
    return differing ? 64u - (unsigned)__builtin_clzll(differing) : 0;
}

static void sort_few(const struct items *items, const struct part *part)
{
    for (size_t i = part->from + 1; i < part->to; i++) {
        for (size_t at = i;
             at > part->from && value(items, at - 1) > value(items, at); at--) {
            swap(items, at - 1, at);
        }
    }
}

/* Swap the items of PART to where their digit at SHIFT belongs; ENDS gets
   where each digit's items end. */
static void split(const struct items *items, const struct part *part,
                  unsigned shift, size_t ends[DIGITS])
{
    size_t next[DIGITS] = {0};
    size_t at = part->from;

    for (size_t i = part->from; i < part->to; i++) {
        next[(value(items, i) >> shift) % DIGITS]++;
    }
    for (unsigned digit = 0; digit < DIGITS; digit++) {
        size_t nr = next[digit];

        next[digit] = at;
        at += nr;
        ends[digit] = at;
    }
    for (unsigned digit = 0; digit < DIGITS; digit++) {
        while (next[digit] < ends[digit]) {
            size_t i = next[digit];

            swap(items, i, next[(value(items, i) >> shift) % DIGITS]++);
        }
    }
}

static void sort(const struct items *items, size_t from, size_t to)
{
    /* Of each level all digits but the one that is under way may wait. */
    struct part waiting[LEVELS * DIGITS];
    size_t waiting_nr = 0, ends[DIGITS];

    if (is_sorted(items, from, to)) {
        return;
    }
    waiting[waiting_nr++] =
        (struct part){from, to, differing_bits(items, from, to)};
    while (waiting_nr > 0) {
        struct part part = waiting[--waiting_nr];

        if (part.to - part.from <= FEW) {
            sort_few(items, &part);
            continue;
        }
        unsigned shift = part.bits > DIGIT_BITS ? part.bits - DIGIT_BITS : 0;
        split(items, &part, shift, ends);
        for (unsigned digit = 0; shift > 0 && digit < DIGITS; digit++) {
            if (ends[digit] - part.from > 1) {
                waiting[waiting_nr++] =
                    (struct part){part.from, ends[digit], shift};
            }
            part.from = ends[digit];
        }
    }
}

/* They are written through struct items. */
/* NOLINTBEGIN(readability-non-const-parameter) */
void qcow2_radix_sort(uint64_t *keys, size_t nr)
{
    const struct items items = {.keys = keys, .mask = UINT64_MAX};

    sort(&items, 0, nr);
}

void qcow2_radix_sort_tagged(uint64_t *keys, uint32_t *tags, uint64_t mask,
                             size_t nr)
{
    struct items items = {.keys = keys, .tags = tags, .mask = mask};

    sort(&items, 0, nr);
    for (size_t from = 0, to; from < nr; from = to) {
        uint64_t key = keys[from] & mask;

        for (to = from + 1; to < nr && (keys[to] & mask) == key;) {
            to++;
        }
        items.is_by_tag = true;
        sort(&items, from, to);
    }
}
/* NOLINTEND(readability-non-const-parameter) */
