/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes as people write them. */
#include <img/memory.h>
#include <img/size.h>
#include <string.h>

#include "options.h"

int size_parse(const char *text, uint64_t *out, struct img_error *err)
{
    return img_size_parse(text, out, err);
}

int size_operand(const char *text, uint64_t *out, struct img_error *err)
{
    char why[IMG_ERROR_TEXT_MAX], shown[256];

    if (size_parse(text, out, err) == 0) {
        return 0;
    }
    memcpy(why, err->text, sizeof(why));
    img_escape(text, strlen(text), shown, sizeof(shown));
    return img_fail(err, IMG_USAGE, "SIZE: '%s' %.*s", shown,
                    (int)sizeof(why) - 1, why);
}
