/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making bytes from files fit to be shown: one line, valid UTF-8, nothing a
 * terminal would act on. Room: libimg/base.
 */
#include <img/memory.h>

#include <stdio.h>
#include <string.h>

#define ELLIPSIS "..."

/* Bytes that must follow a UTF-8 lead byte; 0 for one that leads nothing. */
static size_t sequence_len(uint8_t lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        return 3;
    }
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

size_t img_utf8_len(const uint8_t *p, size_t len)
{
    size_t need = len > 0 ? sequence_len(p[0]) : 0;

    if (need == 0 || need > len) {
        return 0;
    }
    for (size_t i = 1; i < need; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Overlong forms, surrogates, beyond U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return need;
}

/* Line and paragraph separators, C1 controls, bidirectional overrides. */
static bool is_trouble(const uint8_t *p, size_t len)
{
    if (len == 1) {
        return p[0] < 0x20 || p[0] == 0x7f || p[0] == '\\';
    }
    if (len == 2) {
        return p[0] == 0xc2 && p[1] < 0xa0;
    }
    if (len != 3 || p[0] != 0xe2) {
        return false;
    }
    return (p[1] == 0x80 &&
            (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae))) ||
           (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

/*
 * The printable form of what stands at P, LEN bytes left: PIECE gets
 * *piece_len bytes. Returns how many bytes of P it stands for.
 */
static size_t escape_one(const uint8_t *p, size_t len, char *piece,
                         size_t piece_size, size_t *piece_len)
{
    size_t step = img_utf8_len(p, len);

    if (step > 0 && !is_trouble(p, step)) {
        memcpy(piece, p, step);
        *piece_len = step;
        return step;
    }
    step = step > 0 ? step : 1;
    *piece_len = 0;
    for (size_t i = 0; i < step; i++) {
        *piece_len += (size_t)snprintf(
            piece + *piece_len, piece_size - *piece_len, "\\x%02x", p[i]);
    }
    return step;
}

/* End OUT after KEEP bytes with as much of "..." as SIZE leaves room for. */
static size_t cut_short(char *out, size_t size, size_t keep)
{
    size_t room = size - 1 - keep;
    size_t dots = strlen(ELLIPSIS) < room ? strlen(ELLIPSIS) : room;

    memcpy(out + keep, ELLIPSIS, dots);
    out[keep + dots] = '\0';
    return keep + dots;
}

size_t img_escape(const char *in, size_t len, char *out, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)in;
    size_t used = 0;
    size_t keep = 0; /* what stays if the rest must give way to "..." */

    if (size == 0) {
        return 0;
    }
    for (size_t pos = 0; pos < len;) {
        char piece[20]; /* four bytes of four characters at most */
        size_t piece_len;

        pos += escape_one(bytes + pos, len - pos, piece, sizeof(piece),
                          &piece_len);
        if (used + piece_len >= size) {
            return cut_short(out, size, keep);
        }
        memcpy(out + used, piece, piece_len);
        used += piece_len;
        if (used + strlen(ELLIPSIS) < size) {
            keep = used;
        }
    }
    out[used] = '\0';
    return used;
}
