/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A redefinition under way. */
#ifndef METADATA_REDEFINE_H
#define METADATA_REDEFINE_H

#include "carry.h"

struct redefining {
    const struct metadata_redefine_values *values;
    struct chain_bundle bundle;
    struct chain_rewrite rewrite;
    struct chain_redefine_wish wish;
    struct chain_redefine_plan *plan;
    /* With --connect. */
    struct chain_libvirt *libvirt;
    struct chain_metadata *snapshots, *checkpoints; /* that are there */
    char *uuid, *record;
    int lock; /* of the record; -1: not held */
};

/* The steps, and why libvirt would refuse them, on OUT and stderr. */
void redefine_show(const struct redefining *run, struct output *out);

#endif
