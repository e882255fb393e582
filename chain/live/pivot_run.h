/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pivot under way. Room: chain/live; for pivot*.c.
 *
 * What this program adds to QEMU has names that follow from the destination's
 * device and inode, so that a later run finds what a killed one has left:
 * imgchain-HASH-fN is the format node of layer N of the destination's chain,
 * imgchain-HASH-sN what it lies on, imgchain-HASH-full or -top the job.
 */
#ifndef CHAIN_LIVE_PIVOT_RUN_H
#define CHAIN_LIVE_PIVOT_RUN_H

#include <img/json.h>

#include "live.h"

#define PIVOT_ID_LEN 26u
/* QEMU's names of nodes have at most 31 characters. */
#define PIVOT_NAME_LEN 32u
#define PIVOT_JOB_LEN 64u

/* One disk of a run. */
struct pivot_target {
    const struct chain_pivot_disk *disk;
    struct chain_live_disk live; /* as it was before */
    struct chain *dest;          /* as its headers say; NULL: not there yet */
    bool is_full;                /* the whole disk is copied */
    bool is_alone;               /* nothing is put under the destination */
    char id[PIVOT_ID_LEN];       /* "imgchain-HASH" */
};

struct pivot_run {
    struct chain_live *live;
    const struct chain_pivot_request *request;
    struct pivot_target *targets;
    size_t nr;
    struct chain_pivot_result *result;
};

/* ---- pivot_commands.c: what is sent. */

/*
 * Run COMMAND with ARGUMENTS (taken), and tell of it; in a dry run only tell.
 */
int pivot_send(const struct pivot_run *run, const char *command,
               struct img_json *arguments, struct img_error *err);
/* How many layers of the destination's chain QEMU gets. */
size_t pivot_depth(const struct pivot_target *target);
void pivot_node_name(const struct pivot_target *target, char kind, size_t idx,
                     char out[PIVOT_NAME_LEN]);
/*
 * Add the two nodes of layer IDX of TARGET's destination. Layer 0 is for
 * writing and has no backing file; the others are read-only, and have layer
 * IDX + 1 under them, where there is one.
 */
int pivot_add_layer(const struct pivot_run *run,
                    const struct pivot_target *target, size_t idx,
                    struct img_error *err);
/* All ACTIONS (taken), or none. */
int pivot_transaction(const struct pivot_run *run, struct img_json *actions,
                      struct img_error *err);

/* ---- pivot_job.c: the copying job. */

void pivot_job_id(const struct pivot_target *target, bool is_full,
                  char out[PIVOT_JOB_LEN]);

enum pivot_job_state {
    PIVOT_JOB_NONE,
    PIVOT_JOB_RUNNING,
    PIVOT_JOB_READY,
    PIVOT_JOB_ENDING, /* waiting, pending, aborting */
    PIVOT_JOB_CONCLUDED,
};
struct pivot_job {
    enum pivot_job_state state;
    uint64_t done, total;
    bool is_failed;
    char why[512]; /* QEMU's words, escaped */
};
/* How the job of that id is. */
int pivot_job_ask(const struct pivot_run *run, const char *id,
                  struct pivot_job *out, struct img_error *err);
int pivot_job_start(const struct pivot_run *run,
                    const struct pivot_target *target, struct img_error *err);
/* Until the destination has all that the source has. IMG_REFUSED: the job
   failed, and QEMU says why; it is dismissed then. IMG_CANCELLED. */
int pivot_job_wait_ready(const struct pivot_run *run, const char *id,
                         struct img_error *err);
/* End it so that the guest is on the destination. Errors as above. */
int pivot_job_complete(const struct pivot_run *run, const char *id,
                       struct img_error *err);
/* End it so that the guest stays where it is. 0 where there is none. */
int pivot_job_cancel(const struct pivot_run *run, const char *id,
                     struct img_error *err);

/* ---- pivot_clean.c: what is removed. */

/* The nodes that are named after TARGET and that nobody uses; of layers FROM
   and lower. */
int pivot_remove_nodes(const struct pivot_run *run,
                       const struct pivot_target *target, size_t from,
                       struct img_error *err);
/* The nodes that the disk had before, top-down, as far as nobody uses them. */
int pivot_remove_old(const struct pivot_run *run,
                     const struct pivot_target *target, struct img_error *err);
/*
 * How things stand with TARGET: what the disk runs on, and what remains of
 * this program's nodes and jobs, for the result.
 */
void pivot_tell_state(const struct pivot_run *run,
                      const struct pivot_target *target);
/* Note that NAME remains in QEMU. */
void pivot_remains(const struct pivot_run *run, const char *name);

/* ---- pivot_target.c: the disks of a run. */

/*
 * Disk IDX of the request, with what QEMU runs and, for one that is there,
 * what its destination's headers say.
 */
int pivot_target_open(const struct pivot_run *run, size_t idx,
                      struct pivot_target *out, struct img_error *err);
void pivot_target_fini(struct pivot_target *target);
/* May it be begun with it? Sizes, formats, jobs; against the OTHERS. */
int pivot_target_check(const struct pivot_run *run,
                       const struct pivot_target *target,
                       struct img_error *err);
int pivot_target_look(const struct pivot_run *run,
                      const struct pivot_target *target,
                      enum chain_pivot_left *out, struct img_error *err);
/* Afterwards: the disk runs on the destination, and as its headers say. */
int pivot_target_verify(const struct pivot_run *run,
                        const struct pivot_target *target,
                        struct img_error *err);

#endif
