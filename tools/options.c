/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of the command line, from tables: getopt_long is fed from the
 * table of a command and that of all commands; what a value means stands in
 * option_parsers.c.
 */
#include "options.h"

#include <getopt.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "nearest.h"

/* More options than any command has; tests/cli/usage.sh counts. */
#define OPTIONS_MAX 64

#define COMMON(field) offsetof(struct common_values, field)

const struct option_spec common_options[] = {
    {'f', "format", "FMT", "format of FILE; without it the file is probed",
     option_text, COMMON(format)},
    {0, "output", "human|json", "form of the output", option_output,
     COMMON(output)},
    {'q', "quiet", NULL, "no output but errors", option_flag, COMMON(quiet)},
    {'v', "verbose", NULL, "say more on stderr", option_flag, COMMON(verbose)},
    {'U', "force-share", NULL, "read an image that another process writes",
     option_flag, COMMON(force_share)},
    {'p', "progress", "[=json]", "show progress on stderr", option_progress,
     COMMON(progress)},
    {0, "root", "DIR", "open no file outside DIR (repeatable)", option_root,
     COMMON(roots)},
    {0, "allow-probe", NULL, "probe backing files of unrecorded format",
     option_flag, COMMON(allow_probe)},
    {0, "engine", "ENGINE", "how to read: auto, io_uring or sync",
     option_engine, COMMON(engine)},
    {0, "max-memory", "SIZE", "upper bound for buffers and counts", option_size,
     COMMON(max_memory)},
    {0, "max-depth", "N", "longest chain to follow (default 200)", option_depth,
     COMMON(max_depth)},
    {0, "fd", "N", "use the inherited descriptor N; FILE names it", option_fd,
     COMMON(fd)},
    {0, "max-time", "SECONDS", "stop with an error after so long",
     option_seconds, COMMON(max_time)},
    {0, "max-address-space", "SIZE", "let the process map no more memory",
     option_address_space, COMMON(max_address_space)},
    {0, "no-sandbox", NULL, "do not confine the process before it reads",
     option_flag, COMMON(no_sandbox)},
    {0, "require-sandbox", NULL, "fail where the kernel cannot confine it",
     option_flag, COMMON(require_sandbox)},
    {'h', "help", NULL, "show this help", option_flag, COMMON(wants_help)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static bool is_replaced(const struct command *command,
                        const struct option_spec *common)
{
    if ((command->without & WITHOUT_FORMAT) && common->letter == 'f') {
        return true;
    }
    if ((command->without & WITHOUT_FD) && strcmp(common->name, "fd") == 0) {
        return true;
    }
    if ((command->without & WITHOUT_SHARE) && common->letter == 'U') {
        return true;
    }
    if ((command->without & WITHOUT_SANDBOX) &&
        strstr(common->name, "sandbox")) {
        return true;
    }
    for (const struct option_spec *own = command->options; own->name; own++) {
        if (strcmp(own->name, common->name) == 0 ||
            (own->letter != 0 && own->letter == common->letter)) {
            return true;
        }
    }
    return false;
}

const struct option_spec *options_at(const struct command *command, size_t idx)
{
    size_t nr = 0;

    for (const struct option_spec *own = command->options; own->name; own++) {
        if (nr++ == idx) {
            return own;
        }
    }
    for (const struct option_spec *one = common_options; one->name; one++) {
        if (!is_replaced(command, one) && nr++ == idx) {
            return one;
        }
    }
    return NULL;
}

/* getopt's own description of the options. */
struct getopt_tables {
    const struct option_spec *specs[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX + 1];
    char letters[3 * OPTIONS_MAX + 2];
    size_t nr;
};

static void tables_fill(struct getopt_tables *tables,
                        const struct command *command)
{
    const struct option_spec *spec;
    char *letter = tables->letters;

    memset(tables, 0, sizeof(*tables));
    *letter++ = ':';
    while (tables->nr < OPTIONS_MAX &&
           (spec = options_at(command, tables->nr)) != NULL) {
        struct option *one = &tables->longs[tables->nr];
        bool is_optional = spec->arg && spec->arg[0] == '[';

        tables->specs[tables->nr] = spec;
        one->name = spec->name;
        one->has_arg = is_optional ? optional_argument
                       : spec->arg ? required_argument
                                   : no_argument;
        /* Above every letter: an index into specs. */
        one->val = 256 + (int)tables->nr++;
        if (spec->letter != 0) {
            *letter++ = (char)spec->letter;
            /* An optional value is only read in the long form. */
            if (spec->arg && !is_optional) {
                *letter++ = ':';
            }
        }
    }
}

static const struct option_spec *spec_of(const struct getopt_tables *tables,
                                         int value)
{
    if (value >= 256) {
        return tables->specs[value - 256];
    }
    for (size_t i = 0; i < tables->nr; i++) {
        if (tables->specs[i]->letter == value) {
            return tables->specs[i];
        }
    }
    return NULL;
}

/* WORD is only looked at for long options: letters come as optopt. */
static int fail_unknown(const struct command *command,
                        const struct getopt_tables *tables, const char *word,
                        struct img_error *err)
{
    struct nearest best = {.word = NULL};
    char shown[256], name[64];

    if (optopt > 0 && optopt < 256 && !spec_of(tables, optopt)) {
        char letter[2] = {(char)optopt, '\0'};

        img_escape(letter, 1, shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "unknown option -%s; see imgchain %s%s%s --help", shown,
                        command->name, command->verb ? " " : "",
                        command->verb ? command->verb : "");
    }
    img_escape(word, strcspn(word, "="), shown, sizeof(shown));
    if (optopt != 0) {
        return img_fail(err, IMG_USAGE, "option %s takes no value", shown);
    }
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="),
                   word + 2);
    for (size_t i = 0; i < tables->nr; i++) {
        nearest_offer(&best, name, tables->specs[i]->name);
    }
    if (!best.word) {
        return img_fail(err, IMG_USAGE,
                        "unknown option %s; see imgchain %s%s%s --help", shown,
                        command->name, command->verb ? " " : "",
                        command->verb ? command->verb : "");
    }
    return img_fail(err, IMG_USAGE, "unknown option %s; did you mean --%s?",
                    shown, best.word);
}

static int apply(const struct option_spec *spec, void *values, const char *arg,
                 struct img_error *err)
{
    char text[IMG_ERROR_TEXT_MAX], shown[256];

    if (spec->parse((char *)values + spec->at, arg, err) == 0) {
        return 0;
    }
    if (err->code != IMG_USAGE) {
        return -1;
    }
    memcpy(text, err->text, sizeof(text));
    if (!arg) {
        return img_fail(err, IMG_USAGE, "--%s %s", spec->name, text);
    }
    img_escape(arg, strlen(arg), shown, sizeof(shown));
    return img_fail(err, IMG_USAGE, "--%s: '%s' %s", spec->name, shown, text);
}

static int apply_environment(void *values, struct img_error *err)
{
    struct common_values *common = values;
    const char *engine = getenv("IMGCHAIN_ENGINE");

    if (!engine || !engine[0]) {
        return 0;
    }
    if (option_engine(&common->engine, engine, err) < 0) {
        char shown[64];

        img_escape(engine, strlen(engine), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "IMGCHAIN_ENGINE: '%s' is none of auto, io_uring, "
                        "sync",
                        shown);
    }
    return 0;
}

/* "-5G" at the end, which getopt would take for options. */
static bool is_signed(int argc, char **argv)
{
    const char *last = argv[argc - 1];

    return argc > 1 && last[0] == '-' && last[1] >= '0' && last[1] <= '9';
}

int options_parse(const struct command *command, int argc, char **argv,
                  void *values, int *first, struct img_error *err)
{
    struct common_values *common = values;
    const struct option_spec *spec;
    struct getopt_tables tables;
    int value;

    common->fd = -1;
    if (command->has_signed_last && is_signed(argc, argv)) {
        argc--;
    }
    if (apply_environment(values, err) < 0) {
        return -1;
    }
    tables_fill(&tables, command);
    opterr = 0;
    optind = 0; /* begin anew; also for a second parse in one process */
    for (;;) {
        optopt = 0;
        value = getopt_long(argc, argv, tables.letters, tables.longs, NULL);
        if (value == -1) {
            break;
        }
        /* No option has the letter '?': that is what unknown ones come as. */
        spec = spec_of(&tables, value == ':' ? optopt : value);
        if (!spec) {
            return fail_unknown(command, &tables, argv[optind - 1], err);
        }
        if (value == ':') {
            return img_fail(err, IMG_USAGE, "option --%s needs a value: %s",
                            spec->name, spec->arg);
        }
        if (apply(spec, values, optarg, err) < 0) {
            return -1;
        }
    }
    *first = optind;
    return 0;
}

void options_fini(struct common_values *values)
{
    img_roots_free(values->roots);
    values->roots = NULL;
}
