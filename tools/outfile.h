/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that are written next to stdout: reports and stamps. */
#ifndef OUTFILE_H
#define OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <img/error.h>

struct outfile {
    char *path, *temporary;
    FILE *stream;  /* write here; errors are found at the end */
    int clerk_idx; /* the number by which the clerk knows it, or -1 */
};

/*
 * Begin to replace PATH. What stands there stays until outfile_commit. Only a
 * regular file, or none, may be replaced: never a device.
 */
int outfile_open(struct outfile *file, const char *path, struct img_error *err);
/*
 * Open the NR files now (NULL: none), before the process confines itself;
 * outfile_open of an equal path then takes them. Once.
 */
int outfile_prepare(const char *const *paths, size_t nr, struct img_error *err);
/* Forget what was prepared and not taken. */
void outfile_discard_prepared(void);
/* Everything written, then the name. Releases FILE whatever happens. */
int outfile_commit(struct outfile *file, struct img_error *err);
/* Forget what was written. Accepts a zeroed FILE. */
void outfile_discard(struct outfile *file);

/* Do the two names lead to one file? */
bool outfile_is_same(const char *a, const char *b);

#endif
