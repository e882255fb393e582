/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two documents of one domain compared: see chain/abi.h. Room: chain/virt.
 *
 * Elements are taken in pairs, an old one and a new one of the same name in
 * the same place, from a list that grows by the pairs of their children.
 */
#include <chain/abi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <img/memory.h>

#include "abi_impl.h"
#include "abi_snapshot.h"

static void walk_fini(struct abi_walk *walk)
{
    free(walk->pairs);
}

/* ---- The comparison. */

/* A difference of CLASS; OLD and NEW are not both NULL, or an element is. */
static int judge(struct abi_walk *walk, enum abi_class class,
                 const struct abi_finding *finding)
{
    const struct abi_value old = {finding->pair->old, finding->old};
    const struct abi_value new = {finding->pair->new, finding->new};

    class = abi_resolve(class, finding->old, finding->new);
    if (class == ABI_FREE || abi_is_same(class, &old, &new)) {
        return 0;
    }
    if (class == ABI_SEEN) {
        return abi_add(walk, CHAIN_ABI_SEEN, finding);
    }
    return class == ABI_KEPT && finding->old && finding->new
               ? 0
               : abi_add(walk, CHAIN_ABI_BREAKS, finding);
}

/* Below <domain>, with slashes; false: longer than any in the table. */
static bool path_of(const struct virt_node *node, char out[ABI_PATH_MAX])
{
    char *begin = &out[ABI_PATH_MAX - 1];

    *begin = '\0';
    for (; node->parent; node = node->parent) {
        size_t len = strlen(node->name), slash = *begin != '\0';

        if (len + slash > (size_t)(begin - out)) {
            out[0] = '\0';
            return false;
        }
        begin -= slash;
        if (slash) {
            *begin = '/';
        }
        begin -= len;
        memcpy(begin, node->name, len);
    }
    memmove(out, begin, (size_t)(out + ABI_PATH_MAX - begin));
    return true;
}

static enum abi_class class_of(const char *path, const char *attribute)
{
    char whole[ABI_PATH_MAX];
    int len = snprintf(whole, sizeof(whole), "%s@%s", path, attribute);

    return len < 0 || (size_t)len >= sizeof(whole) ? ABI_STAYS
                                                   : abi_class_of(whole);
}

/* In an element of the class AROUND. */
static int compare_attribute(struct abi_walk *walk, const struct abi_pair *pair,
                             const char *path, enum abi_class around,
                             const char *name)
{
    const struct abi_finding finding = {
        .pair = pair,
        .path = path,
        .attribute = name,
        .old = virt_attribute(pair->old, name),
        .new = virt_attribute(pair->new, name),
    };

    bool has_both = finding.old && finding.new;

    /* A size is another one by another unit. */
    if (has_both && strcmp(finding.old, finding.new) == 0 &&
        strcmp(name, "memory") != 0) {
        return 0;
    }
    return judge(walk, around == ABI_SEEN ? around : class_of(path, name),
                 &finding);
}

static int compare_attributes(struct abi_walk *walk,
                              const struct abi_pair *pair, const char *path,
                              enum abi_class around)
{
    const struct virt_node *old = pair->old, *new = pair->new;

    for (size_t i = 0; old && i < old->attributes_nr; i++) {
        if (compare_attribute(walk, pair, path, around,
                              old->attributes[i].name) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; new &&i < new->attributes_nr; i++) {
        const char *name = new->attributes[i].name;

        if (!virt_attribute(old, name) &&
            compare_attribute(walk, pair, path, around, name) < 0) {
            return -1;
        }
    }
    return 0;
}

/* There is nothing in it whose absence could be told instead of its own. */
static bool is_bare(const struct virt_node *node)
{
    return node->attributes_nr == 0 && !node->first && !node->text;
}

/* An element that the guest sees, with all that is in it: by its attributes
   where it is they that differ. */
static int compare_seen(struct abi_walk *walk,
                        const struct abi_finding *finding)
{
    const struct abi_pair *pair = finding->pair;
    size_t nr = walk->out->seen_nr;

    if (abi_is_same_tree(pair->old, pair->new)) {
        return 0;
    }
    if (pair->old && pair->new &&compare_attributes(walk, pair, finding->path,
                                                    ABI_SEEN) < 0) {
        return -1;
    }
    return walk->out->seen_nr > nr ? 0 : abi_add(walk, CHAIN_ABI_SEEN, finding);
}

static int compare_pair(struct abi_walk *walk, const struct abi_pair *pair)
{
    char path[ABI_PATH_MAX];
    bool is_known = path_of(abi_some(pair), path);
    enum abi_class class = is_known && path[0] ? abi_class_of(path) : ABI_STAYS;
    bool is_alone = !pair->old || !pair->new;
    struct abi_finding finding = {.pair = pair, .path = path};

    if (class == ABI_FREE || (class == ABI_KEPT && !is_alone)) {
        return 0;
    }
    finding.old = abi_text_of(pair->old);
    finding.new = abi_text_of(pair->new);
    if (class == ABI_SEEN) {
        return compare_seen(walk, &finding);
    }
    if (is_alone && class == ABI_TEXT) {
        return abi_add(walk, CHAIN_ABI_SEEN, &finding);
    }
    if (is_alone && (class == ABI_KEPT || abi_is_device(abi_some(pair)) ||
                     is_bare(abi_some(pair)))) {
        return abi_add(walk, CHAIN_ABI_BREAKS, &finding);
    }
    if (class != ABI_TEXT && (finding.old || finding.new) &&
        judge(walk, class, &finding) < 0) {
        return -1;
    }
    return compare_attributes(walk, pair, path, class) < 0
               ? -1
               : abi_push_children(walk, pair);
}

/* ---- What has no sense in the new document. */

/* What is just as NODE is, in an element of the same name, from ROOT on; NULL:
   nothing is. */
static const struct virt_node *find_same(const struct virt_node *root,
                                         const struct virt_node *node)
{
    while (root && !(strcmp(root->name, node->name) == 0 && root->parent &&
                     strcmp(root->parent->name, node->parent->name) == 0 &&
                     abi_is_same_tree(root, node))) {
        root = virt_next(root);
    }
    return root;
}

/* The work is bounded: each element that has no sense may be looked for in all
   of the old document. */
#define SENSELESS_MAX CHAIN_ABI_MAX_DIFFERENCES

static int check_sense(struct abi_walk *walk, const struct virt_node *old,
                       const struct virt_node *new)
{
    size_t nr = 0;

    for (const struct virt_node *n = new; n &&nr < SENSELESS_MAX;
         n = virt_next(n)) {
        char path[ABI_PATH_MAX];
        const char *attribute = NULL;
        bool is_good =
            !path_of(n, path) || abi_value_has_sense(n, path, &attribute);
        const char *fault = abi_fault(n);
        const struct virt_node *same;

        if (is_good && !fault) {
            continue;
        }
        nr++;
        same = find_same(old, n);
        if (same && (!fault || abi_fault(same))) {
            continue; /* it was so before */
        }
        if ((!is_good && abi_add_senseless(walk, n, path, attribute) < 0) ||
            (fault && abi_add_fault(walk, n, fault) < 0)) {
            return -1;
        }
    }
    return 0;
}

static int by_kind_and_line(const void *a, const void *b)
{
    const struct chain_abi_difference *one = a, *other = b;

    return one->kind != other->kind
               ? (one->kind > other->kind) - (one->kind < other->kind)
               : (one->line > other->line) - (one->line < other->line);
}

static int compare(struct abi_walk *walk, const struct virt_node *old,
                   const struct virt_node *new)
{
    struct chain_abi *out = walk->out;

    out->list =
        img_calloc(CHAIN_ABI_MAX_DIFFERENCES, sizeof(*out->list), walk->err);
    if (!out->list || abi_push(walk, old, new) < 0) {
        return -1;
    }
    for (size_t i = 0; i < walk->nr; i++) {
        const struct abi_pair pair = walk->pairs[i];

        if (compare_pair(walk, &pair) < 0) {
            return -1;
        }
    }
    if (check_sense(walk, old, new) < 0 ||
        abi_check_devices(walk, old, new) < 0) {
        return -1;
    }
    qsort(out->list, out->nr, sizeof(*out->list), by_kind_and_line);
    return 0;
}

int chain_abi_compare(const char *old_text, size_t old_len,
                      const char *old_name, const char *new_text,
                      size_t new_len, const char *new_name,
                      struct chain_abi *out, struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree old = {0};
    IMG_AUTO(virt_tree_fini) struct virt_tree new = {0};
    IMG_AUTO(walk_fini) struct abi_walk walk = {.out = out, .err = err};

    memset(out, 0, sizeof(*out));
    if (virt_document_parse_qemu(old_text, old_len, old_name, "domain", &old,
                                 err) < 0 ||
        virt_document_parse_qemu(new_text, new_len, new_name, "domain", &new,
                                 err) < 0) {
        return -1;
    }
    if (compare(&walk, old.root, new.root) < 0) {
        chain_abi_fini(out);
        return -1;
    }
    return 0;
}

/* By itself: paths begin in it. */
static const struct virt_node *domain_in(struct virt_tree *tree)
{
    for (struct virt_node *at = tree->root->first; at; at = at->next) {
        if (strcmp(at->name, "domain") == 0) {
            at->parent = NULL;
            return at;
        }
    }
    return NULL;
}

int abi_compare_snapshots(const struct chain_moment *old,
                          const struct chain_moment *new, struct chain_abi *out,
                          struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree old_tree = {0};
    IMG_AUTO(virt_tree_fini) struct virt_tree new_tree = {0};
    IMG_AUTO(walk_fini) struct abi_walk walk = {.out = out, .err = err};
    const struct virt_node *was, *is;

    memset(out, 0, sizeof(*out));
    if (virt_tree_parse_qemu(old->text, old->len, old->name, &old_tree, err) <
            0 ||
        virt_tree_parse_qemu(new->text, new->len, new->name, &new_tree, err) <
            0) {
        return -1;
    }
    was = domain_in(&old_tree);
    is = domain_in(&new_tree);
    if (was && is && compare(&walk, was, is) < 0) {
        chain_abi_fini(out);
        return -1;
    }
    return 0;
}

void chain_abi_fini(struct chain_abi *abi)
{
    for (size_t i = 0; i < abi->nr; i++) {
        free(abi->list[i].text);
    }
    free(abi->list);
    memset(abi, 0, sizeof(*abi));
}
