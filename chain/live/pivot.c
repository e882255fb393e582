/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pivoting a running disk: see chain/pivot.h and, for the order of the steps
 * and why it is that one, docs/pivot.md. Room: chain/live.
 */
#include <chain/pivot.h>

#include <stdlib.h>
#include <string.h>

#include <chain/blockdev.h>
#include <img/memory.h>

#include "pivot_run.h"

static int check_cancel(const struct pivot_run *run, struct img_error *err)
{
    return run->request->cancel && *run->request->cancel
               ? img_fail(err, IMG_CANCELLED, "cancelled")
               : 0;
}

/* Is it as it was judged? */
static int check_judged(const struct pivot_run *run, size_t idx,
                        struct img_error *err)
{
    const struct chain_pivot_request *request = run->request;

    if (check_cancel(run, err) != 0) {
        return -1;
    }
    return request->check && !request->dry_run
               ? request->check(request->opaque, idx, err)
               : 0;
}

static int add_dest(const struct pivot_run *run, size_t idx,
                    struct img_error *err)
{
    if (check_judged(run, idx, err) != 0) {
        return -1;
    }
    return pivot_add_layer(run, &run->targets[idx], 0, err);
}

/* ---- Snapshots. */

static int snapshot(const struct pivot_run *run, struct img_error *err)
{
    struct img_json *actions;
    char name[PIVOT_NAME_LEN];

    for (size_t i = 0; i < run->nr; i++) {
        if (add_dest(run, i, err) != 0) {
            return -1;
        }
    }
    if (check_cancel(run, err) != 0) {
        return -1;
    }
    actions = img_json_array();
    for (size_t i = 0; i < run->nr; i++) {
        const struct pivot_target *target = &run->targets[i];

        pivot_node_name(target, 'f', 0, name);
        img_json_push(actions, chain_blockdev_snapshot_action(
                                   target->live.layers[0].node, name));
    }
    return pivot_transaction(run, actions, err);
}

/* ---- Copies. */

/* Has the destination its backing file already? */
static int ask_spliced(const struct pivot_run *run,
                       const struct pivot_target *target, bool *out,
                       struct img_error *err)
{
    char name[PIVOT_NAME_LEN];
    struct live_nodes *nodes;
    size_t idx;

    if (live_nodes_query(run->live->qmp, &nodes, err) != 0) {
        return -1;
    }
    pivot_node_name(target, 'f', 0, name);
    idx = live_nodes_find(nodes, name);
    *out = idx != LIVE_NO_NODE &&
           live_nodes_at(nodes, idx)->backing != LIVE_NO_NODE;
    live_nodes_free(nodes);
    return 0;
}

/* Each layer's file is still the one that the judged chain had opened. */
static int check_backing(const struct pivot_run *run,
                         const struct pivot_target *target,
                         struct img_error *err)
{
    for (size_t i = 1; target->dest && i < pivot_depth(target); i++) {
        const struct chain_layer *layer = chain_layer_at(target->dest, i);
        struct img_stamp now, then;

        if (img_path_stamp(chain_layer_path(layer), run->request->roots, &now,
                           err) != 0 ||
            img_file_stamp(chain_layer_file(layer), &then, err) != 0) {
            return -1;
        }
        if (!live_is_same_file(then.dev, then.ino, then.rdev, &now)) {
            img_fail(err, IMG_CHANGED,
                     "another file has come to this name meanwhile");
            img_error_set_path(err, chain_layer_path(layer));
            return -1;
        }
    }
    return 0;
}

/*
 * Put the destination's backing files under it, from the base up. Before the
 * job is ended: between the two the guest would read zeros.
 */
static int splice(const struct pivot_run *run,
                  const struct pivot_target *target, struct img_error *err)
{
    char overlay[PIVOT_NAME_LEN], backing[PIVOT_NAME_LEN];
    struct img_json *actions;
    bool is_spliced = false;

    if (pivot_depth(target) == 1) {
        return 0;
    }
    if (!run->request->dry_run &&
        (check_backing(run, target, err) != 0 ||
         ask_spliced(run, target, &is_spliced, err) != 0 ||
         (!is_spliced && pivot_remove_nodes(run, target, 1, err) != 0))) {
        return -1;
    }
    if (is_spliced) {
        return 0;
    }
    for (size_t i = pivot_depth(target) - 1; i > 0; i--) {
        if (pivot_add_layer(run, target, i, err) != 0) {
            return -1;
        }
    }
    pivot_node_name(target, 'f', 0, overlay);
    pivot_node_name(target, 'f', 1, backing);
    actions = img_json_array();
    img_json_push(actions, chain_blockdev_snapshot_action(backing, overlay));
    return pivot_transaction(run, actions, err);
}

static int copy(const struct pivot_run *run, struct img_error *err)
{
    const struct pivot_target *target = run->targets;
    char id[PIVOT_JOB_LEN];

    if (!target) {
        return img_fail(err, IMG_USAGE, "found no disk, expected one");
    }
    pivot_job_id(target, target->is_full, id);
    if (!run->result->is_resumed && (add_dest(run, 0, err) != 0 ||
                                     pivot_job_start(run, target, err) != 0)) {
        return -1;
    }
    if (pivot_job_wait_ready(run, id, err) != 0) {
        return -1;
    }
    if (run->request->no_pivot) {
        run->result->state = CHAIN_PIVOT_READY;
        return 0;
    }
    if (check_judged(run, 0, err) != 0 || splice(run, target, err) != 0 ||
        check_cancel(run, err) != 0 || pivot_job_complete(run, id, err) != 0) {
        return -1;
    }
    return pivot_remove_old(run, target, err);
}

/* Is layer IDX of the destination the file that it is to be? */
static int ask_same(const struct pivot_run *run,
                    const struct pivot_target *target, size_t idx, bool *out,
                    struct img_error *err)
{
    const struct chain_layer *layer = chain_layer_at(target->dest, idx);
    struct img_stamp stamp, want;

    if (img_file_stamp(chain_layer_file(layer), &stamp, err) != 0) {
        return -1;
    }
    if (target->disk->backings) {
        if (img_path_stamp(target->disk->backings[idx - 1].path,
                           run->request->roots, &want, err) != 0) {
            return -1;
        }
    } else {
        want.dev = target->live.layers[idx].dev;
        want.ino = target->live.layers[idx].ino;
        want.rdev = target->live.layers[idx].rdev;
    }
    *out = live_is_same_file(want.dev, want.ino, want.rdev, &stamp);
    return 0;
}

/*
 * The contents of a destination that is being written cannot be judged again:
 * what it will stand on must be, file by file, what the source stands on, or
 * what the caller has shown to be as good.
 */
static int check_resumed(const struct pivot_run *run,
                         const struct pivot_target *target,
                         struct img_error *err)
{
    size_t want_nr = target->disk->backings ? 1 + target->disk->backings_nr
                                            : target->live.nr;
    bool is_same = pivot_depth(target) == 1 || pivot_depth(target) == want_nr;

    for (size_t i = 1; is_same && i < pivot_depth(target); i++) {
        if (ask_same(run, target, i, &is_same, err) != 0) {
            return -1;
        }
    }
    if (!is_same) {
        img_fail(err, IMG_CHANGED,
                 "a copy into it is under way, and it does not stand on the "
                 "files that it has to stand on: abort the copy");
        img_error_set_path(err, target->disk->dest);
    }
    return is_same ? 0 : -1;
}

/* ---- The whole. */

static void targets_close(struct pivot_run *run)
{
    for (size_t i = 0; i < run->nr; i++) {
        pivot_target_fini(&run->targets[i]);
    }
    free(run->targets);
}

static int targets_open(struct pivot_run *run, struct img_error *err)
{
    const struct chain_pivot_request *request = run->request;

    if (request->disks_nr == 0 ||
        (request->disks_nr > 1 && request->kind != CHAIN_PIVOT_SNAPSHOT)) {
        return img_fail(err, IMG_USAGE,
                        "found %zu disks, expected one (or more, for a "
                        "snapshot)",
                        request->disks_nr);
    }
    run->targets = img_calloc(request->disks_nr, sizeof(*run->targets), err);
    if (!run->targets) {
        return -1;
    }
    for (; run->nr < request->disks_nr; run->nr++) {
        if (pivot_target_open(run, run->nr, &run->targets[run->nr], err) != 0) {
            return -1;
        }
    }
    return 0;
}

static int targets_check(struct pivot_run *run, struct img_error *err)
{
    enum chain_pivot_left left;

    for (size_t i = 0; i < run->nr; i++) {
        struct pivot_target *target = &run->targets[i];

        if (pivot_target_look(run, target, &left, err) != 0) {
            return -1;
        }
        if (left == CHAIN_PIVOT_COPYING) {
            run->result->is_resumed = true;
            return check_resumed(run, target, err);
        }
        if (left == CHAIN_PIVOT_OVER) {
            img_fail(err, IMG_USAGE, "the disk runs on it already");
            img_error_set_path(err, target->disk->dest);
            return -1;
        }
        if (pivot_target_check(run, target, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* Take back what was begun, as far as it can be. */
static void undo(const struct pivot_run *run)
{
    struct img_error ignored;

    for (size_t i = 0; i < run->nr && !run->request->dry_run; i++) {
        const struct pivot_target *target = &run->targets[i];
        char id[PIVOT_JOB_LEN];

        pivot_job_id(target, target->is_full, id);
        if (run->request->kind != CHAIN_PIVOT_SNAPSHOT) {
            (void)pivot_job_cancel(run, id, &ignored);
        }
        (void)pivot_remove_nodes(run, target, 0, &ignored);
        pivot_tell_state(run, target);
    }
}

static int verify(const struct pivot_run *run, struct img_error *err)
{
    if (run->request->dry_run || run->result->state == CHAIN_PIVOT_READY) {
        return 0;
    }
    run->result->state = CHAIN_PIVOT_ON_DEST;
    for (size_t i = 0; i < run->nr; i++) {
        if (pivot_target_verify(run, &run->targets[i], err) != 0) {
            return -1;
        }
    }
    return 0;
}

int chain_pivot(struct chain_live *live,
                const struct chain_pivot_request *request,
                struct chain_pivot_result *out, struct img_error *err)
{
    struct pivot_run run = {.live = live, .request = request, .result = out};
    int rc;

    *out = (struct chain_pivot_result){.state = CHAIN_PIVOT_ON_SOURCE};
    rc = targets_open(&run, err);
    if (rc == 0) {
        rc = targets_check(&run, err);
    }
    if (rc == 0) {
        rc = request->kind == CHAIN_PIVOT_SNAPSHOT ? snapshot(&run, err)
                                                   : copy(&run, err);
        if (rc != 0) {
            undo(&run);
        } else {
            rc = verify(&run, err);
        }
    }
    targets_close(&run);
    return rc;
}

int chain_pivot_look(struct chain_live *live,
                     const struct chain_pivot_request *request, size_t idx,
                     enum chain_pivot_left *out, struct img_error *err)
{
    struct chain_pivot_result result = {0};
    struct pivot_run run = {
        .live = live, .request = request, .result = &result};
    struct pivot_target target;
    int rc;

    *out = CHAIN_PIVOT_NOTHING;
    if (pivot_target_open(&run, idx, &target, err) != 0) {
        return err->code == IMG_NOT_FOUND &&
                       strcmp(err->path, request->disks[idx].dest) == 0
                   ? 0
                   : -1;
    }
    rc = pivot_target_look(&run, &target, out, err);
    pivot_target_fini(&target);
    return rc;
}

int chain_pivot_abort(struct chain_live *live,
                      const struct chain_pivot_request *request, size_t idx,
                      struct chain_pivot_result *out, struct img_error *err)
{
    struct pivot_run run = {.live = live, .request = request, .result = out};
    struct pivot_target target;
    char id[PIVOT_JOB_LEN];
    int rc;

    *out = (struct chain_pivot_result){.state = CHAIN_PIVOT_ON_SOURCE};
    if (pivot_target_open(&run, idx, &target, err) != 0) {
        return -1;
    }
    pivot_job_id(&target, true, id);
    rc = pivot_job_cancel(&run, id, err);
    if (rc == 0) {
        pivot_job_id(&target, false, id);
        rc = pivot_job_cancel(&run, id, err);
    }
    if (rc == 0) {
        rc = pivot_remove_nodes(&run, &target, 0, err);
    }
    pivot_tell_state(&run, &target);
    pivot_target_fini(&target);
    return rc;
}

void chain_pivot_result_fini(struct chain_pivot_result *result)
{
    for (size_t i = 0; i < result->remains_nr; i++) {
        free(result->remains[i]);
    }
    free(result->remains);
    *result = (struct chain_pivot_result){0};
}
