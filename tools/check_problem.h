/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How check shows what it found in one layer. */
#ifndef CHECK_PROBLEM_H
#define CHECK_PROBLEM_H

#include <chain/links.h>
#include <qcow2/check.h>

#include "output.h"

struct check_sink {
    struct output *out;
    struct img_json *problems; /* an array; NULL: lines on OUT */
    unsigned width;            /* of a line */
    /* What check_put_link counts in. */
    struct qcow2_check_result *result;
};

/* Lines are broken for people only: a problem is a line for programs. */
unsigned check_line_width(void);

/* For qcow2_check_options and chain_link_check; OPAQUE is the sink. */
void check_put_problem(void *opaque, const struct qcow2_problem *problem);
void check_put_link(void *opaque, const struct chain_link_problem *problem);
/* A layer that could not be looked at, for ERR. */
void check_put_failure(struct check_sink *sink, const struct img_error *err);

#endif
