/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making damaged images sound again, in memory, so that the fuzzer gets past
 * what is refused early; and telling which images are laid out so that what
 * a writer must keep can be said. Shares nothing with what is fuzzed.
 */
#ifndef FUZZ_SOUND_H
#define FUZZ_SOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Put right those fields of the header that would be refused: magic, version,
 * sizes and alignment. Each is left alone now and then, by *rng (which must
 * not be 0).
 */
void sound_header(uint8_t *data, size_t len, uint64_t *rng);

/*
 * Drop entries that lead nowhere, count references and write the refcounts
 * and COPIED flags that belong to them. False, with the image as it was or
 * with fewer bad entries, where that needs more than there is.
 */
bool sound_tables(uint8_t *data, size_t len);

/*
 * Is each cluster used in one way only, and owned by one entry of the active
 * tables at most? An image may be clean whose guest data is its own L1 table:
 * nobody can change that one and keep the guest's view. And where two entries
 * share a cluster, the one that is left has a wrong COPIED flag when the other
 * gets a cluster of its own; QEMU's writer does the same. Nor may clusters be
 * counted beyond the end of the file, where no check looks.
 */
bool sound_is_layered(const uint8_t *data, size_t len);

/* Does it keep its data in another file? That may be any, even its own backing
   file. */
bool sound_has_data_file(const uint8_t *data, size_t len);

#endif
