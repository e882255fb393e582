/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mutating a qcow2 image by its fields.
 *
 * A change of random bytes seldom hits an entry that is used, and what it
 * makes of it is mostly refused at once. Here a field is chosen by its kind,
 * gets a value that such fields find hard (a limit, the end of the file,
 * another structure's offset), and then what would be refused early is put
 * right again, up to clean refcounts, so that commands that write get to work.
 */
#ifndef FUZZ_MUTATE_H
#define FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Change the LEN bytes at DATA, which have room for ROOM; returns the new
 * length. The same SEED makes the same of the same bytes.
 */
size_t fuzz_mutate(uint8_t *data, size_t len, size_t room, uint64_t seed);

/* The next number below BELOW (not 0) of the sequence *rng (not 0). */
uint64_t random_below(uint64_t *rng, uint64_t below);

/*
 * What a target does with an image beside reading it is told by the last
 * FUZZ_ARGS_LEN bytes of the input, if they end with the mark: ARGS_NR
 * numbers. Without, all of them are 0.
 */
#define FUZZ_ARGS_NR 16u
#define FUZZ_ARGS_MARK "fuzzargs"
#define FUZZ_ARGS_LEN (FUZZ_ARGS_NR + 8u)

/* Takes the arguments off the input: the length of the image. */
size_t fuzz_args(const uint8_t *data, size_t len, uint8_t args[FUZZ_ARGS_NR]);

#endif
