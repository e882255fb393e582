/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checkpoints against the bitmaps of the domain's images. See metadata_rules.h.
 * Room: chain/virt.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "metadata_rules.h"

/* A checkpoint's bitmap of one disk, through the layers of the disk's chain. */
struct bitmap_case {
    const struct chain_moment *moment;
    const char *disk, *name;
    const struct virt_image *image; /* of the domain's disk; NULL: not open */
};

typedef void judge(struct metadata_rules *r, const struct bitmap_case *of);

static struct virt_inner *bitmap_at(const struct bitmap_case *of, size_t layer)
{
    struct virt_file *file = of->image->layers[layer];

    return virt_inner_find(file->bitmaps, file->bitmaps_nr, of->name);
}

/* "NAME in PATH" as what was found. */
static void show_place(struct metadata_rules *r, struct chain_check *check,
                       const struct bitmap_case *of, size_t layer)
{
    chain_check_image(r->report, check, of->image->layers[layer]->path);
    rule_found(r, check, of->name);
}

static void judge_disk(struct metadata_rules *r, const struct bitmap_case *of)
{
    if (!rule_domain_disk(r, of->disk)) {
        rule_say(r, of->moment, of->disk, CHAIN_CHECK_FAIL,
                 "the domain has no such disk any more");
    }
}

static void judge_readable(struct metadata_rules *r,
                           const struct bitmap_case *of)
{
    for (size_t i = 0; of->image && i < of->image->nr; i++) {
        const struct virt_file *file = of->image->layers[i];

        if (file->bitmaps_why) {
            chain_check_image(r->report,
                              rule_say(r, of->moment, of->disk,
                                       CHAIN_CHECK_FAIL, "%s",
                                       file->bitmaps_why),
                              file->path);
        }
    }
}

static void judge_exists(struct metadata_rules *r, const struct bitmap_case *of)
{
    struct chain_check *check;
    size_t first = 0;

    if (!of->image) {
        return;
    }
    while (first < of->image->nr && !bitmap_at(of, first)) {
        first++;
    }
    if (first == of->image->nr) {
        check = rule_say(r, of->moment, of->disk, CHAIN_CHECK_FAIL,
                         "no image of the disk has the checkpoint's bitmap: "
                         "nothing can be backed up from it");
        chain_check_image(r->report, check, of->image->path);
        rule_expected(r, check, of->name);
    } else if (first > 0) {
        check = rule_say(r, of->moment, of->disk, CHAIN_CHECK_WARN,
                         "the bitmap is only below the active layer: what is "
                         "written there is not recorded");
        show_place(r, check, of, first);
    }
}

static void judge_consistent(struct metadata_rules *r,
                             const struct bitmap_case *of)
{
    for (size_t i = 0; of->image && i < of->image->nr; i++) {
        const struct virt_inner *bitmap = bitmap_at(of, i);

        if (bitmap && bitmap->is_in_use) {
            show_place(r,
                       rule_say(r, of->moment, of->disk, CHAIN_CHECK_FAIL,
                                "the bitmap was not stored whole: it does not "
                                "tell all that has changed"),
                       of, i);
        }
    }
}

static void judge_recording(struct metadata_rules *r,
                            const struct bitmap_case *of)
{
    for (size_t i = 0; of->image && i < of->image->nr; i++) {
        const struct virt_inner *bitmap = bitmap_at(of, i);

        if (bitmap && !bitmap->is_auto) {
            show_place(r,
                       rule_say(r, of->moment, of->disk, CHAIN_CHECK_FAIL,
                                "the bitmap is disabled: it does not record "
                                "what is written"),
                       of, i);
        }
    }
}

static void judge_gap(struct metadata_rules *r, const struct bitmap_case *of)
{
    bool is_begun = false, is_over = false;

    for (size_t i = 0; of->image && i < of->image->nr; i++) {
        bool is_there = bitmap_at(of, i);

        if (is_there && is_over) {
            show_place(r,
                       rule_say(r, of->moment, of->disk, CHAIN_CHECK_FAIL,
                                "a layer above has the bitmap, and one between "
                                "has not: libvirt does not use it"),
                       of, i);
            return;
        }
        is_over = is_begun && !is_there;
        is_begun |= is_there;
    }
}

static void mark_known(struct metadata_rules *r, const struct bitmap_case *of)
{
    (void)r;
    for (size_t i = 0; of->image && i < of->image->nr; i++) {
        struct virt_inner *bitmap = bitmap_at(of, i);

        if (bitmap) {
            bitmap->is_known = true;
        }
    }
}

/* ---- All of them. */

static void each_disk(struct metadata_rules *r,
                      const struct chain_moment *moment, judge *one)
{
    const struct chain_virt_checkpoint *checkpoint = moment->checkpoint;

    for (size_t i = 0; i < checkpoint->disks_nr && !r->is_failed; i++) {
        const struct chain_virt_checkpoint_disk *from = &checkpoint->disks[i];
        const struct chain_virt_disk *disk = rule_domain_disk(r, from->name);
        struct bitmap_case of = {
            .moment = moment,
            .disk = from->name,
            .name = from->bitmap ? from->bitmap : moment->name,
        };

        if (!of.name || !of.disk ||
            (from->checkpoint && strcmp(from->checkpoint, "no") == 0)) {
            continue;
        }
        of.image = disk ? rule_image(r, &disk->top, "raw") : NULL;
        if (!r->is_failed) {
            one(r, &of);
        }
    }
}

static void apply(struct metadata_rules *r, judge *one)
{
    const struct chain_metadata *all = r->request->checkpoints;

    for (size_t i = 0; i < all->nr && !r->is_failed; i++) {
        const struct chain_moment *moment = &all->moments[all->order[i]];

        if (!moment->is_double) {
            each_disk(r, moment, one);
        }
    }
}

static void say_stranded(struct metadata_rules *r, const struct virt_file *file)
{
    for (size_t i = 0; i < file->bitmaps_nr; i++) {
        struct chain_check *check;

        if (file->bitmaps[i].is_known) {
            continue;
        }
        check = rule_say(r, NULL, NULL, CHAIN_CHECK_WARN,
                         "no checkpoint on record has the image's bitmap: it "
                         "costs space and time, and nobody asks it");
        chain_check_image(r->report, check, file->path);
        rule_found(r, check, file->bitmaps[i].name);
    }
}

static void rule_of(struct metadata_rules *r, const char *id, judge *one,
                    const char *good)
{
    rule_begin(r, id);
    apply(r, one);
    rule_end(r, good);
}

void metadata_rules_bitmaps(struct metadata_rules *r)
{
    rule_of(r, "checkpoint-disk", judge_disk,
            "the domain has the disks of its checkpoints");
    if (r->request->domain->is_active && r->request->checkpoints->nr > 0) {
        rule_begin(r, "bitmap-exists");
        rule_say(r, NULL, NULL, CHAIN_CHECK_UNPROVEN,
                 "the domain runs: QEMU has its bitmaps in memory, and what "
                 "the images say of them is not what they are");
        return;
    }
    rule_of(r, "bitmap-readable", judge_readable,
            "the images' lists of bitmaps can be read");
    rule_of(r, "bitmap-exists", judge_exists,
            "each checkpoint has its bitmaps");
    rule_of(r, "bitmap-consistent", judge_consistent,
            "the bitmaps were stored whole");
    rule_of(r, "bitmap-recording", judge_recording,
            "the bitmaps record what is written");
    rule_of(r, "bitmap-gap", judge_gap, "the bitmaps go through their chains");
    rule_begin(r, "stranded-bitmap");
    apply(r, mark_known);
    for (size_t i = 0; i < r->images.files_nr; i++) {
        say_stranded(r, r->images.files[i]);
    }
    rule_end(r, "each bitmap of the images is a checkpoint's");
}
