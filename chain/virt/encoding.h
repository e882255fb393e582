/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is a text one whose bytes mean one thing only? Room: chain/virt. */
#ifndef VIRT_ENCODING_H
#define VIRT_ENCODING_H

#include <stddef.h>

#include <img/error.h>

/*
 * The LEN bytes of TEXT are not too many (IMG_LIMIT), UTF-8 without NUL
 * (IMG_FORMAT), and say nothing else of themselves (IMG_UNSUPPORTED).
 */
int virt_encoding_check(const char *text, size_t len, struct img_error *err);

#endif
