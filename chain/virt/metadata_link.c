/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hierarchy of snapshots: see chain/metadata.h. Room: chain/virt.
 *
 * Names are looked up in a list that is sorted once. Nothing recurses.
 */
#include <chain/metadata.h>

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

/* For comparing, which has no other way to its moments. */
static int by_name(const void *a, const void *b, void *opaque)
{
    const struct chain_moment *moments = opaque;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    int order = strcmp(moments[i].name, moments[j].name);

    return order != 0 ? order : (i > j) - (i < j);
}

/* Indices of all that have a name, by it; of one name the first first. */
static size_t *sort_names(struct chain_metadata *metadata, size_t *nr,
                          struct img_error *err)
{
    size_t *list = img_calloc(metadata->nr + 1, sizeof(*list), err);

    *nr = 0;
    for (size_t i = 0; list && i < metadata->nr; i++) {
        if (metadata->moments[i].name) {
            list[(*nr)++] = i;
        }
    }
    if (list) {
        qsort_r(list, *nr, sizeof(*list), by_name, metadata->moments);
    }
    return list;
}

/* The first of the NR in LIST that has this name. */
static size_t look_up(const struct chain_moment *moments, const size_t *list,
                      size_t nr, const char *name)
{
    size_t low = 0, high = nr;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(moments[list[middle]].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < nr && strcmp(moments[list[low]].name, name) == 0
               ? list[low]
               : CHAIN_METADATA_NONE;
}

static void find_parents(struct chain_metadata *metadata, const size_t *list,
                         size_t nr)
{
    struct chain_moment *moments = metadata->moments;

    for (size_t i = 1; i < nr; i++) {
        moments[list[i]].is_double =
            strcmp(moments[list[i]].name, moments[list[i - 1]].name) == 0;
    }
    for (size_t i = 0; i < metadata->nr; i++) {
        struct chain_moment *moment = &moments[i];

        if (moment->parent_name && !moment->is_double) {
            moment->parent = look_up(moments, list, nr, moment->parent_name);
            moment->is_parent_missing = moment->parent == CHAIN_METADATA_NONE;
        }
    }
}

/*
 * Each walk up marks what it meets with its own number: meeting that again is
 * a loop, meeting another's is known ground.
 */
static int find_loops(struct chain_metadata *metadata, struct img_error *err)
{
    struct chain_moment *moments = metadata->moments;
    IMG_AUTO(img_free_ptr)
    size_t *walks = img_calloc(metadata->nr + 1, sizeof(*walks), err);

    if (!walks) {
        return -1;
    }
    for (size_t i = 0; i < metadata->nr; i++) {
        size_t at = i;

        while (at != CHAIN_METADATA_NONE && walks[at] == 0) {
            walks[at] = i + 1;
            at = moments[at].parent;
        }
        while (at != CHAIN_METADATA_NONE && walks[at] == i + 1 &&
               !moments[at].is_looped) {
            moments[at].is_looped = true;
            at = moments[at].parent;
        }
    }
    for (size_t i = 0; i < metadata->nr; i++) {
        if (moments[i].is_looped) {
            moments[i].parent = CHAIN_METADATA_NONE;
        }
    }
    return 0;
}

static int64_t time_of(const struct chain_moment *moment)
{
    return moment->snapshot ? moment->snapshot->creation_time
                            : moment->checkpoint->creation_time;
}

/* What is in no hierarchy comes last. */
static bool is_outside(const struct chain_moment *moment)
{
    return moment->is_double || moment->is_looped;
}

static int by_age(const void *a, const void *b, void *opaque)
{
    const struct chain_moment *moments = opaque;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const struct chain_moment *one = &moments[i], *other = &moments[j];

    if (is_outside(one) != is_outside(other)) {
        return is_outside(one) ? 1 : -1;
    }
    if (time_of(one) != time_of(other)) {
        return time_of(one) > time_of(other) ? 1 : -1;
    }
    return (i > j) - (i < j);
}

/* For walking down: lists of children, each in order. */
struct family {
    size_t *by_age;
    size_t *first, *next; /* of moment IDX; NONE */
};

static void family_fini(struct family *family)
{
    free(family->by_age);
    free(family->first);
    free(family->next);
}

static int family_init(struct family *family,
                       const struct chain_metadata *metadata,
                       struct img_error *err)
{
    size_t nr = metadata->nr;

    family->by_age = img_calloc(nr + 1, sizeof(size_t), err);
    family->first = img_calloc(nr + 1, sizeof(size_t), err);
    family->next = img_calloc(nr + 1, sizeof(size_t), err);
    if (!family->by_age || !family->first || !family->next) {
        return img_fail_memory(err);
    }
    for (size_t i = 0; i <= nr; i++) {
        family->by_age[i] = i;
        family->first[i] = family->next[i] = CHAIN_METADATA_NONE;
    }
    qsort_r(family->by_age, nr, sizeof(size_t), by_age, metadata->moments);
    /* The youngest first, each before what is there; roots hang on NR. */
    for (size_t i = nr; i-- > 0;) {
        size_t idx = family->by_age[i];
        size_t parent = metadata->moments[idx].parent;
        size_t *first =
            &family->first[parent == CHAIN_METADATA_NONE ? nr : parent];

        family->next[idx] = *first;
        *first = idx;
    }
    return 0;
}

static int put_in_order(struct chain_metadata *metadata, struct img_error *err)
{
    IMG_AUTO(family_fini) struct family family = {.first = NULL};
    size_t nr = 0, at;

    metadata->order = img_calloc(metadata->nr + 1, sizeof(size_t), err);
    if (!metadata->order || family_init(&family, metadata, err) < 0) {
        return -1;
    }
    for (at = family.first[metadata->nr]; at != CHAIN_METADATA_NONE;) {
        metadata->order[nr++] = at;
        if (family.first[at] != CHAIN_METADATA_NONE) {
            at = family.first[at];
            continue;
        }
        while (at != CHAIN_METADATA_NONE &&
               family.next[at] == CHAIN_METADATA_NONE) {
            at = metadata->moments[at].parent;
        }
        at = at == CHAIN_METADATA_NONE ? at : family.next[at];
    }
    return 0;
}

static void find_current(struct chain_metadata *metadata, const char *current)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        struct chain_moment *moment = &metadata->moments[i];
        bool is_active = moment->snapshot ? moment->snapshot->is_active
                                          : moment->checkpoint->is_active;

        moment->is_current = current ? moment->name && !moment->is_double &&
                                           strcmp(moment->name, current) == 0
                                     : is_active;
        metadata->current_nr += moment->is_current;
    }
}

int chain_metadata_link(struct chain_metadata *metadata, const char *current,
                        struct img_error *err)
{
    IMG_AUTO(img_free_ptr) size_t *list = NULL;
    size_t nr;

    free(img_steal(&metadata->order));
    metadata->current_nr = 0;
    for (size_t i = 0; i < metadata->nr; i++) {
        struct chain_moment *moment = &metadata->moments[i];

        moment->parent = CHAIN_METADATA_NONE;
        moment->is_parent_missing = moment->is_looped = false;
        moment->is_double = moment->is_current = false;
    }
    list = sort_names(metadata, &nr, err);
    if (!list) {
        return -1;
    }
    find_parents(metadata, list, nr);
    find_current(metadata, current);
    if (find_loops(metadata, err) < 0) {
        return -1;
    }
    return put_in_order(metadata, err);
}

size_t chain_metadata_find(const struct chain_metadata *metadata,
                           const char *name)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        if (metadata->moments[i].name &&
            strcmp(metadata->moments[i].name, name) == 0) {
            return i;
        }
    }
    return CHAIN_METADATA_NONE;
}

bool chain_metadata_is_below(const struct chain_metadata *metadata, size_t idx,
                             size_t above)
{
    while (idx != CHAIN_METADATA_NONE && idx != above) {
        idx = metadata->moments[idx].parent;
    }
    return idx == above;
}
