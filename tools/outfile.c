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

/* Waiting for outfile_open: more than a command has options for. */
static struct prepared {
    struct outfile file;
    char *folder;
} prepared[4];

#define PREPARED_MAX (sizeof(prepared) / sizeof(prepared[0]))

static char *folder_of(const char *path, struct img_error *err)
{
    const char *slash = strrchr(path, '/');

    return slash ? img_strndup(path, (size_t)(slash - path) + 1, err)
                 : img_strndup(".", 1, err);
}

int outfile_prepare(const char *path, struct img_error *err)
{
    size_t i = 0;

    while (i < PREPARED_MAX && prepared[i].folder) {
        i++;
    }
    if (i == PREPARED_MAX) {
        return img_fail(err, IMG_LIMIT, "more than %zu files to write",
                        PREPARED_MAX);
    }
    if (create(&prepared[i].file, path, err) < 0) {
        return -1;
    }
    prepared[i].folder = folder_of(path, err);
    if (!prepared[i].folder) {
        outfile_discard(&prepared[i].file);
        return -1;
    }
    sandbox_allow_writing(fileno(prepared[i].file.stream));
    sandbox_allow_renaming(prepared[i].folder);
    return 0;
}

static bool take_prepared(struct outfile *file, const char *path)
{
    for (size_t i = 0; i < PREPARED_MAX; i++) {
        if (prepared[i].file.path && strcmp(prepared[i].file.path, path) == 0) {
            *file = prepared[i].file;
            memset(&prepared[i].file, 0, sizeof(prepared[i].file));
            return true;
        }
    }
    return false;
}

void outfile_discard_prepared(void)
{
    for (size_t i = 0; i < PREPARED_MAX; i++) {
        outfile_discard(&prepared[i].file);
        free(img_steal(&prepared[i].folder));
    }
}

int outfile_open(struct outfile *file, const char *path, struct img_error *err)
{
    return take_prepared(file, path) ? 0 : create(file, path, err);
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
    } else if (rename(file->temporary, file->path) < 0) {
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
    if (file->temporary) {
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
