/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of the command line, from tables.
 *
 * Every command has a struct of values whose first member is struct
 * common_values, and a table that says which option fills which field. The
 * tables drive parsing, --help and the hints for misspelt options.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/engine.h>
#include <img/error.h>
#include <img/file.h>

enum output_format {
    OUTPUT_HUMAN,
    OUTPUT_JSON,
    OUTPUT_DOT, /* tree only */
    OUTPUT_SVG, /* tree only */
};

enum progress_mode {
    PROGRESS_NONE,
    PROGRESS_TEXT,
    PROGRESS_JSON,
};

/* What the options that every command has leave behind. */
struct common_values {
    bool wants_help;
    const char *format; /* -f; NULL: probe */
    enum output_format output;
    bool quiet;
    bool verbose;
    bool image_opts;
    bool force_share;
    bool allow_probe;
    enum progress_mode progress;
    struct img_roots *roots; /* NULL: no confinement */
    enum img_engine_kind engine;
    uint64_t max_memory; /* 0: the default of each command */
    unsigned max_depth;  /* 0: CHAIN_MAX_DEPTH */
    int fd;              /* --fd, or -1 */
    bool no_sandbox, require_sandbox;
    unsigned max_time;          /* seconds; 0: no end */
    uint64_t max_address_space; /* 0: as inherited */
    bool wants_choices;         /* -o help: what -o can set */
};

/* Put ARG (NULL where the option has none) into FIELD. */
typedef int option_parser(void *field, const char *arg, struct img_error *err);

struct option_spec {
    int letter;       /* short form, or 0 */
    const char *name; /* long form; NULL ends a table */
    const char *arg;  /* "FMT"; "[=json]" is optional; NULL: none */
    const char *help; /* one line */
    option_parser *parse;
    size_t at; /* offset of the field in the values */
};

option_parser option_flag, option_text, option_size, option_output,
    option_tree_output, option_engine, option_root, option_progress,
    option_depth, option_fd, option_seconds, option_address_space, option_cache,
    option_threads;

/* A decimal number of at most MAX. */
int option_number(const char *arg, unsigned max, unsigned *out,
                  struct img_error *err);

/* The options of all commands; see command.h for who has not got which. */
extern const struct option_spec common_options[];

struct command;

/*
 * The options that COMMAND takes: its own first, then the common ones that
 * its own do not replace. NULL past the end.
 */
const struct option_spec *options_at(const struct command *command, size_t idx);

/*
 * Parse ARGV (argv[0] is the command's name) into VALUES, zeroed memory of
 * the command's values_len. Operands are moved to the end; *first is the
 * index of the first of them. The text of a failure is one line for people.
 */
int options_parse(const struct command *command, int argc, char **argv,
                  void *values, int *first, struct img_error *err);
/* Release what parsing allocated. */
void options_fini(struct common_values *values);

/* "Bytes, or k/K M G T P E, powers of 1024", also 1.5G. */
int size_parse(const char *text, uint64_t *out, struct img_error *err);
/* The same for an operand, which the text of a failure quotes. */
int size_operand(const char *text, uint64_t *out, struct img_error *err);

#endif
