/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-distinct, disk-untouched: the files that the disks of a saved domain
 * are, changed or not. Room: chain/virt.
 *
 * The files of all disks, with those below them, are sorted: what two disks
 * have stands side by side.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <chain/chain.h>
#include <img/memory.h>

#include "planner.h"
#include "saved_disk_impl.h"

/* A file of a disk. */
struct part {
    struct img_stamp stamp;
    size_t disk;
    bool is_top; /* the guest writes to it, if it writes */
};

struct parts {
    struct part *list;
    size_t nr, room;
};

static void parts_fini(struct parts *parts)
{
    free(parts->list);
}

static int add(struct parts *parts, const struct part *part,
               struct img_error *err)
{
    if (parts->nr == parts->room) {
        size_t room = 2 * parts->room + 16;
        struct part *grown = reallocarray(parts->list, room, sizeof(*grown));

        if (!grown) {
            return img_fail_memory(err);
        }
        parts->list = grown;
        parts->room = room;
    }
    parts->list[parts->nr++] = *part;
    return 0;
}

/* ---- Which files. */

static bool is_path(const struct chain_virt_source *source)
{
    return plan_is_local(source) && source->path && source->path[0] == '/' &&
           !source->fdgroup;
}

/* The chain of a disk that was not opened to be judged; *OUT NULL: it cannot
   be. */
static int open_quietly(const struct saved_inspection *all,
                        const struct saved_disk *disk, struct chain **out)
{
    struct chain_options options = *all->request->options;
    struct img_error why;

    *out = NULL;
    options.format = saved_format_of(&disk->said->top);
    options.keep_broken = true;
    options.force_share = true;
    if (chain_open(disk->said->top.source.path, &options, out, &why) < 0 &&
        (why.code == IMG_MEMORY || why.code == IMG_CANCELLED)) {
        *all->err = why;
        return -1;
    }
    return 0;
}

static int add_chain(const struct saved_inspection *all, struct parts *parts,
                     size_t idx, const struct chain *chain)
{
    for (size_t i = 0; i < chain_depth(chain); i++) {
        struct part part = {.disk = idx, .is_top = i == 0};
        struct img_error ignored;

        if (img_file_stamp(chain_layer_file(chain_layer_at(chain, i)),
                           &part.stamp, &ignored) == 0 &&
            add(parts, &part, all->err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int add_path(const struct saved_inspection *all, struct parts *parts,
                    size_t idx, const struct chain_virt_layer *layer)
{
    struct part part = {.disk = idx,
                        .is_top = layer == &all->disks[idx].said->top};
    struct img_error ignored;

    return is_path(&layer->source) &&
                   img_path_stamp(layer->source.path,
                                  all->request->options->roots, &part.stamp,
                                  &ignored) == 0
               ? add(parts, &part, all->err)
               : 0;
}

static int add_disk(const struct saved_inspection *all, struct parts *parts,
                    size_t idx)
{
    const struct saved_disk *disk = &all->disks[idx];
    const struct chain_virt_layer *layer = &disk->said->top;
    struct chain *opened = NULL;
    int rc = 0;

    if (!disk->chain && is_path(&layer->source)) {
        rc = open_quietly(all, disk, &opened);
    }
    if (rc == 0 && (disk->chain || opened)) {
        rc = add_chain(all, parts, idx, disk->chain ? disk->chain : opened);
        layer = layer->backing;
    }
    chain_free(opened);
    for (; rc == 0 && layer; layer = layer->backing) {
        rc = add_path(all, parts, idx, layer);
    }
    return rc;
}

/* ---- disk-untouched */

static void judge_untouched(struct saved_inspection *all,
                            const struct part *part)
{
    const struct saved_disk *disk = &all->disks[part->disk];

    if (all->request->mtime_ns != 0 && part->is_top &&
        !disk->said->is_readonly && !S_ISBLK(part->stamp.mode) &&
        part->stamp.mtime_ns > all->request->mtime_ns) {
        saved_say(all, disk, "disk-untouched", CHAIN_CHECK_WARN,
                  "it was written after the memory was saved: what the guest "
                  "remembers of its disk may be wrong, and it would damage it");
    }
}

/* ---- disk-distinct */

static int by_number(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* A block device is itself whatever its node is called. */
static int compare_files(const struct part *one, const struct part *other)
{
    const struct img_stamp *a = &one->stamp, *b = &other->stamp;
    bool is_block = S_ISBLK(a->mode);
    int by = is_block - S_ISBLK(b->mode);

    if (by || is_block) {
        return by ? by : by_number(a->rdev, b->rdev);
    }
    by = by_number(a->dev, b->dev);
    return by ? by : by_number(a->ino, b->ino);
}

static int compare_parts(const void *a, const void *b)
{
    const struct part *one = a, *other = b;
    int by = compare_files(one, other);

    by = by ? by : by_number(one->disk, other->disk);
    return by ? by : other->is_top - one->is_top;
}

static bool is_shared(const struct saved_disk *disk)
{
    return disk->said->is_readonly || disk->said->is_shareable;
}

/* May the disk whose top PART is not have what OTHER is? */
static bool is_conflict(const struct saved_inspection *all,
                        const struct part *part, const struct part *other)
{
    const struct saved_disk *disk = &all->disks[part->disk];
    const struct saved_disk *next = &all->disks[other->disk];

    if (part->disk == other->disk ||
        (disk->is_as_before && next->is_as_before)) {
        return false; /* it was so before */
    }
    return other->is_top ? other->disk < part->disk &&
                               !(is_shared(disk) && is_shared(next))
                         : !disk->said->is_readonly;
}

static void judge_distinct(struct saved_inspection *all,
                           const struct part *part, const struct part *begin,
                           const struct part *end)
{
    const struct part *other = begin;
    char shown[CHAIN_SHOWN_LEN];
    const char *target;

    while (other < end && !is_conflict(all, part, other)) {
        other++;
    }
    if (other == end) {
        return;
    }
    target = all->disks[other->disk].said->target;
    saved_say(all, &all->disks[part->disk], "disk-distinct", CHAIN_CHECK_FAIL,
              other->is_top ? "it is the same file as disk %s"
                            : "it is written to, and lies below disk %s",
              chain_shown(target ? target : "", shown));
}

/* All parts of one file: from BEGIN to END. */
static void judge_file(struct saved_inspection *all, const struct part *begin,
                       const struct part *end)
{
    for (const struct part *part = begin; part < end; part++) {
        if (part->is_top) {
            judge_untouched(all, part);
            judge_distinct(all, part, begin, end);
        }
    }
}

int saved_judge_files(struct saved_inspection *all)
{
    IMG_AUTO(parts_fini) struct parts parts = {.nr = 0};
    size_t end;

    for (size_t i = 0; i < all->nr; i++) {
        if (add_disk(all, &parts, i) < 0) {
            return -1;
        }
    }
    if (parts.nr > 0) {
        qsort(parts.list, parts.nr, sizeof(*parts.list), compare_parts);
    }
    for (size_t i = 0; i < parts.nr; i = end) {
        end = i + 1;
        while (end < parts.nr &&
               compare_files(&parts.list[i], &parts.list[end]) == 0) {
            end++;
        }
        judge_file(all, &parts.list[i], &parts.list[end - 1] + 1);
    }
    return 0;
}
