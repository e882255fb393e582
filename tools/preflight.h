/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The preflight command: what it reads, and what it shows. */
#ifndef PREFLIGHT_H
#define PREFLIGHT_H

#include <chain/preflight.h>

#include "values.h"
#include "verdict.h"

/* A request, with all that it borrows from. */
struct preflight {
    const struct preflight_values *values;
    struct chain_virt_domain *domain;
    struct chain_virt_snapshot *snapshot;
    struct chain_virt_disk_file *copy;
    struct chain_virt_disk spoken; /* the copy that options describe */
    struct chain_preflight_request request;
    struct chain_preflight *plan;
};

/* ---- preflight_read.c */

/* Read what the options name, into the request. */
int preflight_read(struct preflight *pre, struct img_error *err);
void preflight_release(struct preflight *pre);
/* CHAIN_VIRT_... */
unsigned preflight_flags(const struct preflight_values *values);

/* ---- preflight_judge.c */

/*
 * Judge what chain_preflight has made of the request, into its report. CONFINE:
 * in the sandbox.
 */
int preflight_judge(struct preflight *pre,
                    const struct chain_compare_options *compare, bool confine,
                    struct img_error *err);

/* ---- preflight_steps.c */

/* "snapshot", "copy", "shallow-copy", "redefine". */
const char *preflight_operation(const struct preflight *pre);
/* The virsh command that asks for it; NULL when memory runs out. */
char *preflight_virsh(const struct preflight *pre, struct img_error *err);
/* The JSON's "domain", "disks", "virsh" and "qmp". OPAQUE is a struct
   preflight. */
void preflight_extend(const void *opaque, struct img_json *json);

#endif
