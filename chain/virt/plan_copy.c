/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block copy as libvirt's QEMU driver begins it: qemuDomainBlockCopyCommon
 * of libvirt 9.0, in its order.
 */
#include <string.h>
#include <sys/stat.h>

#include "planner.h"

static void judge_flags(struct planner *p)
{
    const struct chain_preflight_request *request = p->request;

    plan_begin(p, "libvirt-flags");
    if (request->has_granularity &&
        (request->granularity & (request->granularity - 1)) != 0) {
        plan_refuse(p, NULL, "INVALID_ARG",
                    "the granularity is a power of two");
    } else if (request->has_granularity && request->granularity != 0 &&
               (request->granularity < 512 ||
                request->granularity > 64u << 20)) {
        plan_refuse(p, NULL, "INTERNAL_ERROR",
                    "QEMU takes a granularity of 512 bytes to 64 MiB");
    }
    plan_end(p, "libvirt takes the flags together");
}

static void judge_domain(struct planner *p)
{
    plan_begin(p, "libvirt-domain");
    if (!p->is_active) {
        plan_refuse(p, NULL, "OPERATION_INVALID",
                    "a block copy is for a domain that runs");
    } else if (!p->request->is_transient &&
               !plan_has(p, CHAIN_VIRT_TRANSIENT_JOB)) {
        struct chain_check *check = plan_refuse(
            p, NULL, "OPERATION_INVALID",
            "a persistent domain is copied with --transient-job only");

        chain_check_expected(p->report, check,
                             "--transient-job, or --transient for a domain "
                             "without a persistent definition");
    }
    plan_end(p, "libvirt copies a disk of a domain in this state");
}

static void judge_source(struct planner *p, const struct chain_virt_disk *disk)
{
    if (disk->has_mirror) {
        plan_refuse(p, disk->target, "BLOCK_COPY_ACTIVE",
                    "the disk has a block job already");
    }
    if (disk->top.source.fdgroup) {
        plan_refuse(p, disk->target, "OPERATION_UNSUPPORTED",
                    "a disk that was handed over as a descriptor is not "
                    "copied");
    }
    if (disk->device && strcmp(disk->device, "lun") == 0 &&
        p->request->copy->top.source.type != CHAIN_VIRT_SOURCE_BLOCK) {
        plan_refuse(p, disk->target, "INVALID_ARG",
                    "a LUN is copied to a block device only");
    }
}

static bool has_backing(const struct chain_virt_disk *disk)
{
    return disk->top.backing_kind != CHAIN_VIRT_BACKING_ENDS;
}

static bool is_shallow(const struct planner *p,
                       const struct chain_virt_disk *disk)
{
    return plan_has(p, CHAIN_VIRT_SHALLOW) && has_backing(disk);
}

static void judge_backing(struct planner *p, const struct chain_virt_disk *disk)
{
    const struct chain_virt_layer *dest = &p->request->copy->top;

    if (!is_shallow(p, disk) &&
        dest->backing_kind == CHAIN_VIRT_BACKING_GIVEN) {
        plan_refuse(p, disk->target, "INVALID_ARG",
                    "a <backingStore> goes with a shallow copy only");
    }
    if (is_shallow(p, disk) && !plan_has(p, CHAIN_VIRT_REUSE_EXTERNAL) &&
        dest->format && strcmp(dest->format, "raw") == 0) {
        plan_refuse(p, disk->target, "CONFIG_UNSUPPORTED",
                    "a raw file has no backing file, and is no target of a "
                    "shallow copy");
    }
}

static void judge_share(struct planner *p, const struct chain_virt_disk *disk)
{
    const char *format = p->request->copy->top.format;

    if (disk->is_shareable && !disk->is_readonly &&
        (!format || strcmp(format, "raw") != 0)) {
        plan_refuse(p, disk->target, "CONFIG_UNSUPPORTED",
                    "a shareable disk goes on in a raw file only");
    }
}

/* A backing chain that the XML gives is what runs, whatever the header says,
   and what the header says is what a later start goes by. */
static void judge_given_chain(struct planner *p,
                              const struct chain_virt_disk *disk)
{
    plan_begin(p, "dest-chain");
    if (is_shallow(p, disk) &&
        p->request->copy->top.backing_kind != CHAIN_VIRT_BACKING_UNSAID) {
        plan_say(p, disk->target, CHAIN_CHECK_UNPROVEN,
                 "the destination's <backingStore> takes the place of what "
                 "its header records, by which it is judged: leave it out");
    }
    plan_end(p, "libvirt goes by what the destination's header records");
}

static bool is_block(const char *path)
{
    struct stat st;

    return path && stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

static void add_task(struct planner *p, const struct chain_virt_disk *disk)
{
    const struct chain_virt_layer *dest = &p->request->copy->top;
    struct chain_preflight_task *task;

    if (!plan_is_judged(p, disk, &dest->source)) {
        return;
    }
    task = plan_task(p);
    if (!task) {
        return;
    }
    task->disk = disk;
    task->kind = plan_has(p, CHAIN_VIRT_SHALLOW) ? CHAIN_PREFLIGHT_SHALLOW_COPY
                                                 : CHAIN_PREFLIGHT_COPY;
    task->source = disk->top.source.path;
    task->source_format = disk->top.format ? disk->top.format : "raw";
    task->dest = dest->source.path;
    task->dest_format = dest->format;
    /* A block device is there, whatever the request calls it. */
    task->is_reused = plan_has(p, CHAIN_VIRT_REUSE_EXTERNAL) ||
                      dest->source.type == CHAIN_VIRT_SOURCE_BLOCK ||
                      is_block(dest->source.path);
    task->is_dest_device = dest->source.type == CHAIN_VIRT_SOURCE_BLOCK;
    if (!dest->format && !plan_has(p, CHAIN_VIRT_REUSE_EXTERNAL)) {
        task->dest_format = task->source_format;
    }
}

static void judge_dest(struct planner *p, const struct chain_virt_disk *disk)
{
    const struct chain_virt_source *dest = &p->request->copy->top.source;

    if (plan_is_empty(dest)) {
        plan_refuse(p, disk->target, "NO_SOURCE",
                    "the destination's <disk> names no file");
    } else if (plan_is_local(dest) && dest->path && dest->path[0] != '/') {
        struct chain_check *check =
            plan_refuse(p, disk->target, "INVALID_ARG",
                        "the path of the destination is an absolute one");

        chain_check_image(p->report, check, dest->path);
    } else if (plan_is_local(dest) && dest->path) {
        plan_look_at(p, disk->target, dest->path,
                     dest->type == CHAIN_VIRT_SOURCE_BLOCK, true);
    }
}

void plan_copy(struct planner *p)
{
    const struct chain_virt_domain *domain = p->request->domain;
    int idx = plan_find_disk(domain, p->request->target);
    const struct chain_virt_disk *disk = idx < 0 ? NULL : &domain->disks[idx];
    char shown[CHAIN_SHOWN_LEN];

    judge_flags(p);
    judge_domain(p);
    plan_begin(p, "libvirt-disk");
    if (!disk) {
        plan_refuse(p, p->request->target, "INVALID_ARG",
                    "the domain has no disk \"%s\"",
                    chain_shown(p->request->target, shown));
        return;
    }
    judge_source(p, disk);
    judge_backing(p, disk);
    judge_share(p, disk);
    judge_dest(p, disk);
    plan_end(p, "libvirt takes the disk and its destination");
    judge_given_chain(p, disk);
    if (!plan_is_empty(&p->request->copy->top.source)) {
        add_task(p, disk);
    }
}
