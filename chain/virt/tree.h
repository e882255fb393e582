/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An XML document as a tree of elements: what the rest of the room reads.
 * Room: chain/virt.
 *
 * Comments and processing instructions are not in it, nor are elements of a
 * namespace: libvirt asks for none by these names. Attributes are found by
 * their name without its prefix, as libvirt finds them.
 */
#ifndef VIRT_TREE_H
#define VIRT_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include <img/error.h>

struct virt_attribute {
    const char *name, *value;
};

struct virt_node {
    struct virt_node *older; /* the one that was made before, for freeing */
    struct virt_node *parent, *first, *last, *next;
    const char *name;
    char *text;    /* what is in it; NULL: nothing */
    bool is_mixed; /* there are elements in it, and text is not kept */
    unsigned line;
    size_t ordinal; /* how many elements begin before it, of all there are */
    size_t attributes_nr;
    struct virt_attribute attributes[];
};

struct virt_tree {
    struct virt_node *root, *newest;
};

/*
 * The tree of the LEN bytes of TEXT, within the limits of chain/virt.h. Errors
 * have a line, and NAME as their path.
 */
int virt_tree_parse(const char *text, size_t len, const char *name,
                    struct virt_tree *out, struct img_error *err);
/* The same, with the elements of libvirt's namespace for QEMU, which are called
   "qemu:commandline" whatever prefix the document has for it. */
int virt_tree_parse_qemu(const char *text, size_t len, const char *name,
                         struct virt_tree *out, struct img_error *err);
/* Zeroed is empty. */
void virt_tree_fini(struct virt_tree *tree);

/* The first element NAME in NODE; NULL: there is none, or no NODE. */
const struct virt_node *virt_child(const struct virt_node *node,
                                   const char *name);
/* The next one after NODE of the same name. */
const struct virt_node *virt_same(const struct virt_node *node);
/* The element that begins next after NODE, at whatever depth; NULL: none. */
const struct virt_node *virt_next(const struct virt_node *node);
/* The first attribute NAME; NULL: there is none, or no NODE. */
const char *virt_attribute(const struct virt_node *node, const char *name);

#endif
