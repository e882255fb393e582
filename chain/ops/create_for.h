/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New images as an operation of libvirt's wants them, judged by validate's
 * rules before their names appear.
 */
#ifndef CHAIN_OPS_CREATE_FOR_H
#define CHAIN_OPS_CREATE_FOR_H

#include "creation.h"

/* What the image is for. */
struct chain_purpose {
    enum chain_operation operation;
    const char *active;        /* the disk's active layer */
    const char *active_format; /* NULL: probe */
    const char *backing_text;  /* to record; NULL: in the request's style,
                                  relative when it has none (devices:
                                  absolute) */
    unsigned max_depth;
    int engine;
};

/* The image on its way. Zeroed is empty. */
struct chain_job {
    struct chain_purpose purpose;
    struct chain_create_request request; /* the caller's, made fit */
    struct chain *source; /* of the active layer: open and locked as long as
                             the job lives, so that nobody writes it */
    struct chain_create_plan plan;
    struct chain_creation creation;
    bool is_absolute; /* the backing name that is recorded */
    enum chain_creation_kind kind;
    struct chain_report *report; /* NULL: not judged */
};

/* Open ACTIVE's chain, unless it is there already, and plan. JOB must stay
   where it is. */
int chain_job_plan(struct chain_job *job, const struct chain_purpose *purpose,
                   const struct chain_create_request *request,
                   struct img_error *err);
/* Write the image and judge it; job->report says what came of that. */
int chain_job_write(struct chain_job *job, enum chain_creation_kind kind,
                    struct img_error *err);
/*
 * The check that keeps the image from being accepted; NULL: none does. What a
 * running guest changes in the source (force_share) is none, nor the space of
 * a file system that the image is only judged on.
 */
const struct chain_check *chain_job_refusal(const struct chain_job *job);
/* IMG_USAGE, in the words of that check. */
int chain_job_check_accepted(const struct chain_job *job,
                             struct img_error *err);
void chain_job_fini(struct chain_job *job);

#endif
