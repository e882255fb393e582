/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pivot: a running machine's disks go on in other files. What is asked for is
 * judged first; then QEMU is told, step by step (chain/pivot.h).
 */
#include <errno.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "choices.h"
#include "command.h"
#include "message.h"
#include "pivot.h"
#include "progress.h"
#include "session.h"
#include "signals.h"

/* More than a machine has; a bound for a command line. */
#define DISKS_MAX 4096u

static int option_disk(void *field, const char *arg, struct img_error *err)
{
    struct words *disks = field;
    const char *equals = strchr(arg, '=');

    if (!equals || equals == arg || !equals[1]) {
        return img_fail(err, IMG_USAGE, "is not ID=FILE");
    }
    if (disks->nr >= DISKS_MAX) {
        return img_fail(err, IMG_USAGE, "is over the limit of %u disks",
                        DISKS_MAX);
    }
    return words_push(disks, img_strndup(arg, strlen(arg), err), err);
}

#define AT(field) offsetof(struct pivot_values, field)

const struct option_spec pivot_options[] = {
    {0, "qmp", "SOCKET", "the machine's QMP socket, or fd:N", option_text,
     AT(qmp)},
    {0, "device", "ID", "the disk: its device's id, path or drive name",
     option_text, AT(device)},
    {0, "node", "NAME", "or the node of its active layer", option_text,
     AT(node)},
    {0, "dest", "FILE", "where it is to go on", option_text, AT(dest)},
    {0, "disk", "ID=FILE", "--device and --dest in one (repeatable)",
     option_disk, AT(disks)},
    {'f', "dest-format", "FMT", "format of FILE: qcow2 (default), raw",
     option_text, AT(change.common.format)},
    {0, "shallow", NULL, "copy the active layer; FILE has the backing file",
     option_flag, AT(shallow)},
    {0, "reuse-external", NULL, "FILE is there: judge it, make none",
     option_flag, AT(reuse_external)},
    {'o', "options", "OPTS", "NAME=VALUE,... for FILE when it is made",
     option_options, 0},
    {0, "relative", NULL, "record a relative backing name (default)",
     option_relative, AT(change.style)},
    {0, "absolute", NULL, "record an absolute one", option_absolute,
     AT(change.style)},
    {0, "bandwidth", "SIZE", "bytes a second that a copy may take", option_size,
     AT(bandwidth)},
    {0, "no-pivot", NULL, "leave the copy when it is ready to be ended",
     option_flag, AT(no_pivot)},
    {0, "abort", NULL, "cancel a copy, and remove what was added to QEMU",
     option_flag, AT(abort)},
    {0, "dry-run", NULL, "judge; print the QMP commands, send none",
     option_flag, AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

int pivot_choices(const void *opaque)
{
    const struct pivot_values *values = opaque;
    const char *format = values->change.common.format;

    return choices_create(format ? format : "qcow2");
}

void pivot_fini(void *values)
{
    struct pivot_values *pivot = values;

    words_fini(&pivot->disks);
    change_fini(values);
}

/* ---- What is asked for. */

static bool read_kind(const struct pivot_values *values, const char *word,
                      enum chain_pivot_kind *out)
{
    char shown[64];

    *out = values->shallow ? CHAIN_PIVOT_SHALLOW_COPY : CHAIN_PIVOT_COPY;
    if (!word || strcmp(word, "copy") == 0) {
        return true;
    }
    if (strcmp(word, "snapshot") == 0) {
        *out = CHAIN_PIVOT_SNAPSHOT;
        return true;
    }
    img_escape(word, strlen(word), shown, sizeof(shown));
    message_failed("found '%s', expected snapshot or copy", shown);
    return false;
}

/* One way to name the disks; NULL where it is one. */
static const char *disks_fault(const struct pivot_values *values)
{
    bool has_one = values->device || values->node || values->dest;

    if (values->disks.nr > 0) {
        return has_one ? "--disk says all: --device, --node and --dest do not "
                         "go with it"
                       : NULL;
    }
    if (!values->device == !values->node) {
        return values->device ? "--device and --node name the disk both"
                              : "option --device is missing: the disk's id";
    }
    if (!values->dest && !values->abort) {
        return "option --dest is missing: where the disk is to go on";
    }
    return NULL;
}

static const char *copy_fault(const struct pivot_values *values,
                              enum chain_pivot_kind kind)
{
    if (kind != CHAIN_PIVOT_SNAPSHOT) {
        return values->disks.nr > 1 && !values->abort
                   ? "several disks go in one step as snapshots only"
                   : NULL;
    }
    if (values->shallow) {
        return "--shallow goes with copy";
    }
    return values->no_pivot    ? "--no-pivot goes with copy"
           : values->bandwidth ? "--bandwidth goes with copy"
                               : NULL;
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct pivot_values *values,
                    enum chain_pivot_kind kind)
{
    const char *text = NULL;

    if (!values->qmp) {
        text = "option --qmp is missing: the machine's QMP socket";
    } else if (values->abort && (values->change.dry_run || values->no_pivot)) {
        text = "--abort goes with neither --dry-run nor --no-pivot";
    } else if (values->reuse_external && values->change.options.nr > 0) {
        text = "--options (-o) does not go with --reuse-external: the file is "
               "there";
    } else {
        text = disks_fault(values);
        text = text ? text : copy_fault(values, kind);
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

/* PATH as QEMU needs it, whatever folder it works in. */
static char *absolute(const char *path, struct img_error *err)
{
    if (path[0] == '/') {
        return img_strndup(path, strlen(path), err);
    }
    IMG_AUTO(img_free_ptr) char *folder = getcwd(NULL, 0);
    if (!folder) {
        img_fail_sys(err, errno, "cannot tell the working directory");
        return NULL;
    }
    return img_text(err, "%s/%s", folder, path);
}

static int set_disk(struct pivot *pivot, const char *name, size_t name_len,
                    const char *dest, struct img_error *err)
{
    const struct pivot_values *values = pivot->values;
    const char *format = values->change.common.format;
    struct pivot_disk *disk = &pivot->disks[pivot->nr];
    struct chain_pivot_disk *told = &pivot->told[pivot->nr];

    pivot->nr++;
    disk->name = img_strndup(name, name_len, err);
    disk->dest = dest ? absolute(dest, err) : NULL;
    if (!disk->name || (dest && !disk->dest)) {
        return -1;
    }
    told->device = values->node ? NULL : disk->name;
    told->node = values->node ? disk->name : NULL;
    told->dest = disk->dest;
    told->dest_format = format ? format : "qcow2";
    return 0;
}

static int set_disks(struct pivot *pivot, struct img_error *err)
{
    const struct pivot_values *values = pivot->values;
    const struct words *words = &values->disks;
    size_t nr = words->nr > 0 ? words->nr : 1;

    pivot->disks = img_calloc(nr, sizeof(*pivot->disks), err);
    pivot->told = img_calloc(nr, sizeof(*pivot->told), err);
    if (!pivot->disks || !pivot->told) {
        return -1;
    }
    if (words->nr == 0) {
        const char *name = values->device ? values->device : values->node;

        return set_disk(pivot, name, strlen(name), values->dest, err);
    }
    for (size_t i = 0; i < words->nr; i++) {
        const char *word = words->at[i], *equals = strchr(word, '=');

        if (set_disk(pivot, word, (size_t)(equals - word), equals + 1, err) <
            0) {
            return -1;
        }
    }
    return 0;
}

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

static int make_or_find(struct pivot *pivot, size_t idx, struct img_error *err)
{
    const struct pivot_values *values = pivot->values;
    struct pivot_disk *disk = &pivot->disks[idx];
    struct stat st;
    bool is_there = lstat(disk->dest, &st) == 0;

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

    if (disk->live.job && disk->left != CHAIN_PIVOT_COPYING) {
        char shown[64];

        img_escape(disk->live.job, strlen(disk->live.job), shown,
                   sizeof(shown));
        return img_fail(err, IMG_LOCKED,
                        "%s: the disk has a block job already: \"%s\"",
                        disk->name, shown);
    }
    if (disk->left == CHAIN_PIVOT_COPYING) {
        message_note("%s: going on with the copy of an earlier run",
                     disk->name);
        return 0;
    }
    if (make_or_find(pivot, idx, err) < 0) {
        return -1;
    }
    /* One that would be made would be accepted: create judges it. */
    if (pivot->request.dry_run && !pivot->values->reuse_external) {
        return 0;
    }
    if (pivot_judge(pivot, idx, &is_accepted, err) < 0) {
        return -1;
    }
    pivot->is_refused |= !is_accepted;
    return 0;
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

static int pivot_abort(struct pivot *pivot, struct output *out,
                       struct img_error *err)
{
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

    if (set_disks(pivot, err) < 0 ||
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

    if (!read_kind(values, nr > 0 ? operands[0] : NULL, &pivot.kind) ||
        !is_sane(values, pivot.kind)) {
        return EXIT_USAGE;
    }
    if (session_output(&values->change.common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    code = run(&pivot, out, &err);
    disks_fini(&pivot);
    img_json_free(pivot.steps);
    chain_pivot_result_fini(&pivot.result);
    chain_live_close(pivot.live);
    return code;
}
