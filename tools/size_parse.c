/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes as people write them. */
#include <img/size.h>

#include "options.h"

int size_parse(const char *text, uint64_t *out, struct img_error *err)
{
    return img_size_parse(text, out, err);
}
