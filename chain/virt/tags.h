/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tags that would keep libxml2 busy. Room: chain/virt. */
#ifndef VIRT_TAGS_H
#define VIRT_TAGS_H

#include <stddef.h>

#include <img/error.h>

/*
 * libxml2 compares each attribute of a tag with all before it, and says how
 * many there are when it is through: a tag of a million takes hours. No tag in
 * the LEN bytes of TEXT has more than CHAIN_VIRT_MAX_TAG_ATTRIBUTES;
 * IMG_LIMIT. Right for well-formed text, and for any up to where it is not.
 */
int virt_tags_check(const char *text, size_t len, struct img_error *err);

#endif
