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
#include <img/image.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate.h"
#include "session.h"

#define JUDGE_TRIES 3u

enum chain_operation pivot_operation(const struct pivot *pivot)
{
    switch (pivot->kind) {
    case CHAIN_PIVOT_SNAPSHOT:
        return CHAIN_OP_SNAPSHOT;
    case CHAIN_PIVOT_COPY:
        return CHAIN_OP_COPY;
    case CHAIN_PIVOT_SHALLOW_COPY:
        break;
    }
    return CHAIN_OP_SHALLOW_COPY;
}

/* ---- Making. */

int pivot_make(struct pivot *pivot, size_t idx, struct img_error *err)
{
    const struct change_values *change = &pivot->values->change;
    struct pivot_disk *disk = &pivot->disks[idx];
    const struct chain_create_request request = {
        .path = disk->dest,
        .format = pivot->told[idx].dest_format,
        .options = (const char *const *)change->options.at,
        .options_nr = change->options.nr,
        .backing_name = migrate_backing_name(pivot),
        .style = change->style,
        .force_share = true,
        .allow_probe = change->common.allow_probe,
        .dry_run = change->dry_run,
        .take_owner = migrate_is_on(pivot),
        .unjudged = migrate_is_on(pivot),
        .roots = change->common.roots,
        .cancel = pivot->request.cancel,
    };
    struct chain_made made = {.path = NULL};

    if (chain_create_for(pivot_operation(pivot), disk->live.layers[0].path,
                         disk->live.layers[0].format, &request, &made,
                         err) < 0) {
        return -1;
    }
    chain_made_fini(&made);
    if (change->dry_run) {
        return 0;
    }
    if (img_path_stamp(disk->dest, change->common.roots, &disk->made, err) <
        0) {
        return -1;
    }
    disk->is_made = true;
    return 0;
}

void pivot_unmake(struct pivot *pivot)
{
    for (size_t i = 0; i < pivot->nr; i++) {
        struct pivot_disk *disk = &pivot->disks[i];
        struct img_error ignored;
        struct img_stamp now;

        if (disk->is_made &&
            img_path_stamp(disk->dest, pivot->values->change.common.roots, &now,
                           &ignored) == 0 &&
            now.dev == disk->made.dev && now.ino == disk->made.ino) {
            (void)unlink(disk->dest);
        }
        disk->is_made = false;
    }
}

/* ---- Stamps. */

/* Files that change, and are left out of a stamp. */
struct moving {
    struct img_stamp at[4];
    size_t nr;
};

static int moving_add(struct moving *moving, const struct img_file *file,
                      struct img_error *err)
{
    return img_file_stamp(file, &moving->at[moving->nr++], err);
}

/* The top of a chain, and its external data file. */
static int moving_add_top(struct moving *moving, const char *path,
                          const char *format,
                          const struct common_values *common,
                          struct img_error *err)
{
    struct chain_options options;
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;

    session_chain_options(common, &options);
    options.format = format;
    options.force_share = true;
    options.top_only = true;
    if (chain_open(path, &options, &chain, err) < 0) {
        return -1;
    }
    const struct chain_layer *top = chain_layer_at(chain, 0);
    const struct img_file *data = chain_layer_image(top)->data_file;

    if (moving_add(moving, chain_layer_file(top), err) < 0) {
        return -1;
    }
    return data ? moving_add(moving, data, err) : 0;
}

static bool is_moving(const struct moving *moving, const struct img_json *file)
{
    uint64_t dev, ino;

    for (size_t i = 0; i < moving->nr; i++) {
        if (img_json_get_u64(file, "dev", &dev) &&
            img_json_get_u64(file, "ino", &ino) && dev == moving->at[i].dev &&
            ino == moving->at[i].ino) {
            return true;
        }
    }
    return false;
}

static int push_copy(struct img_json *array, const struct img_json *value,
                     struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = img_json_text(value, false, err);
    struct img_json *copy = NULL;

    if (!text || img_json_parse(text, strlen(text), &copy, err) < 0) {
        return -1;
    }
    img_json_push(array, copy);
    return 0;
}

/* The stamp STAMPED without the files that change; *out NULL: none is left. */
static int without(const struct img_json *stamped, const struct moving *moving,
                   char **out, struct img_error *err)
{
    const struct img_json *files = img_json_get(stamped, "files");
    struct img_json *root = img_json_object(), *kept = img_json_array();
    int rc = 0;

    *out = NULL;
    for (size_t i = 0; rc == 0 && i < img_json_len(files); i++) {
        const struct img_json *file = img_json_at(files, i);

        if (!is_moving(moving, file)) {
            rc = push_copy(kept, file, err);
        }
    }
    bool is_empty = img_json_len(kept) == 0;
    img_json_set(root, "imgchain-stamp",
                 img_json_take(stamped, "imgchain-stamp"));
    img_json_set(root, "files", kept);
    if (rc == 0 && !is_empty) {
        *out = img_json_text(root, false, err);
        rc = *out ? 0 : -1;
    }
    img_json_free(root);
    return rc;
}

static int take_stamps(const struct pivot *pivot, struct pivot_disk *disk,
                       const char *dest_format, struct img_error *err)
{
    const struct common_values *common = &pivot->values->change.common;
    struct img_json *stamped = NULL;
    struct moving moving = {.nr = 0};
    IMG_AUTO(img_free_ptr)
    char *text = chain_report_stamp(disk->report, err);

    if (!text || img_json_parse(text, strlen(text), &stamped, err) < 0) {
        return -1;
    }
    int rc = moving_add_top(&moving, disk->live.layers[0].path,
                            disk->live.layers[0].format, common, err);
    if (rc == 0) {
        rc = without(stamped, &moving, &disk->stamp, err);
    }
    if (rc == 0) {
        rc = moving_add_top(&moving, disk->dest, dest_format, common, err);
    }
    if (rc == 0) {
        rc = without(stamped, &moving, &disk->backing_stamp, err);
    }
    img_json_free(stamped);
    return rc;
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
    return *accepted ? take_stamps(pivot, disk, dest_format, err) : 0;
}
