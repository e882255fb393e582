/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that are written next to stdout: written aside, then renamed. */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clerk.h"
#include "sandbox.h"

static int fail(struct outfile *file, const char *what, struct img_error *err)
{
    img_fail_sys(err, errno, "%s", what);
    img_error_set_path(err, file->path);
    return -1;
}

static int create(struct outfile *file, const char *path, struct img_error *err)
{
    struct stat st;
    mode_t mask;
    int fd;

    memset(file, 0, sizeof(*file));
    file->clerk_idx = -1;
    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        img_fail(err, IMG_USAGE, "is no regular file: not replaced");
        img_error_set_path(err, path);
        return -1;
    }
    file->path = img_strndup(path, strlen(path), err);
    file->temporary = img_text(err, "%s.XXXXXX", path);
    if (!file->path || !file->temporary) {
        outfile_discard(file);
        return -1;
    }
    fd = mkostemp(file->temporary, O_CLOEXEC);
    if (fd < 0) {
        fail(file, "cannot create", err);
        free(img_steal(&file->temporary));
        outfile_discard(file);
        return -1;
    }
    /* mkostemp's mode is private; a report is a file like others. */
    mask = umask(0);
    umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
    file->stream = fdopen(fd, "w");
    if (!file->stream) {
        fail(file, "cannot create", err);
        close(fd);
        outfile_discard(file);
        return -1;
    }
    return 0;
}

/* Waiting for outfile_open. */
static struct {
    struct outfile files[CLERK_FILES_MAX];
    size_t nr;
} prepared;

static int prepare(const char *path, struct clerk_file *order,
                   struct img_error *err)
{
    struct outfile *file = &prepared.files[prepared.nr];

    if (create(file, path, err) < 0) {
        return -1;
    }
    prepared.nr++;
    order->temporary = file->temporary;
    order->path = file->path;
    sandbox_allow_writing(fileno(file->stream));
    return 0;
}

int outfile_prepare(const char *const *paths, size_t nr, struct img_error *err)
{
    struct clerk_file orders[CLERK_FILES_MAX];

    for (size_t i = 0; i < nr; i++) {
        if (paths[i] && prepared.nr < CLERK_FILES_MAX &&
            prepare(paths[i], &orders[prepared.nr], err) < 0) {
            return -1;
        }
    }
    if (prepared.nr == 0) {
        return 0;
    }
    if (clerk_start(orders, prepared.nr, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < prepared.nr; i++) {
        prepared.files[i].clerk_idx = (int)i;
    }
    return 0;
}

static bool take_prepared(struct outfile *file, const char *path)
{
    for (size_t i = 0; i < prepared.nr; i++) {
        struct outfile *one = &prepared.files[i];

        if (one->path && strcmp(one->path, path) == 0) {
            *file = *one;
            one->path = NULL;
            one->temporary = NULL;
            one->stream = NULL;
            return true;
        }
    }
    return false;
}

void outfile_discard_prepared(void)
{
    for (size_t i = 0; i < prepared.nr; i++) {
        outfile_discard(&prepared.files[i]);
    }
    prepared.nr = 0;
    clerk_end();
}

int outfile_open(struct outfile *file, const char *path, struct img_error *err)
{
    return take_prepared(file, path) ? 0 : create(file, path, err);
}

static int give_name(const struct outfile *file)
{
    if (file->clerk_idx < 0) {
        return rename(file->temporary, file->path);
    }
    errno = clerk_keep((size_t)file->clerk_idx);
    return errno ? -1 : 0;
}

int outfile_commit(struct outfile *file, struct img_error *err)
{
    FILE *stream = img_steal(&file->stream);
    bool is_good = fflush(stream) == 0 && !ferror(stream);
    int rc = 0;

    /* A full disk may be reported only now. */
    if (!is_good) {
        rc = fail(file, "cannot write", err);
        (void)fclose(stream);
    } else if (fclose(stream) != 0) {
        rc = fail(file, "cannot write", err);
    } else if (give_name(file) < 0) {
        rc = fail(file, "cannot replace", err);
    } else {
        free(img_steal(&file->temporary));
    }
    outfile_discard(file);
    return rc;
}

void outfile_discard(struct outfile *file)
{
    if (file->stream) {
        (void)fclose(file->stream);
    }
    if (file->temporary && file->clerk_idx >= 0) {
        clerk_drop((size_t)file->clerk_idx);
    } else if (file->temporary) {
        unlink(file->temporary);
    }
    free(file->temporary);
    free(file->path);
    memset(file, 0, sizeof(*file));
}

bool outfile_is_same(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}
