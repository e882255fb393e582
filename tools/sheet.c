/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sheets for people: see sheet.h. */
#include "sheet.h"

#include <img/memory.h>
#include <img/size.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sheet_text(struct output *out, const char *label, const char *text)
{
    output_style(out, STYLE_DIM);
    output_printf(out, "%-*s", SHEET_LABEL_WIDTH, label);
    output_style(out, STYLE_PLAIN);
    output_escaped(out, text);
    output_text(out, "\n");
}

void sheet_size(struct output *out, const char *label, uint64_t len)
{
    char text[IMG_SIZE_TEXT_LEN];

    sheet_text(out, label, img_size_exact(len, text));
}

void sheet_row(struct output *out, const char *label, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    sheet_text(out, label, text);
}

/* Columns of LEN bytes of UTF-8, one a character. */
static unsigned columns(const char *text, size_t len)
{
    unsigned nr = 0;

    for (size_t i = 0; i < len; i++) {
        nr += ((unsigned char)text[i] & 0xc0u) != 0x80u;
    }
    return nr;
}

void sheet_wrap(struct output *out, unsigned width, unsigned indent,
                const char *text)
{
    unsigned column = indent;

    for (;;) {
        size_t word = strcspn(text, " ");
        unsigned word_width = columns(text, word);

        if (column > indent && column + 1 + word_width > width) {
            output_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            output_text(out, " ");
            column++;
        }
        output_bytes(out, text, word);
        column += word_width;
        text += word;
        text += strspn(text, " ");
        if (!*text) {
            break;
        }
    }
    output_text(out, "\n");
}
