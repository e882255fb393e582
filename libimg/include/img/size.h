/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room base: lengths for people, human and exact. */
#ifndef IMG_SIZE_H
#define IMG_SIZE_H

#include <stdint.h>

#define IMG_SIZE_TEXT_LEN 64u

/* "64 GiB"; three digits, as qemu-img has it. Returns OUT. */
const char *img_size_short(uint64_t len, char out[IMG_SIZE_TEXT_LEN]);
/* "64 GiB (68719476736 bytes)"; under 1000 only "512 bytes". */
const char *img_size_exact(uint64_t len, char out[IMG_SIZE_TEXT_LEN]);

#endif
