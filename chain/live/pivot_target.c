/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disks of a pivot: see pivot_run.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <img/hash.h>
#include <img/memory.h>

#include "pivot_run.h"

/* "imgchain-" and as much of a hash of the file's identity as fits. */
static void name_target(struct pivot_target *target,
                        const struct img_stamp *stamp)
{
    uint64_t identity[3] = {stamp->dev, stamp->ino, 0};
    uint8_t digest[IMG_SHA256_LEN];
    char text[IMG_SHA256_TEXT_LEN];

    if (stamp->rdev != 0) {
        identity[0] = identity[1] = 0;
        identity[2] = stamp->rdev;
    }
    img_sha256_of(identity, sizeof(identity), digest);
    img_sha256_text(digest, text);
    (void)snprintf(target->id, sizeof(target->id), "imgchain-%.16s", text);
}

static int open_dest(const struct pivot_run *run, struct pivot_target *target,
                     struct img_error *err)
{
    const struct chain_pivot_request *request = run->request;
    const char *path = target->disk->dest;
    struct chain_options options;
    struct img_stamp stamp;

    if (path[0] != '/') {
        img_fail(err, IMG_USAGE, "is no absolute path, which QEMU needs");
        img_error_set_path(err, path);
        return -1;
    }
    if (img_path_stamp(path, request->roots, &stamp, err) != 0) {
        img_error_set_path(err, path);
        return -1;
    }
    name_target(target, &stamp);
    chain_options_init(&options);
    options.format = target->disk->dest_format;
    options.force_share = true;
    options.top_only = target->is_alone;
    options.roots = request->roots;
    return chain_open(path, &options, &target->dest, err);
}

/* The target of the copy of this program's that the disk has. */
static int take_job(struct pivot_target *target, struct img_error *err)
{
    static const char head[] = "imgchain-";
    const char *job = target->live.job;

    if (!job || strncmp(job, head, strlen(head)) != 0 ||
        strlen(job) < sizeof(target->id)) {
        return img_fail(err, IMG_NOT_FOUND,
                        "the disk has no copy of this program's under way");
    }
    (void)snprintf(target->id, sizeof(target->id), "%.25s", job);
    return 0;
}

static int open_file(const struct pivot_run *run, struct pivot_target *target,
                     struct img_error *err)
{
    if (!target->disk->dest) {
        return take_job(target, err);
    }
    return open_dest(run, target, err) == 0 ||
                   (run->request->dry_run && err->code == IMG_NOT_FOUND)
               ? 0
               : -1;
}

int pivot_target_open(const struct pivot_run *run, size_t idx,
                      struct pivot_target *out, struct img_error *err)
{
    const struct chain_pivot_request *request = run->request;

    *out = (struct pivot_target){.disk = &request->disks[idx]};
    (void)snprintf(out->id, sizeof(out->id), "imgchain-%016d", 0);
    if (chain_live_disk_find(run->live, out->disk->device, out->disk->node,
                             &out->live, err) != 0) {
        return -1;
    }
    /* QEMU copies all of a disk that has no backing file, whatever it is
       asked for. */
    out->is_full =
        request->kind == CHAIN_PIVOT_COPY ||
        (request->kind == CHAIN_PIVOT_SHALLOW_COPY && out->live.nr == 1);
    out->is_alone = out->is_full || request->kind == CHAIN_PIVOT_SNAPSHOT;
    if (open_file(run, out, err) != 0) {
        pivot_target_fini(out);
        return -1;
    }
    return 0;
}

void pivot_target_fini(struct pivot_target *target)
{
    chain_live_disk_fini(&target->live);
    chain_free(img_steal(&target->dest));
}

/* ---- Before. */

static int check_source(const struct pivot_run *run,
                        const struct pivot_target *target,
                        struct img_error *err)
{
    const struct chain_live_layer *top = &target->live.layers[0];
    bool is_snapshot = run->request->kind == CHAIN_PIVOT_SNAPSHOT;
    char shown[128];

    if (target->live.job) {
        img_escape(target->live.job, strlen(target->live.job), shown,
                   sizeof(shown));
        return img_fail(err, IMG_LOCKED,
                        "the disk has a block job already: \"%s\"", shown);
    }
    if (is_snapshot && top->is_read_only) {
        return img_fail(err, IMG_USAGE,
                        "the disk is read-only: an overlay would hold nothing");
    }
    return 0;
}

static int check_dest(const struct pivot_run *run,
                      const struct pivot_target *target, struct img_error *err)
{
    const struct chain_live_layer *top = &target->live.layers[0];
    bool is_snapshot = run->request->kind == CHAIN_PIVOT_SNAPSHOT;

    if (is_snapshot && strcmp(target->disk->dest_format, "raw") == 0) {
        return img_fail(err, IMG_USAGE, "an overlay cannot be raw");
    }
    if (target->dest && chain_virtual_len(target->dest) != top->virtual_len) {
        return img_fail(err, IMG_USAGE,
                        "its virtual size is not the running disk's: found "
                        "%" PRIu64 " bytes, expected %" PRIu64,
                        chain_virtual_len(target->dest), top->virtual_len);
    }
    return 0;
}

static bool is_one_file(const struct pivot_target *a,
                        const struct pivot_target *b)
{
    return a->dest && b->dest && strcmp(a->id, b->id) == 0;
}

/* Two disks of one request. */
static int check_pair(const struct pivot_target *a,
                      const struct pivot_target *b, struct img_error *err)
{
    if (strcmp(a->live.layers[0].node, b->live.layers[0].node) == 0) {
        return img_fail(err, IMG_USAGE, "two of the disks are the same one");
    }
    return is_one_file(a, b)
               ? img_fail(err, IMG_USAGE, "two disks have this destination")
               : 0;
}

int pivot_target_check(const struct pivot_run *run,
                       const struct pivot_target *target, struct img_error *err)
{
    int rc = check_source(run, target, err);

    if (rc == 0) {
        rc = check_dest(run, target, err);
    }
    for (const struct pivot_target *other = run->targets;
         rc == 0 && other < target; other++) {
        rc = check_pair(other, target, err);
    }
    if (rc != 0) {
        img_error_set_path(err, target->disk->dest);
    }
    return rc;
}

/* ---- What an earlier run has left. */

static int look_at_jobs(const struct pivot_run *run,
                        const struct pivot_target *target,
                        enum chain_pivot_left *out, struct img_error *err)
{
    for (int full = 0; full < 2; full++) {
        struct pivot_job job;
        char id[PIVOT_JOB_LEN];

        pivot_job_id(target, full == 1, id);
        if (pivot_job_ask(run, id, &job, err) != 0) {
            return -1;
        }
        if (job.state == PIVOT_JOB_NONE) {
            continue;
        }
        /* It is this disk's: nothing else has that job. */
        bool is_wanted = run->request->kind != CHAIN_PIVOT_SNAPSHOT &&
                         target->is_full == (full == 1) && target->live.job &&
                         strcmp(target->live.job, id) == 0;
        *out = is_wanted && (job.state == PIVOT_JOB_RUNNING ||
                             job.state == PIVOT_JOB_READY)
                   ? CHAIN_PIVOT_COPYING
                   : CHAIN_PIVOT_STALE;
        return 0;
    }
    return 0;
}

int pivot_target_look(const struct pivot_run *run,
                      const struct pivot_target *target,
                      enum chain_pivot_left *out, struct img_error *err)
{
    char format[PIVOT_NAME_LEN], storage[PIVOT_NAME_LEN];
    struct live_nodes *nodes;

    *out = CHAIN_PIVOT_NOTHING;
    if (!target->dest) {
        return 0;
    }
    pivot_node_name(target, 'f', 0, format);
    pivot_node_name(target, 's', 0, storage);
    if (strcmp(target->live.layers[0].node, format) == 0) {
        *out = CHAIN_PIVOT_OVER;
        return 0;
    }
    if (live_nodes_query(run->live->qmp, &nodes, err) != 0) {
        return -1;
    }
    if (live_nodes_find(nodes, format) != LIVE_NO_NODE ||
        live_nodes_find(nodes, storage) != LIVE_NO_NODE) {
        *out = CHAIN_PIVOT_NODES;
    }
    live_nodes_free(nodes);
    return look_at_jobs(run, target, out, err);
}

/* ---- After. */

int pivot_target_verify(const struct pivot_run *run,
                        const struct pivot_target *target,
                        struct img_error *err)
{
    const struct chain_pivot_disk *disk = target->disk;
    char format[PIVOT_NAME_LEN];
    struct chain_live_disk now;
    int rc;

    pivot_node_name(target, 'f', 0, format);
    if (chain_live_disk_find(run->live, disk->device,
                             disk->device ? NULL : format, &now, err) != 0) {
        return -1;
    }
    if (strcmp(now.layers[0].node, format) != 0) {
        rc = img_fail(err, IMG_CHANGED,
                      "QEMU has taken every step, and does not run on it");
        img_error_set_path(err, disk->dest);
    } else {
        rc = chain_live_disk_check(&now, run->request->roots, false, err);
    }
    chain_live_disk_fini(&now);
    return rc;
}
