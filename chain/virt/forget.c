/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who goes, and who changes: see chain/forget.h. Room: chain/virt. */
#include <chain/forget.h>

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "redefine_record.h"
#include "relate.h"

void chain_forget_free(struct chain_forget *list, size_t nr)
{
    for (size_t i = 0; list && i < nr; i++) {
        free(list[i].text);
    }
    free(list);
}

bool forget_goes(const struct chain_metadata *metadata, size_t at, size_t idx,
                 enum chain_delete_range range)
{
    switch (range) {
    case CHAIN_DELETE_ONE:
        return at == idx;
    case CHAIN_DELETE_CHILDREN:
        return chain_metadata_is_below(metadata, at, idx);
    case CHAIN_DELETE_CHILDREN_ONLY:
        break;
    }
    return at != idx && chain_metadata_is_below(metadata, at, idx);
}

/* Which is the current one afterwards; NONE: none is, or it stays. */
static size_t next_current(const struct chain_metadata *metadata, size_t idx,
                           enum chain_delete_range range)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        if (metadata->moments[i].is_current &&
            forget_goes(metadata, i, idx, range)) {
            return range == CHAIN_DELETE_CHILDREN_ONLY
                       ? idx
                       : metadata->moments[idx].parent;
        }
    }
    return CHAIN_METADATA_NONE;
}

static int add(const struct chain_moment *moment, const struct relation *wish,
               struct chain_forget *list, size_t *nr, struct img_error *err)
{
    struct chain_forget *one = &list[*nr];

    one->moment = moment;
    if (wish && virt_relate(moment, wish, &one->text, err) < 0) {
        return -1;
    }
    (*nr)++;
    return 0;
}

static int plan(const struct chain_metadata *metadata, size_t idx,
                enum chain_delete_range range, struct chain_forget *list,
                size_t *nr, struct img_error *err)
{
    size_t current = next_current(metadata, idx, range);
    size_t parent = metadata->moments[idx].parent;

    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];
        const struct relation wish = {
            .has_parent = range == CHAIN_DELETE_ONE && moment->parent == idx,
            .parent = parent == CHAIN_METADATA_NONE
                          ? NULL
                          : metadata->moments[parent].name,
            .is_current = i == current,
        };
        int rc = 0;

        if (forget_goes(metadata, i, idx, range)) {
            rc = add(moment, NULL, list, nr, err);
        } else if (wish.has_parent || wish.is_current) {
            rc = add(moment, &wish, list, nr, err);
        }
        if (rc < 0) {
            return -1;
        }
    }
    return 0;
}

int chain_forget_plan(const struct chain_metadata *metadata, size_t idx,
                      enum chain_delete_range range, struct chain_forget **out,
                      size_t *nr, struct img_error *err)
{
    struct chain_forget *list =
        img_calloc(metadata->nr + 1, sizeof(*list), err);

    *nr = 0;
    if (!list || plan(metadata, idx, range, list, nr, err) < 0) {
        chain_forget_free(list, *nr);
        return -1;
    }
    *out = list;
    return 0;
}
