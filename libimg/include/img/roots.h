/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Folders that every file of a chain must lie in. The kernel enforces it
 * while it resolves a path (openat2, RESOLVE_BENEATH and
 * RESOLVE_NO_MAGICLINKS): symbolic links cannot lead out.
 */
#ifndef IMG_ROOTS_H
#define IMG_ROOTS_H

#include <img/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct img_roots;

/* An empty set: nothing may be opened through it. 0, or IMG_MEMORY. */
IMG_PUBLIC int img_roots_new(struct img_roots **out, struct img_error *err);

/*
 * Allow DIR and everything below it. DIR is opened now (O_PATH) and stays
 * open, so that renaming it changes nothing. Errors carry the path.
 */
IMG_PUBLIC int img_roots_add(struct img_roots *roots, const char *dir,
                             struct img_error *err);

/* The descriptor (O_PATH) of the folder that was added as number IDX; -1 past
   the last one, or without ROOTS. */
int img_roots_fd(const struct img_roots *roots, size_t idx);

/* Only when no chain that was opened through it opens files any more. NULL
   is fine. */
IMG_PUBLIC void img_roots_free(struct img_roots *roots);

#ifdef __cplusplus
}
#endif
#endif
