/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A report of validate in the forms in which it is shown. */
#ifndef VERDICT_H
#define VERDICT_H

#include <chain/validate.h>

#include "output.h"

struct verdict {
    const struct chain_report *report;
    enum chain_operation operation;
    const char *source, *dest; /* as the request spells them */
};

/* "accepted", "refused", "unproven". */
const char *verdict_name(enum chain_judgement judgement);
/* "snapshot", "copy", "shallow-copy". */
const char *verdict_operation(enum chain_operation operation);
/* "pass", "fail", "warn", "skip", "unproven". */
const char *verdict_result(enum chain_check_result result);
size_t verdict_count(const struct chain_report *report,
                     enum chain_check_result result);

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
