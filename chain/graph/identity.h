/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files of a chain by identity (device and inode, or block device), so
 * that a file that is met again is found in logarithmic time.
 */
#ifndef CHAIN_GRAPH_IDENTITY_H
#define CHAIN_GRAPH_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <img/file.h>

/* Which file it is; equal exactly where img_file_is_same says so. */
struct chain_identity_key {
    bool is_block;
    uint64_t dev, ino; /* of a block device: its number, and 0 */
};

/* An order for tsearch(3) over structs that begin with such a key. */
int chain_identity_compare(const void *a, const void *b);

struct chain_identity_set {
    void *root; /* tsearch(3) */
};

/* A file of the set. */
struct chain_identity {
    struct chain_identity_key key;
    struct img_file *file; /* borrowed */
    size_t layer;
    bool is_data_file; /* the layer's external data file */
};

/*
 * Add FILE unless it is there already: then *met is what is there, and the
 * set stays as it was; else *met is NULL.
 */
int chain_identity_add(struct chain_identity_set *set, struct img_file *file,
                       size_t layer, bool is_data_file,
                       const struct chain_identity **met,
                       struct img_error *err);
/* The set's entry for FILE, or NULL (also where FILE cannot be looked at). */
const struct chain_identity *
chain_identity_find(const struct chain_identity_set *set,
                    const struct img_file *file);
/* Forget FILE; it must be in the set. */
void chain_identity_drop(struct chain_identity_set *set,
                         const struct img_file *file);
void chain_identity_fini(struct chain_identity_set *set);

#endif
