/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sheets for people: labels on the left, values on the right. */
#ifndef SHEET_H
#define SHEET_H

#include "output.h"

#define SHEET_LABEL_WIDTH 20

/* One row; TEXT may be any bytes and stays on one line. */
void sheet_text(struct output *out, const char *label, const char *text);
/* Human and exact. */
void sheet_size(struct output *out, const char *label, uint64_t len);
void sheet_row(struct output *out, const char *label, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * TEXT in lines of at most WIDTH columns, the first one standing at column
 * INDENT already, the others indented by as much. Breaks at spaces; a word
 * that is too long stays whole. Ends with a newline.
 */
void sheet_wrap(struct output *out, unsigned width, unsigned indent,
                const char *text);

#endif
