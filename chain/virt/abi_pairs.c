/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which elements of two documents stand for each other: see abi_impl.h.
 *
 * Disks pair up by their target and controllers by type and index, in whatever
 * order they stand; all others by the order in which they stand.
 */
#include "abi_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

int abi_push(struct abi_walk *walk, const struct virt_node *old,
             const struct virt_node *new)
{
    if (walk->nr == walk->room) {
        size_t room = walk->room ? 2 * walk->room : 64;
        struct abi_pair *grown =
            reallocarray(walk->pairs, room, sizeof(*grown));

        if (!grown) {
            return img_fail_memory(walk->err);
        }
        walk->pairs = grown;
        walk->room = room;
    }
    walk->pairs[walk->nr++] = (struct abi_pair){old, new};
    return 0;
}

static const char *attribute_of(const struct virt_node *node, const char *name)
{
    const char *value = virt_attribute(node, name);

    return value ? value : "";
}

bool abi_is_device(const struct virt_node *node)
{
    return node->parent && strcmp(node->parent->name, "devices") == 0 &&
           node->parent->parent && !node->parent->parent->parent;
}

void abi_set_key(struct abi_child *child)
{
    const struct virt_node *node = child->node;

    child->key = child->key2 = "";
    if (abi_is_device(node) && abi_is_implied(node)) {
        child->key = "implied";
        /* mouse, keyboard; pci, usb. There is one console, of any type. */
        child->key2 = strcmp(node->name, "console") == 0
                          ? ""
                          : attribute_of(node, "type");
    } else if (strcmp(node->name, "disk") == 0) {
        child->key = attribute_of(virt_child(node, "target"), "dev");
    } else if (strcmp(node->name, "controller") == 0) {
        child->key = attribute_of(node, "type");
        child->key2 = attribute_of(node, "index");
    }
}

static int compare_keys(const struct abi_child *a, const struct abi_child *b)
{
    int by = strcmp(a->node->name, b->node->name);

    by = by ? by : strcmp(a->key, b->key);
    return by ? by : strcmp(a->key2, b->key2);
}

static int compare_places(const void *a, const void *b)
{
    const struct abi_child *one = a, *other = b;
    int by = compare_keys(one, other);

    return by ? by
              : (one->node->ordinal > other->node->ordinal) -
                    (one->node->ordinal < other->node->ordinal);
}

static int compare_children(const struct abi_child *a,
                            const struct abi_child *b)
{
    int by = compare_keys(a, b);

    return by ? by : (a->ordinal > b->ordinal) - (a->ordinal < b->ordinal);
}

/* The children of PARENT, sorted; *OUT: free with free(). */
static int list_children(const struct virt_node *parent, struct abi_child **out,
                         size_t *out_nr, struct img_error *err)
{
    size_t nr = 0;
    struct abi_child *list;

    for (const struct virt_node *n = parent ? parent->first : NULL; n;
         n = n->next) {
        nr++;
    }
    list = img_calloc(nr + 1, sizeof(*list), err);
    if (!list) {
        return -1;
    }
    nr = 0;
    for (const struct virt_node *n = parent ? parent->first : NULL; n;
         n = n->next) {
        list[nr].node = n;
        abi_set_key(&list[nr++]);
    }
    qsort(list, nr, sizeof(*list), compare_places);
    for (size_t i = 1; i < nr; i++) {
        list[i].ordinal = compare_keys(&list[i - 1], &list[i]) == 0
                              ? list[i - 1].ordinal + 1
                              : 0;
    }
    *out = list;
    *out_nr = nr;
    return 0;
}

/* CHILD stands for nothing: libvirt makes one up where it is missing. */
static bool is_made_up(const struct abi_child *child)
{
    return child && child->ordinal == 0 && abi_is_device(child->node) &&
           abi_is_implied(child->node) && abi_is_plain(child->node);
}

int abi_push_children(struct abi_walk *walk, const struct abi_pair *pair)
{
    IMG_AUTO(img_free_ptr) struct abi_child *olds = NULL;
    IMG_AUTO(img_free_ptr) struct abi_child *news = NULL;
    size_t olds_nr, news_nr, i = 0, j = 0;

    if (list_children(pair->old, &olds, &olds_nr, walk->err) < 0 ||
        list_children(pair->new, &news, &news_nr, walk->err) < 0) {
        return -1;
    }
    while (i < olds_nr || j < news_nr) {
        int by = i == olds_nr   ? 1
                 : j == news_nr ? -1
                                : compare_children(&olds[i], &news[j]);
        const struct abi_child *old = by <= 0 ? &olds[i++] : NULL;
        const struct abi_child *new = by >= 0 ? &news[j++] : NULL;

        if ((!new &&is_made_up(old)) || (!old && is_made_up(new))) {
            continue;
        }
        if (abi_push(walk, old ? old->node : NULL, new ? new->node : NULL) <
            0) {
            return -1;
        }
    }
    return 0;
}
