/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When two values of a domain's XML are the same. Room: chain/virt; for abi*.c.
 */
#ifndef VIRT_ABI_IMPL_H
#define VIRT_ABI_IMPL_H

#include "abi_table.h"
#include "document.h"

/* A text, and the element that it is of. */
struct abi_value {
    const struct virt_node *node;
    const char *text; /* NULL: it is not there */
};

/* By what CLASS means by the same. */
bool abi_is_same(enum abi_class class, const struct abi_value *a,
                 const struct abi_value *b);
/* Elements with all that is in them; NULL is the same as nothing. */
bool abi_is_same_tree(const struct virt_node *a, const struct virt_node *b);

#endif
