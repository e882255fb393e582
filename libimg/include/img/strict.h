/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decoders that are stricter than what opens an image: for judging files of
 * strangers. Pure: no I/O.
 */
#ifndef IMG_STRICT_H
#define IMG_STRICT_H

#include <stddef.h>

#include <img/error.h>

/*
 * The text descriptor inside a sparse VMDK, as LEN bytes with the zeros that
 * pad it. IMG_CORRUPT: a byte that is no plain text, text behind the first
 * zero, a line that is neither comment, extent, ddb entry nor KEY=VALUE, a
 * key that only differs from a known one in its case, a createType other
 * than monolithicSparse and streamOptimized, not exactly one extent.
 */
int img_vmdk_text_check(const char *text, size_t len, struct img_error *err);

#endif
