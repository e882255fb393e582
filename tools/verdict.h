/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A report of a judging command in the forms in which it is shown. */
#ifndef VERDICT_H
#define VERDICT_H

#include <chain/inspect.h>

#include "options.h"
#include "output.h"
#include "verdict_files.h"
#include "words.h"

struct verdict {
    const struct chain_report *report;
    const char *command;   /* "validate", "inspect" */
    const char *operation; /* "snapshot"; inspect: the policy */
    const char *source;    /* as the request spells it; NULL: none */
    const char *dest;      /* the file that is judged, likewise */
    /* preflight: what is judged instead, "a snapshot of domain vm"; and the
       command that asks for it. NULL: another command. */
    const char *subject, *ask;
    const struct words *steps; /* commands that come first, for people; NULL */
    bool joins_steps;          /* each only if those before it succeed */
    /* More for the JSON; NULL: nothing. */
    void (*extend)(const void *opaque, struct img_json *json);
    const void *opaque;
    const char *purpose; /* "the overlay of" SOURCE */
    /* inspect: what the verdict is about; NULL: another command. */
    const struct chain_inspect_facts *facts;
};

/* "snapshot", "copy", "shallow-copy". */
const char *verdict_operation(enum chain_operation operation);
/* Of validate, and of what judges by its rules. */
struct verdict verdict_of_validate(const struct chain_report *report,
                                   enum chain_operation operation,
                                   const char *source, const char *dest);

/* "accepted", "refused", "unproven". */
const char *verdict_name(enum chain_judgement judgement);
/* 0, 1, 2: what all judging commands exit with. */
int verdict_code(enum chain_judgement judgement);
/* "pass", "fail", "warn", "skip", "unproven". */
const char *verdict_result(enum chain_check_result result);
size_t verdict_count(const struct chain_report *report,
                     enum chain_check_result result);

/* For option tables: "junit=FILE", "sarif=FILE" into struct verdict_files. */
option_parser option_report;
/* Would a report replace PATH (may be NULL)? */
bool verdict_files_hit(const struct verdict_files *files, const char *path);

/* Write the reports, print the verdict to OUT, finish it; the exit code. */
int verdict_show(const struct common_values *common,
                 const struct verdict_files *files,
                 const struct verdict *verdict, struct output *out);

struct img_json *verdict_json(const struct verdict *verdict);
/* For people: failed checks first. WITH_ALL shows passed ones whole, too. */
void verdict_sheet(struct output *out, const struct verdict *verdict,
                   unsigned width, bool with_all);
/* Whole files; PATH is replaced. */
int verdict_junit(const struct verdict *verdict, const char *path,
                  struct img_error *err);
int verdict_sarif(const struct verdict *verdict, const char *path,
                  struct img_error *err);

#endif
