/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What metadata check and undefine-check share: what they read, and how they
   show their report. */
#ifndef METADATA_JUDGING_H
#define METADATA_JUDGING_H

#include <chain/metadata_check.h>

#include "../verdict.h"
#include "../words.h"
#include "metadata.h"

struct metadata_check_values {
    struct metadata_values source;
    const char
        *checkpoints_from; /* --checkpoints-from DIR: besides snapshots */
    struct verdict_files reports;
    /* undefine-check. */
    const char *managed_save; /* --managed-save FILE */
    bool is_transient;        /* --transient */
};

#define METADATA_JUDGING(values)                                               \
    METADATA_ROW("domain", "XML", "the domain's XML; with --connect its name", \
                 option_text, METADATA_AT(values, domain)),                    \
        METADATA_CONNECT(values), METADATA_CURRENT(values),                    \
        METADATA_ROW("checkpoints-from", "DIR",                                \
                     "its checkpoints, too: libvirt's folder of them",         \
                     option_text, offsetof(values, checkpoints_from)),         \
        METADATA_ROW("report", "KIND=FILE",                                    \
                     "a report, too; KIND: junit, sarif", option_report,       \
                     offsetof(values, reports))

/* All that was read. */
struct metadata_judging {
    struct chain_metadata *snapshots, *checkpoints;
    struct chain_virt_domain *domain;
    bool is_persistent;    /* libvirt says so */
    bool has_managed_save; /* likewise */
    struct chain_options options;
    struct chain_metadata_request request;
};

/* Prints a message and returns false when not. */
bool metadata_judging_is_sane(const struct metadata_check_values *values,
                              int nr);
/* Read it, in the sandbox (metadata_begin); images are opened afterwards. */
int metadata_judging_read(const struct metadata_check_values *values,
                          char **operands, int nr, struct metadata_judging *out,
                          struct output **output, struct img_error *err);
void metadata_judging_fini(struct metadata_judging *all);
/* The report; of undefine-check the commands STEPS that come first. NULL: it
   is check. Returns the exit code. */
int metadata_judging_show(const struct metadata_check_values *values,
                          const struct metadata_judging *all,
                          const struct chain_report *report,
                          const struct words *steps, struct output *out);

#endif
