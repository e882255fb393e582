/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text that grows: see bytes.h. */
#include "bytes.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>
#include <img/xml.h>

int virt_bytes_add(struct virt_bytes *to, const char *bytes, size_t len,
                   struct img_error *err)
{
    if (len >= to->room - to->len) {
        size_t room = 2 * (to->len + len) + 64;
        char *grown = realloc(to->bytes, room);

        if (!grown) {
            return img_fail_memory(err);
        }
        to->bytes = grown;
        to->room = room;
    }
    memcpy(to->bytes + to->len, bytes, len);
    to->len += len;
    to->bytes[to->len] = '\0';
    return 0;
}

/* U+FFFE and U+FFFF are no characters for XML. */
static bool is_character(const char *at, size_t len)
{
    return len > 0 && ((unsigned char)*at >= 0x20 || strchr("\t\n\r", *at)) &&
           !(len == 3 && memcmp(at, "\xef\xbf", 2) == 0 &&
             (unsigned char)at[2] >= 0xbe);
}

int virt_bytes_escape(struct virt_bytes *to, const char *value,
                      struct img_error *err)
{
    size_t left = strlen(value);

    for (const char *at = value; left > 0;) {
        size_t len = img_utf8_len((const uint8_t *)at, left);
        const char *name = img_xml_entity(*at);

        if (!is_character(at, len)) {
            char shown[256];

            img_escape(value, strlen(value), shown, sizeof(shown));
            return img_fail(err, IMG_UNSUPPORTED, "XML cannot hold: '%s'",
                            shown);
        }
        if (virt_bytes_add(to, name ? name : at, name ? strlen(name) : len,
                           err) < 0) {
            return -1;
        }
        at += len;
        left -= len;
    }
    return 0;
}

void virt_bytes_fini(struct virt_bytes *bytes)
{
    free(bytes->bytes);
    memset(bytes, 0, sizeof(*bytes));
}
