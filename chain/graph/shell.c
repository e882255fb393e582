/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Words of shell commands, for the remedies that messages give. Room:
 * chain/graph.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

/* The most that one byte becomes: \377, or '\'' for an apostrophe. */
#define QUOTED_MAX 4u

static bool is_harmless(const char *text)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_@%+=:,./-";

    return text[0] != '\0' && text[strspn(text, good)] == '\0';
}

/* Would img_escape leave every byte but the backslash alone? */
static bool is_printable(const char *text, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        char shown[16];

        n = img_utf8_len((const uint8_t *)text + i, len - i);
        if (n == 0) {
            return false;
        }
        if (text[i] != '\\' &&
            img_escape(text + i, n, shown, sizeof(shown)) != n) {
            return false;
        }
    }
    return true;
}

/* 'it'\''s' */
static void quote_plain(const char *text, char *out)
{
    *out++ = '\'';
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            out = stpcpy(out, "'\\''");
        } else {
            *out++ = *text;
        }
    }
    stpcpy(out, "'");
}

/* $'a\012b': three octal digits, so that no digit after them is taken in. */
static void quote_bytes(const char *text, char *out)
{
    out = stpcpy(out, "$'");
    for (; *text != '\0'; text++) {
        unsigned byte = (unsigned char)*text;
        if (byte < 0x20 || byte >= 0x7f || byte == '\'' || byte == '\\') {
            *out++ = '\\';
            *out++ = (char)('0' + (byte >> 6));
            *out++ = (char)('0' + (byte >> 3 & 7));
            *out++ = (char)('0' + (byte & 7));
        } else {
            *out++ = (char)byte;
        }
    }
    stpcpy(out, "'");
}

char *chain_shell_quote(const char *text, struct img_error *err)
{
    size_t len = strlen(text);

    if (is_harmless(text)) {
        return img_strndup(text, len, err);
    }
    char *quoted = img_calloc(len + 1, QUOTED_MAX, err);
    if (!quoted) {
        return NULL;
    }
    if (is_printable(text, len)) {
        quote_plain(text, quoted);
    } else {
        quote_bytes(text, quoted);
    }
    return quoted;
}

char *chain_shell_quote_path(const char *path, struct img_error *err)
{
    size_t colon = strcspn(path, ":/");

    if (path[0] != '-' && path[colon] != ':') {
        return chain_shell_quote(path, err);
    }
    IMG_AUTO(img_free_ptr) char *dotted = img_text(err, "./%s", path);
    return dotted ? chain_shell_quote(dotted, err) : NULL;
}
