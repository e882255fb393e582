/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot that is put on record, in the order in which libvirt 9.0 asks:
 * virDomainSnapshotDefParse, qemuSnapshotCreateXML,
 * virDomainSnapshotRedefinePrep. Room: chain/virt.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "abi_snapshot.h"
#include "redefine_impl.h"

#define REDEFINE_ID "libvirt-redefine"

/* What a snapshot may say that its domain did. */
struct state {
    const char *name;
    const char *refusal; /* libvirt's error; NULL: it takes it */
    bool is_online, is_offline;
};

static const struct state *state_of(const char *name)
{
    static const struct state states[] = {
        {"running", NULL, true, false},
        {"paused", NULL, true, false},
        {"shutdown", NULL, false, false},
        {"shutoff", NULL, false, true},
        {"crashed", NULL, false, false},
        {"disk-snapshot", NULL, false, true},
        {"blocked", "INTERNAL_ERROR", false, false},
        {"pmsuspended", "OPERATION_UNSUPPORTED", false, false},
    };

    for (size_t i = 0; name && i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(states[i].name, name) == 0) {
            return &states[i];
        }
    }
    return NULL;
}

static bool is_word(const char *text, const char *word)
{
    return text && strcmp(text, word) == 0;
}

static bool is_disk_only(const struct chain_virt_snapshot *snapshot)
{
    return is_word(snapshot->state, "disk-snapshot");
}

/* ---- What is read. */

static void judge_head(struct redefine_bed *bed,
                       const struct chain_virt_snapshot *snapshot)
{
    char shown[CHAIN_SHOWN_LEN];

    if (!snapshot->name) {
        redefine_refuse(bed, REDEFINE_ID, "XML_ERROR", "has no <name>");
    }
    if (!snapshot->has_creation_time) {
        redefine_refuse(bed, REDEFINE_ID, "INTERNAL_ERROR",
                        "has no <creationTime>");
    }
    if (!snapshot->state) {
        redefine_refuse(bed, REDEFINE_ID, "XML_ERROR", "has no <state>");
    } else if (!state_of(snapshot->state)) {
        struct chain_check *check =
            redefine_refuse(bed, REDEFINE_ID, "CONFIG_UNSUPPORTED",
                            "has a <state> that libvirt does not know");

        chain_check_found(bed->p->report, check, "%s",
                          chain_shown(snapshot->state, shown));
    }
}

static enum snapshot_place memory_place(const struct chain_virt_snapshot *s)
{
    const struct state *state = state_of(s->state);

    if (s->memory_kind) {
        return strcmp(s->memory_kind, "external") == 0   ? PLACE_EXTERNAL
               : strcmp(s->memory_kind, "internal") == 0 ? PLACE_INTERNAL
                                                         : PLACE_NO;
    }
    return s->memory_file               ? PLACE_EXTERNAL
           : state && state->is_offline ? PLACE_NO
                                        : PLACE_INTERNAL;
}

static void judge_memory(struct redefine_bed *bed,
                         const struct chain_virt_snapshot *snapshot)
{
    const struct state *state = state_of(snapshot->state);

    if (state && state->is_offline && memory_place(snapshot) != PLACE_NO) {
        struct chain_check *check =
            redefine_refuse(bed, "libvirt-memory", "XML_ERROR",
                            "has memory, and its state is one without");

        plan_found_line(bed->p, check, snapshot->file, snapshot->memory_line);
    }
}

static void judge_xml(struct redefine_bed *bed,
                      const struct chain_virt_snapshot *snapshot)
{
    judge_head(bed, snapshot);
    if (snapshot->domain) {
        redefine_judge_refusals(bed, &snapshot->domain->refusals,
                                snapshot->file);
    }
    if (snapshot->inactive_domain) {
        redefine_judge_refusals(bed, &snapshot->inactive_domain->refusals,
                                snapshot->file);
    }
    judge_memory(bed, snapshot);
    redefine_judge_refusals(bed, &snapshot->refusals, snapshot->file);
}

static void judge_legality(struct redefine_bed *bed,
                           const struct chain_virt_snapshot *snapshot)
{
    const struct state *state = state_of(snapshot->state);
    char shown[CHAIN_SHOWN_LEN];
    struct chain_check *check;

    if (snapshot->name &&
        (snapshot->name[0] == '.' || strchr(snapshot->name, '/'))) {
        redefine_refuse(bed, "libvirt-name", "XML_DETAIL",
                        "has a name with a slash, or a dot at its beginning");
    }
    if (state && state->refusal) {
        check = redefine_refuse(bed, REDEFINE_ID, state->refusal,
                                "is of a state in which none is taken");
        chain_check_found(bed->p->report, check, "%s",
                          chain_shown(snapshot->state, shown));
    }
}

/* ---- One of that name is on record. */

/*
 * Would the guest notice? Of a document that libvirt wrote: into another it
 * fills in what is left out, and that cannot be known from here.
 */
static void judge_stable(struct redefine_bed *bed,
                         const struct chain_moment *moment,
                         const struct chain_moment *old)
{
    struct chain_abi abi = {.nr = 0};
    struct img_error err;

    if (!moment->snapshot->domain->has_addresses) {
        return;
    }
    if (abi_compare_snapshots(old, moment, &abi, &err) < 0) {
        bed->p->report->is_out_of_memory = true; /* both were parsed before */
        return;
    }
    for (size_t i = 0; i < abi.nr && abi.list[i].kind == CHAIN_ABI_BREAKS;
         i++) {
        redefine_refuse(bed, "libvirt-abi", "CONFIG_UNSUPPORTED",
                        "is there already, of another machine: %s",
                        abi.list[i].text);
    }
    chain_abi_fini(&abi);
}

static void judge_replaced(struct redefine_bed *bed,
                           const struct chain_virt_snapshot *snapshot,
                           const struct chain_virt_snapshot *old)
{
    const struct state *now = state_of(snapshot->state);
    const struct state *then = state_of(old->state);

    if (now && then && now->is_online != then->is_online) {
        redefine_refuse(bed, REDEFINE_ID, "INVALID_ARG",
                        "is there already, of a guest that %s, and that "
                        "cannot change",
                        then->is_online ? "ran" : "did not run");
    }
    if (is_disk_only(snapshot) != is_disk_only(old)) {
        redefine_refuse(bed, REDEFINE_ID, "INVALID_ARG",
                        "is there already, %s, and that cannot change",
                        is_disk_only(old) ? "of disks only"
                                          : "and not of disks only");
    }
}

/* ---- Disks. */

static bool has_path(const struct chain_virt_source *source)
{
    return source->path || source->name;
}

static bool is_external(const struct chain_virt_snapshot *snapshot)
{
    if (is_disk_only(snapshot) || memory_place(snapshot) == PLACE_EXTERNAL) {
        return true;
    }
    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        const struct chain_virt_snapshot_disk *disk = &snapshot->disks[i];

        if (disk->snapshot
                ? strcmp(disk->snapshot, "external") == 0
                : has_path(&disk->dest.source) || disk->dest.format) {
            return true;
        }
    }
    return false;
}

/* Overlays that have no name get one, which takes a source to go by. */
static void judge_unnamed(struct redefine_bed *bed,
                          const struct plan_alignment *a)
{
    for (size_t i = 0; i < a->domain->disks_nr; i++) {
        const struct chain_virt_disk *disk = &a->domain->disks[i];
        const struct chain_virt_snapshot_disk *asked = a->asked[i];
        const char *why = NULL;

        if (a->places[i] != PLACE_EXTERNAL ||
            (asked && has_path(&asked->dest.source))) {
            continue;
        }
        if (asked && asked->dest.source.type != CHAIN_VIRT_SOURCE_FILE) {
            why = "libvirt makes up no name for an overlay that is no file";
        } else if (bed->from_here || !has_path(&disk->top.source)) {
            why = plan_unnamed_why(disk);
        }
        if (why) {
            plan_refuse(bed->p, disk->target, "CONFIG_UNSUPPORTED", "%s: %s",
                        bed->name, why);
        }
    }
}

/* A disk's overlay, and whether libvirt makes up its name. */
struct overlay {
    char *path;
    size_t idx;
    bool is_made_up;
};

static int by_path(const void *a, const void *b)
{
    const struct overlay *one = a, *other = b;
    int order = strcmp(one->path, other->path);

    return order != 0 ? order
                      : (one->idx > other->idx) - (one->idx < other->idx);
}

/* What is made up is none of the names of the disks before. */
static void judge_collisions(struct redefine_bed *bed,
                             const struct plan_alignment *a)
{
    struct img_error ignored;
    struct overlay *all =
        img_calloc(a->domain->disks_nr + 1, sizeof(*all), &ignored);
    size_t nr = 0;

    bed->p->report->is_out_of_memory |= !all;
    for (size_t i = 0; all && i < a->domain->disks_nr; i++) {
        const struct chain_virt_disk *disk = &a->domain->disks[i];
        const char *own = a->asked[i] ? a->asked[i]->dest.source.path : NULL;

        if (own || (a->places[i] == PLACE_EXTERNAL && disk->top.source.path)) {
            all[nr].path =
                own ? strdup(own)
                    : plan_made_up_name(bed->p, disk, a->snapshot->name);
            all[nr].idx = i;
            all[nr].is_made_up = !own;
            bed->p->report->is_out_of_memory |= !all[nr].path;
            nr += all[nr].path != NULL;
        }
    }
    if (nr > 0) {
        qsort(all, nr, sizeof(*all), by_path);
    }
    for (size_t i = 1; i < nr; i++) {
        if (all[i].is_made_up && strcmp(all[i].path, all[i - 1].path) == 0) {
            plan_refuse(bed->p, a->domain->disks[all[i].idx].target,
                        "CONFIG_UNSUPPORTED",
                        "%s: the name that libvirt makes up is that of another "
                        "disk's overlay",
                        bed->name);
        }
    }
    for (size_t i = 0; i < nr; i++) {
        free(all[i].path);
    }
    free(all);
}

static void align(struct redefine_bed *bed,
                  const struct chain_virt_snapshot *snapshot,
                  const struct chain_virt_domain *domain)
{
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    const struct chain_virt_snapshot_disk **asked =
        img_calloc(domain->disks_nr + 1,
                   sizeof(struct chain_virt_snapshot_disk *), &ignored);
    IMG_AUTO(img_free_ptr)
    enum snapshot_place *places =
        img_calloc(domain->disks_nr + 1, sizeof(*places), &ignored);
    const struct plan_alignment alignment = {
        .domain = domain,
        .snapshot = snapshot,
        .fallback = is_external(snapshot) ? PLACE_EXTERNAL : PLACE_INTERNAL,
        .asked = asked,
        .places = places,
    };

    if (!asked || !places) {
        bed->p->report->is_out_of_memory = true;
    } else if (plan_align_disks(bed->p, &alignment)) {
        judge_unnamed(bed, &alignment);
        if (snapshot->name) {
            judge_collisions(bed, &alignment);
        }
    }
}

static void judge_disks(struct redefine_bed *bed,
                        const struct chain_virt_snapshot *snapshot,
                        const struct redefine_node *old)
{
    const struct chain_virt_domain *domain = snapshot->domain;

    if (!domain && old && old->domain_of) {
        domain = redefine_domain(old->domain_of);
    }
    plan_begin(bed->p, "libvirt-disks");
    if (domain) {
        align(bed, snapshot, domain);
    } else if (bed->record) {
        redefine_refuse(bed, "libvirt-disks", "INTERNAL_ERROR",
                        "has no whole <domain>, and replaces none that has");
    } else {
        plan_say(bed->p, NULL, CHAIN_CHECK_WARN,
                 "%s has no whole <domain>: libvirt takes it only in place of "
                 "one that has",
                 bed->name);
    }
}

void redefine_judge_snapshot(struct redefine_bed *bed,
                             const struct chain_moment *moment)
{
    const struct chain_virt_snapshot *snapshot = moment->snapshot;
    const struct redefine_node *old =
        bed->record ? redefine_find(bed->record, moment->name) : NULL;

    redefine_call(bed, moment);
    judge_xml(bed, snapshot);
    judge_legality(bed, snapshot);
    redefine_judge_parent(bed, moment);
    if (plan_has(bed->p, CHAIN_VIRT_DISK_ONLY) && snapshot->state &&
        !is_disk_only(snapshot)) {
        redefine_refuse(bed, REDEFINE_ID, "INVALID_ARG",
                        "is not of the state disk-snapshot, with which alone "
                        "--disk-only goes");
    }
    if (snapshot->domain) {
        redefine_judge_uuid(bed, snapshot->domain);
    }
    if (old) {
        judge_replaced(bed, snapshot, old->moment->snapshot);
        if (snapshot->domain && old->domain_of) {
            judge_stable(bed, moment, old->domain_of);
        }
    }
    judge_disks(bed, snapshot, old);
}
