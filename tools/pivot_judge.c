/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a pivot is to go to: made where it is to be, judged as validate does,
 * and looked at again right before QEMU gets it.
 *
 * The source is in use, so its active layer changes while it is looked at.
 * Everything else may not: a destination is accepted for what it is on files
 * that stay as they are, and never for contents that were compared with those
 * of a layer that the guest writes.
 */
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate.h"
#include "session.h"

#define JUDGE_TRIES 3u

enum chain_operation pivot_operation(const struct pivot *pivot)
{
    return pivot_kind_operation(pivot->kind);
}

/* ---- Making. */

int pivot_make(struct pivot *pivot, size_t idx, struct img_error *err)
{
    struct pivot_disk *disk = &pivot->disks[idx];
    const struct chain_live_layer *top = &disk->live.layers[0];
    struct chain_create_request request =
        pivot_dest_request(&pivot->values->change, disk->dest,
                           pivot->told[idx].dest_format, pivot->request.cancel);

    request.backing_name = migrate_backing_name(pivot);
    request.take_owner = migrate_is_on(pivot);
    request.unjudged = migrate_is_on(pivot);
    return pivot_dest_make(&request, pivot_operation(pivot), top->path,
                           top->format, &disk->made, err);
}

void pivot_unmake(struct pivot *pivot)
{
    for (size_t i = 0; i < pivot->nr; i++) {
        pivot_dest_unmake(pivot->disks[i].dest,
                          pivot->values->change.common.roots,
                          &pivot->disks[i].made);
    }
}

/* ---- Stamps. */

static int take_stamps(struct pivot_disk *disk, struct img_error *err)
{
    disk->stamp = chain_report_stamp(disk->report, err);
    return disk->stamp ? chain_report_stamp_below(disk->report,
                                                  &disk->backing_stamp, err)
                       : -1;
}

int pivot_check(void *opaque, size_t idx, struct img_error *err)
{
    struct pivot *pivot = opaque;
    struct pivot_disk *disk = &pivot->disks[idx];
    const char *stamp = disk->is_handed ? disk->backing_stamp : disk->stamp;

    disk->is_handed = true;
    if (migrate_check(pivot, err) < 0) {
        return -1;
    }
    return stamp ? chain_stamp_check(stamp, strlen(stamp), err) : 0;
}

/* ---- Judging. */

static int validate(const struct pivot *pivot, struct pivot_disk *disk,
                    const char *dest_format, struct img_error *err)
{
    const struct common_values *common = &pivot->values->change.common;
    unsigned major, minor;
    char version[32];
    struct chain_validate_request request = {
        .operation = pivot_operation(pivot),
        .source = disk->live.layers[0].path,
        .source_format = disk->live.layers[0].format,
        .dest = disk->dest,
        .dest_format = dest_format,
        .dest_fd = -1,
        .force_share = true,
        .is_live = true,
        .allow_probe = common->allow_probe,
        .qemu_version = version,
        .roots = common->roots,
        .max_depth = common->max_depth,
    };

    chain_live_version(pivot->live, &major, &minor);
    (void)snprintf(version, sizeof(version), "%u.%u", major, minor);
    session_compare_options(common, &request.compare);
    request.compare.cancel = pivot->request.cancel;
    return chain_validate(&request, &disk->report, err);
}

/*
 * The active layer's tables are read while QEMU writes them: what could not be
 * proved is tried again. What is found wrong once is wrong.
 */
static int validate_again(const struct pivot *pivot, struct pivot_disk *disk,
                          const char *dest_format, struct img_error *err)
{
    for (unsigned i = 0; i < JUDGE_TRIES; i++) {
        chain_report_free(img_steal(&disk->report));
        if (validate(pivot, disk, dest_format, err) < 0) {
            return -1;
        }
        if (chain_report_judgement(disk->report) != CHAIN_NOT_JUDGED) {
            break;
        }
    }
    return 0;
}

int pivot_judge(struct pivot *pivot, size_t idx, bool *accepted,
                struct img_error *err)
{
    const struct common_values *common = &pivot->values->change.common;
    const char *dest_format = pivot->told[idx].dest_format;
    struct pivot_disk *disk = &pivot->disks[idx];
    /* A full copy takes what QEMU shows, whatever the lower headers say. */
    bool top_only = pivot->kind == CHAIN_PIVOT_COPY;

    if (chain_live_disk_check(&disk->live, common->roots, top_only, err) < 0 ||
        validate_again(pivot, disk, dest_format, err) < 0) {
        return -1;
    }
    *accepted = chain_report_judgement(disk->report) == CHAIN_ACCEPTED;
    return *accepted ? take_stamps(disk, err) : 0;
}
