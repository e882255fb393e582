/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files in a folder: see scan.h. Folders to come wait in a list. */
#include "scan.h"

#include <img/folder.h>
#include <img/memory.h>
#include <string.h>
#include <sys/stat.h>

/* Files are told to the caller, folders put at the end of FOLDERS. */
static int sort_out(const struct img_names *names, struct img_names *folders,
                    const struct chain_scan_options *options,
                    struct img_error *err)
{
    for (size_t i = 0; i < names->nr; i++) {
        const char *path = names->at[i];
        struct stat st;

        if (lstat(path, &st) < 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            if (options->recursive &&
                img_names_push(folders, img_strndup(path, strlen(path), err),
                               err) < 0) {
                return -1;
            }
            continue;
        }
        if (S_ISLNK(st.st_mode) && stat(path, &st) < 0) {
            continue;
        }
        if ((S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) &&
            options->found(options->opaque, path, err) < 0) {
            return -1;
        }
    }
    return 0;
}

int chain_scan_folder(const char *path,
                      const struct chain_scan_options *options,
                      struct img_error *err)
{
    struct img_names folders = {.at = NULL};
    int rc =
        img_names_push(&folders, img_strndup(path, strlen(path), err), err);

    for (size_t i = 0; rc == 0 && i < folders.nr; i++) {
        struct img_names names = {.at = NULL};

        rc = img_folder_list(folders.at[i], options->max_names, &names, err);
        if (rc == 0) {
            rc = sort_out(&names, &folders, options, err);
        } else if (i > 0 && err->code != IMG_LIMIT && err->code != IMG_MEMORY) {
            rc = 0;
        }
        img_names_fini(&names);
        if (folders.nr > options->max_names) {
            rc = img_fail(err, IMG_LIMIT, "too many folders: more than %zu",
                          options->max_names);
            img_error_set_path(err, path);
        }
    }
    img_names_fini(&folders);
    return rc;
}
