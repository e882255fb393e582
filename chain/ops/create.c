/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Creating images: see chain/create.h.
 */
#include <chain/create.h>

#include <img/memory.h>

#include "create_for.h"

static int create(const struct chain_create_plan *plan, struct img_error *err)
{
    struct chain_creation creation;

    if (plan->request->dry_run) {
        return chain_creation_check(plan, CHAIN_CREATION_REPLACE, err);
    }
    if (chain_creation_write(plan, CHAIN_CREATION_REPLACE, &creation, err) <
        0) {
        return -1;
    }
    int r = chain_creation_publish(&creation, err);
    chain_creation_fini(&creation);
    return r;
}

int chain_create(const struct chain_create_request *request,
                 struct chain_made *out, struct img_error *err)
{
    struct chain_create_plan plan;

    *out = (struct chain_made){0};
    int r = chain_plan_make(request, &plan, err);
    if (r == 0) {
        r = chain_plan_describe(&plan, out, err);
    }
    if (r == 0) {
        r = create(&plan, err);
        if (r < 0) {
            chain_made_fini(out);
        }
    }
    chain_plan_fini(&plan);
    return r;
}

static int publish(struct chain_job *job, struct img_error *err)
{
    const struct chain_layer *top = chain_layer_at(job->source, 0);
    struct img_stamp stamp;

    if (job->request.take_owner) {
        if (img_file_stamp(chain_layer_file(top), &stamp, err) < 0) {
            return -1;
        }
        chain_creation_take_owner(job->creation.file, &stamp);
    }
    return chain_creation_publish(&job->creation, err);
}

static int create_unjudged(struct chain_job *job, struct img_error *err)
{
    if (job->request.dry_run) {
        return chain_creation_check(&job->plan, CHAIN_CREATION_NEW, err);
    }
    return chain_creation_write(&job->plan, CHAIN_CREATION_NEW, &job->creation,
                                err) < 0
               ? -1
               : publish(job, err);
}

static int create_for(struct chain_job *job, struct img_error *err)
{
    if (job->request.unjudged) {
        return create_unjudged(job, err);
    }
    if (job->request.dry_run) {
        return chain_creation_check(&job->plan, CHAIN_CREATION_REPLACE, err) <
                           0 ||
                       chain_job_write(job, CHAIN_CREATION_SCRATCH, err) < 0
                   ? -1
                   : chain_job_check_accepted(job, err);
    }
    if (chain_job_write(job, CHAIN_CREATION_REPLACE, err) < 0 ||
        chain_job_check_accepted(job, err) < 0) {
        return -1;
    }
    return publish(job, err);
}

int chain_create_for(enum chain_operation operation, const char *active,
                     const char *active_format,
                     const struct chain_create_request *request,
                     struct chain_made *out, struct img_error *err)
{
    const struct chain_purpose purpose = {.operation = operation,
                                          .active = active,
                                          .active_format = active_format,
                                          .backing_text =
                                              request->backing_name};
    struct chain_job job = {0};

    *out = (struct chain_made){0};
    int r = chain_job_plan(&job, &purpose, request, err);
    if (r == 0) {
        r = chain_plan_describe(&job.plan, out, err);
    }
    if (r == 0) {
        r = create_for(&job, err);
        if (r < 0) {
            chain_made_fini(out);
        }
    }
    chain_job_fini(&job);
    return r;
}
