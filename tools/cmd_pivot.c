/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pivot: a running machine's disks go on in other files. What is asked for is
 * judged first; then QEMU is told, step by step (chain/pivot.h).
 */
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "handoff.h"
#include "message.h"
#include "migrate.h"
#include "pivot.h"
#include "progress.h"
#include "session.h"
#include "signals.h"

/* ---- What an earlier run has left. */

/* Take it back, as far as it cannot be gone on with. */
static int settle(struct pivot *pivot, size_t idx, struct img_error *err)
{
    struct pivot_disk *disk = &pivot->disks[idx];
    struct chain_pivot_result result = {0};
    int rc;

    if (chain_pivot_look(pivot->live, &pivot->request, idx, &disk->left, err) <
        0) {
        return -1;
    }
    if (disk->left == CHAIN_PIVOT_NOTHING ||
        disk->left == CHAIN_PIVOT_COPYING) {
        return 0;
    }
    if (pivot->request.dry_run) {
        return disk->left == CHAIN_PIVOT_OVER
                   ? 0
                   : img_fail(err, IMG_LOCKED,
                              "an earlier run has left nodes in QEMU for it, "
                              "which one without --dry-run removes");
    }
    rc = chain_pivot_abort(pivot->live, &pivot->request, idx, &result, err);
    chain_pivot_result_fini(&result);
    if (rc < 0) {
        return -1;
    }
    if (disk->left != CHAIN_PIVOT_OVER) {
        message_note("%s: removed what an earlier run had left in QEMU",
                     disk->name);
    }
    /* The job may have come to its end instead. */
    rc = chain_pivot_look(pivot->live, &pivot->request, idx, &disk->left, err);
    if (rc == 0 && disk->left == CHAIN_PIVOT_NOTHING) {
        disk->left = CHAIN_PIVOT_NODES;
    }
    return rc;
}

/* All disks run on their destinations: an earlier run was killed after the
   step. */
static bool is_over(const struct pivot *pivot)
{
    for (size_t i = 0; i < pivot->nr; i++) {
        if (pivot->disks[i].left != CHAIN_PIVOT_OVER) {
            return false;
        }
    }
    return true;
}

/* ---- The way of one disk until QEMU gets it. */

static int make_or_find_migrated(struct pivot *pivot, size_t idx,
                                 struct img_error *err)
{
    if (migrate_settle_dest(pivot, err) < 0) {
        return -1;
    }
    /* What it would stand on is not there in a dry run. */
    if (pivot->migration.is_dest_found || pivot->request.dry_run) {
        return 0;
    }
    return pivot_make(pivot, idx, err);
}

static int make_or_find(struct pivot *pivot, size_t idx, struct img_error *err)
{
    const struct pivot_values *values = pivot->values;
    struct pivot_disk *disk = &pivot->disks[idx];
    struct stat st;
    bool is_there = lstat(disk->dest, &st) == 0;

    if (migrate_is_on(pivot)) {
        return make_or_find_migrated(pivot, idx, err);
    }
    if (values->reuse_external ||
        (is_there && disk->left != CHAIN_PIVOT_NOTHING)) {
        return 0;
    }
    if (is_there) {
        img_fail(err, IMG_USAGE,
                 "exists already: expected a new name, or --reuse-external");
        img_error_set_path(err, disk->dest);
        return -1;
    }
    return pivot_make(pivot, idx, err);
}

static int prepare(struct pivot *pivot, size_t idx, struct img_error *err)
{
    struct pivot_disk *disk = &pivot->disks[idx];
    bool is_accepted;

    if (disk->left == CHAIN_PIVOT_COPYING) {
        message_note("%s: going on with the copy of an earlier run",
                     disk->name);
        return migrate_is_on(pivot) ? migrate_adopt_dest(pivot, err) : 0;
    }
    if (make_or_find(pivot, idx, err) < 0) {
        return -1;
    }
    /* One that would be made would be accepted: create judges it. */
    if (pivot->request.dry_run && !pivot->values->reuse_external &&
        !pivot->migration.is_dest_found) {
        return 0;
    }
    if (pivot_judge(pivot, idx, &is_accepted, err) < 0) {
        return -1;
    }
    pivot->is_refused |= !is_accepted;
    return is_accepted ? migrate_check_dest(pivot, err) : 0;
}

static int check_job(const struct pivot_disk *disk, struct img_error *err)
{
    char shown[64];

    if (!disk->live.job || disk->left == CHAIN_PIVOT_COPYING) {
        return 0;
    }
    img_escape(disk->live.job, strlen(disk->live.job), shown, sizeof(shown));
    return img_fail(err, IMG_LOCKED,
                    "%s: the disk has a block job already: \"%s\"", disk->name,
                    shown);
}

static int find_disk(struct pivot *pivot, size_t idx, struct img_error *err)
{
    struct pivot_disk *disk = &pivot->disks[idx];

    if (disk->dest && settle(pivot, idx, err) < 0) {
        return -1;
    }
    return chain_live_disk_find(pivot->live, pivot->told[idx].device,
                                pivot->told[idx].node, &disk->live, err);
}

static int find_disks(struct pivot *pivot, struct img_error *err)
{
    if (migrate_is_on(pivot) && migrate_begin(pivot, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < pivot->nr; i++) {
        if (find_disk(pivot, i, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int prepare_all(struct pivot *pivot, struct img_error *err)
{
    for (size_t i = 0; i < pivot->nr; i++) {
        if (check_job(&pivot->disks[i], err) < 0) {
            return -1;
        }
    }
    if (migrate_is_on(pivot) && migrate_files(pivot, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < pivot->nr; i++) {
        if (prepare(pivot, i, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- What is done. */

static int fail(struct pivot *pivot, struct output *out, struct img_error *err)
{
    if (pivot->result.state == CHAIN_PIVOT_ON_SOURCE &&
        pivot->result.remains_nr == 0) {
        pivot_unmake(pivot);
    }
    pivot_tell_failure(pivot, err);
    pivot_show(pivot, out, "failed", err);
    return session_finish(out, EXIT_FAILED, EXIT_FAILED);
}

static int refuse(struct pivot *pivot, struct output *out)
{
    pivot_unmake(pivot);
    pivot_show(pivot, out, "refused", NULL);
    return session_finish(out, EXIT_FAILED, EXIT_FAILED);
}

static int finish_over(struct pivot *pivot, struct output *out,
                       struct img_error *err)
{
    const struct common_values *common = &pivot->values->change.common;

    pivot->result.state = CHAIN_PIVOT_ON_DEST;
    for (size_t i = 0; i < pivot->nr; i++) {
        if (chain_live_disk_check(&pivot->disks[i].live, common->roots, false,
                                  err) < 0) {
            return fail(pivot, out, err);
        }
        message_note("%s: runs on it already", pivot->disks[i].name);
    }
    if (migrate_is_on(pivot) && migrate_verify(pivot, err) < 0) {
        return fail(pivot, out, err);
    }
    pivot_show(pivot, out, "pivoted", NULL);
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

static int hand_over(struct pivot *pivot, struct output *out,
                     struct img_error *err)
{
    const struct common_values *common = &pivot->values->change.common;
    int rc;

    progress_begin(common->quiet ? PROGRESS_NONE : common->progress, "mirror");
    rc = chain_pivot(pivot->live, &pivot->request, &pivot->result, err);
    change_end(rc);
    if (rc == 0 && migrate_is_on(pivot) &&
        pivot->result.state == CHAIN_PIVOT_ON_DEST) {
        rc = migrate_verify(pivot, err);
    }
    if (rc < 0) {
        return fail(pivot, out, err);
    }
    if (pivot->result.state == CHAIN_PIVOT_READY) {
        message_note("the copy is ready and kept so: without --no-pivot the "
                     "same command ends it, with --abort it is cancelled");
        pivot_show(pivot, out, "ready", NULL);
    } else {
        pivot_show(pivot, out, pivot->request.dry_run ? "planned" : "pivoted",
                   NULL);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

static int pivot_run(struct pivot *pivot, struct output *out,
                     struct img_error *err)
{
    if (find_disks(pivot, err) < 0) {
        return fail(pivot, out, err);
    }
    if (is_over(pivot)) {
        return finish_over(pivot, out, err);
    }
    if (prepare_all(pivot, err) < 0) {
        return fail(pivot, out, err);
    }
    return pivot->is_refused ? refuse(pivot, out) : hand_over(pivot, out, err);
}

/* What the job was writing is of no use without it. */
static int abort_migration(struct pivot *pivot, struct img_error *err)
{
    struct pivot_disk *disk = &pivot->disks[0];

    if (migrate_begin(pivot, err) < 0 ||
        chain_pivot_look(pivot->live, &pivot->request, 0, &disk->left, err) <
            0) {
        return -1;
    }
    return disk->left == CHAIN_PIVOT_COPYING || disk->left == CHAIN_PIVOT_STALE
               ? migrate_adopt_dest(pivot, err)
               : 0;
}

static int pivot_abort(struct pivot *pivot, struct output *out,
                       struct img_error *err)
{
    if (migrate_is_on(pivot) && abort_migration(pivot, err) < 0) {
        return fail(pivot, out, err);
    }
    for (size_t i = 0; i < pivot->nr; i++) {
        chain_pivot_result_fini(&pivot->result);
        if (chain_pivot_abort(pivot->live, &pivot->request, i, &pivot->result,
                              err) < 0) {
            return fail(pivot, out, err);
        }
        if (pivot->result.state == CHAIN_PIVOT_ON_DEST) {
            img_fail(err, IMG_USAGE,
                     "%s: runs on it already: there is nothing to take back",
                     pivot->disks[i].name);
            return fail(pivot, out, err);
        }
    }
    if (pivot->result.remains_nr == 0) {
        pivot_unmake(pivot);
    }
    pivot_show(pivot, out, "aborted", NULL);
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

static void disks_fini(struct pivot *pivot)
{
    for (size_t i = 0; i < pivot->nr; i++) {
        struct pivot_disk *disk = &pivot->disks[i];

        free(disk->name);
        free(disk->dest);
        free(disk->stamp);
        free(disk->backing_stamp);
        chain_report_free(disk->report);
        chain_live_disk_fini(&disk->live);
    }
    free(pivot->disks);
    free(pivot->told);
}

static void on_progress(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque;
    progress_update(done, total);
}

static int run(struct pivot *pivot, struct output *out, struct img_error *err)
{
    const struct pivot_values *values = pivot->values;

    if (pivot_set_disks(pivot, err) < 0 ||
        chain_live_open(values->qmp, 0, &pivot->live, err) < 0) {
        return session_fail(err, EXIT_FAILED);
    }
    pivot->steps = img_json_array();
    pivot->request = (struct chain_pivot_request){
        .kind = pivot->kind,
        .disks = pivot->told,
        .disks_nr = pivot->nr,
        .bandwidth = values->bandwidth,
        .no_pivot = values->no_pivot,
        .dry_run = values->change.dry_run,
        .roots = values->change.common.roots,
        .cancel = signals_catch(),
        .opaque = pivot,
        .check = pivot_check,
        .command = pivot_on_command,
        .progress = on_progress,
    };
    return values->abort ? pivot_abort(pivot, out, err)
                         : pivot_run(pivot, out, err);
}

int cmd_pivot(void *opaque, char **operands, int nr)
{
    const struct pivot_values *values = opaque;
    struct pivot pivot = {.values = values};
    struct img_error err;
    int code;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (!pivot_read(values, nr > 0 ? operands[0] : NULL, &pivot.kind)) {
        return EXIT_USAGE;
    }
    if (values->connect) {
        return handoff_run(values, pivot.kind);
    }
    if (session_output(&values->change.common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    code = run(&pivot, out, &err);
    migrate_fini(&pivot);
    disks_fini(&pivot);
    img_json_free(pivot.steps);
    chain_pivot_result_fini(&pivot.result);
    chain_live_close(pivot.live);
    return code;
}
