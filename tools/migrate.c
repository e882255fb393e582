/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pivot --migrate-to: see migrate.h, and docs/pivot.md for the order. */
#include "migrate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chain/name.h>
#include <img/memory.h>

#include "message.h"
#include "progress.h"
#include "session.h"
#include "sheet.h"

bool migrate_is_on(const struct pivot *pivot)
{
    return pivot->values->migrate_to;
}

static const struct common_values *common_of(const struct pivot *pivot)
{
    return &pivot->values->change.common;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* ---- The disk. */

int migrate_begin(struct pivot *pivot, struct img_error *err)
{
    const struct pivot_values *values = pivot->values;
    struct pivot_disk *disk = &pivot->disks[0];
    struct chain_pivot_disk *told = &pivot->told[0];
    struct chain_live_disk live;

    if (chain_live_disk_find(pivot->live, told->device, told->node, &live,
                             err) < 0) {
        return -1;
    }
    bool is_alone = live.nr == 1;
    pivot->migration.folder = pivot_absolute(values->migrate_to, err);
    pivot->migration.format =
        img_strndup(live.layers[0].format, strlen(live.layers[0].format), err);
    if (pivot->migration.folder) {
        disk->dest = img_text(err, "%s/%s", pivot->migration.folder,
                              base_name(live.layers[0].path));
    }
    chain_live_disk_fini(&live);
    if (!disk->dest || !pivot->migration.format) {
        return -1;
    }
    told->dest = disk->dest;
    if (!values->change.common.format) {
        told->dest_format = pivot->migration.format;
    }
    pivot->kind = is_alone ? CHAIN_PIVOT_COPY : CHAIN_PIVOT_SHALLOW_COPY;
    pivot->request.kind = pivot->kind;
    return 0;
}

/* ---- The files under the active layer. */

static void on_done(void *opaque, const struct chain_relocated *file)
{
    char shown[IMG_ERROR_PATH_MAX];

    (void)opaque;
    img_escape(file->to, strlen(file->to), shown, sizeof(shown));
    if (file->state == CHAIN_RELOCATED_COPIED) {
        message_detail("%s: copied and proved", shown);
        return;
    }
    message_note("%s: is there already, and proved to be the copy", shown);
}

/* What the copy of the active layer may take; it may grow meanwhile. */
static uint64_t active_len(const struct pivot_disk *disk)
{
    const struct chain_live_layer *top = &disk->live.layers[0];
    struct stat st;

    if (stat(top->path, &st) < 0) {
        return 0;
    }
    return S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512
                               : top->virtual_len;
}

static int relocate(struct pivot *pivot, struct img_error *err)
{
    const struct common_values *common = common_of(pivot);
    const struct pivot_disk *disk = &pivot->disks[0];
    struct chain_relocate_request request = {
        .source = disk->live.layers[1].path,
        .source_format = disk->live.layers[1].format,
        .folder = pivot->migration.folder,
        .taken = base_name(disk->dest),
        .style = pivot->values->change.style,
        .dry_run = pivot->values->change.dry_run,
        .allow_probe = common->allow_probe,
        .max_depth = common->max_depth,
        .engine = (int)common->engine,
        .budget_len = common->max_memory,
        .roots = common->roots,
        .cancel = pivot->request.cancel,
        .progress = change_on_phase,
        .done = on_done,
    };

    if (disk->left != CHAIN_PIVOT_COPYING) {
        request.more_len = active_len(disk);
    }
    change_begin(common, "copy");
    return change_end(chain_relocate(&request, &pivot->migration.files, err));
}

/* What the destination is to stand on, for the library. */
static int set_backings(struct pivot *pivot, struct img_error *err)
{
    const struct chain_relocate_result *files = &pivot->migration.files;
    struct chain_pivot_backing *backings =
        img_calloc(files->nr, sizeof(*backings), err);

    if (!backings) {
        return -1;
    }
    for (size_t i = 0; i < files->nr; i++) {
        backings[i] = (struct chain_pivot_backing){files->files[i].to,
                                                   files->files[i].format};
    }
    pivot->migration.backings = backings;
    pivot->told[0].backings = backings;
    pivot->told[0].backings_nr = files->nr;
    return 0;
}

/* How the destination names the first of the copies. */
static int set_backing_name(struct pivot *pivot, struct img_error *err)
{
    struct migration *migration = &pivot->migration;
    const char *path = migration->files.files[0].to;
    bool is_absolute = pivot->values->change.style == CHAIN_MAKE_ABSOLUTE;

    migration->backing_name =
        is_absolute ? chain_name_absolute(path, err)
                    : chain_name_relative(pivot->disks[0].dest, path, err);
    return migration->backing_name ? 0 : -1;
}

/* The copies are open, and locked as by a reader, until the end. */
static int hold(struct pivot *pivot, struct img_error *err)
{
    const struct chain_relocated *top = pivot->migration.files.files;
    struct chain_options options;

    session_chain_options(common_of(pivot), &options);
    options.format = top->format;
    return chain_open(top->to, &options, &pivot->migration.held, err);
}

int migrate_files(struct pivot *pivot, struct img_error *err)
{
    const struct img_roots *roots = common_of(pivot)->roots;
    const struct chain_live_disk *live = &pivot->disks[0].live;

    for (size_t i = 0; i < live->nr; i++) {
        if (chain_relocate_check_folder(pivot->migration.folder,
                                        live->layers[i].path, roots, err) < 0) {
            return -1;
        }
    }
    if (chain_live_disk_check(live, roots, false, err) < 0) {
        return -1;
    }
    if (live->nr == 1) {
        return 0;
    }
    if (relocate(pivot, err) < 0 || set_backings(pivot, err) < 0) {
        return -1;
    }
    return pivot->values->change.dry_run
               ? 0
               : (set_backing_name(pivot, err) < 0 ? -1 : hold(pivot, err));
}

int migrate_check(const struct pivot *pivot, struct img_error *err)
{
    const struct chain *held = pivot->migration.held;

    return held ? chain_check_unchanged(held, err) : 0;
}

/* ---- The active layer's copy. */

const char *migrate_backing_name(const struct pivot *pivot)
{
    return pivot->migration.backing_name;
}

int migrate_settle_dest(struct pivot *pivot, struct img_error *err)
{
    const struct pivot_disk *disk = &pivot->disks[0];
    struct stat st;
    bool is_there = lstat(disk->dest, &st) == 0;

    /* Nodes of this program's names are nodes of this very file. */
    if (!is_there || disk->left != CHAIN_PIVOT_NODES) {
        pivot->migration.is_dest_found = is_there;
        return 0;
    }
    if (unlink(disk->dest) < 0) {
        img_fail_sys(err, errno, "cannot remove what an earlier run has begun");
        img_error_set_path(err, disk->dest);
        return -1;
    }
    return 0;
}

static bool has_passed(const struct chain_report *report, const char *id)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);

        if (strcmp(check->id, id) == 0) {
            return check->result == CHAIN_CHECK_PASS;
        }
    }
    return false;
}

int migrate_check_dest(const struct pivot *pivot, struct img_error *err)
{
    const struct pivot_disk *disk = &pivot->disks[0];

    if (!pivot->migration.is_dest_found) {
        return 0;
    }
    if (migrate_verify(pivot, err) < 0) {
        return -1;
    }
    if (pivot->kind != CHAIN_PIVOT_COPY ||
        has_passed(disk->report, "content-stale")) {
        return 0;
    }
    img_fail(err, IMG_USAGE,
             "is there already, and holds data: expected no file, or an empty "
             "image");
    img_error_set_path(err, disk->dest);
    return -1;
}

int migrate_adopt_dest(struct pivot *pivot, struct img_error *err)
{
    struct pivot_disk *disk = &pivot->disks[0];

    return pivot_dest_adopt(disk->dest, common_of(pivot)->roots, &disk->made,
                            err);
}

/* ---- Afterwards. */

int migrate_verify(const struct pivot *pivot, struct img_error *err)
{
    return chain_relocate_check_whole(
        pivot->disks[0].dest, pivot->told[0].dest_format,
        pivot->migration.folder, common_of(pivot)->roots, err);
}

void migrate_tell_remains(const struct pivot *pivot)
{
    const struct chain_relocate_result *files = &pivot->migration.files;
    char shown[IMG_ERROR_PATH_MAX];
    size_t nr = 0;

    for (size_t i = 0; i < files->nr; i++) {
        nr += files->files[i].state != CHAIN_RELOCATED_NOT_YET;
    }
    if (nr == 0 || pivot->result.state == CHAIN_PIVOT_ON_DEST) {
        return;
    }
    img_escape(pivot->migration.folder, strlen(pivot->migration.folder), shown,
               sizeof(shown));
    message_note("%s: %zu of %zu backing files are complete there and stay: "
                 "the same command goes on with them",
                 shown, nr, files->nr);
}

void migrate_fini(struct pivot *pivot)
{
    struct migration *migration = &pivot->migration;

    chain_free(migration->held);
    chain_relocate_result_fini(&migration->files);
    free(migration->backings);
    free(migration->backing_name);
    free(migration->format);
    free(migration->folder);
}

/* ---- What is shown. */

static const char *state_word(const struct pivot *pivot,
                              enum chain_relocated_state state)
{
    switch (state) {
    case CHAIN_RELOCATED_COPIED:
        return "copied";
    case CHAIN_RELOCATED_FOUND:
        return "found";
    case CHAIN_RELOCATED_NOT_YET:
        break;
    }
    return pivot->values->change.dry_run ? "planned" : "not copied";
}

static struct img_json *file_json(const struct pivot *pivot,
                                  const struct chain_relocated *file)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "source", file->from);
    img_json_set_string(json, "filename", file->to);
    img_json_set_string(json, "format", file->format);
    img_json_set_u64(json, "virtual-size", file->virtual_len);
    if (file->backing_name) {
        img_json_set_string(json, "backing-filename", file->backing_name);
        img_json_set_string(json, "backing-filename-format",
                            file->backing_format);
    }
    img_json_set_u64(json, "needed", file->needed_len);
    img_json_set_string(json, "result", state_word(pivot, file->state));
    return json;
}

void migrate_json(const struct pivot *pivot, struct img_json *json)
{
    const struct chain_relocate_result *files = &pivot->migration.files;
    struct img_json *array = img_json_array();

    img_json_set_string(json, "migrate-to",
                        pivot->migration.folder ? pivot->migration.folder
                                                : pivot->values->migrate_to);
    for (size_t i = 0; i < files->nr; i++) {
        img_json_push(array, file_json(pivot, &files->files[i]));
    }
    img_json_set(json, "files", array);
    if (files->nr > 0) {
        img_json_set_u64(json, "needed", files->needed_len);
        if (files->space_left != UINT64_MAX) {
            img_json_set_u64(json, "space-left", files->space_left);
        }
    }
}

void migrate_sheet(struct output *out, const struct pivot *pivot)
{
    const struct chain_relocate_result *files = &pivot->migration.files;
    bool is_dry = pivot->values->change.dry_run;

    for (size_t i = 0; i < files->nr; i++) {
        const struct chain_relocated *file = &files->files[i];
        bool is_found = file->state == CHAIN_RELOCATED_FOUND;

        sheet_text(out,
                   is_found ? "was there"
                   : is_dry ? "would copy"
                            : "copied",
                   file->from);
        sheet_text(out, "to", file->to);
        if (!is_found) {
            sheet_size(out, "size", file->needed_len);
        }
    }
    if (is_dry && files->nr > 0) {
        sheet_size(out, "needed", files->needed_len);
    }
}
