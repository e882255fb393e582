/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Identity of files. Room: chain/graph.
 */
#include "identity.h"

#include <search.h>
#include <stdlib.h>

#include <img/memory.h>

static int key_load(const struct img_file *file, struct chain_identity_key *out,
                    struct img_error *err)
{
    struct img_stamp stamp;

    if (img_file_stamp(file, &stamp, err) < 0) {
        return -1;
    }
    out->is_block = img_file_kind(file) == IMG_FILE_BLOCK;
    out->dev = out->is_block ? stamp.rdev : stamp.dev;
    out->ino = out->is_block ? 0 : stamp.ino;
    return 0;
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

int chain_identity_compare(const void *a, const void *b)
{
    const struct chain_identity_key *first = a, *second = b;

    if (first->is_block != second->is_block) {
        return first->is_block ? 1 : -1;
    }
    int order = compare_u64(first->dev, second->dev);
    return order != 0 ? order : compare_u64(first->ino, second->ino);
}

int chain_identity_add(struct chain_identity_set *set, struct img_file *file,
                       size_t layer, bool is_data_file,
                       const struct chain_identity **met, struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    struct chain_identity *entry = img_calloc(1, sizeof(*entry), err);

    *met = NULL;
    if (!entry) {
        return -1;
    }
    entry->file = file;
    entry->layer = layer;
    entry->is_data_file = is_data_file;
    if (key_load(file, &entry->key, err) < 0) {
        return -1;
    }
    struct chain_identity **found =
        tsearch(entry, &set->root, chain_identity_compare);
    if (!found) {
        return img_fail_memory(err);
    }
    if (*found != entry) {
        *met = *found;
        return 0;
    }
    entry = NULL; /* the tree's now */
    return 0;
}

static struct chain_identity *find(const struct chain_identity_set *set,
                                   const struct img_file *file)
{
    struct chain_identity_key key;
    struct img_error ignored;

    if (key_load(file, &key, &ignored) < 0) {
        return NULL;
    }
    struct chain_identity *const *found =
        tfind(&key, &set->root, chain_identity_compare);
    return found ? *found : NULL;
}

const struct chain_identity *
chain_identity_find(const struct chain_identity_set *set,
                    const struct img_file *file)
{
    return find(set, file);
}

void chain_identity_drop(struct chain_identity_set *set,
                         const struct img_file *file)
{
    struct chain_identity *found = find(set, file);

    if (found) {
        tdelete(found, &set->root, chain_identity_compare);
        free(found);
    }
}

void chain_identity_fini(struct chain_identity_set *set)
{
    tdestroy(set->root, free);
    set->root = NULL;
}
