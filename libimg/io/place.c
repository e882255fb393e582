/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: where a name lies, and names that appear and change there.
 *
 * Symbolic links are followed by reading them one by one, so that the last
 * folder is the one that the file itself is to stand in; each folder is
 * opened by the kernel's own resolution, inside the roots if there are any.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <img/checked.h>
#include <img/memory.h>

#include "place.h"

#define LINKS_MAX 40 /* as the kernel */
#define TEMP_DIGITS 6u

/* Split PATH into place's folder and name. */
static int split(struct img_place *place, const char *path,
                 struct img_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    place->folder = img_strndup(path, (size_t)(name - path), err);
    place->name = img_strndup(name, strlen(name), err);
    if (!place->folder || !place->name) {
        return -1;
    }
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return img_fail(err, IMG_USAGE, "names a folder, expected a file");
    }
    return 0;
}

static int open_folder(struct img_place *place, const struct img_roots *roots,
                       struct img_error *err)
{
    const char *folder = *place->folder ? place->folder : ".";
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

    if (roots) {
        place->folder_fd = img_roots_open(roots, folder, flags, err);
        return place->folder_fd < 0 ? -1 : 0;
    }
    place->folder_fd = open(folder, flags);
    if (place->folder_fd < 0) {
        return img_fail_sys(err, errno, "cannot open the folder");
    }
    return 0;
}

static void forget(struct img_place *place)
{
    if (place->folder_fd >= 0) {
        close(place->folder_fd);
    }
    place->folder_fd = -1;
    free(img_steal(&place->folder));
    free(img_steal(&place->name));
}

/* One step: open PATH's folder; *next is where a link there leads, or NULL. */
static int step(struct img_place *place, const char *path,
                const struct img_roots *roots, char **next,
                struct img_error *err)
{
    char target[PATH_MAX];
    ssize_t len;

    *next = NULL;
    if (split(place, path, err) || open_folder(place, roots, err)) {
        return -1;
    }
    len = readlinkat(place->folder_fd, place->name, target, sizeof(target));
    if (len < 0) { /* no link, or nothing there */
        return 0;
    }
    if ((size_t)len == sizeof(target)) {
        return img_fail_sys(err, ENAMETOOLONG, "cannot follow the link");
    }
    target[len] = '\0';
    *next =
        img_text(err, "%s%s", target[0] == '/' ? "" : place->folder, target);
    return *next ? 0 : -1;
}

int img_place_init(struct img_place *place, const char *path,
                   const struct img_roots *roots, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *current = NULL;

    *place = (struct img_place){.folder_fd = -1};
    place->path = img_strndup(path, strlen(path), err);
    if (!place->path) {
        return -1;
    }
    for (int links = 0; links <= LINKS_MAX; links++) {
        char *next;
        if (step(place, current ? current : path, roots, &next, err)) {
            return -1;
        }
        if (!next) {
            return 0;
        }
        free(current);
        current = next;
        forget(place);
    }
    return img_fail_sys(err, ELOOP, "cannot follow the link");
}

void img_place_fini(struct img_place *place)
{
    forget(place);
    free(place->path);
}

/* A long name is cut, so that the whole fits (NAME_MAX). */
char *img_place_temp_name(const struct img_place *place, struct img_error *err)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz012345";
    static const char infix[] = ".imgchain-";
    uint8_t bytes[TEMP_DIGITS];
    char suffix[TEMP_DIGITS + 1];
    size_t name_len = (size_t)img_min(
        strlen(place->name), NAME_MAX - 1 - (sizeof(infix) - 1) - TEMP_DIGITS);

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        img_fail_sys(err, errno, "cannot find a temporary name");
        return NULL;
    }
    for (size_t i = 0; i < TEMP_DIGITS; i++) {
        suffix[i] = digits[bytes[i] % 32];
    }
    suffix[TEMP_DIGITS] = '\0';
    return img_text(err, ".%.*s%s%s", (int)name_len, place->name, infix,
                    suffix);
}

char *img_place_path_of(const struct img_place *place, const char *name,
                        struct img_error *err)
{
    return img_text(err, "%s%s", place->folder, name);
}

void img_place_fd_link(int fd, char *out, size_t size)
{
    snprintf(out, size, "/proc/self/fd/%d", fd);
}

int img_place_link_fd(const struct img_place *place, int fd, const char *name)
{
    char link[64];

    /* Needs a right (CAP_DAC_READ_SEARCH) that few have; then by /proc. */
    if (linkat(fd, "", place->folder_fd, name, AT_EMPTY_PATH) == 0) {
        return 0;
    }
    if (errno == EEXIST) {
        return -EEXIST;
    }
    img_place_fd_link(fd, link, sizeof(link));
    return linkat(AT_FDCWD, link, place->folder_fd, name, AT_SYMLINK_FOLLOW)
               ? -errno
               : 0;
}

/* For file systems whose rename cannot be told to replace nothing. */
static int link_and_unlink(const struct img_place *place, const char *from)
{
    if (linkat(place->folder_fd, from, place->folder_fd, place->name, 0)) {
        return -errno;
    }
    (void)unlinkat(place->folder_fd, from, 0);
    return 0;
}

/* And for those that have no links either: somebody may come between. */
static int look_and_rename(const struct img_place *place, const char *from)
{
    if (faccessat(place->folder_fd, place->name, F_OK, AT_SYMLINK_NOFOLLOW) ==
        0) {
        return -EEXIST;
    }
    return renameat(place->folder_fd, from, place->folder_fd, place->name)
               ? -errno
               : 0;
}

int img_place_rename(const struct img_place *place, const char *from)
{
    int rc;

    if (renameat2(place->folder_fd, from, place->folder_fd, place->name,
                  RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -errno;
    }
    rc = link_and_unlink(place, from);
    return rc == 0 || rc == -EEXIST ? rc : look_and_rename(place, from);
}

int img_place_flush(const struct img_place *place, const char *what,
                    struct img_error *err)
{
    while (fsync(place->folder_fd)) {
        /* EINVAL: this file system's folders cannot be flushed. */
        if (errno == EINVAL) {
            return 0;
        }
        if (errno != EINTR) {
            return img_fail_sys(err, errno, "%s", what);
        }
    }
    return 0;
}

int img_folder_flush(const char *path, struct img_error *err)
{
    struct img_place place = {.folder_fd = -1};
    int rc = split(&place, path, err) || open_folder(&place, NULL, err) ||
                     img_place_flush(&place, "cannot flush the folder", err)
                 ? -1
                 : 0;

    if (rc) {
        img_error_set_path(err, path);
    }
    img_place_fini(&place);
    return rc;
}
