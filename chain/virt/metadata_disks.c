/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a snapshot is made of: which of its parts are where, as libvirt takes
 * what its document does not say. Room: chain/virt.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include <chain/metadata.h>

#include "planner.h"

static bool is_word(const char *text, const char *word)
{
    return text && strcmp(text, word) == 0;
}

const char *chain_moment_place_name(enum chain_moment_place place)
{
    switch (place) {
    case CHAIN_PLACE_INTERNAL:
        return "internal";
    case CHAIN_PLACE_EXTERNAL:
        return "external";
    case CHAIN_PLACE_MANUAL:
        return "manual";
    case CHAIN_PLACE_NO:
        break;
    }
    return "no";
}

/* What is none of libvirt's words is a refusal, and here no part. */
static enum chain_moment_place place_of(const char *word)
{
    return is_word(word, "internal")   ? CHAIN_PLACE_INTERNAL
           : is_word(word, "external") ? CHAIN_PLACE_EXTERNAL
           : is_word(word, "manual")   ? CHAIN_PLACE_MANUAL
                                       : CHAIN_PLACE_NO;
}

/* libvirt goes by the state if nothing is said. */
enum chain_moment_place
chain_snapshot_memory(const struct chain_virt_snapshot *snapshot)
{
    const char *state = snapshot->state;

    if (snapshot->memory_kind) {
        return place_of(snapshot->memory_kind);
    }
    if (snapshot->memory_file) {
        return CHAIN_PLACE_EXTERNAL;
    }
    return is_word(state, "shutoff") || is_word(state, "shutdown") ||
                   is_word(state, "crashed") ||
                   is_word(state, "disk-snapshot") || !state
               ? CHAIN_PLACE_NO
               : CHAIN_PLACE_INTERNAL;
}

/* Where disks are of which nothing is said. */
static enum chain_moment_place
default_place(const struct chain_virt_snapshot *snapshot)
{
    return is_word(snapshot->state, "disk-snapshot") ||
                   chain_snapshot_memory(snapshot) == CHAIN_PLACE_EXTERNAL
               ? CHAIN_PLACE_EXTERNAL
               : CHAIN_PLACE_INTERNAL;
}

static enum chain_moment_place
listed_place(const struct chain_virt_snapshot *snapshot,
             const struct chain_virt_snapshot_disk *disk)
{
    if (disk->snapshot) {
        return place_of(disk->snapshot);
    }
    return disk->dest.source.path || disk->dest.format
               ? CHAIN_PLACE_EXTERNAL
               : default_place(snapshot);
}

unsigned chain_snapshot_traits(const struct chain_virt_snapshot *snapshot)
{
    enum chain_moment_place memory = chain_snapshot_memory(snapshot);
    unsigned traits = 0;

    if (memory != CHAIN_PLACE_NO) {
        traits |= CHAIN_SNAPSHOT_MEMORY;
        traits |= memory == CHAIN_PLACE_EXTERNAL ? CHAIN_SNAPSHOT_EXTERNAL
                                                 : CHAIN_SNAPSHOT_INTERNAL;
    }
    if (is_word(snapshot->state, "disk-snapshot")) {
        traits |= CHAIN_SNAPSHOT_DISK_ONLY;
    }
    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        enum chain_moment_place place =
            listed_place(snapshot, &snapshot->disks[i]);

        traits |= place == CHAIN_PLACE_EXTERNAL   ? CHAIN_SNAPSHOT_EXTERNAL
                  : place == CHAIN_PLACE_INTERNAL ? CHAIN_SNAPSHOT_INTERNAL
                                                  : 0;
    }
    if (snapshot->disks_nr == 0) {
        /* It was taken before libvirt listed the disks. */
        traits |= default_place(snapshot) == CHAIN_PLACE_EXTERNAL
                      ? CHAIN_SNAPSHOT_EXTERNAL
                      : CHAIN_SNAPSHOT_INTERNAL;
    }
    return traits;
}

/* ---- Its disks. */

/* Disks of a domain by name: a document may have thousands of each. */
struct disk_index {
    const struct chain_virt_domain *domain; /* NULL: there is none */
    size_t *by_target, *by_path;            /* indices of all its disks */
};

static const char *target_of(const struct chain_virt_disk *disk)
{
    return disk->target ? disk->target : "";
}

static const char *path_of(const struct chain_virt_disk *disk)
{
    return disk->top.source.path ? disk->top.source.path : "";
}

static int in_order(const char *a, const char *b, size_t i, size_t j)
{
    int order = strcmp(a, b);

    return order != 0 ? order : (i > j) - (i < j);
}

static int by_target(const void *a, const void *b, void *opaque)
{
    const struct chain_virt_disk *disks = opaque;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;

    return in_order(target_of(&disks[i]), target_of(&disks[j]), i, j);
}

static int by_path(const void *a, const void *b, void *opaque)
{
    const struct chain_virt_disk *disks = opaque;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;

    return in_order(path_of(&disks[i]), path_of(&disks[j]), i, j);
}

static void index_fini(struct disk_index *index)
{
    free(index->by_target);
    free(index->by_path);
}

static int index_init(struct disk_index *index, struct img_error *err)
{
    size_t nr = index->domain ? index->domain->disks_nr : 0;

    index->by_target = img_calloc(nr + 1, sizeof(size_t), err);
    index->by_path =
        index->by_target ? img_calloc(nr + 1, sizeof(size_t), err) : NULL;
    if (!index->by_path) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        index->by_target[i] = index->by_path[i] = i;
    }
    if (nr > 0) {
        qsort_r(index->by_target, nr, sizeof(size_t), by_target,
                index->domain->disks);
        qsort_r(index->by_path, nr, sizeof(size_t), by_path,
                index->domain->disks);
    }
    return 0;
}

/* The first disk that has NAME for a target, or (IS_PATH) for its path. */
static const struct chain_virt_disk *look_up(const struct disk_index *index,
                                             const char *name, bool is_path)
{
    const size_t *list = is_path ? index->by_path : index->by_target;
    size_t nr = index->domain ? index->domain->disks_nr : 0;
    size_t low = 0, high = nr;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct chain_virt_disk *disk =
            &index->domain->disks[list[middle]];

        if (strcmp(is_path ? path_of(disk) : target_of(disk), name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < nr) {
        const struct chain_virt_disk *disk = &index->domain->disks[list[low]];

        if (strcmp(is_path ? path_of(disk) : target_of(disk), name) == 0) {
            return disk;
        }
    }
    return NULL;
}

static const struct chain_virt_disk *find(const struct disk_index *index,
                                          const char *name)
{
    const struct chain_virt_disk *disk = NULL;

    if (name && name[0]) {
        disk = look_up(index, name, false);
    }
    return !disk && name && name[0] == '/' ? look_up(index, name, true) : disk;
}

static struct chain_moment_disk
listed(const struct chain_virt_snapshot *snapshot,
       const struct chain_virt_snapshot_disk *disk,
       const struct chain_virt_disk *before)
{
    struct chain_moment_disk out = {
        .name = before ? before->target : disk->name,
        .place = listed_place(snapshot, disk),
        .before = before ? &before->top : NULL,
    };

    if (out.place == CHAIN_PLACE_EXTERNAL &&
        !plan_is_empty(&disk->dest.source)) {
        out.overlay = &disk->dest;
    }
    return out;
}

/* A disk that the snapshot does not list. */
static struct chain_moment_disk
unlisted(const struct chain_virt_snapshot *snapshot,
         const struct chain_virt_disk *disk)
{
    enum chain_moment_place place = default_place(snapshot);

    if (plan_is_empty(&disk->top.source) ||
        (disk->is_readonly && !disk->snapshot)) {
        place = CHAIN_PLACE_NO;
    } else if (disk->snapshot) {
        place = place_of(disk->snapshot);
    }
    return (struct chain_moment_disk){
        .name = disk->target, .place = place, .before = &disk->top};
}

int chain_snapshot_disks(const struct chain_virt_snapshot *snapshot,
                         struct chain_moment_disk **out, size_t *nr,
                         struct img_error *err)
{
    const struct chain_virt_domain *domain = snapshot->domain;
    IMG_AUTO(index_fini) struct disk_index index = {.domain = domain};
    size_t known = domain ? domain->disks_nr : 0;
    IMG_AUTO(img_free_ptr) bool *is_listed = img_calloc(known + 1, 1, err);
    struct chain_moment_disk *list =
        img_calloc(snapshot->disks_nr + known + 1, sizeof(*list), err);
    size_t used = 0;

    if (!is_listed || !list || index_init(&index, err) < 0) {
        free(list);
        return -1;
    }
    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        const struct chain_virt_disk *before =
            find(&index, snapshot->disks[i].name);

        list[used++] = listed(snapshot, &snapshot->disks[i], before);
        if (before && domain) {
            is_listed[before - domain->disks] = true;
        }
    }
    for (size_t i = 0; domain && i < known; i++) {
        if (!is_listed[i]) {
            list[used++] = unlisted(snapshot, &domain->disks[i]);
        }
    }
    *out = list;
    *nr = used;
    return 0;
}
