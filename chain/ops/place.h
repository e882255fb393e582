/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which name a path is, whether or not a file of that name exists. */
#ifndef CHAIN_OPS_PLACE_H
#define CHAIN_OPS_PLACE_H

#include <sys/vfs.h>

#include <chain/chain.h>
#include <img/file.h>

/* A folder, by identity, and a name in it. */
struct chain_place {
    uint64_t dev, ino;
    const char *name; /* borrowed from the path: its last part */
};

/* IMG_USAGE when PATH ends in no name ("a/", "..", ""). */
int chain_place_find(const char *path, const struct img_roots *roots,
                     struct chain_place *out, struct img_error *err);
bool chain_place_is_same(const struct chain_place *a,
                         const struct chain_place *b);

/* PATH such that nothing but a path can be read into it, as an operand or as a
   backing name. Free with free(). */
char *chain_place_operand(const char *path, struct img_error *err);

/* What the file system can take that PATH, which need not exist, lies on;
   UINT64_MAX: unknown. */
uint64_t chain_place_space_left(const char *path);
/* Is it one of those that are known not to share blocks between files? */
bool chain_place_is_without_sharing(const struct statfs *fs);

/* The folder part of PATH, "." where it has none. Free with free(). */
char *chain_place_folder(const char *path, struct img_error *err);

/* Do two stamps tell of one file or one device? */
bool chain_stamp_is_same_file(const struct img_stamp *a,
                              const struct img_stamp *b);

/* The file of CHAIN that STAMP tells of, a layer's or a layer's data file;
   NULL: none, or (with ERR filled in) one could not be looked at. */
const struct img_file *chain_find_stamp(const struct chain *chain,
                                        const struct img_stamp *stamp,
                                        struct img_error *err);

#endif
