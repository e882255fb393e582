/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two documents of one domain, compared. Room: chain/virt; for abi*.c. */
#ifndef VIRT_ABI_IMPL_H
#define VIRT_ABI_IMPL_H

#include <chain/abi.h>

#include "abi_table.h"
#include "document.h"

/* ---- abi_pairs.c: which elements stand for each other. */

/* Elements that stand for each other; one of them may be missing (NULL). */
struct abi_pair {
    const struct virt_node *old, *new;
};

struct abi_walk {
    struct chain_abi *out;
    struct abi_pair *pairs;
    size_t nr, room;
    struct img_error *err;
};

/* The one that is there; the old one of two. */
static inline const struct virt_node *abi_some(const struct abi_pair *pair)
{
    return pair->old ? pair->old : pair->new;
}

/* A child by what it is known by: its name, then its key, then its order. */
struct abi_child {
    const struct virt_node *node;
    const char *key, *key2;
    size_t ordinal; /* among those of its name and key */
};

int abi_push(struct abi_walk *walk, const struct virt_node *old,
             const struct virt_node *new);
/* The pairs of the children of PAIR. */
int abi_push_children(struct abi_walk *walk, const struct abi_pair *pair);
/* A child of <devices>. */
bool abi_is_device(const struct virt_node *node);
/* CHILD's key, by its node. */
void abi_set_key(struct abi_child *child);

/* ---- abi_say.c: what differs, in words. */

struct abi_finding {
    const struct abi_pair *pair;
    const char *path;      /* of the element */
    const char *attribute; /* NULL: the element, or its text */
    const char *old, *new; /* values; NULL: it is not there */
};

/* A text that is not only what stands between elements. */
const char *abi_text_of(const struct virt_node *node);
int abi_add(struct abi_walk *walk, enum chain_abi_kind kind,
            const struct abi_finding *finding);
/* ATTRIBUTE (NULL: the text) of NODE at PATH is none that libvirt knows. */
int abi_add_senseless(struct abi_walk *walk, const struct virt_node *node,
                      const char *path, const char *attribute);
/* DEVICE has a FAULT. */
int abi_add_fault(struct abi_walk *walk, const struct virt_node *device,
                  const char *fault);

/* ---- abi_value.c */

/* A text, and the element that it is of. */
struct abi_value {
    const struct virt_node *node;
    const char *text; /* NULL: it is not there */
};

/* By what CLASS means by the same. */
bool abi_is_same(enum abi_class class, const struct abi_value *a,
                 const struct abi_value *b);
/* What CLASS is for these two values; itself, but for those that depend on
   them. */
enum abi_class abi_resolve(enum abi_class class, const char *old,
                           const char *new);
/* Elements with all that is in them; NULL is the same as nothing. */
bool abi_is_same_tree(const struct virt_node *a, const struct virt_node *b);

/* ---- abi_sense.c: what libvirt refuses of a document by itself. */

/* NODE, at PATH below <domain>, says what libvirt knows where it may change;
   else *ATTRIBUTE is what does not (NULL: its text). */
bool abi_value_has_sense(const struct virt_node *node, const char *path,
                         const char **attribute);
/* What is wrong with a device, timer or label, or goes ill with what stands
   beside it, in words that follow its name; NULL: nothing. */
const char *abi_fault(const struct virt_node *node);

/* ---- abi_document.c */

/* What is wrong with the devices of NEW as a whole, and was not in OLD. */
int abi_check_devices(struct abi_walk *walk, const struct virt_node *old,
                      const struct virt_node *new);

#endif
