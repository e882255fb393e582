/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages on stderr: one place, one line each, "imgchain: ...". */
#ifndef MESSAGE_H
#define MESSAGE_H

#include <stdbool.h>

#include <img/error.h>

/* Set once after the options are parsed. */
void message_set_level(bool quiet, bool verbose);

/* The command has no -U: a file in use is reported without that advice. */
void message_without_share(void);
/* Nor is it given about PATH, which is to be written: it would not help. */
void message_written(const char *path);

/* "imgchain: PATH: TEXT (offset N)". Printed with -q, too. */
void message_error(const struct img_error *err);
/* An error in words; the caller escapes what is not its own text. */
void message_failed(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Worth knowing; not with -q. */
void message_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Only with -v. */
void message_detail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
