/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A checkpoint that is put on record: virDomainCheckpointDefParse and
 * virDomainCheckpointRedefinePrep of libvirt 9.0. Of the schema, by which
 * libvirt checks each, the checkpoint's own part is here, and not that of the
 * domain in it. Room: chain/virt.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "redefine_impl.h"

#define REDEFINE_ID "libvirt-redefine"
#define SCHEMA "XML_INVALID_SCHEMA"

static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

    return name[0] != '\0' && name[0] != '.' &&
           name[strspn(name, letters)] == '\0';
}

static void judge_schema(struct redefine_bed *bed,
                         const struct chain_virt_checkpoint *point)
{
    const char *const names[] = {point->name, point->parent};
    char shown[CHAIN_SHOWN_LEN];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i] && !is_name(names[i])) {
            struct chain_check *check = redefine_refuse(
                bed, "libvirt-name", SCHEMA,
                "or its parent has a name that is not of letters, digits, _, "
                "- and dots behind them");

            chain_check_found(bed->p->report, check, "%s",
                              chain_shown(names[i], shown));
        }
    }
    if (point->domain_uuid && !point->domain) {
        redefine_refuse(bed, "libvirt-xml", SCHEMA,
                        "has a <domain> without a type");
    }
    redefine_judge_refusals(bed, &point->refusals, point->file);
}

static void judge_head(struct redefine_bed *bed,
                       const struct chain_virt_checkpoint *point)
{
    if (!point->name) {
        redefine_refuse(bed, REDEFINE_ID, "XML_ERROR", "has no <name>");
    }
    if (!point->has_creation_time) {
        redefine_refuse(bed, REDEFINE_ID, "INTERNAL_ERROR",
                        "has no <creationTime>");
    }
    if (point->domain) {
        redefine_judge_refusals(bed, &point->domain->refusals, point->file);
    }
}

static void judge_disk(struct redefine_bed *bed,
                       const struct chain_virt_domain *domain,
                       const struct chain_virt_checkpoint_disk *disk,
                       bool *is_listed)
{
    int idx = plan_find_sole_disk(domain, disk->name);
    char shown[CHAIN_SHOWN_LEN];

    if (idx < 0) {
        plan_refuse(bed->p, disk->name, "CONFIG_UNSUPPORTED",
                    "%s: the domain has no disk \"%s\"", bed->name,
                    chain_shown(disk->name ? disk->name : "", shown));
        return;
    }
    if (is_listed[idx]) {
        plan_refuse(bed->p, domain->disks[idx].target, "CONFIG_UNSUPPORTED",
                    "%s names the disk twice", bed->name);
    }
    is_listed[idx] = true;
    if ((!disk->checkpoint || strcmp(disk->checkpoint, "no") != 0) &&
        (plan_is_empty(&domain->disks[idx].top.source) ||
         plan_is_readonly(&domain->disks[idx]))) {
        plan_refuse(bed->p, domain->disks[idx].target, "CONFIG_UNSUPPORTED",
                    "%s has a bitmap of a disk that is empty or read-only",
                    bed->name);
    }
}

static void judge_disks(struct redefine_bed *bed,
                        const struct chain_virt_checkpoint *point)
{
    const struct chain_virt_domain *domain = point->domain;
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    bool *is_listed =
        img_calloc(domain->disks_nr + 1, sizeof(*is_listed), &ignored);

    if (!is_listed) {
        bed->p->report->is_out_of_memory = true;
        return;
    }
    if (point->disks_nr > domain->disks_nr || domain->disks_nr == 0) {
        redefine_refuse(bed, "libvirt-disks", "CONFIG_UNSUPPORTED",
                        "asks for %zu disks, and the domain has %zu",
                        point->disks_nr, domain->disks_nr);
        return;
    }
    plan_begin(bed->p, "libvirt-disks");
    for (size_t i = 0; i < point->disks_nr; i++) {
        judge_disk(bed, domain, &point->disks[i], is_listed);
    }
}

void redefine_judge_checkpoint(struct redefine_bed *bed,
                               const struct chain_moment *moment)
{
    const struct chain_virt_checkpoint *point = moment->checkpoint;

    redefine_call(bed, moment);
    judge_schema(bed, point);
    judge_head(bed, point);
    redefine_judge_parent(bed, moment);
    if (point->domain) {
        redefine_judge_uuid(bed, point->domain);
        judge_disks(bed, point);
    }
}
