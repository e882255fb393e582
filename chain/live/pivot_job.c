/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The job that copies: started, watched to its real end, ended. See
 * pivot_run.h.
 *
 * That QEMU has taken a command says nothing about the job: it is asked how it
 * is (query-jobs) until it is over, and its error is read before it is
 * dismissed, which erases it. Events only make the next look come sooner.
 */
#include <stdio.h>
#include <string.h>

#include <chain/blockdev.h>
#include <img/image.h>
#include <img/memory.h>

#include "pivot_run.h"

#define LOOK_MS 200u
/* How long a job that was told to end may take to: it ends its requests. */
#define ENDING_LOOKS_MAX 600u

void pivot_job_id(const struct pivot_target *target, bool is_full,
                  char out[PIVOT_JOB_LEN])
{
    (void)snprintf(out, PIVOT_JOB_LEN, "%s-%s", target->id,
                   is_full ? "full" : "top");
}

static int state_of(const char *status, enum pivot_job_state *out)
{
    static const struct {
        const char *status;
        enum pivot_job_state state;
    } known[] = {
        {"created", PIVOT_JOB_RUNNING},     {"running", PIVOT_JOB_RUNNING},
        {"paused", PIVOT_JOB_RUNNING},      {"ready", PIVOT_JOB_READY},
        {"standby", PIVOT_JOB_READY},       {"waiting", PIVOT_JOB_ENDING},
        {"pending", PIVOT_JOB_ENDING},      {"aborting", PIVOT_JOB_ENDING},
        {"concluded", PIVOT_JOB_CONCLUDED}, {"null", PIVOT_JOB_NONE},
    };

    for (size_t i = 0; status && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(status, known[i].status) == 0) {
            *out = known[i].state;
            return 0;
        }
    }
    return -1;
}

static int read_job(const struct img_json *job, struct pivot_job *out,
                    struct img_error *err)
{
    const char *why = img_json_get_string(job, "error");

    if (state_of(img_json_get_string(job, "status"), &out->state) != 0 ||
        !img_json_get_u64(job, "current-progress", &out->done) ||
        !img_json_get_u64(job, "total-progress", &out->total)) {
        return img_fail(err, IMG_FORMAT,
                        "QMP: found an answer to query-jobs with a job "
                        "without status or progress, expected what QEMU says");
    }
    out->is_failed = why != NULL;
    if (why) {
        img_escape(why, strlen(why), out->why, sizeof(out->why));
    }
    return 0;
}

int pivot_job_ask(const struct pivot_run *run, const char *id,
                  struct pivot_job *out, struct img_error *err)
{
    struct img_json *jobs;
    int rc = 0;

    *out = (struct pivot_job){.state = PIVOT_JOB_NONE};
    if (qmp_execute(run->live->qmp, "query-jobs", NULL, &jobs, err) != 0) {
        return -1;
    }
    for (size_t i = 0; rc == 0 && i < img_json_len(jobs); i++) {
        const struct img_json *job = img_json_at(jobs, i);
        const char *found = img_json_get_string(job, "id");

        if (found && strcmp(found, id) == 0) {
            rc = read_job(job, out, err);
        }
    }
    img_json_free(jobs);
    return rc;
}

/* The most that QEMU takes by itself for a piece that it copies. */
#define OWN_GRANULARITY 65536u

/*
 * A piece smaller than a cluster of a destination that names a backing file is
 * widened to the cluster by QEMU, and two that meet in one may be written in
 * the wrong order: what the guest wrote in between is lost (seen with 7.2).
 * Whole clusters are never widened.
 */
static void set_granularity(struct img_json *args,
                            const struct pivot_target *target)
{
    uint64_t cluster_len =
        target->dest
            ? chain_layer_image(chain_layer_at(target->dest, 0))->cluster_len
            : 0;

    if (!target->is_full && cluster_len > OWN_GRANULARITY) {
        img_json_set_u64(args, "granularity", cluster_len);
    }
}

int pivot_job_start(const struct pivot_run *run,
                    const struct pivot_target *target, struct img_error *err)
{
    char id[PIVOT_JOB_LEN], name[PIVOT_NAME_LEN];
    struct img_json *args;

    pivot_job_id(target, target->is_full, id);
    pivot_node_name(target, 'f', 0, name);
    /* QEMU mirrors a root only. Filters over the active layer, a throttle,
       are to stay: what is under them is replaced. */
    args = chain_blockdev_mirror(id, target->live.root, name, !target->is_full);
    if (strcmp(target->live.root, target->live.layers[0].node) != 0) {
        img_json_set_string(args, "replaces", target->live.layers[0].node);
    }
    set_granularity(args, target);
    if (run->request->bandwidth > 0) {
        img_json_set_u64(args, "speed", run->request->bandwidth);
    }
    return pivot_send(run, "blockdev-mirror", args, err);
}

/* Until something happens, or some time is over. */
static int wait_a_little(const struct pivot_run *run, struct img_error *err)
{
    struct img_json *event;
    unsigned ms = LOOK_MS;

    do {
        if (qmp_wait_event(run->live->qmp, ms, &event, err) != 0) {
            return -1;
        }
        /* What else is there already is read, too, and no more awaited. */
        ms = 0;
        img_json_free(event);
    } while (event);
    return 0;
}

static int dismiss(const struct pivot_run *run, const char *id,
                   struct img_error *err)
{
    struct img_json *args = img_json_object();

    img_json_set_string(args, "id", id);
    return pivot_send(run, "job-dismiss", args, err);
}

/* The job is over: dismiss it; its error is the error, if it has one. */
static int conclude(const struct pivot_run *run, const char *id,
                    const struct pivot_job *job, struct img_error *err)
{
    struct img_error ignored;

    if (!job->is_failed) {
        return dismiss(run, id, err);
    }
    (void)dismiss(run, id, &ignored);
    return img_fail(err, IMG_REFUSED, "the copy failed in QEMU: %s", job->why);
}

static int fail_gone(const char *id, struct img_error *err)
{
    return img_fail(err, IMG_REFUSED,
                    "the job %s is gone: somebody else has ended it", id);
}

static int fail_cancelled(const struct pivot_run *run, struct img_error *err)
{
    return run->request->cancel && *run->request->cancel
               ? img_fail(err, IMG_CANCELLED, "cancelled")
               : 0;
}

int pivot_job_wait_ready(const struct pivot_run *run, const char *id,
                         struct img_error *err)
{
    const struct chain_pivot_request *request = run->request;
    struct pivot_job job;

    if (request->dry_run) {
        return 0;
    }
    for (;;) {
        if (fail_cancelled(run, err) != 0 ||
            pivot_job_ask(run, id, &job, err) != 0) {
            return -1;
        }
        if (request->progress) {
            request->progress(request->opaque, job.done, job.total);
        }
        switch (job.state) {
        case PIVOT_JOB_READY:
            return 0;
        case PIVOT_JOB_NONE:
            return fail_gone(id, err);
        case PIVOT_JOB_CONCLUDED:
            return conclude(run, id, &job, err) != 0 ? -1 : fail_gone(id, err);
        case PIVOT_JOB_RUNNING:
        case PIVOT_JOB_ENDING:
            break;
        }
        if (wait_a_little(run, err) != 0) {
            return -1;
        }
    }
}

/* Wait for a job that was told to end. */
static int wait_end(const struct pivot_run *run, const char *id,
                    struct pivot_job *job, struct img_error *err)
{
    for (unsigned i = 0; i < ENDING_LOOKS_MAX; i++) {
        if (pivot_job_ask(run, id, job, err) != 0) {
            return -1;
        }
        if (job->state == PIVOT_JOB_CONCLUDED || job->state == PIVOT_JOB_NONE) {
            return 0;
        }
        if (wait_a_little(run, err) != 0) {
            return -1;
        }
    }
    return img_fail(err, IMG_IO, "the job %s was told to end and does not", id);
}

int pivot_job_complete(const struct pivot_run *run, const char *id,
                       struct img_error *err)
{
    struct img_json *args = img_json_object();
    struct pivot_job job;

    img_json_set_string(args, "id", id);
    if (pivot_send(run, "job-complete", args, err) != 0) {
        return -1;
    }
    if (run->request->dry_run) {
        return dismiss(run, id, err);
    }
    if (wait_end(run, id, &job, err) != 0) {
        return -1;
    }
    return job.state == PIVOT_JOB_NONE ? fail_gone(id, err)
                                       : conclude(run, id, &job, err);
}

int pivot_job_cancel(const struct pivot_run *run, const char *id,
                     struct img_error *err)
{
    struct img_json *args;
    struct pivot_job job;

    if (pivot_job_ask(run, id, &job, err) != 0) {
        return -1;
    }
    if (job.state == PIVOT_JOB_RUNNING || job.state == PIVOT_JOB_READY) {
        args = img_json_object();
        img_json_set_string(args, "device", id);
        img_json_set_bool(args, "force", true);
        if (pivot_send(run, "block-job-cancel", args, err) != 0) {
            return -1;
        }
    }
    if (job.state != PIVOT_JOB_NONE && job.state != PIVOT_JOB_CONCLUDED &&
        wait_end(run, id, &job, err) != 0) {
        return -1;
    }
    return job.state == PIVOT_JOB_NONE ? 0 : dismiss(run, id, err);
}
