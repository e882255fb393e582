/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names in a folder. */
#ifndef IMG_FOLDER_H
#define IMG_FOLDER_H

#include <stddef.h>

#include <img/error.h>

/* A list of paths. Zeroed is empty. */
struct img_names {
    char **at;
    size_t nr, room;
};

void img_names_fini(struct img_names *names);
/* Takes NAME, also on failure; NULL fails (ERR is filled in already). */
int img_names_push(struct img_names *names, char *name, struct img_error *err);

/*
 * All names in the folder PATH but "." and "..", joined with it and sorted by
 * their bytes. IMG_LIMIT when there are more than MAX; errors have PATH.
 */
int img_folder_list(const char *path, size_t max, struct img_names *out,
                    struct img_error *err);

#endif
