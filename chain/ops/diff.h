/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where do two buffers differ? A NULL buffer stands for zeros. Pure.
 */
#ifndef CHAIN_OPS_DIFF_H
#define CHAIN_OPS_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Are all LEN bytes zero? */
bool chain_diff_is_zero(const uint8_t *p, size_t len);

/* The index of the first byte that differs, LEN when none does. */
size_t chain_diff_first(const uint8_t *a, const uint8_t *b, size_t len);

/*
 * Set bit N of BITS for every byte N that differs; bits of equal bytes are
 * left alone. True when any was set.
 */
bool chain_diff_mark(const uint8_t *a, const uint8_t *b, size_t len,
                     uint8_t *bits);

/*
 * The next run of set bits at or after FROM, below END: true, with its first
 * bit and its length.
 */
bool chain_diff_next_run(const uint8_t *bits, size_t from, size_t end,
                         size_t *first, size_t *len);

#endif
