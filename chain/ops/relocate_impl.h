/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains on their way to another folder, for their own files: relocate_plan.c
 * (what becomes of them, and whether it can), relocate_source.c (opening
 * them), relocate_file.c (one copy), relocate_proof.c (is a file that copy?),
 * and relocate.c, which puts them in order.
 */
#ifndef CHAIN_OPS_RELOCATE_IMPL_H
#define CHAIN_OPS_RELOCATE_IMPL_H

#include <chain/relocate.h>
#include <img/file.h>

struct chain_relocation {
    const struct chain_relocate_request *request;
    struct chain_relocate_result *result;
    /* Open, and locked, until the end. */
    struct chain **sources;
    size_t sources_nr;
    const struct chain_layer **layers; /* of each file: one that is it */
    const char *const *made;           /* NULL: where they are to be */
};

/* One layer and what is to become of it. */
struct chain_relocation_item {
    const struct chain_relocation *relocation;
    const struct chain_layer *layer;
    struct chain_relocated *file;
    bool is_renamed; /* the copy's header is another than the layer's */
};

/* relocate_source.c */
/* Open all sources. */
int chain_relocation_open(struct chain_relocation *relocation,
                          struct img_error *err);
void chain_relocation_close(struct chain_relocation *relocation);
/* IMG_LOCKED, with its holder, when somebody else has one of the files open,
   and the request wants nobody to. */
int chain_relocation_check_alone(const struct chain_relocation *relocation,
                                 struct img_error *err);
/* Is STAMP a file of the sources? ERR is filled in when that cannot be told. */
bool chain_relocation_has(const struct chain_relocation *relocation,
                          const struct img_stamp *stamp, struct img_error *err);
int chain_relocation_check_unchanged(const struct chain_relocation *relocation,
                                     struct img_error *err);

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
/* Where its copy is made. */
const char *chain_relocation_made(const struct chain_relocation_item *item);

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

/* The header that a copy needs can be made: nobody has written anything yet. */
int chain_relocation_try(const struct chain_relocation_item *item,
                         struct img_error *err);

/* relocate_file.c */
int chain_relocation_copy(const struct chain_relocation_item *item,
                          struct img_error *err);
/* Is the copy there? *found false: no file has its name. */
int chain_relocation_find(const struct chain_relocation_item *item, bool *found,
                          struct img_error *err);

#endif
