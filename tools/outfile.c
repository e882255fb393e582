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

static int fail(struct outfile *file, const char *what, struct img_error *err)
{
    img_fail_sys(err, errno, "%s", what);
    img_error_set_path(err, file->path);
    return -1;
}

int outfile_open(struct outfile *file, const char *path, struct img_error *err)
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
