/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A forest: folders are scanned, bases that were not found there are opened
 * as the headers name them, then every node knows its base and its overlays.
 * No recursion: folders wait in a list, loops are found by walking down with
 * a mark on every node.
 */
#include "forest.h"

#include <chain/name.h>
#include <img/memory.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "scan.h"

int chain_forest_new(const struct chain_forest_options *options,
                     struct chain_forest **out, struct img_error *err)
{
    struct chain_forest *forest = img_calloc(1, sizeof(*forest), err);

    if (!forest) {
        return -1;
    }
    forest->options = *options;
    if (forest->options.max_files == 0) {
        forest->options.max_files = CHAIN_FOREST_MAX_FILES;
    }
    *out = forest;
    return 0;
}

void chain_forest_free(struct chain_forest *forest)
{
    if (!forest) {
        return;
    }
    for (size_t i = 0; i < forest->nr; i++) {
        struct chain_forest_node *node = &forest->nodes[i].pub;

        free(node->path);
        free(node->backing_name);
        free(node->backing_format);
        free(node->data_path);
        free(node->why);
    }
    free(forest->nodes);
    tdestroy(forest->identities, free);
    free(forest);
}

static int add_scanned(void *opaque, const char *path, struct img_error *err)
{
    struct chain_forest *forest = opaque;
    size_t before = forest->nr, node;

    if (chain_forest_node_for(forest, path, NULL, &node, err) < 0) {
        return -1;
    }
    if (node >= before) {
        forest->nodes[node].pub.is_scanned = true;
    }
    return 0;
}

int chain_forest_add(struct chain_forest *forest, const char *path,
                     struct img_error *err)
{
    struct stat st;
    size_t idx;
    struct chain_forest_node *node;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        struct chain_scan_options options = {
            .recursive = forest->options.recursive,
            .max_names = forest->options.max_files,
            .found = add_scanned,
            .opaque = forest,
        };

        return chain_scan_folder(path, &options, err);
    }
    if (chain_forest_node_for(forest, path, NULL, &idx, err) < 0) {
        return -1;
    }
    node = &forest->nodes[idx].pub;
    node->is_scanned = false;
    node->is_hidden = false;
    if (node->remarks & (CHAIN_FOREST_MISSING | CHAIN_FOREST_UNREADABLE)) {
        img_fail(err,
                 node->remarks & CHAIN_FOREST_MISSING ? IMG_NOT_FOUND
                                                      : IMG_SYSTEM,
                 "%s", node->why);
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

/* What node IDX says about its base: the base's index, or none. */
static int find_base(struct chain_forest *forest, size_t idx, size_t *out,
                     struct img_error *err)
{
    struct chain_forest_node *node = &forest->nodes[idx].pub;
    IMG_AUTO(img_free_ptr) char *path = NULL;
    struct chain_ref ref = {.path = NULL};
    struct img_error why;
    const char *format;
    int rc = -1;

    *out = CHAIN_FOREST_NONE;
    if (chain_name_parse(node->backing_name, &ref, &why) < 0) {
        if (why.code == IMG_MEMORY) {
            *err = why;
            return -1;
        }
        node->remarks |= CHAIN_FOREST_NO_FILE;
        node->why = img_strndup(why.text, strlen(why.text), err);
        return node->why ? 0 : -1;
    }
    format = node->backing_format ? node->backing_format : ref.format;
    if (!format) {
        node->remarks |= CHAIN_FOREST_UNDECLARED;
        /* Guessing would let a guest's bytes name files on the host. */
        format = forest->options.allow_probe ? NULL : "raw";
    }
    path = chain_ref_resolve(&ref, node->path, err);
    if (path) {
        rc = chain_forest_node_for(forest, path, format, out, err);
    }
    chain_ref_fini(&ref);
    return rc;
}

static void judge_link(struct chain_forest *forest, size_t idx, size_t base_idx)
{
    struct chain_forest_item *node = &forest->nodes[idx];
    struct chain_forest_item *base = &forest->nodes[base_idx];

    node->pub.backing = base_idx;
    node->pub.next_overlay = base->pub.first_overlay;
    base->pub.first_overlay = idx;
    base->pub.is_hidden = false;
    if (node->pub.backing_format && base->pub.looks_like &&
        strcmp(node->pub.backing_format, base->pub.looks_like) != 0) {
        node->pub.remarks |= CHAIN_FOREST_WRONG_FORMAT;
    }
    if (base->is_regular && (base->mode & 0222) != 0) {
        base->pub.remarks |= CHAIN_FOREST_WRITABLE;
    }
    if (base->mtime_ns > node->mtime_ns) {
        base->pub.remarks |= CHAIN_FOREST_NEWER;
    }
}

/* Overlays were put in front of each other: turn them to the order found. */
static void order_overlays(struct chain_forest *forest)
{
    for (size_t i = 0; i < forest->nr; i++) {
        size_t next = forest->nodes[i].pub.first_overlay,
               done = CHAIN_FOREST_NONE;

        while (next != CHAIN_FOREST_NONE) {
            struct chain_forest_node *node = &forest->nodes[next].pub;
            size_t after = node->next_overlay;

            node->next_overlay = done;
            done = next;
            next = after;
        }
        forest->nodes[i].pub.first_overlay = done;
    }
}

/*
 * Walk down from every node. MARKS holds the walk (1-based) that came by; who
 * meets the own walk's mark has found a loop.
 */
static int find_loops(struct chain_forest *forest, struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    size_t *marks = img_calloc(forest->nr + 1, sizeof(*marks), err);

    if (!marks) {
        return -1;
    }
    for (size_t i = 0; i < forest->nr; i++) {
        size_t at = i;

        while (at != CHAIN_FOREST_NONE && marks[at] == 0) {
            marks[at] = i + 1;
            at = forest->nodes[at].pub.backing;
        }
        if (at == CHAIN_FOREST_NONE || marks[at] != i + 1) {
            continue;
        }
        for (size_t in = at;
             !(forest->nodes[in].pub.remarks & CHAIN_FOREST_LOOP);
             in = forest->nodes[in].pub.backing) {
            forest->nodes[in].pub.remarks |= CHAIN_FOREST_LOOP;
        }
    }
    return 0;
}

int chain_forest_link(struct chain_forest *forest, struct img_error *err)
{
    /* Bases are added while the list is walked, and walked in turn. */
    for (size_t i = 0; i < forest->nr; i++) {
        size_t base;

        if (!forest->nodes[i].pub.backing_name) {
            continue;
        }
        if (find_base(forest, i, &base, err) < 0) {
            return -1;
        }
        if (base != CHAIN_FOREST_NONE) {
            judge_link(forest, i, base);
        }
    }
    order_overlays(forest);
    for (size_t i = 0; i < forest->nr; i++) {
        struct chain_forest_node *node = &forest->nodes[i].pub;

        if (node->is_scanned && !node->is_hidden && node->format &&
            !node->backing_name && node->first_overlay == CHAIN_FOREST_NONE) {
            node->remarks |= CHAIN_FOREST_ORPHAN;
        }
    }
    return find_loops(forest, err);
}

size_t chain_forest_len(const struct chain_forest *forest)
{
    return forest->nr;
}

const struct chain_forest_node *
chain_forest_at(const struct chain_forest *forest, size_t idx)
{
    return &forest->nodes[idx].pub;
}
