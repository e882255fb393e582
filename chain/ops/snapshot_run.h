/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of chain_snapshot share. */
#ifndef CHAIN_OPS_SNAPSHOT_RUN_H
#define CHAIN_OPS_SNAPSHOT_RUN_H

#include <chain/snapshot.h>

#include "create_for.h"

struct chain_snapshot_run {
    const struct chain_snapshot_request *request;
    struct chain_snapshot_result *result;
    struct chain_job *jobs; /* one for each disk; with reuse_external only
                               the source is opened */
};

/* No two disks are in each other's way (snapshot_check.c). */
int chain_snapshot_check(const struct chain_snapshot_run *run,
                         struct img_error *err);

/* Write and judge all overlays. What is refused is in the result. */
int chain_snapshot_write(struct chain_snapshot_run *run,
                         enum chain_creation_kind kind, struct img_error *err);

/* All or none (snapshot_atomic.c). */
int chain_snapshot_atomic(struct chain_snapshot_run *run,
                          struct img_error *err);

int chain_snapshot_check_cancel(const struct chain_snapshot_run *run,
                                struct img_error *err);

#endif
