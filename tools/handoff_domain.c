/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the domain has, by its live XML. See handoff.h. */
#include <img/memory.h>
#include <string.h>

#include "handoff.h"
#include "message.h"

static int read_domain(struct handoff *handoff, struct img_error *err)
{
    struct preflight *pre = &handoff->pre;
    bool is_persistent;

    chain_virt_domain_free(img_steal(&pre->domain));
    if (chain_libvirt_domain(handoff->libvirt, &pre->domain, &is_persistent,
                             err) < 0) {
        return -1;
    }
    pre->request.domain = pre->domain;
    pre->request.is_transient = !is_persistent;
    return 0;
}

static int find_disk(const struct handoff *handoff, struct handoff_disk *disk,
                     struct img_error *err)
{
    const struct chain_virt_domain *domain = handoff->pre.domain;
    char shown[64];

    for (size_t i = 0; i < domain->disks_nr; i++) {
        const char *target = domain->disks[i].target;

        if (target && strcmp(target, disk->target) == 0) {
            disk->idx = i;
            return 0;
        }
    }
    img_escape(disk->target, strlen(disk->target), shown, sizeof(shown));
    return img_fail(err, IMG_NOT_FOUND, "the domain has no disk \"%s\"", shown);
}

static int check_once(const struct handoff *handoff, size_t nr,
                      struct img_error *err)
{
    for (size_t i = 0; i < nr; i++) {
        if (handoff->disks[i].idx == handoff->disks[nr].idx) {
            return img_fail(err, IMG_USAGE, "%s: the disk is named twice",
                            handoff->disks[i].target);
        }
    }
    return 0;
}

/* The disks in the domain as it is now. */
int handoff_find_disks(struct handoff *handoff, struct img_error *err)
{
    if (read_domain(handoff, err) < 0) {
        return -1;
    }
    if (!handoff->pre.domain->is_active) {
        return img_fail(err, IMG_USAGE,
                        "the domain does not run: there is nothing to pivot");
    }
    for (size_t i = 0; i < handoff->nr; i++) {
        if (find_disk(handoff, &handoff->disks[i], err) < 0 ||
            check_once(handoff, i, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* What they run on before anything is done. */
int handoff_note_sources(struct handoff *handoff, struct img_error *err)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        struct handoff_disk *disk = &handoff->disks[i];
        const struct chain_virt_source *source =
            &handoff_top(handoff, disk)->source;

        if (source->path) {
            disk->source = img_strndup(source->path, strlen(source->path), err);
        } else {
            img_fail(err, IMG_UNSUPPORTED,
                     "%s: the disk is no file or block device of this host",
                     disk->target);
        }
        if (!disk->source) {
            return -1;
        }
    }
    return 0;
}

static bool is_source(const struct chain_virt_layer *layer, const char *path)
{
    return path && layer->source.path && strcmp(layer->source.path, path) == 0;
}

/* All disks run on their destinations: an earlier run was killed. */
bool handoff_is_over(const struct handoff *handoff)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        if (!is_source(handoff_top(handoff, &handoff->disks[i]),
                       handoff->disks[i].dest)) {
            return false;
        }
    }
    return true;
}

const struct chain_virt_disk *handoff_in_domain(const struct handoff *handoff,
                                                const struct handoff_disk *disk)
{
    return &handoff->pre.domain->disks[disk->idx];
}

/* A block copy to DEST (NULL: to whatever); not a commit. */
bool handoff_is_copy_to(const struct chain_virt_disk *disk, const char *dest)
{
    return disk->has_mirror &&
           (!disk->mirror_job || strcmp(disk->mirror_job, "copy") == 0) &&
           (!dest || is_source(&disk->mirror, dest));
}

bool handoff_is_same_image(const struct chain_virt_layer *a,
                           const struct chain_virt_layer *b)
{
    const char *a_format = a->format ? a->format : "raw";
    const char *b_format = b->format ? b->format : "raw";

    return is_source(a, b->source.path) && strcmp(a_format, b_format) == 0;
}

/* Do both stand on the same images? */
bool handoff_is_same_below(const struct chain_virt_layer *a,
                           const struct chain_virt_layer *b)
{
    for (; a->backing && b->backing; a = a->backing, b = b->backing) {
        if (!handoff_is_same_image(a->backing, b->backing)) {
            return false;
        }
    }
    return !a->backing && !b->backing && a->backing_kind == b->backing_kind;
}

/*
 * A copy to the same file that is under way cannot be judged any more, being
 * written. A full one needs no judging. A shallow one is gone on with if what
 * it stands on is what the source stands on.
 */
static bool can_resume(const struct handoff *handoff,
                       const struct chain_virt_disk *disk)
{
    bool is_full = disk->mirror.backing_kind == CHAIN_VIRT_BACKING_ENDS;

    if (handoff->kind == CHAIN_PIVOT_COPY || !disk->top.backing) {
        return is_full;
    }
    return !is_full && handoff_is_same_below(&disk->mirror, &disk->top);
}

int handoff_look_for_job(struct handoff *handoff, struct img_error *err)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        const struct handoff_disk *disk = &handoff->disks[i];
        const struct chain_virt_disk *has = handoff_in_domain(handoff, disk);

        if (!has->has_mirror) {
            continue;
        }
        if (handoff->kind == CHAIN_PIVOT_SNAPSHOT ||
            !handoff_is_copy_to(has, disk->dest)) {
            return img_fail(err, IMG_LOCKED,
                            "%s: the disk has a block job already",
                            disk->target);
        }
        if (!can_resume(handoff, has)) {
            return img_fail(err, IMG_LOCKED,
                            "%s: a copy to that file is under way, but not "
                            "this one: --abort cancels it",
                            disk->target);
        }
        handoff->is_resumed = true;
        message_note("%s: going on with the copy of an earlier run",
                     disk->target);
    }
    return 0;
}

/*
 * What the domain runs on, by its XML: libvirt may have done what it was asked
 * for although it did not say so.
 */
void handoff_find_state(struct handoff *handoff)
{
    struct img_error ignored;
    size_t on_source = 0;
    bool has_job = false;

    handoff->state = CHAIN_PIVOT_UNKNOWN;
    if (handoff_find_disks(handoff, &ignored) < 0) {
        return;
    }
    for (size_t i = 0; i < handoff->nr; i++) {
        const struct handoff_disk *disk = &handoff->disks[i];

        on_source += is_source(handoff_top(handoff, disk), disk->source);
        has_job |= handoff_in_domain(handoff, disk)->has_mirror;
    }
    if (handoff_is_over(handoff)) {
        handoff->state = CHAIN_PIVOT_ON_DEST;
    } else if (on_source == handoff->nr) {
        handoff->state = has_job ? CHAIN_PIVOT_READY : CHAIN_PIVOT_ON_SOURCE;
    }
}
