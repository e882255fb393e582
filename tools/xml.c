/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for XML that is written: see xml.h. */
#include "xml.h"

#include <img/memory.h>
#include <img/xml.h>
#include <stdlib.h>
#include <string.h>

char *xml_printable(const char *text, struct img_error *err)
{
    char *out = img_calloc(strlen(text) + 1, IMG_XML_ENTITY_MAX, err);
    char *end = out;

    if (!out) {
        return NULL;
    }
    for (; *text; text++) {
        const char *name = img_xml_entity(*text);

        if (name) {
            end = stpcpy(end, name);
        } else {
            *end++ = *text;
        }
    }
    return out;
}

char *xml_text(const char *raw, struct img_error *err)
{
    size_t len = strlen(raw);
    /* A byte becomes at most the four of \xNN. */
    IMG_AUTO(img_free_ptr) char *plain = img_calloc(len + 1, 4, err);

    if (!plain) {
        return NULL;
    }
    /* Control characters have no place in XML, escaped or not. */
    img_escape(raw, len, plain, 4 * (len + 1));
    return xml_printable(plain, err);
}
