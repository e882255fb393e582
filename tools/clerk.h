/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A second process that gives files their names when the first one, confined,
 * may not. It is started before any image is opened, knows the few files that
 * it is there for, and takes orders of one byte.
 */
#ifndef CLERK_H
#define CLERK_H

#include <stdbool.h>
#include <stddef.h>

#include <img/error.h>

#define CLERK_FILES_MAX 8u

struct clerk_file {
    const char *temporary; /* what is written */
    const char *path;      /* what it becomes */
};

/*
 * Start it for NR files. What has got no name when this process is over, in
 * whatever way, it removes. One at a time.
 */
int clerk_start(const struct clerk_file *files, size_t nr,
                struct img_error *err);
/* File IDX is complete: put it in its place. 0 or an errno. */
int clerk_keep(size_t idx);
/* Remove file IDX. */
void clerk_drop(size_t idx);
/* There is nothing more to do. */
void clerk_end(void);

#endif
