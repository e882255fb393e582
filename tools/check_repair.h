/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check -r and check --undo. */
#ifndef CHECK_REPAIR_H
#define CHECK_REPAIR_H

#include <stdbool.h>

#include <qcow2/check.h>

#include "output.h"
#include "values.h"

/* Do the options ask for more than a check? */
bool check_wants_repair(const struct check_values *values);
/* Repair, or undo a repair. Returns the exit code. */
int check_repair(const struct check_values *values, char **operands);

/* cmd_check.c: exit code and words for what a check found. */
int check_repair_code(const struct qcow2_check_result *result);
void check_repair_summary(struct output *out,
                          const struct qcow2_check_result *result);

#endif
