/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files in a folder: see scan.h. Folders to come wait in a list. */
#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct names {
    char **at;
    size_t nr, capacity;
};

static void names_fini(struct names *names)
{
    for (size_t i = 0; i < names->nr; i++) {
        free(names->at[i]);
    }
    free(names->at);
    memset(names, 0, sizeof(*names));
}

/* Takes NAME, also on failure. */
static int names_push(struct names *names, char *name, struct img_error *err)
{
    if (!name) {
        return -1;
    }
    if (names->nr == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 64;
        char **at = reallocarray(names->at, capacity, sizeof(*at));

        if (!at) {
            free(name);
            return img_fail_memory(err);
        }
        names->at = at;
        names->capacity = capacity;
    }
    names->at[names->nr++] = name;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int fail_folder(const char *path, int sys_errno, struct img_error *err)
{
    img_fail_sys(err, sys_errno, "cannot read the folder");
    img_error_set_path(err, path);
    return -1;
}

/* All names in the folder PATH, joined with it and sorted. */
static int list(const char *path, size_t max, struct names *out,
                struct img_error *err)
{
    size_t len = strlen(path);
    const char *slash = len > 0 && path[len - 1] == '/' ? "" : "/";
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int rc = 0;

    if (!dir) {
        return fail_folder(path, errno, err);
    }
    for (;;) {
        errno = 0;
        entry = readdir(dir);
        if (!entry) {
            if (errno != 0) {
                rc = fail_folder(path, errno, err);
            }
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (out->nr >= max) {
            rc = img_fail(err, IMG_LIMIT,
                          "too many files in the folder: more than %zu are "
                          "not looked at",
                          max);
            img_error_set_path(err, path);
            break;
        }
        rc = names_push(
            out, img_text(err, "%s%s%s", path, slash, entry->d_name), err);
        if (rc < 0) {
            break;
        }
    }
    closedir(dir);
    if (rc == 0 && out->nr > 0) {
        qsort(out->at, out->nr, sizeof(*out->at), by_bytes);
    }
    return rc;
}

/* Files are told to the caller, folders put at the end of FOLDERS. */
static int sort_out(const struct names *names, struct names *folders,
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
                names_push(folders, img_strndup(path, strlen(path), err), err) <
                    0) {
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
    struct names folders = {.at = NULL};
    int rc = names_push(&folders, img_strndup(path, strlen(path), err), err);

    for (size_t i = 0; rc == 0 && i < folders.nr; i++) {
        struct names names = {.at = NULL};

        rc = list(folders.at[i], options->max_names, &names, err);
        if (rc == 0) {
            rc = sort_out(&names, &folders, options, err);
        } else if (i > 0 && err->code != IMG_LIMIT && err->code != IMG_MEMORY) {
            rc = 0;
        }
        names_fini(&names);
        if (folders.nr > options->max_names) {
            rc = img_fail(err, IMG_LIMIT, "too many folders: more than %zu",
                          options->max_names);
            img_error_set_path(err, path);
        }
    }
    names_fini(&folders);
    return rc;
}
