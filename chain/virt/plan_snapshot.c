/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot as libvirt's QEMU driver takes it: flags, the domain, its disks
 * together and one by one (qemuSnapshotCreateXML and qemuSnapshotPrepare of
 * libvirt 9.0).
 */
#include <string.h>
#include <sys/stat.h>

#include "planner.h"

static void refuse_pair(struct planner *p, unsigned flag, const char *name,
                        unsigned other, const char *other_name)
{
    if (plan_has(p, flag) && plan_has(p, other)) {
        plan_refuse(p, NULL, "INVALID_ARG", "--%s does not go with --%s", name,
                    other_name);
    }
}

static void refuse_without(struct planner *p, unsigned flag, const char *name,
                           unsigned other, const char *other_name)
{
    if (plan_has(p, flag) && !plan_has(p, other)) {
        plan_refuse(p, NULL, "INVALID_ARG", "--%s goes with --%s only", name,
                    other_name);
    }
}

void plan_judge_flags(struct planner *p)
{
    plan_begin(p, "libvirt-flags");
    refuse_without(p, CHAIN_VIRT_CURRENT, "current", CHAIN_VIRT_REDEFINE,
                   "redefine");
    refuse_pair(p, CHAIN_VIRT_REDEFINE, "redefine", CHAIN_VIRT_NO_METADATA,
                "no-metadata");
    refuse_pair(p, CHAIN_VIRT_REDEFINE, "redefine", CHAIN_VIRT_HALT, "halt");
    refuse_without(p, CHAIN_VIRT_QUIESCE, "quiesce", CHAIN_VIRT_DISK_ONLY,
                   "disk-only");
    refuse_pair(p, CHAIN_VIRT_LIVE, "live", CHAIN_VIRT_REDEFINE, "redefine");
}

void plan_snapshot_flags(struct planner *p)
{
    plan_judge_flags(p);
    plan_end(p, "libvirt takes the flags together");

    plan_begin(p, "request-halt");
    if (plan_has(p, CHAIN_VIRT_HALT) && plan_has(p, CHAIN_VIRT_REDEFINE)) {
        plan_say(p, NULL, CHAIN_CHECK_FAIL,
                 "virsh asks again without the flag when --halt is refused, "
                 "and then destroys the domain");
    }
    plan_end(p, "virsh is not led to destroy the domain");
}

/* ---- The domain. */

static void judge_halt(struct planner *p)
{
    if (plan_has(p, CHAIN_VIRT_HALT) && p->request->is_transient) {
        plan_refuse(p, NULL, "OPERATION_INVALID",
                    "a transient domain cannot be halted after a snapshot");
    }
}

static void judge_domain(struct planner *p)
{
    plan_begin(p, "libvirt-domain");
    judge_halt(p);
    if (plan_has(p, CHAIN_VIRT_LIVE) &&
        (!p->is_active || p->memory != PLACE_EXTERNAL)) {
        plan_refuse(p, NULL, "OPERATION_UNSUPPORTED",
                    "--live is for a running domain whose memory goes into an "
                    "external file");
    }
    if (plan_has(p, CHAIN_VIRT_QUIESCE) && p->is_active &&
        !p->request->domain->has_agent) {
        plan_refuse(p, NULL, "ARGUMENT_UNSUPPORTED",
                    "--quiesce needs a guest agent, and the domain has no "
                    "channel for one");
    }
    plan_end(p, "libvirt takes a snapshot of a domain in this state");
}

static void judge_name(struct planner *p)
{
    const char *name = p->request->snapshot->name;
    char shown[CHAIN_SHOWN_LEN];

    plan_begin(p, "libvirt-name");
    if (name && !plan_has(p, CHAIN_VIRT_NO_METADATA) &&
        (name[0] == '.' || strchr(name, '/'))) {
        struct chain_check *check = plan_refuse(
            p, NULL, "XML_DETAIL",
            "the name of a snapshot has no slash and begins with no dot");

        chain_check_found(p->report, check, "%s", chain_shown(name, shown));
    }
    plan_end(p, "the snapshot's name is one that libvirt takes");
}

/* ---- Memory. */

static enum snapshot_place read_memory(struct planner *p)
{
    const struct chain_virt_snapshot *snapshot = p->request->snapshot;
    const char *kind = snapshot->memory_kind;
    bool is_offline = !p->is_active || plan_has(p, CHAIN_VIRT_DISK_ONLY);

    if (!kind) {
        return snapshot->memory_file ? PLACE_EXTERNAL
               : is_offline          ? PLACE_NO
                                     : PLACE_INTERNAL;
    }
    return strcmp(kind, "external") == 0   ? PLACE_EXTERNAL
           : strcmp(kind, "internal") == 0 ? PLACE_INTERNAL
                                           : PLACE_NO;
}

static void judge_memory(struct planner *p)
{
    const struct chain_virt_snapshot *snapshot = p->request->snapshot;
    bool is_offline = !p->is_active || plan_has(p, CHAIN_VIRT_DISK_ONLY);

    plan_begin(p, "libvirt-memory");
    p->memory = read_memory(p);
    if (is_offline && p->memory != PLACE_NO) {
        struct chain_check *check =
            plan_refuse(p, NULL, "XML_ERROR",
                        "memory cannot go with a snapshot that is offline or "
                        "of disks only");

        plan_found_line(p, check, snapshot->file, snapshot->memory_line);
    }
    plan_end(p, "the request treats memory as libvirt does");
}

/* libvirt truncates it, whatever the flags say. */
static void judge_memory_file(struct planner *p)
{
    const char *path = p->request->snapshot->memory_file;
    struct stat st;

    plan_begin(p, "memory-file");
    if (p->memory == PLACE_EXTERNAL && path && stat(path, &st) == 0 &&
        st.st_size > 0) {
        struct chain_check *check = plan_say(
            p, NULL, CHAIN_CHECK_FAIL,
            "the memory file exists, and libvirt overwrites it unasked");

        chain_check_image(p->report, check, path);
        chain_check_found(p->report, check, "%lld bytes",
                          (long long)st.st_size);
        chain_check_expected(p->report, check, "a new name");
    }
    plan_end(p, "no memory file is overwritten");
}

/* ---- The disks together. */

struct counts {
    size_t internal, external;
    bool has_forbidden; /* a disk that has something, and is left out */
};

static struct counts count(const struct planner *p)
{
    const struct chain_virt_domain *domain = p->request->domain;
    struct counts out = {0};

    for (size_t i = 0; i < domain->disks_nr; i++) {
        const struct chain_virt_disk *disk = &domain->disks[i];

        out.internal += p->places[i] == PLACE_INTERNAL;
        out.external += p->places[i] == PLACE_EXTERNAL;
        out.has_forbidden |= p->places[i] == PLACE_NO &&
                             !plan_is_empty(&disk->top.source) &&
                             !disk->is_readonly;
    }
    return out;
}

/* Internal snapshots live in qcow2 images. */
static void judge_internal(struct planner *p)
{
    const struct chain_virt_domain *domain = p->request->domain;

    for (size_t i = 0; i < domain->disks_nr; i++) {
        const struct chain_virt_disk *disk = &domain->disks[i];
        const char *format = disk->top.format ? disk->top.format : "raw";
        char shown[CHAIN_SHOWN_LEN];

        if (p->places[i] == PLACE_INTERNAL && strcmp(format, "qcow2") != 0) {
            struct chain_check *check =
                plan_refuse(p, disk->target, "CONFIG_UNSUPPORTED",
                            "an internal snapshot is for a qcow2 image");

            chain_check_found(p->report, check, "%s",
                              chain_shown(format, shown));
        }
    }
}

static void judge_together(struct planner *p)
{
    struct counts has = count(p);
    bool is_disk_only = p->is_active && plan_has(p, CHAIN_VIRT_DISK_ONLY);

    if (has.internal + has.external == 0 && p->memory == PLACE_NO) {
        plan_refuse(p, NULL, "CONFIG_UNSUPPORTED",
                    is_disk_only
                        ? "a snapshot of disks only needs a disk to take part"
                        : "nothing takes part in the snapshot");
    } else if (p->memory == PLACE_INTERNAL && has.internal == 0) {
        plan_refuse(p, NULL, "CONFIG_UNSUPPORTED",
                    "memory is to go into an image, and no disk has an "
                    "internal snapshot");
    } else if (is_disk_only && has.internal > 0) {
        plan_refuse(p, NULL, "CONFIG_UNSUPPORTED",
                    "a snapshot of a running domain's disks only is external");
    } else if (has.internal > 0 && has.external > 0) {
        plan_refuse(p, NULL, "CONFIG_UNSUPPORTED",
                    "internal and external snapshots are not mixed");
    } else if (has.internal > 0 && p->request->domain->has_pflash) {
        plan_refuse(p, NULL, "OPERATION_UNSUPPORTED",
                    "internal snapshots do not go with pflash firmware");
    } else if (has.has_forbidden && p->memory == PLACE_INTERNAL) {
        plan_refuse(p, NULL, "CONFIG_UNSUPPORTED",
                    "an internal snapshot with memory takes all disks");
    }
}

void plan_snapshot(struct planner *p)
{
    plan_snapshot_flags(p);
    judge_name(p);
    judge_memory(p);
    judge_domain(p);
    plan_begin(p, "libvirt-disks");
    plan_align(p);
    if (p->is_aligned) {
        judge_internal(p);
        judge_together(p);
    }
    plan_end(p, "libvirt finds all disks that are asked for");
    judge_memory_file(p);
    if (p->is_aligned) {
        plan_snapshot_disks(p);
    }
}
