/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io, private: the place of a name, an open folder and the name's last
 * component, which is not a symbolic link.
 */
#ifndef IO_PLACE_H
#define IO_PLACE_H

#include <img/newfile.h>

#include "file_impl.h"

struct img_place {
    char *path;   /* as it was asked for */
    char *folder; /* where the last symbolic link led to: "" or ".../" */
    char *name;
    int folder_fd;
};

/* Find PATH's; the name need not exist. fini accepts a half-made place. */
int img_place_init(struct img_place *place, const char *path,
                   const struct img_roots *roots, struct img_error *err);
void img_place_fini(struct img_place *place);

/* A random hidden name that tells what it is for. Free with free(). */
char *img_place_temp_name(const struct img_place *place, struct img_error *err);
/* The path of NAME in the folder. Free with free(). */
char *img_place_path_of(const struct img_place *place, const char *name,
                        struct img_error *err);

/* The path by which a process finds its own descriptor FD. */
void img_place_fd_link(int fd, char *out, size_t size);
/* Give the file without a name that FD has open the name NAME. 0 or -errno. */
int img_place_link_fd(const struct img_place *place, int fd, const char *name);
/* Rename FROM to the place's name, which must be free. 0 or -errno. */
int img_place_rename(const struct img_place *place, const char *from);
/* fsync of the folder; WHAT begins the text of the error. */
int img_place_flush(const struct img_place *place, const char *what,
                    struct img_error *err);

#endif
