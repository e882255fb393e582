/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random numbers for property tests: the same ones in each run. */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

/* 64 bits (splitmix64). */
static inline uint64_t random_u64(struct random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* 0 to LIMIT - 1. */
static inline uint64_t random_below(struct random *random, uint64_t limit)
{
    return random_u64(random) % limit;
}

static inline bool random_bool(struct random *random)
{
    return random_u64(random) >> 63;
}

/* LEN bytes of 1 to 255, which suit names, too. */
static inline void random_bytes(struct random *random, void *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)(1 + random_below(random, 255));
    }
}

#endif
