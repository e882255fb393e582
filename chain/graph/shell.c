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
/* "$(printf '')" and the end mark, in units of QUOTED_MAX. */
#define FRAME_MAX 4u

static const char harmless[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_@%+=:,./-";

static bool is_harmless(const char *text)
{
    return text[0] != '\0' && text[strspn(text, harmless)] == '\0';
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

/*
 * "$(printf 'a\012b')": three octal digits, so that no digit after them is
 * taken in. Not $'...', which dash takes for other text. '-' might begin an
 * option of printf; '%' is doubled, for dash reads \045 as the format's own;
 * '!' and others mean something to interactive shells even here.
 */
static void quote_bytes(const char *text, char *out)
{
    out = stpcpy(out, "\"$(printf '");
    for (; *text != '\0'; text++) {
        unsigned byte = (unsigned char)*text;
        if (byte == '%') {
            out = stpcpy(out, "%%");
        } else if (byte == '-' || !strchr(harmless, *text)) {
            *out++ = '\\';
            *out++ = (char)('0' + (byte >> 6));
            *out++ = (char)('0' + (byte >> 3 & 7));
            *out++ = (char)('0' + (byte & 7));
        } else {
            *out++ = *text;
        }
    }
    stpcpy(out, "')\"");
}

char *chain_shell_quote(const char *text, struct img_error *err)
{
    size_t len = strlen(text);

    if (is_harmless(text)) {
        return img_strndup(text, len, err);
    }
    /* The shell takes newlines off the end of what printf prints. */
    if (len > 0 && text[len - 1] == '\n') {
        img_fail(err, IMG_UNSUPPORTED,
                 "no shell command on one line names what ends in a newline");
        return NULL;
    }
    char *quoted = img_calloc(len + FRAME_MAX, QUOTED_MAX, err);
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
