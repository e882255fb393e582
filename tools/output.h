/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Data on stdout.
 *
 * An output collects text; errors are kept and come back from
 * output_finish, the only call that has to be checked. A whole one (JSON)
 * writes nothing to stdout before it is finished and nothing at all when it
 * is freed instead; past 16 MiB it waits in a file without a name.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <img/json.h>

struct output;

enum output_mode {
    OUTPUT_STREAM,  /* goes to stdout as it comes */
    OUTPUT_WHOLE,   /* at the end, or not at all */
    OUTPUT_NOWHERE, /* --quiet */
};

enum output_style {
    STYLE_PLAIN,
    STYLE_BOLD,
    STYLE_GOOD,
    STYLE_BAD,
    STYLE_WARN,
    STYLE_DIM,
};

int output_new(enum output_mode mode, struct output **out,
               struct img_error *err);
/*
 * Open the file that a whole one may need, while files can be opened; the
 * sandbox is told of it. A failure is reported when the file is needed.
 */
void output_prepare(struct output *output);
/* What was to be put could not be made: output_finish will tell. */
void output_fail(struct output *output, const struct img_error *err);
/* Everything goes to stdout now, or the first error comes back. */
int output_finish(struct output *output, struct img_error *err);
/* NULL is fine. */
void output_free(struct output *output);
/* For IMG_AUTO. */
void output_free_ptr(struct output **output);

void output_bytes(struct output *output, const char *text, size_t len);
void output_text(struct output *output, const char *text);
void output_printf(struct output *output, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void output_u64(struct output *output, uint64_t value);
/* Bytes that may be anything, made printable. */
void output_escaped(struct output *output, const char *text);
/* Nothing where stdout has no colours. */
void output_style(struct output *output, enum output_style style);
/* Takes VALUE; indented, with a newline. */
void output_json(struct output *output, struct img_json *value);
/* All that OTHER, a whole one, holds. */
void output_append(struct output *output, struct output *other);

#endif
