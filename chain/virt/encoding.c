/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The encoding of an XML document: see encoding.h. */
#include "encoding.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include <chain/virt.h>
#include <img/memory.h>

#define BYTE_ORDER_MARK "\xef\xbb\xbf"
#define BLANKS " \t\r\n"

static int check_bytes(const char *text, size_t len, struct img_error *err)
{
    unsigned line = 1;

    for (size_t i = 0, n; i < len; i += n) {
        n = img_utf8_len((const uint8_t *)text + i, len - i);
        if (n == 0 || text[i] == '\0') {
            return img_fail(err, IMG_FORMAT,
                            "line %u: not XML: found byte 0x%02x, expected "
                            "UTF-8 without NUL",
                            line, (unsigned)(uint8_t)text[i]);
        }
        line += text[i] == '\n';
    }
    return 0;
}

/*
 * The encoding that the XML declaration at TEXT names: its length, with *OUT
 * where it begins; 0: it names none, or is so wrong that libxml2 will say so.
 */
static size_t declared(const char *text, size_t len, const char **out)
{
    const char *end, *at;

    if (len < 5 || memcmp(text, "<?xml", 5) != 0 ||
        !(end = memmem(text, len, "?>", 2)) ||
        !(at = memmem(text, (size_t)(end - text), "encoding", 8))) {
        return 0;
    }
    at += strlen("encoding");
    at += strspn(at, BLANKS "=");
    if (at >= end || (*at != '"' && *at != '\'')) {
        return 0;
    }
    *out = at + 1;
    at = memchr(*out, *at, (size_t)(end - *out));
    return at ? (size_t)(at - *out) : 0;
}

static bool is_read(const char *name, size_t len)
{
    static const char *const names[] = {"UTF-8", "UTF8", "US-ASCII", "ASCII"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0) {
            return true;
        }
    }
    return false;
}

int virt_encoding_check(const char *text, size_t len, struct img_error *err)
{
    const char *name;
    char shown[64];
    size_t name_len;

    if (len > CHAIN_VIRT_MAX_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "too long for libvirt's XML: found %zu bytes, at most "
                        "%u are read",
                        len, CHAIN_VIRT_MAX_LEN);
    }
    if (check_bytes(text, len, err) < 0) {
        return -1;
    }
    if (len >= 3 && memcmp(text, BYTE_ORDER_MARK, 3) == 0) {
        text += 3;
        len -= 3;
    }
    name_len = declared(text, len, &name);
    if (name_len > 0 && !is_read(name, name_len)) {
        img_escape(name, name_len, shown, sizeof(shown));
        return img_fail(err, IMG_UNSUPPORTED,
                        "line 1: found encoding '%s', expected UTF-8", shown);
    }
    return 0;
}
