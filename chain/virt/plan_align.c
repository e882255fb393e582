/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which disk takes part in a snapshot, and where: virDomainSnapshotAlignDisks
 * of libvirt 9.0. Every disk of the domain takes part; one that the request
 * does not name goes where the domain says, or where the snapshot as a whole
 * goes, under a name that libvirt makes up.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <img/memory.h>

#include "planner.h"

static enum snapshot_place place_of(const char *word)
{
    static const struct {
        const char *word;
        enum snapshot_place place;
    } words[] = {
        {"no", PLACE_NO},
        {"internal", PLACE_INTERNAL},
        {"external", PLACE_EXTERNAL},
        {"manual", PLACE_MANUAL},
    };

    for (size_t i = 0; word && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i].word, word) == 0) {
            return words[i].place;
        }
    }
    return PLACE_UNSAID;
}

static bool is_readonly(const struct chain_virt_disk *disk)
{
    return disk->is_readonly ||
           (disk->device && strcmp(disk->device, "cdrom") == 0);
}

/* What the domain says of its disk. */
static enum snapshot_place domain_place(const struct chain_virt_disk *disk)
{
    enum snapshot_place place = place_of(disk->snapshot);

    return place == PLACE_UNSAID && is_readonly(disk) ? PLACE_NO : place;
}

static enum snapshot_place default_place(const struct planner *p)
{
    return plan_has(p, CHAIN_VIRT_DISK_ONLY) || p->memory == PLACE_EXTERNAL
               ? PLACE_EXTERNAL
               : PLACE_INTERNAL;
}

static enum snapshot_place
asked_place(const struct planner *p,
            const struct chain_virt_snapshot_disk *asked,
            const struct chain_virt_disk *disk)
{
    enum snapshot_place place = place_of(asked->snapshot);

    if (place == PLACE_UNSAID &&
        (asked->dest.source.path || asked->dest.format)) {
        place = PLACE_EXTERNAL;
    }
    if (place == PLACE_UNSAID) {
        place = domain_place(disk);
    }
    return place == PLACE_UNSAID ? default_place(p) : place;
}

/* In a snapshot that is internal every disk is so, or takes no part. */
static bool is_mismatch(const struct planner *p, enum snapshot_place place)
{
    return default_place(p) == PLACE_INTERNAL && place != PLACE_INTERNAL &&
           place != PLACE_NO;
}

static bool align_one(struct planner *p,
                      const struct chain_virt_snapshot_disk *asked)
{
    const struct chain_virt_domain *domain = p->request->domain;
    const char *file = p->request->snapshot->file;
    int idx = plan_find_disk(domain, asked->name);
    char shown[CHAIN_SHOWN_LEN];
    struct chain_check *check = NULL;

    if (idx < 0) {
        check = plan_refuse(p, asked->name, "CONFIG_UNSUPPORTED",
                            "the domain has no disk \"%s\"",
                            chain_shown(asked->name ? asked->name : "", shown));
    } else if (p->asked[idx]) {
        check = plan_refuse(p, domain->disks[idx].target, "CONFIG_UNSUPPORTED",
                            "the request names the disk twice");
    } else {
        p->asked[idx] = asked;
        p->places[idx] = asked_place(p, asked, &domain->disks[idx]);
        if (is_mismatch(p, p->places[idx])) {
            check = plan_refuse(
                p, domain->disks[idx].target, "CONFIG_UNSUPPORTED",
                "the snapshot as a whole is internal, and so has each of its "
                "disks to be: an external one is asked for with --disk-only, "
                "or with external memory");
        } else if (asked->dest.source.path &&
                   p->places[idx] != PLACE_EXTERNAL) {
            check =
                plan_refuse(p, domain->disks[idx].target, "CONFIG_UNSUPPORTED",
                            "a file is named, which an external snapshot "
                            "alone has");
        }
    }
    if (check) {
        plan_found_line(p, check, file, asked->line);
    }
    return !check;
}

static void place_unlisted(struct planner *p)
{
    const struct chain_virt_domain *domain = p->request->domain;

    for (size_t i = 0; i < domain->disks_nr; i++) {
        const struct chain_virt_disk *disk = &domain->disks[i];

        if (p->asked[i]) {
            continue;
        }
        p->places[i] =
            plan_is_empty(&disk->top.source) ? PLACE_NO : domain_place(disk);
        if (p->places[i] == PLACE_UNSAID) {
            p->places[i] = default_place(p);
        }
    }
}

void plan_align(struct planner *p)
{
    const struct chain_virt_snapshot *snapshot = p->request->snapshot;
    bool is_good = snapshot->disks_nr <= p->request->domain->disks_nr;

    if (!is_good) {
        plan_refuse(p, NULL, "CONFIG_UNSUPPORTED",
                    "%zu disks are asked for, and the domain has %zu",
                    snapshot->disks_nr, p->request->domain->disks_nr);
        return;
    }
    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        is_good &= align_one(p, &snapshot->disks[i]);
    }
    place_unlisted(p);
    p->is_aligned = is_good;
}
