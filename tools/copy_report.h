/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a copy did, or would do, for people and programs. */
#ifndef COPY_REPORT_H
#define COPY_REPORT_H

#include "change.h"
#include "output.h"

struct copy_report {
    const struct change_values *change;
    const struct chain_copy_request *request;
    const struct chain_copy_result *result;
    double copy_sec, verify_sec; /* how long it took */
};

struct img_json *copy_report_json(const struct copy_report *report);
void copy_report_sheet(struct output *out, const struct copy_report *report);

#endif
