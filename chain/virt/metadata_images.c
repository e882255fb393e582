/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata against the chains of its images: can each be opened, and does it
 * stand on what the hierarchy says. See metadata_rules.h. Room: chain/virt.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "metadata_rules.h"
#include "planner.h"

static bool is_local_file(const struct chain_virt_layer *layer)
{
    const struct chain_virt_source *source = &layer->source;

    return plan_is_local(source) && source->path && !source->has_slice &&
           !source->fdgroup;
}

const struct virt_image *rule_image(struct metadata_rules *r,
                                    const struct chain_virt_layer *layer,
                                    const char *fallback)
{
    const struct virt_image *image;

    if (r->is_failed || !layer || !is_local_file(layer)) {
        return NULL;
    }
    image = virt_images_get(&r->images, layer->source.path,
                            layer->format ? layer->format : fallback, r->err);
    r->is_failed = !image;
    return image;
}

static const struct virt_image *if_open(const struct virt_image *image)
{
    return image && image->nr > 0 ? image : NULL;
}

const struct virt_image *rule_before(struct metadata_rules *r,
                                     const struct chain_moment_disk *disk)
{
    return if_open(rule_image(r, disk->before, "raw"));
}

/* libvirt makes an overlay a qcow2 image if nothing else is said. */
const struct virt_image *rule_overlay(struct metadata_rules *r,
                                      const struct chain_moment_disk *disk)
{
    return if_open(rule_image(r, disk->overlay, "qcow2"));
}

void rule_each_snapshot(struct metadata_rules *r,
                        void (*each)(struct metadata_rules *r,
                                     const struct rule_disks *of))
{
    const struct chain_metadata *all = r->request->snapshots;

    for (size_t i = 0; all && !r->is_failed && i < all->nr; i++) {
        const struct chain_moment *moment = &all->moments[all->order[i]];
        IMG_AUTO(img_free_ptr) struct chain_moment_disk *disks = NULL;
        struct rule_disks of = {.moment = moment};

        if (moment->is_double) {
            continue;
        }
        if (chain_snapshot_disks(moment->snapshot, &disks, &of.nr, r->err) <
            0) {
            r->is_failed = true;
            return;
        }
        of.disks = disks;
        each(r, &of);
    }
}

/* ---- Can they be opened? */

enum trouble {
    TROUBLE_NONE,
    TROUBLE_MISSING,
    TROUBLE_FORMAT,
    TROUBLE_OTHER,
};

static enum trouble trouble_of(const struct virt_image *image)
{
    switch ((int)image->code) {
    case IMG_OK:
        return TROUBLE_NONE;
    case IMG_NOT_FOUND:
        return TROUBLE_MISSING;
    case IMG_FORMAT:
        return TROUBLE_FORMAT;
    default:
        return TROUBLE_OTHER;
    }
}

/* Is what is wrong a property of the files, whoever looks? */
static bool is_proved(enum img_code code)
{
    return code == IMG_NOT_FOUND || code == IMG_FORMAT || code == IMG_CORRUPT ||
           code == IMG_LOOP || code == IMG_UNDECLARED;
}

/* By a rule, a file is told of once: others may stand on it. */
static bool is_told(const struct metadata_rules *r, const char *path)
{
    for (size_t i = r->rule_nr; i < chain_report_len(r->report); i++) {
        const struct chain_check *check = chain_report_at(r->report, i);

        if (check->image && strcmp(check->image, path) == 0) {
            return true;
        }
    }
    return false;
}

static void judge_open(struct metadata_rules *r,
                       const struct chain_moment *moment, const char *disk,
                       const struct chain_virt_layer *layer, const char *format)
{
    static const char *const rules[] = {"", "image-exists", "image-format",
                                        "image-readable"};
    const struct virt_image *image = rule_image(r, layer, format);
    struct chain_check *check;

    if (r->is_failed || !layer) {
        return;
    }
    if (!image) {
        if (strcmp(r->rule, rules[TROUBLE_OTHER]) == 0 &&
            !plan_is_empty(&layer->source)) {
            rule_say(r, moment, disk, CHAIN_CHECK_UNPROVEN,
                     "the image is no local file: it is not looked at");
        }
        return;
    }
    if (strcmp(r->rule, rules[trouble_of(image)]) != 0 ||
        is_told(r, image->why_path)) {
        return;
    }
    check = rule_say(r, moment, disk,
                     is_proved(image->code) ? CHAIN_CHECK_FAIL
                                            : CHAIN_CHECK_UNPROVEN,
                     "%s", image->why);
    chain_check_image(r->report, check, image->why_path);
    if (trouble_of(image) == TROUBLE_FORMAT && image->nr == 0) {
        rule_expected(r, check, image->format);
    }
}

static void open_disks(struct metadata_rules *r, const struct rule_disks *of)
{
    for (size_t i = 0; i < of->nr; i++) {
        const struct chain_moment_disk *disk = &of->disks[i];

        if (disk->place == CHAIN_PLACE_INTERNAL ||
            disk->place == CHAIN_PLACE_EXTERNAL) {
            judge_open(r, of->moment, disk->name, disk->before, "raw");
            judge_open(r, of->moment, disk->name, disk->overlay, "qcow2");
        }
    }
}

static void rule_openable(struct metadata_rules *r, const char *rule,
                          const char *good)
{
    const struct chain_virt_domain *domain = r->request->domain;

    rule_begin(r, rule);
    for (size_t i = 0; i < domain->disks_nr && !r->is_failed; i++) {
        const struct chain_virt_disk *disk = &domain->disks[i];

        if (!disk->is_readonly && !plan_is_empty(&disk->top.source)) {
            judge_open(r, NULL, disk->target, &disk->top, "raw");
        }
    }
    rule_each_snapshot(r, open_disks);
    rule_end(r, good);
}

void metadata_rules_open(struct metadata_rules *r)
{
    rule_openable(r, "image-exists", "each image that is named is there");
    rule_openable(r, "image-format",
                  "each image is of the format it is named "
                  "with");
    rule_openable(r, "image-readable", "each image can be read");
}

/* ---- Overlays. */

/* The command that lets the image OVERLAY stand on BASE, whatever it shows
   then; NULL: it stands on something. */
static char *rebase_command(const struct virt_image *overlay,
                            const struct virt_image *base)
{
    struct img_error ignored;
    bool is_bare = overlay->nr == 1 &&
                   (overlay->code == IMG_OK || overlay->code == IMG_NOT_FOUND);
    IMG_AUTO(img_free_ptr)
    char *from = is_bare ? chain_shell_quote(base->path, &ignored) : NULL;
    IMG_AUTO(img_free_ptr)
    char *to = from ? chain_shell_quote_path(overlay->path, &ignored) : NULL;
    IMG_AUTO(img_free_ptr)
    char *format = to ? chain_shell_quote(base->format, &ignored) : NULL;

    return format ? img_text(&ignored,
                             "imgchain rebase -f qcow2 -u -b %s -F %s %s", from,
                             format, to)
                  : NULL;
}

static void say_backing(struct metadata_rules *r, const struct rule_disks *of,
                        const struct chain_moment_disk *disk, int at)
{
    const struct virt_image *overlay = rule_overlay(r, disk);
    const struct virt_image *before = rule_before(r, disk);
    struct chain_check *check;

    if (at > 1) {
        check = rule_say(r, of->moment, disk->name, CHAIN_CHECK_WARN,
                         "layers that the record does not know lie between "
                         "the overlay and what it was made on");
    } else if (at == 0) {
        check = rule_say(r, of->moment, disk->name, CHAIN_CHECK_FAIL,
                         "the overlay and what it was made on are one file");
    } else {
        check = rule_say(r, of->moment, disk->name, CHAIN_CHECK_FAIL,
                         "the overlay does not stand on what it was made on");
        chain_check_remedy(check, rebase_command(overlay, before));
    }
    chain_check_image(r->report, check, overlay->path);
    rule_found(r, check,
               overlay->nr > 1 ? overlay->layers[1]->path
               : overlay->why  ? overlay->why
                               : "no backing file");
    rule_expected(r, check, before->path);
}

static void judge_overlays(struct metadata_rules *r,
                           const struct rule_disks *of)
{
    for (size_t i = 0; i < of->nr && !r->is_failed; i++) {
        const struct chain_moment_disk *disk = &of->disks[i];
        const struct virt_image *overlay = rule_overlay(r, disk);
        const struct virt_image *before = rule_before(r, disk);
        int at;

        if (!overlay || !before) {
            continue;
        }
        at = virt_image_find(overlay, &before->layers[0]->stamp);
        if (at != 1) {
            say_backing(r, of, disk, at);
        }
    }
}

static void judge_unfinished(struct metadata_rules *r,
                             const struct rule_disks *of)
{
    const struct chain_virt_snapshot *snapshot = of->moment->snapshot;

    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        if (snapshot->disks[i].is_delete_in_progress) {
            rule_say(r, of->moment, snapshot->disks[i].name, CHAIN_CHECK_WARN,
                     "libvirt began to delete the snapshot and did not end: "
                     "delete it again");
        }
    }
}

/* ---- From one snapshot to the next, and to the domain. */

/*
 * IMAGE has to be, or to stand on, what DISK was when the snapshot FROM had
 * been taken. 0: it does; 1: it goes on beside its overlay, as after a revert;
 * -1: neither; 0 too where nothing can be told.
 */
static int follows(struct metadata_rules *r, const struct virt_image *image,
                   const struct chain_moment_disk *from)
{
    const struct virt_image *before = rule_before(r, from);
    const struct virt_image *after = before;

    if (from->place == CHAIN_PLACE_EXTERNAL) {
        after = rule_overlay(r, from);
    }
    if (!after || virt_image_find(image, &after->layers[0]->stamp) >= 0) {
        return 0;
    }
    return before && after != before &&
                   virt_image_find(image, &before->layers[0]->stamp) >= 0
               ? 1
               : -1;
}

static void say_follows(struct metadata_rules *r,
                        const struct chain_moment *moment,
                        const struct chain_moment_disk *from, int how,
                        const struct virt_image *image, const char *what)
{
    struct chain_check *check = rule_say(
        r, moment, from->name, how > 0 ? CHAIN_CHECK_WARN : CHAIN_CHECK_FAIL,
        how > 0 ? "%s goes on beside the overlay of the snapshot, as after a "
                  "revert"
                : "%s does not stand on the snapshot",
        what);

    chain_check_image(r->report, check, image->path);
    rule_expected(r, check,
                  from->place == CHAIN_PLACE_EXTERNAL
                      ? from->overlay->source.path
                      : from->before->source.path);
}

static void judge_parent(struct metadata_rules *r, const struct rule_disks *of)
{
    const struct chain_metadata *all = r->request->snapshots;
    IMG_AUTO(img_free_ptr) struct chain_moment_disk *above = NULL;
    const struct chain_moment *parent;
    size_t nr;

    if (of->moment->parent == CHAIN_METADATA_NONE) {
        return;
    }
    parent = &all->moments[of->moment->parent];
    if (chain_snapshot_disks(parent->snapshot, &above, &nr, r->err) < 0) {
        r->is_failed = true;
        return;
    }
    for (size_t i = 0; i < of->nr && !r->is_failed; i++) {
        const struct chain_moment_disk *disk = &of->disks[i];
        const struct chain_moment_disk *from = rule_disk(above, nr, disk->name);
        const struct virt_image *image = from ? rule_before(r, disk) : NULL;
        int how = image ? follows(r, image, from) : 0;

        if (how != 0 && !r->is_failed) {
            say_follows(r, of->moment, from, how, image,
                        "what the snapshot was taken of");
        }
    }
}

static const struct chain_moment *
current_of(const struct chain_metadata *metadata)
{
    for (size_t i = 0; metadata->current_nr == 1 && i < metadata->nr; i++) {
        if (metadata->moments[i].is_current) {
            return &metadata->moments[i];
        }
    }
    return NULL;
}

static void judge_current(struct metadata_rules *r, const struct rule_disks *of)
{
    if (of->moment != current_of(r->request->snapshots)) {
        return;
    }
    for (size_t i = 0; i < of->nr && !r->is_failed; i++) {
        const struct chain_moment_disk *from = &of->disks[i];
        const struct chain_virt_disk *disk = rule_domain_disk(r, from->name);
        const struct virt_image *image;
        int how;

        if (!disk) {
            if (from->place != CHAIN_PLACE_NO) {
                rule_say(r, of->moment, from->name, CHAIN_CHECK_WARN,
                         "the domain has no such disk any more");
            }
            continue;
        }
        image = if_open(rule_image(r, &disk->top, "raw"));
        how = image && from->place != CHAIN_PLACE_NO ? follows(r, image, from)
                                                     : 0;
        if (how != 0 && !r->is_failed) {
            say_follows(r, of->moment, from, how, image, "the domain's disk");
        }
    }
}

void metadata_rules_chains(struct metadata_rules *r)
{
    rule_begin(r, "overlay-backing");
    rule_each_snapshot(r, judge_overlays);
    rule_end(r, "each overlay stands on what it was made on");
    rule_begin(r, "snapshot-chain");
    rule_each_snapshot(r, judge_parent);
    rule_end(r, "each snapshot was taken of what its parent left");
    rule_begin(r, "domain-disk");
    if (current_of(r->request->snapshots)) {
        rule_each_snapshot(r, judge_current);
    } else {
        rule_say(r, NULL, NULL, CHAIN_CHECK_SKIP,
                 "it is not known which snapshot the domain goes on from");
    }
    rule_end(r, "the domain's disks go on from the current snapshot");
    rule_begin(r, "delete-unfinished");
    rule_each_snapshot(r, judge_unfinished);
    rule_end(r, "no deletion was left half done");
}
