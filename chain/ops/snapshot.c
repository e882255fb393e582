/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Offline external snapshots: see chain/snapshot.h.
 *
 * The active layers are opened and locked first and stay so until the end.
 * QEMU's lock of a reader is the right one: it keeps a guest from writing or
 * starting meanwhile, and does not mind those who only read, as the new
 * overlay's own reader will.
 */
#include <chain/snapshot.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "journal.h"
#include "place.h"
#include "snapshot_run.h"

/* Names of overlays in one error's text. */
#define LISTED_LEN 600u

void chain_snapshot_result_fini(struct chain_snapshot_result *result)
{
    for (size_t i = 0; i < result->nr; i++) {
        if (result->reports) {
            chain_report_free(result->reports[i]);
        }
        if (result->made) {
            chain_made_fini(&result->made[i]);
        }
    }
    free(result->reports);
    free(result->made);
    *result = (struct chain_snapshot_result){0};
}

int chain_snapshot_check_cancel(const struct chain_snapshot_run *run,
                                struct img_error *err)
{
    return run->request->cancel && *run->request->cancel
               ? img_fail(err, IMG_CANCELLED, "cancelled")
               : 0;
}

/* ---- Overlays that are there. */

static int open_active(struct chain_snapshot_run *run, size_t idx,
                       struct img_error *err)
{
    const struct chain_snapshot_disk *disk = &run->request->disks[idx];
    struct chain_options options;

    chain_options_init(&options);
    options.format = disk->active_format;
    options.allow_probe = run->request->allow_probe;
    options.max_depth = run->request->max_depth;
    options.roots = run->request->roots;
    return chain_open(disk->active, &options, &run->jobs[idx].source, err);
}

static int judge_existing(struct chain_snapshot_run *run, size_t idx,
                          struct img_error *err)
{
    const struct chain_snapshot_request *request = run->request;
    const struct chain_snapshot_disk *disk = &request->disks[idx];
    const struct chain_validate_request question = {
        .operation = CHAIN_OP_SNAPSHOT,
        .source = disk->active,
        .source_format = disk->active_format,
        .dest = disk->overlay,
        .dest_format = "qcow2",
        .dest_fd = -1,
        .backing_name = disk->backing_name,
        .require =
            request->style == CHAIN_MAKE_RELATIVE   ? CHAIN_REQUIRE_RELATIVE
            : request->style == CHAIN_MAKE_ABSOLUTE ? CHAIN_REQUIRE_ABSOLUTE
                                                    : CHAIN_REQUIRE_ANY,
        .allow_probe = request->allow_probe,
        .roots = request->roots,
        .max_depth = request->max_depth,
        .compare = {.engine = request->engine, .cancel = request->cancel},
    };
    struct chain_report *report;

    if (chain_validate(&question, &report, err) < 0) {
        return -1;
    }
    run->result->reports[idx] = report;
    if (chain_report_judgement(report) != CHAIN_ACCEPTED) {
        run->result->is_refused = true;
    }
    return 0;
}

static int reuse(struct chain_snapshot_run *run, struct img_error *err)
{
    for (size_t i = 0; i < run->request->disks_nr; i++) {
        if (judge_existing(run, i, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- Overlays that are made. */

static int plan_new(struct chain_snapshot_run *run, size_t idx,
                    struct img_error *err)
{
    const struct chain_snapshot_request *request = run->request;
    const struct chain_snapshot_disk *disk = &request->disks[idx];
    const struct chain_purpose purpose = {
        .operation = CHAIN_OP_SNAPSHOT,
        .active = disk->active,
        .active_format = disk->active_format,
        .backing_text = disk->backing_name,
        .max_depth = request->max_depth,
        .engine = request->engine,
    };
    const struct chain_create_request create = {
        .path = disk->overlay,
        .format = "qcow2",
        .options = request->options,
        .options_nr = request->options_nr,
        .style = request->style,
        .allow_probe = request->allow_probe,
        .roots = request->roots,
        .cancel = request->cancel,
    };

    return chain_job_plan(&run->jobs[idx], &purpose, &create, err);
}

int chain_snapshot_write(struct chain_snapshot_run *run,
                         enum chain_creation_kind kind, struct img_error *err)
{
    for (size_t i = 0; i < run->request->disks_nr; i++) {
        struct chain_job *job = &run->jobs[i];
        if (chain_snapshot_check_cancel(run, err) < 0 ||
            chain_job_write(job, kind, err) < 0) {
            return -1;
        }
        if (chain_job_refusal(job)) {
            run->result->is_refused = true;
        }
        run->result->reports[i] = img_steal(&job->report);
    }
    return chain_snapshot_check_cancel(run, err);
}

/* "...; made before: A, B": what a failure half-way leaves. */
static void say_made(const struct chain_snapshot_run *run, size_t nr,
                     struct img_error *err)
{
    char list[LISTED_LEN] = "", shown[LISTED_LEN];
    size_t len = 0;
    struct img_error said = *err;

    for (size_t i = 0; i < nr; i++) {
        const char *path = run->request->disks[i].overlay;
        img_escape(path, strlen(path), shown, sizeof(shown));
        size_t room = sizeof(list) - len;
        int wrote = snprintf(list + len, room, "%s%s", i ? ", " : "", shown);
        if (wrote < 0 || (size_t)wrote >= room) {
            list[len] = '\0';
            break;
        }
        len += (size_t)wrote;
    }
    img_fail(err, said.code, "%.400s; %zu of %zu overlays were made before: %s",
             said.text, nr, run->request->disks_nr, nr ? list : "none");
    err->sys_errno = said.sys_errno;
    img_error_set_path(err, said.path);
}

static int make_each(struct chain_snapshot_run *run, struct img_error *err)
{
    if (chain_snapshot_write(run, CHAIN_CREATION_NEW, err) < 0) {
        return -1;
    }
    for (size_t i = 0; !run->result->is_refused && i < run->request->disks_nr;
         i++) {
        if (chain_creation_publish(&run->jobs[i].creation, err) < 0) {
            say_made(run, i, err);
            return -1;
        }
    }
    return 0;
}

static int make_none(struct chain_snapshot_run *run, struct img_error *err)
{
    for (size_t i = 0; i < run->request->disks_nr; i++) {
        if (chain_creation_check(&run->jobs[i].plan, CHAIN_CREATION_NEW, err) <
            0) {
            return -1;
        }
    }
    return chain_snapshot_write(run, CHAIN_CREATION_SCRATCH, err);
}

static int make(struct chain_snapshot_run *run, struct img_error *err)
{
    int r = run->request->dry_run  ? make_none(run, err)
            : run->request->atomic ? chain_snapshot_atomic(run, err)
                                   : make_each(run, err);

    for (size_t i = 0;
         r == 0 && !run->result->is_refused && i < run->request->disks_nr;
         i++) {
        r = chain_plan_describe(&run->jobs[i].plan, &run->result->made[i], err);
    }
    return r;
}

/* ---- All. */

static int recover_folders(const struct chain_snapshot_run *run,
                           struct img_error *err)
{
    const struct chain_recovery recovery = {
        .done = run->request->recovered,
        .opaque = run->request->opaque,
        .is_by_the_way = true,
        .is_dry = run->request->dry_run,
    };

    for (size_t i = 0; i < run->request->disks_nr; i++) {
        IMG_AUTO(img_free_ptr)
        char *folder = chain_place_folder(run->request->disks[i].overlay, err);
        if (!folder || chain_journal_recover(folder, &recovery, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int take(struct chain_snapshot_run *run, struct img_error *err)
{
    bool is_reuse = run->request->reuse_external;

    if (!is_reuse && recover_folders(run, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < run->request->disks_nr; i++) {
        if (open_active(run, i, err) < 0) {
            return -1;
        }
    }
    if (chain_snapshot_check(run, err) < 0) {
        return -1;
    }
    for (size_t i = 0; !is_reuse && i < run->request->disks_nr; i++) {
        if (plan_new(run, i, err) < 0) {
            return -1;
        }
    }
    return is_reuse ? reuse(run, err) : make(run, err);
}

static int check_request(const struct chain_snapshot_request *request,
                         struct img_error *err)
{
    if (request->disks_nr == 0) {
        return img_fail(err, IMG_USAGE, "no disk is named");
    }
    if (request->disks_nr > CHAIN_JOURNAL_FILES_MAX) {
        return img_fail(err, IMG_LIMIT,
                        "%zu disks in one snapshot: expected at most %u",
                        request->disks_nr, CHAIN_JOURNAL_FILES_MAX);
    }
    return 0;
}

int chain_snapshot(const struct chain_snapshot_request *request,
                   struct chain_snapshot_result *out, struct img_error *err)
{
    struct chain_snapshot_run run = {.request = request, .result = out};
    size_t nr = request->disks_nr;

    *out = (struct chain_snapshot_result){0};
    if (check_request(request, err) < 0) {
        return -1;
    }
    out->reports = img_calloc(nr, sizeof(struct chain_report *), err);
    out->made = img_calloc(nr, sizeof(*out->made), err);
    run.jobs = img_calloc(nr, sizeof(*run.jobs), err);
    out->nr = nr;
    int r = out->reports && out->made && run.jobs ? take(&run, err) : -1;
    for (size_t i = 0; run.jobs && i < nr; i++) {
        chain_job_fini(&run.jobs[i]);
    }
    free(run.jobs);
    return r;
}

int chain_snapshot_recover(const char *folder,
                           void (*done)(void *opaque, const char *path,
                                        const char *what),
                           void *opaque, struct img_error *err)
{
    const struct chain_recovery recovery = {.done = done, .opaque = opaque};

    return chain_journal_recover(folder, &recovery, err);
}
