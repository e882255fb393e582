/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where tags begin and end in a text, without a look at what they mean. Room:
 * chain/virt.
 */
#ifndef VIRT_TAGS_H
#define VIRT_TAGS_H

#include <stdbool.h>
#include <stddef.h>

#include <img/error.h>

/*
 * libxml2 compares each attribute of a tag with all before it, and says how
 * many there are when it is through: a tag of a million takes hours. No tag in
 * the LEN bytes of TEXT has more than CHAIN_VIRT_MAX_TAG_ATTRIBUTES;
 * IMG_LIMIT. Right for well-formed text, and for any up to where it is not.
 */
int virt_tags_check(const char *text, size_t len, struct img_error *err);

/*
 * The next tag from *AT on, of an element that begins or ends; not what looks
 * like one in comments, CDATA and instructions. *TAG: its "<"; *AT: its ">",
 * or END. *ATTRIBUTES_NR: how many it has. false: there is none.
 */
bool virt_tag_next(const char **at, const char *end, const char **tag,
                   unsigned *attributes_nr);

#endif
