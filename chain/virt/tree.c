/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of an XML document: looking around in it. See tree.h. */
#include "tree.h"

#include <stdlib.h>
#include <string.h>

void virt_tree_fini(struct virt_tree *tree)
{
    while (tree->newest) {
        struct virt_node *node = tree->newest;

        tree->newest = node->older;
        free(node->text);
        free(node);
    }
    tree->root = NULL;
}

static const struct virt_node *find(const struct virt_node *node,
                                    const char *name)
{
    while (node && strcmp(node->name, name) != 0) {
        node = node->next;
    }
    return node;
}

const struct virt_node *virt_child(const struct virt_node *node,
                                   const char *name)
{
    return node ? find(node->first, name) : NULL;
}

const struct virt_node *virt_same(const struct virt_node *node)
{
    return find(node->next, node->name);
}

const struct virt_node *virt_next(const struct virt_node *node)
{
    if (node->first) {
        return node->first;
    }
    while (node && !node->next) {
        node = node->parent;
    }
    return node ? node->next : NULL;
}

const char *virt_attribute(const struct virt_node *node, const char *name)
{
    for (size_t i = 0; node && i < node->attributes_nr; i++) {
        if (strcmp(node->attributes[i].name, name) == 0) {
            return node->attributes[i].value;
        }
    }
    return NULL;
}
