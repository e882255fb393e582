/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names in a folder: see img/folder.h. */
#include <img/folder.h>

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

void img_names_fini(struct img_names *names)
{
    for (size_t i = 0; i < names->nr; i++) {
        free(names->at[i]);
    }
    free(names->at);
    memset(names, 0, sizeof(*names));
}

int img_names_push(struct img_names *names, char *name, struct img_error *err)
{
    if (!name) {
        return -1;
    }
    if (names->nr == names->room) {
        size_t room = names->room ? names->room * 2 : 64;
        char **at = reallocarray(names->at, room, sizeof(*at));

        if (!at) {
            free(name);
            return img_fail_memory(err);
        }
        names->at = at;
        names->room = room;
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

int img_folder_list(const char *path, size_t max, struct img_names *out,
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
        rc = img_names_push(
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
