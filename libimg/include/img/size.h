/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room base: lengths for people, human and exact, and lengths from them. */
#ifndef IMG_SIZE_H
#define IMG_SIZE_H

#include <stdint.h>

#include <img/error.h>

#define IMG_SIZE_TEXT_LEN 64u

/* "64 GiB"; three digits, as qemu-img has it. Returns OUT. */
const char *img_size_short(uint64_t len, char out[IMG_SIZE_TEXT_LEN]);
/* "64 GiB (68719476736 bytes)"; under 1000 only "512 bytes". */
const char *img_size_exact(uint64_t len, char out[IMG_SIZE_TEXT_LEN]);

/*
 * "512", "64k", "1.5G", "0x200": bytes, or with one of k K M G T P E powers of
 * 1024. IMG_USAGE; the text goes on after the value ("is no size").
 */
int img_size_parse(const char *text, uint64_t *out, struct img_error *err);

#endif
