/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mutator of mutate.c as AFL++ calls it (its custom mutator interface). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mutate.h"

void *afl_custom_init(void *afl, unsigned int seed);
size_t afl_custom_fuzz(void *state, uint8_t *buf, size_t len, uint8_t **out,
                       uint8_t *other, size_t other_len, size_t max_len);
void afl_custom_deinit(void *state);

#define ROOM (128u << 10)

struct mutator {
    uint64_t next;
    uint8_t bytes[ROOM];
};

void *afl_custom_init(void *afl, unsigned int seed)
{
    struct mutator *mutator = calloc(1, sizeof(*mutator));

    (void)afl;
    if (mutator != NULL) {
        mutator->next = seed;
    }
    return mutator;
}

size_t afl_custom_fuzz(void *state, uint8_t *buf, size_t len, uint8_t **out,
                       uint8_t *other, size_t other_len, size_t max_len)
{
    struct mutator *mutator = state;
    size_t room = max_len < ROOM ? max_len : ROOM;

    (void)other;
    (void)other_len;
    len = len < room ? len : room;
    memcpy(mutator->bytes, buf, len);
    *out = mutator->bytes;
    return fuzz_mutate(mutator->bytes, len, room, mutator->next++);
}

void afl_custom_deinit(void *state)
{
    free(state);
}
