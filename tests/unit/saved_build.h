/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Saved images, laid out by hand: not by the encoder that is tested. */
#ifndef TESTS_SAVED_BUILD_H
#define TESTS_SAVED_BUILD_H

#include <stdint.h>
#include <string.h>

struct saved_bytes {
    uint8_t bytes[4096];
    size_t len;
};

static inline void saved_put(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

/* "QEVM..." behind XML and COOKIE (NULL: none), with ROOM bytes of zeros. */
static inline struct saved_bytes saved_build(const char *xml,
                                             const char *cookie, size_t room)
{
    struct saved_bytes out = {.len = 92};
    size_t xml_len = strlen(xml) + 1;
    size_t cookie_len = cookie ? strlen(cookie) + 1 : 0;

    memcpy(out.bytes, "LibvirtQemudSave", 16);
    saved_put(out.bytes + 16, 2);
    saved_put(out.bytes + 20, (uint32_t)(xml_len + cookie_len + room));
    saved_put(out.bytes + 24, 1);
    saved_put(out.bytes + 32, cookie ? (uint32_t)xml_len : 0);
    memcpy(out.bytes + 92, xml, xml_len);
    if (cookie) {
        memcpy(out.bytes + 92 + xml_len, cookie, cookie_len);
    }
    out.len = 92 + xml_len + cookie_len + room;
    memcpy(out.bytes + out.len, "QEVM\0\0\0\3", 8);
    out.len += 8;
    return out;
}

#endif
