/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes for people: human and exact. */
#ifndef SIZE_H
#define SIZE_H

#include <stdint.h>

#define SIZE_TEXT_LEN 64u

/* "64 GiB"; three digits, as qemu-img has it. */
const char *size_short(uint64_t len, char out[SIZE_TEXT_LEN]);
/* "64 GiB (68719476736 bytes)"; under 1 KiB only "512 bytes". */
const char *size_exact(uint64_t len, char out[SIZE_TEXT_LEN]);

#endif
