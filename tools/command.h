/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands: one table drives dispatch, --help, hints and whatever is
 * generated from it.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include "options.h"

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_JUDGED = 2, /* of the judging commands */
};

/* Common options that make no sense for a command. */
enum {
    WITHOUT_FORMAT = 1u << 0,  /* -f */
    WITHOUT_FD = 1u << 1,      /* --fd */
    WITHOUT_SHARE = 1u << 2,   /* -U: what is written is never shared */
    WITHOUT_SANDBOX = 1u << 3, /* it writes images */
};

struct command {
    const char *name; /* NULL ends the table */
    const char *verb; /* second word ("snapshot" of validate), or NULL */
    const char *summary;
    const char *operands; /* after [OPTIONS] on the usage line */
    const char *example;  /* a whole command line */
    const char *notes;    /* what exit codes mean, and the like */
    const struct option_spec *options;
    size_t values_len;
    /* Release what the command's own options allocated, or NULL. */
    void (*fini)(void *values);
    /* -o help: show what -o can set. NULL: the command has no -o. */
    int (*choices)(const void *values);
    /* NR operands, ended by NULL. Returns the exit code. */
    int (*run)(void *opaque, char **operands, int nr);
    unsigned without;
    bool has_signed_last; /* the last operand may be "-5G" */
    int min_operands;     /* with --fd one less */
    int max_operands;     /* -1: any number */
    int usage_exit;       /* for bad options and operands */
    int limit_exit;       /* when --max-time is over; 0: EXIT_FAILED */
};

extern const struct command commands[];

extern const struct option_spec info_options[], map_options[], check_options[],
    compare_options[], digest_options[], tree_options[], holders_options[],
    validate_snapshot_options[], validate_copy_options[], create_options[],
    copy_options[], rebase_options[], commit_options[], amend_options[],
    resize_options[], snapshot_options[], pivot_options[], inspect_options[],
    preflight_options[], metadata_list_options[], metadata_tree_options[],
    metadata_show_options[], metadata_check_options[],
    metadata_undefine_options[], metadata_export_options[],
    metadata_redefine_options[], metadata_delete_options[],
    metadata_relocate_options[];

int cmd_info(void *opaque, char **operands, int nr);
int cmd_map(void *opaque, char **operands, int nr);
int cmd_check(void *opaque, char **operands, int nr);
int cmd_digest(void *opaque, char **operands, int nr);
int cmd_compare(void *opaque, char **operands, int nr);
int cmd_validate_snapshot(void *opaque, char **operands, int nr);
int cmd_validate_copy(void *opaque, char **operands, int nr);
int cmd_inspect(void *opaque, char **operands, int nr);
int cmd_tree(void *opaque, char **operands, int nr);
int cmd_holders(void *opaque, char **operands, int nr);
int cmd_create(void *opaque, char **operands, int nr);
int cmd_copy(void *opaque, char **operands, int nr);
int cmd_rebase(void *opaque, char **operands, int nr);
int cmd_commit(void *opaque, char **operands, int nr);
int cmd_amend(void *opaque, char **operands, int nr);
int cmd_resize(void *opaque, char **operands, int nr);
int cmd_snapshot(void *opaque, char **operands, int nr);
int cmd_pivot(void *opaque, char **operands, int nr);
int cmd_preflight(void *opaque, char **operands, int nr);
int cmd_metadata_list(void *opaque, char **operands, int nr);
int cmd_metadata_tree(void *opaque, char **operands, int nr);
int cmd_metadata_show(void *opaque, char **operands, int nr);
int cmd_metadata_check(void *opaque, char **operands, int nr);
int cmd_metadata_undefine(void *opaque, char **operands, int nr);
int cmd_metadata_export(void *opaque, char **operands, int nr);
int cmd_metadata_redefine(void *opaque, char **operands, int nr);
int cmd_metadata_delete(void *opaque, char **operands, int nr);
int cmd_metadata_relocate(void *opaque, char **operands, int nr);

/* -o help; and what else the commands' own options need. */
int create_choices(const void *opaque);
int copy_choices(const void *opaque);
void copy_fini(void *values);
int amend_choices(const void *opaque);
int snapshot_choices(const void *opaque);
void snapshot_fini(void *values);
int pivot_choices(const void *opaque);
void pivot_fini(void *values);
void inspect_fini(void *values);
void preflight_fini(void *values);
void metadata_redefine_fini(void *values);
void metadata_relocate_fini(void *values);

/* The command that argv[0] (and, for two-word ones, argv[1]) names. */
const struct command *command_find(int argc, char **argv, int *words);
/* Nearest name of a command or verb to a misspelt one; NULL: none is near. */
const char *command_nearest(const char *group, const char *name);
bool command_is_group(const char *name);

/* What --help prints; all of it, or of one command or group of commands. */
int help_all(void);
int help_group(const char *name);
int help_command(const struct command *command);
int version_print(void);

#endif
