/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pivot --connect: what pivot does over QMP, asked of libvirt. The domain's XML
 * says which disks there are; preflight judges the request; libvirt is asked
 * for a snapshot or block copy with REUSE_EXT, and a copy's job is followed to
 * its real end, since that the call succeeds proves nothing.
 */
#include "handoff.h"

#include <chain/checks.h>
#include <img/image.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "pivot.h"
#include "progress.h"
#include "session.h"
#include "signals.h"

#define JUDGE_TRIES 3u
#define LOOK_MS 200u
/* How often an event about a job that is gone is waited for. */
#define LAST_LOOKS 5u
/* See chain/live/pivot_job.c: QEMU's own granularity is at most this. */
#define OWN_GRANULARITY 65536u

/* ---- What libvirt says. */

static int read_domain(struct handoff *handoff, struct img_error *err)
{
    struct preflight *pre = &handoff->pre;
    bool is_persistent;

    chain_virt_domain_free(img_steal(&pre->domain));
    if (chain_libvirt_domain(handoff->libvirt, &pre->domain, &is_persistent,
                             err) < 0) {
        return -1;
    }
    pre->request.domain = pre->domain;
    pre->request.is_transient = !is_persistent;
    return 0;
}

static int find_disk(const struct handoff *handoff, struct handoff_disk *disk,
                     struct img_error *err)
{
    const struct chain_virt_domain *domain = handoff->pre.domain;
    char shown[64];

    for (size_t i = 0; i < domain->disks_nr; i++) {
        const char *target = domain->disks[i].target;

        if (target && strcmp(target, disk->target) == 0) {
            disk->idx = i;
            return 0;
        }
    }
    img_escape(disk->target, strlen(disk->target), shown, sizeof(shown));
    return img_fail(err, IMG_NOT_FOUND, "the domain has no disk \"%s\"", shown);
}

static int find_disks(struct handoff *handoff, struct img_error *err)
{
    if (read_domain(handoff, err) < 0) {
        return -1;
    }
    if (!handoff->pre.domain->is_active) {
        return img_fail(err, IMG_USAGE,
                        "the domain does not run: there is nothing to pivot");
    }
    for (size_t i = 0; i < handoff->nr; i++) {
        if (find_disk(handoff, &handoff->disks[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

static bool is_source(const struct chain_virt_layer *layer, const char *path)
{
    return path && layer->source.path && strcmp(layer->source.path, path) == 0;
}

/* All disks run on their destinations: an earlier run was killed. */
static bool is_over(const struct handoff *handoff)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        if (!is_source(handoff_top(handoff, &handoff->disks[i]),
                       handoff->disks[i].dest)) {
            return false;
        }
    }
    return true;
}

/* A copy to the same file that an earlier run has left. */
static int look_for_job(struct handoff *handoff, struct img_error *err)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        const struct handoff_disk *disk = &handoff->disks[i];
        const struct chain_virt_disk *has =
            &handoff->pre.domain->disks[disk->idx];

        if (!has->has_mirror) {
            continue;
        }
        if (handoff->kind == CHAIN_PIVOT_SNAPSHOT ||
            !is_source(&has->mirror, disk->dest)) {
            return img_fail(err, IMG_LOCKED,
                            "%s: the disk has a block job already",
                            disk->target);
        }
        handoff->is_resumed = true;
        message_note("%s: going on with the copy of an earlier run",
                     disk->target);
    }
    return 0;
}

/* ---- Judging. */

static int judge_once(struct handoff *handoff, struct img_error *err)
{
    struct preflight *pre = &handoff->pre;
    struct chain_compare_options compare;

    session_compare_options(&handoff->values->change.common, &compare);
    compare.cancel = handoff->cancel;
    chain_preflight_free(img_steal(&pre->plan));
    return chain_preflight(&pre->request, &pre->plan, err) < 0
               ? -1
               : preflight_judge(pre, &compare, false, err);
}

static int judge(struct handoff *handoff, struct img_error *err)
{
    enum chain_judgement judgement = CHAIN_NOT_JUDGED;
    const struct chain_report *report;

    /* The guest writes the active layer while it is read. */
    for (unsigned i = 0; i < JUDGE_TRIES && judgement == CHAIN_NOT_JUDGED;
         i++) {
        if (judge_once(handoff, err) < 0) {
            return -1;
        }
        judgement = chain_report_judgement(handoff->pre.plan->report);
    }
    handoff->is_refused = judgement != CHAIN_ACCEPTED;
    if (handoff->is_refused) {
        return 0;
    }
    report = handoff->pre.plan->report;
    handoff->stamp = chain_report_stamp(report, err);
    return handoff->stamp
               ? chain_report_stamp_below(report, &handoff->stamp_below, err)
               : -1;
}

/* Right before a file is handed over: is it still what was judged? */
static int check_stamp(const char *stamp, struct img_error *err)
{
    return stamp ? chain_stamp_check(stamp, strlen(stamp), err) : 0;
}

/* After it: do the headers say what libvirt runs? */
static int verify(struct handoff *handoff, struct img_error *err)
{
    struct chain_preflight none = {.tasks = NULL};
    struct chain_options options;
    int rc;

    if (read_domain(handoff, err) < 0 || find_disks(handoff, err) < 0) {
        return -1;
    }
    if (!is_over(handoff)) {
        return img_fail(err, IMG_CHANGED,
                        "libvirt says that it is done, but the domain does "
                        "not run on the destination");
    }
    handoff->state = CHAIN_PIVOT_ON_DEST;
    none.report = chain_report_new(err);
    if (!none.report) {
        return -1;
    }
    session_chain_options(&handoff->values->change.common, &options);
    options.format = NULL;
    rc = chain_preflight_files(&handoff->pre.request, &none, &options, err);
    if (rc == 0 && chain_report_judgement(none.report) == CHAIN_REFUSED) {
        rc = img_fail(err, IMG_CHANGED,
                      "the domain's XML and the files' headers give a disk "
                      "other layers");
    }
    chain_report_free(none.report);
    return rc;
}

/* ---- Asking libvirt. */

static int told(struct handoff *handoff, const char *call, int rc,
                const struct img_error *err)
{
    handoff_step(handoff, call, rc == 0 ? "done" : "failed",
                 rc == 0 ? NULL : err);
    return rc;
}

static int take_snapshot(struct handoff *handoff, struct img_error *err)
{
    return told(handoff, "virDomainSnapshotCreateXML",
                chain_libvirt_snapshot(handoff->libvirt, handoff->xml,
                                       handoff->pre.request.flags, err),
                err);
}

/* Of a shallow copy, in which QEMU would widen smaller pieces to clusters. */
static uint64_t granularity(const struct handoff *handoff)
{
    struct chain_options options;
    struct chain *chain = NULL;
    struct img_error ignored;
    uint64_t len = 0;

    session_chain_options(&handoff->values->change.common, &options);
    options.format = handoff_format(handoff);
    options.top_only = true;
    if (handoff->kind == CHAIN_PIVOT_SHALLOW_COPY &&
        chain_open(handoff->disks[0].dest, &options, &chain, &ignored) == 0) {
        len = chain_layer_image(chain_layer_at(chain, 0))->cluster_len;
    }
    chain_free(chain);
    return len > OWN_GRANULARITY ? len : 0;
}

static int start_copy(struct handoff *handoff, struct img_error *err)
{
    const struct chain_libvirt_copy copy = {
        .disk = handoff->disks[0].target,
        .xml = handoff->xml,
        .flags = handoff->pre.request.flags,
        .bandwidth = handoff->values->bandwidth,
        .granularity = granularity(handoff),
    };

    return told(handoff, "virDomainBlockCopy",
                chain_libvirt_copy_start(handoff->libvirt, &copy, err), err);
}

static int end_copy(struct handoff *handoff, bool is_pivot,
                    struct img_error *err)
{
    return told(handoff,
                is_pivot ? "virDomainBlockJobAbort (PIVOT)"
                         : "virDomainBlockJobAbort",
                chain_libvirt_job_end(handoff->libvirt,
                                      handoff->disks[0].target, is_pivot, err),
                err);
}

/* The job is gone before it was ready. What QEMU said of it may come later. */
static int say_failed(struct handoff *handoff, struct img_error *err)
{
    enum chain_libvirt_job state;
    uint64_t done, total;
    const char *why = NULL;

    for (unsigned i = 0; i < LAST_LOOKS && !why; i++) {
        if (chain_libvirt_job_look(handoff->libvirt, handoff->disks[0].target,
                                   LOOK_MS, &state, &done, &total, err) < 0) {
            break;
        }
        why = chain_libvirt_job_error(handoff->libvirt);
    }
    return img_fail(err, IMG_REFUSED, "the copy failed: %s",
                    why ? why : "libvirt does not say why");
}

static int wait_ready(struct handoff *handoff, struct img_error *err)
{
    enum chain_libvirt_job state = CHAIN_LIBVIRT_COPYING;
    uint64_t done = 0, total = 0;

    while (state == CHAIN_LIBVIRT_COPYING) {
        if (*handoff->cancel) {
            return img_fail(err, IMG_CANCELLED, "cancelled");
        }
        if (chain_libvirt_job_look(handoff->libvirt, handoff->disks[0].target,
                                   LOOK_MS, &state, &done, &total, err) < 0) {
            return -1;
        }
        progress_update(done, total);
    }
    return state == CHAIN_LIBVIRT_READY ? 0 : say_failed(handoff, err);
}

/* From the job's beginning to its end. What fails takes the job back. */
static int follow_copy(struct handoff *handoff, struct img_error *err)
{
    struct img_error ignored;

    if (wait_ready(handoff, err) == 0) {
        if (handoff->values->no_pivot) {
            handoff->state = CHAIN_PIVOT_READY;
            return 0;
        }
        if (check_stamp(handoff->stamp_below, err) == 0 &&
            end_copy(handoff, true, err) == 0) {
            return 0;
        }
    }
    (void)chain_libvirt_job_end(handoff->libvirt, handoff->disks[0].target,
                                false, &ignored);
    return -1;
}

static int hand_over(struct handoff *handoff, struct img_error *err)
{
    const struct common_values *common = &handoff->values->change.common;
    int rc;

    if (handoff->kind == CHAIN_PIVOT_SNAPSHOT) {
        return check_stamp(handoff->stamp, err) < 0
                   ? -1
                   : take_snapshot(handoff, err);
    }
    if (!handoff->is_resumed && (check_stamp(handoff->stamp, err) < 0 ||
                                 start_copy(handoff, err) < 0)) {
        return -1;
    }
    progress_begin(common->quiet ? PROGRESS_NONE : common->progress, "mirror");
    rc = follow_copy(handoff, err);
    return change_end(rc);
}

/* ---- The whole. */

static void plan(struct handoff *handoff)
{
    if (handoff->kind == CHAIN_PIVOT_SNAPSHOT) {
        handoff_step(handoff, "virDomainSnapshotCreateXML", "planned", NULL);
    } else {
        handoff_step(handoff, "virDomainBlockCopy", "planned", NULL);
        handoff_step(handoff, "virDomainBlockJobAbort (PIVOT)", "planned",
                     NULL);
    }
}

static int fail(struct handoff *handoff, struct output *out,
                const struct img_error *err)
{
    if (handoff->state == CHAIN_PIVOT_ON_SOURCE) {
        handoff_unmake(handoff);
    }
    handoff_tell_failure(handoff, err);
    handoff_show(handoff, out, "failed", err);
    return session_finish(out, EXIT_FAILED, EXIT_FAILED);
}

static int finish(struct handoff *handoff, struct output *out,
                  struct img_error *err)
{
    if (handoff->state == CHAIN_PIVOT_READY) {
        message_note("the copy is ready and kept so: without --no-pivot the "
                     "same command ends it, with --abort it is cancelled");
        handoff_show(handoff, out, "ready", NULL);
    } else if (verify(handoff, err) < 0) {
        return fail(handoff, out, err);
    } else {
        handoff_show(handoff, out, "pivoted", NULL);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

/* What is not begun by an earlier run. */
static int prepare(struct handoff *handoff, struct img_error *err)
{
    if (handoff_make(handoff, err) < 0 ||
        handoff_put_request(handoff, err) < 0) {
        return -1;
    }
    /* One that would be made would be accepted: create judges it. */
    return handoff->values->change.dry_run && !handoff->values->reuse_external
               ? 0
               : judge(handoff, err);
}

static int pivot(struct handoff *handoff, struct output *out,
                 struct img_error *err)
{
    if (is_over(handoff)) {
        message_note("the domain runs on it already");
        return finish(handoff, out, err);
    }
    if (look_for_job(handoff, err) < 0 ||
        (!handoff->is_resumed && prepare(handoff, err) < 0)) {
        return fail(handoff, out, err);
    }
    if (handoff->is_refused) {
        handoff_unmake(handoff);
        handoff_show(handoff, out, "refused", NULL);
        return session_finish(out, EXIT_FAILED, EXIT_FAILED);
    }
    if (handoff->values->change.dry_run) {
        plan(handoff);
        handoff_show(handoff, out, "planned", NULL);
        return session_finish(out, EXIT_DONE, EXIT_FAILED);
    }
    return hand_over(handoff, err) < 0 ? fail(handoff, out, err)
                                       : finish(handoff, out, err);
}

static int abort_copy(struct handoff *handoff, struct output *out,
                      struct img_error *err)
{
    const struct handoff_disk *disk = &handoff->disks[0];

    if (!handoff->pre.domain->disks[disk->idx].has_mirror) {
        img_fail(err, IMG_NOT_FOUND, "%s: the disk has no copy under way",
                 disk->target);
        return fail(handoff, out, err);
    }
    if (end_copy(handoff, false, err) < 0) {
        return fail(handoff, out, err);
    }
    handoff_show(handoff, out, "aborted", NULL);
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

static void release(struct handoff *handoff)
{
    for (size_t i = 0; handoff->disks && i < handoff->nr; i++) {
        free(handoff->disks[i].target);
        free(handoff->disks[i].dest);
    }
    free(handoff->disks);
    free(handoff->xml);
    free(handoff->stamp);
    free(handoff->stamp_below);
    img_json_free(handoff->steps);
    preflight_release(&handoff->pre);
    chain_libvirt_close(handoff->libvirt);
}

static int run(struct handoff *handoff, struct output *out,
               struct img_error *err)
{
    const struct pivot_values *values = handoff->values;

    if (handoff_set_disks(handoff, err) < 0 ||
        chain_libvirt_open(values->connect, values->domain, false,
                           &handoff->libvirt, err) < 0 ||
        find_disks(handoff, err) < 0) {
        return session_fail(err, EXIT_FAILED);
    }
    return values->abort ? abort_copy(handoff, out, err)
                         : pivot(handoff, out, err);
}

int handoff_run(const struct pivot_values *values, enum chain_pivot_kind kind)
{
    struct handoff handoff = {
        .values = values,
        .kind = kind,
        .asked = {.common = values->change.common},
        .steps = img_json_array(),
        .cancel = signals_catch(),
    };
    struct img_error err;
    int code;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    handoff.pre.values = &handoff.asked;
    if (session_output(&values->change.common, &out, &err) < 0) {
        code = session_fail(&err, EXIT_FAILED);
    } else {
        code = run(&handoff, out, &err);
    }
    release(&handoff);
    return code;
}
