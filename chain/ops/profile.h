/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Readers of images, and what they understand: for inspect. */
#ifndef CHAIN_OPS_PROFILE_H
#define CHAIN_OPS_PROFILE_H

#include <qcow2/extensions.h>

struct chain_profile;

/* NULL: not known. */
const struct chain_profile *chain_profile_find(const char *name);

/* An image as a profile looks at it. */
struct chain_profiled {
    const char *format;
    /* NULL where it is no qcow2. HEAD: the first bytes of the file. */
    const struct qcow2_header *header;
    const struct qcow2_extensions *extensions;
    const uint8_t *head;
    size_t head_len;
};

/*
 * What of the image PROFILE's reader does not understand or refuses, for
 * people; NULL: nothing. BUF is the caller's.
 */
#define CHAIN_PROFILE_TEXT_LEN 160u
const char *chain_profile_obstacle(const struct chain_profile *profile,
                                   const struct chain_profiled *image,
                                   char buf[CHAIN_PROFILE_TEXT_LEN]);

#endif
