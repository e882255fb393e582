/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of an external snapshot, one by one:
 * qemuSnapshotPrepareDiskExternal and virDomainSnapshotDefAssignExternalNames
 * of libvirt 9.0.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <img/memory.h>

#include "planner.h"

static bool is_word(const char *text, const char *word)
{
    return text && strcmp(text, word) == 0;
}

/* ---- Names that libvirt makes up. */

/* The source's path without its suffix, and the snapshot's name. */
char *plan_made_up_name(struct planner *p, const struct chain_virt_disk *disk,
                        const char *name)
{
    const char *path = disk->top.source.path;
    const char *dot = strrchr(path, '.');
    struct img_error ignored;
    size_t len = dot && !strchr(dot, '/') ? (size_t)(dot - path) : strlen(path);
    char *made = img_text(&ignored, "%.*s.%s", (int)len, path, name);

    if (!made) {
        p->report->is_out_of_memory = true;
    }
    return made;
}

const char *plan_unnamed_why(const struct chain_virt_disk *disk)
{
    const char *path = disk->top.source.path;
    struct stat st;

    if (!path) {
        return "libvirt can make up no name for the overlay of a disk without "
               "a path";
    }
    return stat(path, &st) != 0 || !S_ISREG(st.st_mode)
               ? "libvirt makes up no name for the overlay of a disk that is "
                 "no regular file"
               : NULL;
}

static bool make_up(struct planner *p, size_t idx,
                    struct chain_preflight_task *task)
{
    const struct chain_virt_disk *disk = &p->request->domain->disks[idx];
    const char *why = plan_unnamed_why(disk);

    if (!why && !p->request->snapshot->name) {
        why = "no file is named, and without the snapshot's name there is no "
              "telling what libvirt would call it";
    }
    if (why) {
        plan_refuse(p, disk->target, "CONFIG_UNSUPPORTED", "%s", why);
        return false;
    }
    task->made_up = plan_made_up_name(p, disk, p->request->snapshot->name);
    task->dest = task->made_up;
    return task->dest != NULL;
}

/* ---- One disk. */

static const char *source_fault(const struct planner *p,
                                const struct chain_virt_disk *disk)
{
    bool is_local = plan_is_local(&disk->top.source);

    if (!p->is_active) {
        return is_local ? NULL
                        : "a disk of an inactive domain is a file or block "
                          "device, or has no external snapshot";
    }
    if (is_word(disk->device, "lun")) {
        return "a disk that is a LUN has no external snapshot";
    }
    if (is_word(disk->bus, "sd")) {
        return "a disk on an SD bus has no external snapshot";
    }
    if (disk->is_transient) {
        return "a transient disk has no external snapshot";
    }
    return disk->top.source.type == CHAIN_VIRT_SOURCE_VHOSTUSER
               ? "a vhost-user disk has no external snapshot"
               : NULL;
}

static bool is_overlay_format(const char *format)
{
    return !format || strcmp(format, "qcow2") == 0 ||
           strcmp(format, "qed") == 0;
}

static void judge_layer(struct planner *p, const struct chain_virt_disk *disk,
                        const struct chain_virt_layer *dest)
{
    const char *fault = source_fault(p, disk);
    char shown[CHAIN_SHOWN_LEN];

    if (!is_overlay_format(dest->format)) {
        struct chain_check *check = plan_refuse(
            p, disk->target, "CONFIG_UNSUPPORTED",
            "libvirt takes an external snapshot in qcow2 or qed only");

        plan_found_line(p, check, p->request->snapshot->file, dest->line);
        chain_check_found(p->report, check, "%s",
                          chain_shown(dest->format, shown));
    } else if (dest->has_metadata_cache && is_word(dest->format, "qed")) {
        plan_refuse(p, disk->target, "CONFIG_UNSUPPORTED",
                    "a metadata cache goes with qcow2 only");
    }
    if (disk->has_mirror) {
        plan_refuse(p, disk->target, "BLOCK_COPY_ACTIVE",
                    "the disk has a block job already");
    }
    if (fault) {
        plan_refuse(p, disk->target, "OPERATION_UNSUPPORTED", "%s", fault);
    }
    if (disk->is_shareable && !disk->is_readonly) {
        plan_refuse(p, disk->target, "CONFIG_UNSUPPORTED",
                    "a shareable disk would have to go on in a raw file, "
                    "which no external snapshot is");
    }
}

/* A file whose contents only libvirt can get at: whether it fits stays
   open. */
static void leave_open(struct planner *p, const char *disk,
                       const struct chain_virt_source *source, const char *what)
{
    const char *section = p->section;
    bool is_local = plan_is_local(source) && source->path;

    if (is_local && !source->has_slice && !source->fdgroup) {
        return;
    }
    p->section = "request-local";
    plan_say(p, disk, CHAIN_CHECK_UNPROVEN,
             is_local ? "the %s is a slice of a file, or a descriptor: it is "
                        "not judged"
                      : "the %s is no file or block device of this host: it "
                        "is not judged",
             what);
    p->section = section;
}

bool plan_is_judged(struct planner *p, const struct chain_virt_disk *disk,
                    const struct chain_virt_source *dest)
{
    size_t nr = chain_report_len(p->report);

    leave_open(p, disk->target, &disk->top.source, "source");
    if (dest) {
        leave_open(p, disk->target, dest, "destination");
    }
    return chain_report_len(p->report) == nr;
}

static void drop_task(struct planner *p)
{
    struct chain_preflight *out = p->out;

    free(out->tasks[--out->tasks_nr].made_up);
}

static void plan_one(struct planner *p, size_t idx)
{
    static const struct chain_virt_layer unsaid;
    const struct chain_virt_disk *disk = &p->request->domain->disks[idx];
    const struct chain_virt_snapshot_disk *asked = p->asked[idx];
    const struct chain_virt_layer *dest = asked ? &asked->dest : &unsaid;
    struct chain_preflight_task *task = plan_task(p);

    if (!task) {
        return;
    }
    task->disk = disk;
    task->kind = CHAIN_PREFLIGHT_SNAPSHOT;
    task->source = disk->top.source.path;
    task->source_format = disk->top.format ? disk->top.format : "raw";
    task->dest = dest->source.path;
    task->dest_format = dest->format ? dest->format : "qcow2";
    task->is_reused = plan_has(p, CHAIN_VIRT_REUSE_EXTERNAL);
    task->is_unlisted = !asked;
    task->is_dest_device = asked && is_word(asked->type, "block");
    judge_layer(p, disk, dest);
    if (plan_is_empty(&dest->source) &&
        (!asked || !asked->type || is_word(asked->type, "file"))) {
        if (!make_up(p, idx, task)) {
            drop_task(p);
            return;
        }
    }
    if (task->dest && task->dest[0] == '/') {
        plan_look_at(p, disk->target, task->dest, task->is_dest_device, false);
    }
    if (!plan_is_judged(p, disk, task->made_up ? NULL : &dest->source)) {
        drop_task(p);
    }
}

/* ---- All of them. */

static bool is_alike(const struct chain_preflight_task *a,
                     const struct chain_preflight_task *b)
{
    return (a->made_up || b->made_up) && strcmp(a->dest, b->dest) == 0;
}

static void judge_collisions(struct planner *p)
{
    const struct chain_preflight *out = p->out;

    for (size_t i = 0; i < out->tasks_nr; i++) {
        for (size_t k = 0; k < i; k++) {
            if (is_alike(&out->tasks[i], &out->tasks[k])) {
                plan_refuse(p, out->tasks[i].disk->target, "CONFIG_UNSUPPORTED",
                            "the name that libvirt makes up is that of "
                            "another disk's overlay");
            }
        }
    }
}

static void name_unlisted(struct planner *p)
{
    plan_begin(p, "disk-unlisted");
    for (size_t i = 0; i < p->out->tasks_nr; i++) {
        const struct chain_preflight_task *task = &p->out->tasks[i];

        if (task->is_unlisted) {
            struct chain_check *check = plan_say(
                p, task->disk->target, CHAIN_CHECK_WARN,
                "the request does not name the disk, and libvirt takes it "
                "along, under a name that it makes up");

            chain_check_image(p->report, check, task->dest);
            chain_check_expected(p->report, check,
                                 "it to be named, with a file or with "
                                 "snapshot='no'");
        }
    }
    plan_end(p, "the request names every disk that takes part");
}

void plan_snapshot_disks(struct planner *p)
{
    plan_begin(p, "libvirt-disk");
    for (size_t i = 0; i < p->request->domain->disks_nr; i++) {
        if (p->places[i] == PLACE_EXTERNAL) {
            plan_one(p, i);
        }
    }
    judge_collisions(p);
    plan_end(p, "libvirt takes each disk and its destination");
    name_unlisted(p);
}
