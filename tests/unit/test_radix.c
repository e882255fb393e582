/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sorting table offsets: the same as the C library's sort makes of them. */
#include "unit.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../qcow2/image/radix.h"
#include "random.h"

#define KEYS_MAX 3000u

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

START_TEST(test_as_qsort)
{
    static uint64_t keys[KEYS_MAX], expected[KEYS_MAX];
    struct random random = {.state = 7};

    for (unsigned round = 0; round < 2000; round++) {
        size_t nr = random_below(&random, KEYS_MAX);
        unsigned drop = (unsigned)random_below(&random, 64);
        unsigned shift = (unsigned)random_below(&random, 56);

        for (size_t i = 0; i < nr; i++) {
            keys[i] = random_u64(&random) >> drop << shift;
        }
        memcpy(expected, keys, sizeof(keys));
        qsort(expected, nr, sizeof(*expected), compare);
        qcow2_radix_sort(keys, nr);
        ck_assert_mem_eq(keys, expected, nr * sizeof(*keys));
    }
}
END_TEST

START_TEST(test_nothing_and_ends_of_the_range)
{
    uint64_t keys[40];

    qcow2_radix_sort(keys, 0);
    for (size_t i = 0; i < 40; i++) {
        keys[i] = i % 2 ? 0 : UINT64_MAX - i / 20;
    }
    qcow2_radix_sort(keys, 40);
    for (size_t i = 0; i < 40; i++) {
        ck_assert_uint_eq(keys[i], i < 20   ? 0
                                   : i < 30 ? UINT64_MAX - 1
                                            : UINT64_MAX);
    }
}
END_TEST

struct tagged {
    uint64_t key;
    uint32_t tag;
};

static uint64_t mask;

static int compare_tagged(const void *a, const void *b)
{
    const struct tagged *x = a, *y = b;

    if ((x->key & mask) != (y->key & mask)) {
        return (x->key & mask) < (y->key & mask) ? -1 : 1;
    }
    return x->tag < y->tag ? -1 : x->tag > y->tag;
}

/* Keys stay with their tags, bits outside the mask do not matter. */
START_TEST(test_tagged_as_qsort)
{
    static uint64_t keys[KEYS_MAX];
    static uint32_t tags[KEYS_MAX];
    static struct tagged expected[KEYS_MAX];
    struct random random = {.state = 8};

    for (unsigned round = 0; round < 1000; round++) {
        size_t nr = random_below(&random, KEYS_MAX);
        unsigned drop = (unsigned)random_below(&random, 64);

        mask =
            random_bool(&random) ? 0x00fffffffffffe00ull : random_u64(&random);
        for (size_t i = 0; i < nr; i++) {
            keys[i] = random_u64(&random) >> drop;
            keys[i] = random_bool(&random) ? keys[i] : keys[i / 2];
            tags[i] = (uint32_t)(random_u64(&random) << 8 | i % 256);
            expected[i] = (struct tagged){keys[i], tags[i]};
        }
        qsort(expected, nr, sizeof(*expected), compare_tagged);
        qcow2_radix_sort_tagged(keys, tags, mask, nr);
        for (size_t i = 0; i < nr; i++) {
            if (keys[i] != expected[i].key || tags[i] != expected[i].tag) {
                ck_abort_msg("round %u: item %zu of %zu", round, i, nr);
            }
        }
    }
}
END_TEST

UNIT_SUITE("radix", test_as_qsort, test_nothing_and_ends_of_the_range,
           test_tagged_as_qsort)
