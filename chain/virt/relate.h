/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A document of a moment with another parent, or current. Room: chain/virt. */
#ifndef VIRT_RELATE_H
#define VIRT_RELATE_H

#include <chain/metadata.h>

struct relation {
    bool has_parent;    /* it gets another parent: */
    const char *parent; /* its name; NULL: none */
    bool is_current;    /* <active> becomes 1, where there is one */
};

/* MOMENT's text as it is to be; all else stays, byte for byte. */
int virt_relate(const struct chain_moment *moment, const struct relation *wish,
                char **out, struct img_error *err);

#endif
