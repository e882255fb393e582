/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sorting table offsets in place; private to qcow2/image. */
#ifndef QCOW2_IMAGE_RADIX_H
#define QCOW2_IMAGE_RADIX_H

#include <stddef.h>
#include <stdint.h>

/*
 * Sort the NR numbers at KEYS, ascending, in place. A bounded number of steps
 * for each number whatever they are, and no memory: who makes an image chooses
 * their order.
 */
void qcow2_radix_sort(uint64_t *keys, size_t nr);
/*
 * The same for keys with a tag each, by those bits of the keys that MASK has,
 * and equal ones by their tags.
 */
void qcow2_radix_sort_tagged(uint64_t *keys, uint32_t *tags, uint64_t mask,
                             size_t nr);

#endif
