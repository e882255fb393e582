/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * May a user open a file for writing? Judged from owner, group and mode bits
 * and the folders on the way, for a user that this process need not be.
 * Access control lists and capabilities are not looked at.
 */
#ifndef CHAIN_OPS_ACCESS_H
#define CHAIN_OPS_ACCESS_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <img/error.h>

#define CHAIN_ACCESS_GROUPS_MAX 1024

struct chain_access_user {
    uid_t uid;
    int groups_nr;
    gid_t groups[CHAIN_ACCESS_GROUPS_MAX];
};

/* NAME (or a number) and its groups; NULL: this process. IMG_USAGE for a
   name that nobody has. */
int chain_access_user_load(const char *name, struct chain_access_user *out,
                           struct img_error *err);

/* The rwx bits (octal 0 to 7) that USER has. */
unsigned chain_access_bits(const struct chain_access_user *user,
                           const struct stat *st);

/*
 * The first folder on the way to PATH (resolved) that USER cannot pass: true
 * and its path, free with free(). False: none.
 */
bool chain_access_blocked_folder(const struct chain_access_user *user,
                                 const char *path, char **folder);

/* Where the file system that PATH is on is mounted; free with free(). */
char *chain_access_mount_point(const char *path);

#endif
