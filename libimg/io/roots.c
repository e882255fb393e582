/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: folders that every opened file must lie in.
 *
 * The kernel decides, at the moment of opening (openat2 with RESOLVE_BENEATH
 * and RESOLVE_NO_MAGICLINKS from the root's descriptor): no comparison of
 * texts lets a file through. Texts are compared only to turn a path into
 * one relative to a root, since the kernel refuses absolute ones; a wrong
 * answer there can open nothing but another file inside.
 *
 * Consequences: a symbolic link with an absolute target is refused even if
 * it leads back inside, and so is a path that leaves a root by ".." and
 * comes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <img/memory.h>

#include "file_impl.h"

/* Tries while somebody renames folders on the way (EAGAIN). */
#define RESOLVE_TRIES 16

struct root {
    int fd;
    char *spelled;   /* absolute, as it was given */
    char *canonical; /* without links, NULL if it could not be found out */
};

struct img_roots {
    struct root *items;
    size_t nr;
};

int img_roots_new(struct img_roots **out, struct img_error *err)
{
    *out = img_calloc(1, sizeof(**out), err);
    return *out ? 0 : -1;
}

static void root_fini(struct root *root)
{
    if (root->fd >= 0) {
        close(root->fd);
    }
    free(root->spelled);
    free(root->canonical);
}

void img_roots_free(struct img_roots *roots)
{
    if (!roots) {
        return;
    }
    for (size_t i = 0; i < roots->nr; i++) {
        root_fini(&roots->items[i]);
    }
    free(roots->items);
    free(roots);
}

/* Step over what means nothing between components: slashes and ".". */
static const char *skip_slashes(const char *path)
{
    for (;;) {
        if (path[0] == '/') {
            path++;
        } else if (path[0] == '.' && path[1] == '/') {
            path += 2;
        } else {
            return path;
        }
    }
}

static bool is_parent_step(const char *path)
{
    return path[0] == '.' && path[1] == '.' &&
           (path[2] == '/' || path[2] == '\0');
}

/*
 * PATH as an absolute one. The working directory as the kernel tells it has
 * no links, so that leading ".." can be taken off its end; any other ".."
 * may follow a link and stays.
 */
static char *make_absolute(const char *path, struct img_error *err)
{
    char cwd[PATH_MAX];
    size_t len;

    if (path[0] == '/') {
        return img_strndup(path, strlen(path), err);
    }
    if (!getcwd(cwd, sizeof(cwd))) {
        img_fail_sys(err, errno, "cannot find the working directory");
        return NULL;
    }
    len = strlen(cwd);
    path = skip_slashes(path);
    while (is_parent_step(path)) {
        while (len > 0 && cwd[--len] != '/') {
        }
        path = skip_slashes(path + 2);
    }
    return img_text(err, "%.*s/%s", (int)len, cwd, path);
}

/* Length of the path component at PATH. */
static size_t component_len(const char *path)
{
    return strcspn(path, "/");
}

/*
 * What PATH says below ROOT, both absolute; NULL if ROOT's components are
 * not its first ones. "." if PATH is ROOT.
 */
static const char *path_below(const char *path, const char *root)
{
    path = skip_slashes(path);
    root = skip_slashes(root);
    while (*root && strcmp(root, ".") != 0) {
        size_t len = component_len(root);
        if (component_len(path) != len || memcmp(path, root, len) != 0) {
            return NULL;
        }
        path = skip_slashes(path + len);
        root = skip_slashes(root + len);
    }
    return *path ? path : ".";
}

static const char *below_root(const char *path, const struct root *root)
{
    const char *below = path_below(path, root->spelled);

    if (!below && root->canonical) {
        below = path_below(path, root->canonical);
    }
    return below;
}

/* realpath, but only if it leads to the folder that FD has open. */
static char *find_canonical(const char *dir, int fd)
{
    struct stat by_name, by_fd;
    char *canonical = realpath(dir, NULL);

    if (canonical &&
        (stat(canonical, &by_name) || fstat(fd, &by_fd) ||
         by_name.st_dev != by_fd.st_dev || by_name.st_ino != by_fd.st_ino)) {
        free(canonical);
        canonical = NULL;
    }
    return canonical;
}

static int root_init(struct root *root, const char *dir, struct img_error *err)
{
    root->fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root->fd < 0) {
        return img_fail_sys(err, errno, "cannot open the folder");
    }
    root->spelled = make_absolute(dir, err);
    if (!root->spelled) {
        return -1;
    }
    root->canonical = find_canonical(dir, root->fd);
    return 0;
}

int img_roots_add(struct img_roots *roots, const char *dir,
                  struct img_error *err)
{
    struct root root = {.fd = -1};
    struct root *items;

    if (root_init(&root, dir, err)) {
        root_fini(&root);
        img_error_set_path(err, dir);
        return -1;
    }
    items = reallocarray(roots->items, roots->nr + 1, sizeof(*items));
    if (!items) {
        root_fini(&root);
        return img_fail_memory(err);
    }
    items[roots->nr++] = root;
    roots->items = items;
    return 0;
}

int img_roots_fd(const struct img_roots *roots, size_t idx)
{
    return roots && idx < roots->nr ? roots->items[idx].fd : -1;
}

/* A descriptor, or a negative errno. */
static int open_beneath(int root_fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (unsigned)flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    int tries = 0;

    for (;;) {
        long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
        if (fd >= 0) {
            return (int)fd;
        }
        if (errno != EINTR && (errno != EAGAIN || ++tries == RESOLVE_TRIES)) {
            return -errno;
        }
    }
}

static int fail_beneath(int sys_errno, struct img_error *err)
{
    switch (sys_errno) {
    case EXDEV:
        img_fail(err, IMG_DENIED, "lies outside the allowed folders");
        break;
    case ELOOP:
        img_fail(err, IMG_DENIED,
                 "leads through too many symbolic links, or one of /proc, "
                 "which may leave the allowed folders");
        break;
    case ENOSYS:
        img_fail(err, IMG_UNSUPPORTED,
                 "cannot be kept inside the allowed folders: the kernel has "
                 "no openat2 (Linux 5.6)");
        break;
    default:
        return img_fail_sys(err, sys_errno,
                            "cannot open inside the allowed folders");
    }
    err->sys_errno = sys_errno;
    return -1;
}

int img_roots_open(const struct img_roots *roots, const char *path, int flags,
                   struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *absolute = make_absolute(path, err);
    int sys_errno = EXDEV;

    if (!absolute) {
        return -1;
    }
    for (size_t i = 0; i < roots->nr; i++) {
        const char *below = below_root(absolute, &roots->items[i]);
        if (!below) {
            continue;
        }
        int fd = open_beneath(roots->items[i].fd, below, flags);
        if (fd >= 0) {
            return fd;
        }
        /* Another root may contain this one and let a link go further. */
        if (sys_errno == EXDEV) {
            sys_errno = -fd;
        }
    }
    return fail_beneath(sys_errno, err);
}
