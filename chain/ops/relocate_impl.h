/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A chain on its way to another folder, for its own files: relocate_plan.c
 * (what becomes of it, and whether it can), relocate_file.c (one copy),
 * relocate_proof.c (is a file that copy?), and relocate.c, which puts them in
 * order.
 */
#ifndef CHAIN_OPS_RELOCATE_IMPL_H
#define CHAIN_OPS_RELOCATE_IMPL_H

#include <chain/relocate.h>
#include <img/file.h>

struct chain_relocation {
    const struct chain_relocate_request *request;
    struct chain_relocate_result *result;
    struct chain *source; /* open, and locked, until the end */
};

/* One layer and what is to become of it. */
struct chain_relocation_item {
    const struct chain_relocation *relocation;
    const struct chain_layer *layer;
    struct chain_relocated *file;
    bool is_renamed; /* the copy's header is another than the layer's */
};

/* relocate_plan.c */
/* Every file's new name, what its header will record, and how much it is. */
int chain_relocation_plan(struct chain_relocation *relocation,
                          struct img_error *err);
/* Has the folder room for those that are not there yet? */
int chain_relocation_check_space(const struct chain_relocation *relocation,
                                 struct img_error *err);
/* Item IDX of what is planned. */
struct chain_relocation_item
chain_relocation_item(const struct chain_relocation *relocation, size_t idx);

/* relocate_proof.c */
/* Let the header of FILE, which is a copy, record what ITEM says. */
int chain_relocation_rename(const struct chain_relocation_item *item,
                            struct img_file *file, struct img_error *err);
/*
 * FILE holds the bytes of the layer but for the header, and that is the one
 * which chain_relocation_rename makes of the layer's. IMG_USAGE: it is
 * something else.
 */
int chain_relocation_prove(const struct chain_relocation_item *item,
                           struct img_file *file, struct img_error *err);

/* relocate_file.c */
int chain_relocation_copy(const struct chain_relocation_item *item,
                          struct img_error *err);
/* Is the copy there? *found false: no file has its name. */
int chain_relocation_find(const struct chain_relocation_item *item, bool *found,
                          struct img_error *err);

#endif
