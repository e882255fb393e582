/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nodes of a forest: a file is looked at through a chain of one layer, what
 * its header says is kept and the file closed again.
 */
#include "forest.h"

#include <chain/chain.h>
#include <chain/formats.h>
#include <chain/name.h>
#include <img/image.h>
#include <img/memory.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Nothing is learned about files outside of the folders that are allowed. */
static bool identify(const struct chain_forest *forest, const char *path,
                     struct chain_identity_key *out, struct img_stamp *stamp)
{
    struct img_error unused;

    if (img_path_stamp(path, forest->options.roots, stamp, &unused) < 0) {
        return false;
    }
    out->is_block = S_ISBLK(stamp->mode);
    out->dev = out->is_block ? stamp->rdev : stamp->dev;
    out->ino = out->is_block ? 0 : stamp->ino;
    return true;
}

static int remember(struct chain_forest *forest,
                    const struct chain_forest_identity *key,
                    struct img_error *err)
{
    struct chain_forest_identity *own = img_calloc(1, sizeof(*own), err);

    if (!own) {
        return -1;
    }
    *own = *key;
    if (!tsearch(own, &forest->identities, chain_identity_compare)) {
        free(own);
        return img_fail_memory(err);
    }
    return 0;
}

static int grow(struct chain_forest *forest, struct img_error *err)
{
    size_t capacity = forest->capacity ? forest->capacity * 2 : 64;
    struct chain_forest_item *nodes;

    if (forest->nr >= forest->options.max_files) {
        return img_fail(err, IMG_LIMIT,
                        "too many files: more than %zu are not looked at",
                        forest->options.max_files);
    }
    if (forest->nr < forest->capacity) {
        return 0;
    }
    nodes = reallocarray(forest->nodes, capacity, sizeof(*nodes));
    if (!nodes) {
        return img_fail_memory(err);
    }
    forest->nodes = nodes;
    forest->capacity = capacity;
    return 0;
}

static char *copy(const char *text, struct img_error *err)
{
    return img_strndup(text, strlen(text), err);
}

/* Raw bytes say nothing of themselves; then the name has to. */
static bool is_named_as_raw(const char *path)
{
    static const char *const endings[] = {".raw", ".img", ".iso"};
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot && i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (strcasecmp(dot, endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int note_header(struct chain_forest_node *node, struct chain *chain,
                       struct img_error *err)
{
    const struct chain_layer *layer = chain_layer_at(chain, 0);
    const struct img_image *image = chain_layer_image(layer);
    struct img_error unused;
    struct chain_probe probe;

    node->format = image->format;
    node->is_probed = chain_layer_is_probed(layer);
    node->virtual_len = image->virtual_len;
    node->allocated_len = img_file_allocated_len(chain_layer_file(layer));
    if (chain_probe(chain_layer_file(layer), &probe, &unused) == 0) {
        node->looks_like = probe.format->name;
    }
    /* A folder holds more than images. */
    node->is_hidden = node->is_probed && strcmp(image->format, "raw") == 0 &&
                      !chain_layer_contents(layer) &&
                      !is_named_as_raw(node->path);
    if (image->backing_name) {
        node->backing_name = copy(image->backing_name, err);
        if (!node->backing_name) {
            return -1;
        }
    }
    if (image->backing_format) {
        node->backing_format = copy(image->backing_format, err);
        if (!node->backing_format) {
            return -1;
        }
    }
    if (image->data_file_name) {
        node->data_path =
            chain_name_join(node->path, image->data_file_name, err);
    }
    return image->data_file_name && !node->data_path ? -1 : 0;
}

static int note_failure(struct chain_forest_node *node,
                        const struct img_error *why, struct img_error *err)
{
    node->remarks |= why->code == IMG_NOT_FOUND ? CHAIN_FOREST_MISSING
                                                : CHAIN_FOREST_UNREADABLE;
    if (why->code == IMG_MEMORY) {
        *err = *why;
        return -1;
    }
    node->why = copy(why->text, err);
    return node->why ? 0 : -1;
}

/* Look at NODE's file. */
static int load(const struct chain_forest *forest,
                struct chain_forest_node *node, const char *format,
                struct img_error *err)
{
    struct chain_options options;
    struct chain *chain = NULL;
    struct img_error why;
    int rc;

    chain_options_init(&options);
    options.format = format;
    options.force_share = forest->options.force_share;
    options.roots = forest->options.roots;
    options.top_only = true;
    rc = chain_open(node->path, &options, &chain, &why);
    if (rc < 0 && why.code == IMG_FORMAT && format) {
        /* Not what it was said to be: at least it is bytes. */
        options.format = "raw";
        rc = chain_open(node->path, &options, &chain, &why);
    }
    if (rc < 0) {
        return note_failure(node, &why, err);
    }
    rc = note_header(node, chain, err);
    chain_free(chain);
    return rc;
}

int chain_forest_node_for(struct chain_forest *forest, const char *path,
                          const char *format, size_t *out,
                          struct img_error *err)
{
    struct chain_forest_identity key = {.node = forest->nr};
    struct img_stamp stamp = {.mode = 0};
    bool is_there = identify(forest, path, &key.key, &stamp);
    struct chain_forest_item *node;

    if (is_there) {
        struct chain_forest_identity *const *met =
            tfind(&key, &forest->identities, chain_identity_compare);

        if (met) {
            *out = (*met)->node;
            return 0;
        }
    }
    if (grow(forest, err) < 0) {
        return -1;
    }
    node = &forest->nodes[forest->nr];
    memset(node, 0, sizeof(*node));
    node->pub.backing = CHAIN_FOREST_NONE;
    node->pub.first_overlay = CHAIN_FOREST_NONE;
    node->pub.next_overlay = CHAIN_FOREST_NONE;
    node->pub.path = copy(path, err);
    if (!node->pub.path) {
        return -1;
    }
    /* From here on the forest owns the node, however far it comes. */
    *out = forest->nr++;
    if (is_there) {
        node->is_regular = S_ISREG(stamp.mode);
        node->mode = stamp.mode;
        node->mtime_ns = stamp.mtime_ns;
        if (remember(forest, &key, err) < 0) {
            return -1;
        }
    }
    return load(forest, &node->pub, format, err);
}
