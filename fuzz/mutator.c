/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mutator of mutate.c as libFuzzer calls it. */
#include <stdint.h>

#include "mutate.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t room,
                               unsigned int seed);

/* libFuzzer's own ways are better at bytes that no field names, and know the
   dictionary. */
#define OWN_WAYS 8u

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t room,
                               unsigned int seed)
{
    return seed % OWN_WAYS == 0 ? LLVMFuzzerMutate(data, len, room)
                                : fuzz_mutate(data, len, room, seed);
}
