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

bool plan_is_readonly(const struct chain_virt_disk *disk)
{
    return disk->is_readonly ||
           (disk->device && strcmp(disk->device, "cdrom") == 0);
}

/* What the domain says of its disk. */
static enum snapshot_place domain_place(const struct chain_virt_disk *disk)
{
    enum snapshot_place place = place_of(disk->snapshot);

    return place == PLACE_UNSAID && plan_is_readonly(disk) ? PLACE_NO : place;
}

static enum snapshot_place
asked_place(const struct plan_alignment *a,
            const struct chain_virt_snapshot_disk *asked,
            const struct chain_virt_disk *disk)
{
    enum snapshot_place place = place_of(asked->snapshot);
    enum snapshot_place own = domain_place(disk);

    if (place == PLACE_UNSAID &&
        (asked->dest.source.path || asked->dest.source.name ||
         asked->dest.format)) {
        return PLACE_EXTERNAL;
    }
    if (place != PLACE_UNSAID) {
        return place;
    }
    return own == PLACE_NO ||
                   (own != PLACE_UNSAID && a->fallback != PLACE_INTERNAL)
               ? own
               : a->fallback;
}

/* In a snapshot that is internal every disk is so, but for those that the
   domain keeps out of all. */
static bool is_mismatch(const struct plan_alignment *a,
                        enum snapshot_place place,
                        const struct chain_virt_disk *disk)
{
    return a->fallback == PLACE_INTERNAL && place != PLACE_INTERNAL &&
           !(place == PLACE_NO && domain_place(disk) == PLACE_NO);
}

static struct chain_check *judge_place(struct planner *p,
                                       const struct plan_alignment *a, int idx)
{
    const struct chain_virt_disk *disk = &a->domain->disks[idx];
    const struct chain_virt_source *source = &a->asked[idx]->dest.source;

    if (is_mismatch(a, a->places[idx], disk)) {
        return plan_refuse(
            p, disk->target, "CONFIG_UNSUPPORTED",
            "the snapshot as a whole is internal, and so has each of its "
            "disks to be, if it has no snapshot='no' in the domain: an "
            "external one is asked for with --disk-only, or with external "
            "memory");
    }
    if ((source->path || source->name) && a->places[idx] != PLACE_EXTERNAL) {
        return plan_refuse(p, disk->target, "CONFIG_UNSUPPORTED",
                           "a file is named, which an external snapshot "
                           "alone has");
    }
    return NULL;
}

static bool align_one(struct planner *p, const struct plan_alignment *a,
                      const struct chain_virt_snapshot_disk *asked)
{
    int idx = plan_find_sole_disk(a->domain, asked->name);
    char shown[CHAIN_SHOWN_LEN];
    struct chain_check *check;

    if (idx < 0) {
        check = plan_refuse(p, asked->name, "CONFIG_UNSUPPORTED",
                            "the domain has no disk \"%s\"",
                            chain_shown(asked->name ? asked->name : "", shown));
    } else if (a->asked[idx]) {
        check =
            plan_refuse(p, a->domain->disks[idx].target, "CONFIG_UNSUPPORTED",
                        "the request names the disk twice");
    } else {
        a->asked[idx] = asked;
        a->places[idx] = asked_place(a, asked, &a->domain->disks[idx]);
        check = judge_place(p, a, idx);
    }
    if (check) {
        plan_found_line(p, check, a->snapshot->file, asked->line);
    }
    return !check;
}

static void place_unlisted(const struct plan_alignment *a)
{
    for (size_t i = 0; i < a->domain->disks_nr; i++) {
        const struct chain_virt_disk *disk = &a->domain->disks[i];

        if (a->asked[i]) {
            continue;
        }
        a->places[i] =
            plan_is_empty(&disk->top.source) ? PLACE_NO : domain_place(disk);
        if (a->places[i] == PLACE_UNSAID) {
            a->places[i] = a->fallback;
        }
    }
}

bool plan_align_disks(struct planner *p, const struct plan_alignment *a)
{
    const struct chain_virt_snapshot *snapshot = a->snapshot;
    bool is_good = true;

    if (snapshot->disks_nr > a->domain->disks_nr) {
        plan_refuse(p, NULL, "CONFIG_UNSUPPORTED",
                    "%zu disks are asked for, and the domain has %zu",
                    snapshot->disks_nr, a->domain->disks_nr);
        return false;
    }
    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        is_good &= align_one(p, a, &snapshot->disks[i]);
    }
    place_unlisted(a);
    return is_good;
}

void plan_align(struct planner *p)
{
    const struct plan_alignment alignment = {
        .domain = p->request->domain,
        .snapshot = p->request->snapshot,
        .fallback =
            plan_has(p, CHAIN_VIRT_DISK_ONLY) || p->memory == PLACE_EXTERNAL
                ? PLACE_EXTERNAL
                : PLACE_INTERNAL,
        .asked = p->asked,
        .places = p->places,
    };

    p->is_aligned = plan_align_disks(p, &alignment);
}
