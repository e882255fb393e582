/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New files whose name appears when they are complete.
 *
 * The file is made without a name (O_TMPFILE) in the folder that it is to
 * stand in, or under a hidden temporary name where the file system cannot or
 * the caller wants one, so that a process that is killed leaves nothing that
 * could be taken for an image. A final symbolic link of PATH is followed.
 */
#ifndef IMG_NEWFILE_H
#define IMG_NEWFILE_H

#include <img/write.h>

struct img_newfile;

struct img_newfile_options {
    bool replace; /* a regular file of that name may be there; it is replaced
                     in one step, its mode and owner are taken over where
                     permitted. Who may not write it may not replace it. Else
                     it is IMG_USAGE ("exists already") */
    bool named;   /* under a temporary name (.NAME.imgchain-XXXXXX), which
                     img_newfile_temp_path tells */
    bool direct;  /* O_DIRECT, see img/file.h */
    const struct img_roots *roots; /* the folder must lie in them; or NULL */
};

/*
 * Make one. The mode is 0666 less the umask. Fails when PATH is there and not
 * a regular file, is in use (QEMU's locks, IMG_LOCKED), or its folder cannot
 * be written. The handle is locked as a writer's. Errors carry PATH.
 */
int img_newfile_new(const char *path, const struct img_newfile_options *options,
                    struct img_newfile **out, struct img_error *err);
/* Borrowed; its path is PATH. */
struct img_file *img_newfile_file(const struct img_newfile *newfile);
/* NULL without a name. Borrowed. */
const char *img_newfile_temp_path(const struct img_newfile *newfile);

/*
 * Flush the file, let the name appear (link, or rename over an old file),
 * flush the folder. Without replace a name that appeared meanwhile is
 * IMG_USAGE. After a failure the name is as it was before, unless only the
 * flush of the folder failed, which the text says.
 */
int img_newfile_publish(struct img_newfile *newfile, struct img_error *err);
/* Leave a named file under its temporary name: free does not remove it. */
void img_newfile_keep(struct img_newfile *newfile);
/* Drops the handle's reference; what was not published is removed. */
void img_newfile_free(struct img_newfile *newfile);
/* For IMG_AUTO. */
void img_newfile_free_ptr(struct img_newfile **newfile);

/* fsync of the folder that PATH stands in: names in it are stable. */
int img_folder_flush(const char *path, struct img_error *err);

#endif
