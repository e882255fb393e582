/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the commands that write images have in common. */
#ifndef CHANGE_H
#define CHANGE_H

#include <chain/copy.h>

#include "options.h"
#include "output.h"
#include "words.h"

/* The first member of the values of every command that writes. */
struct change_values {
    struct common_values common;
    struct words options; /* -o */
    enum chain_name_style_wish style;
    enum chain_cache source_cache, dest_cache;
    const char *backing_name, *backing_format;
    bool dry_run, verify;
};

/* -o; the field is the struct change_values. */
option_parser option_options;
/* --relative and --absolute, one of them; the field is the style. */
option_parser option_relative, option_absolute;
/* -t and -T: qemu-img's cache modes; the field is an enum chain_cache. */
option_parser option_cache_mode;
/* -r RATE of qemu-img, which is not to be had. */
option_parser option_rate_limit;

/* For struct command. */
void change_fini(void *values);

/*
 * The path of a file that is to be written: OPERAND as it is, or what a whole
 * "file:" URI or "json:{" names, as long as that is nothing but a file. Free
 * with free().
 */
int change_path(const char *operand, char **out, struct img_error *err);

/*
 * The image that OPERAND names and that is changed in place: its path (as
 * change_path; with --image-opts OPERAND is a list of options) and as what.
 * That is what -f or the operand's driver says; without them the file is
 * probed, that is told on stderr, and only qcow2 will do, since a guest can
 * write any header into a raw disk. *format is static or borrowed.
 */
int change_target(const struct change_values *values, const char *operand,
                  char **path, const char **format, struct img_error *err);

/* Say that PATH, of which no OPTION says the format, is probed. */
void change_note_probed(const char *path, const char *option);

/* Progress and cancelling of work that has phases. */
void change_begin(const struct common_values *common, const char *phase);
void change_on_phase(void *opaque, enum chain_phase phase, uint64_t done,
                     uint64_t total);
void change_on_progress(void *opaque, uint64_t done, uint64_t total);
/* RC is the work's; returns it. */
int change_end(int rc);
/*
 * Where ERR only says that the work on PATH was cancelled, it says how things
 * stand, too.
 */
void change_tell_state(struct img_error *err, const char *path,
                       const char *state);

/* The work is done, but ERR keeps its report back. Returns the exit code. */
int change_unreported(const struct change_values *values,
                      const struct img_error *err);
/* session_finish, for work that is done. */
int change_finish(const struct change_values *values, struct output *out);

/* "operation", "filename" and "dry-run": what every JSON document begins with.
 */
struct img_json *change_json(const struct change_values *values,
                             const char *operation, const char *path);
/* The first row: DONE or, with --dry-run, "would WORK". */
void change_head(struct output *out, const struct change_values *values,
                 const char *done, const char *work, const char *path);

#endif
