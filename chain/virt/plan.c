/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A request as libvirt reads it: what all kinds share. See planner.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <img/memory.h>

#include "planner.h"

void plan_begin(struct planner *p, const char *id)
{
    p->section = id;
    p->section_nr = chain_report_len(p->report);
}

void plan_end(struct planner *p, const char *good)
{
    if (chain_report_len(p->report) == p->section_nr) {
        struct chain_check *check = chain_report_add(p->report, p->section);

        chain_check_say(p->report, check, CHAIN_CHECK_PASS, "%s", good);
    }
}

__attribute__((format(printf, 4, 0))) static struct chain_check *
add(struct planner *p, const char *disk, enum chain_check_result result,
    const char *fmt, va_list args)
{
    struct chain_check *check = chain_report_add(p->report, p->section);

    check->result = result;
    chain_check_text(p->report, &check->message, fmt, args);
    if (disk) {
        chain_check_disk(p->report, check, disk);
    }
    return check;
}

struct chain_check *plan_say(struct planner *p, const char *disk,
                             enum chain_check_result result, const char *fmt,
                             ...)
{
    struct chain_check *check;
    va_list args;

    va_start(args, fmt);
    check = add(p, disk, result, fmt, args);
    va_end(args);
    return check;
}

struct chain_check *plan_refuse(struct planner *p, const char *disk,
                                const char *class, const char *fmt, ...)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0) {
        p->report->is_out_of_memory = true;
        text = NULL;
    }
    va_end(args);
    return plan_say(p, disk, CHAIN_CHECK_FAIL, "libvirt refuses it (%s): %s",
                    class, text ? text : "");
}

void plan_found_line(struct planner *p, struct chain_check *check,
                     const char *file, unsigned line)
{
    char shown[CHAIN_SHOWN_LEN];

    if (file) {
        chain_check_image(p->report, check, file);
    }
    if (line > 0) {
        chain_check_found(p->report, check, "%s%sline %u",
                          file ? chain_shown(file, shown) : "",
                          file ? ", " : "", line);
    }
}

bool plan_is_empty(const struct chain_virt_source *source)
{
    switch (source->type) {
    case CHAIN_VIRT_SOURCE_NONE:
    case CHAIN_VIRT_SOURCE_FILE:
    case CHAIN_VIRT_SOURCE_BLOCK:
    case CHAIN_VIRT_SOURCE_DIR:
        return !source->path && !source->fdgroup;
    case CHAIN_VIRT_SOURCE_NETWORK:
    case CHAIN_VIRT_SOURCE_VOLUME:
    case CHAIN_VIRT_SOURCE_NVME:
    case CHAIN_VIRT_SOURCE_VHOSTUSER:
        break;
    }
    return false;
}

bool plan_is_local(const struct chain_virt_source *source)
{
    return source->type == CHAIN_VIRT_SOURCE_FILE ||
           source->type == CHAIN_VIRT_SOURCE_BLOCK;
}

static bool is_disk(const struct chain_virt_disk *disk, const char *name)
{
    const char *own = name[0] == '/' ? disk->top.source.path : disk->target;

    return own && strcmp(own, name) == 0;
}

int plan_find_disk(const struct chain_virt_domain *domain, const char *name)
{
    for (size_t i = 0; name && i < domain->disks_nr; i++) {
        if (is_disk(&domain->disks[i], name)) {
            return (int)i;
        }
    }
    return -1;
}

int plan_find_sole_disk(const struct chain_virt_domain *domain,
                        const char *name)
{
    int found = plan_find_disk(domain, name);
    size_t i = found < 0 || name[0] != '/' ? domain->disks_nr : (size_t)found;

    for (i++; i < domain->disks_nr; i++) {
        if (is_disk(&domain->disks[i], name)) {
            return -1;
        }
    }
    return found;
}

struct chain_preflight_task *plan_task(struct planner *p)
{
    struct chain_preflight *out = p->out;
    struct chain_preflight_task *more = reallocarray(
        out->tasks, out->tasks_nr + 1, sizeof(struct chain_preflight_task));

    if (!more) {
        p->report->is_out_of_memory = true;
        return NULL;
    }
    out->tasks = more;
    more = &out->tasks[out->tasks_nr++];
    memset(more, 0, sizeof(*more));
    return more;
}

/* ---- A destination, by one stat(2). */

static void look_at_missing(struct planner *p, const char *disk,
                            const char *path, bool is_device, int error)
{
    struct chain_check *check;

    if (error != ENOENT) {
        check =
            plan_refuse(p, disk, "SYSTEM_ERROR",
                        "libvirt cannot look at the file: %s", strerror(error));
    } else if (plan_has(p, CHAIN_VIRT_REUSE_EXTERNAL)) {
        check = plan_refuse(p, disk, "SYSTEM_ERROR",
                            "the file that is to be reused is not there");
    } else if (is_device) {
        check = plan_refuse(p, disk, "OPERATION_UNSUPPORTED",
                            "the block device is not there, and libvirt makes "
                            "none");
    } else {
        return;
    }
    chain_check_image(p->report, check, path);
    chain_check_found(p->report, check, "nothing");
}

static const char *kind_of(mode_t mode)
{
    return S_ISREG(mode)   ? "a regular file"
           : S_ISBLK(mode) ? "a block device"
           : S_ISDIR(mode) ? "a directory"
                           : "a special file";
}

void plan_look_at(struct planner *p, const char *disk, const char *path,
                  bool is_device, bool is_copy)
{
    struct chain_check *check = NULL;
    struct stat st;

    if (stat(path, &st) != 0) {
        look_at_missing(p, disk, path, is_device, errno);
        return;
    }
    /* A copy's target that is a folder is left to QEMU. */
    if (is_device ? !S_ISBLK(st.st_mode) : !is_copy && !S_ISREG(st.st_mode)) {
        check =
            plan_refuse(p, disk, is_copy ? "INVALID_ARG" : "CONFIG_UNSUPPORTED",
                        "the request says that the destination is %s",
                        is_device ? "a block device" : "a regular file");
    } else if (!plan_has(p, CHAIN_VIRT_REUSE_EXTERNAL) && S_ISREG(st.st_mode) &&
               st.st_size > 0) {
        check = plan_refuse(p, disk, "CONFIG_UNSUPPORTED",
                            "the destination exists, and --reuse-external is "
                            "not asked for");
    }
    if (check) {
        chain_check_image(p->report, check, path);
        chain_check_found(p->report, check, "%s", kind_of(st.st_mode));
    }
}

/* ---- What was wrong in the XML itself. */

static void tell_refusals(struct planner *p,
                          const struct chain_virt_refusals *refusals,
                          const char *file)
{
    for (size_t i = 0; i < refusals->nr; i++) {
        const struct chain_virt_refusal *one = &refusals->list[i];
        struct chain_check *check =
            plan_refuse(p, NULL, one->id, "%s", one->text);

        plan_found_line(p, check, file, one->line);
    }
    if (refusals->left_off_nr > 0) {
        plan_say(p, NULL, CHAIN_CHECK_FAIL, "and %zu refusals more",
                 refusals->left_off_nr);
    }
}

void plan_xml(struct planner *p)
{
    const struct chain_preflight_request *request = p->request;

    plan_begin(p, "libvirt-xml");
    tell_refusals(p, &request->domain->refusals, request->domain->file);
    if (request->snapshot && !plan_has(p, CHAIN_VIRT_REDEFINE)) {
        tell_refusals(p, &request->snapshot->refusals, request->snapshot->file);
    }
    if (request->copy_refusals) {
        tell_refusals(p, request->copy_refusals, request->copy_file);
    }
    plan_end(p, "libvirt reads the XML");
}

/* ---- The whole. */

static int plan(struct planner *p, struct img_error *err)
{
    plan_xml(p);
    if (!p->request->snapshot) {
        plan_copy(p);
    } else if (plan_has(p, CHAIN_VIRT_REDEFINE)) {
        plan_redefine(p);
    } else {
        plan_snapshot(p);
    }
    return p->report->is_out_of_memory ? img_fail_memory(err) : 0;
}

int chain_preflight(const struct chain_preflight_request *request,
                    struct chain_preflight **out, struct img_error *err)
{
    struct planner p = {
        .request = request,
        .is_active = request->domain->is_active,
    };
    size_t nr = request->domain->disks_nr + 1;
    int rc = -1;

    p.out = img_calloc(1, sizeof(*p.out), err);
    p.report = chain_report_new(err);
    p.asked = img_calloc(nr, sizeof(struct chain_virt_snapshot_disk *), err);
    p.places = img_calloc(nr, sizeof(*p.places), err);
    if (p.out && p.report && p.asked && p.places) {
        p.out->report = p.report;
        rc = plan(&p, err);
    } else {
        chain_report_free(p.report);
    }
    free(p.asked);
    free(p.places);
    if (rc != 0) {
        chain_preflight_free(p.out);
        return -1;
    }
    *out = p.out;
    return 0;
}

void chain_preflight_free(struct chain_preflight *preflight)
{
    if (!preflight) {
        return;
    }
    for (size_t i = 0; i < preflight->tasks_nr; i++) {
        struct chain_preflight_task *task = &preflight->tasks[i];

        for (size_t k = 0; k < task->below_nr; k++) {
            free(task->below[k].path);
            free(task->below[k].format);
        }
        free(task->below);
        free(task->made_up);
    }
    free(preflight->tasks);
    chain_report_free(preflight->report);
    free(preflight);
}
