/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: a new file, from its making to the moment its name appears.
 *
 * All names are looked up in one open folder (place.folder_fd), so that
 * renaming folders on the way changes nothing. An old file that is to be
 * replaced is opened and locked first and stays so until the end: nobody can
 * begin to use what is about to disappear.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <img/memory.h>

#include "place.h"

/* A name that is taken by chance is one in 2^30. */
#define TEMP_TRIES 16

struct img_newfile {
    struct img_place place;
    struct img_file *file;
    struct img_file *old; /* to be replaced; NULL: the name was free */
    char *temp_name;      /* in the folder; NULL: none */
    char *temp_path;
    bool is_kept;
};

/* An open file, or a negative errno. */
static int open_nameless(int folder_fd, mode_t mode, int flags)
{
    char link[64];
    int fd =
        openat(folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, mode);

    if (fd < 0) {
        return -errno;
    }
    /* Without /proc it could get no name in the end. */
    img_place_fd_link(fd, link, sizeof(link));
    if (faccessat(AT_FDCWD, link, F_OK, 0)) {
        close(fd);
        return -EOPNOTSUPP;
    }
    return fd;
}

/* The same under a temporary name, which newfile takes. */
static int open_named(struct img_newfile *newfile, mode_t mode, int flags,
                      struct img_error *err)
{
    int sys_errno = EEXIST;

    for (int tries = 0; tries < TEMP_TRIES && sys_errno == EEXIST; tries++) {
        IMG_AUTO(img_free_ptr)
        char *name = img_place_temp_name(&newfile->place, err);
        if (!name) {
            return -1;
        }
        int fd = openat(newfile->place.folder_fd, name,
                        O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | flags, mode);
        if (fd >= 0) {
            newfile->temp_name = img_steal(&name);
            return fd;
        }
        sys_errno = errno;
        if (sys_errno == EINVAL && flags != 0) { /* no O_DIRECT */
            flags = 0;
            sys_errno = EEXIST;
        }
    }
    return img_fail_sys(err, sys_errno, "cannot create");
}

/* The file system, or an old kernel, has no files without a name. */
static bool is_unsupported(int rc)
{
    return rc == -EOPNOTSUPP || rc == -EISDIR || rc == -EINVAL ||
           rc == -ENOENT || rc == -ENOSYS;
}

static int open_new(struct img_newfile *newfile, mode_t mode,
                    const struct img_newfile_options *options,
                    struct img_error *err)
{
    int flags = options->direct ? O_DIRECT : 0;
    int fd = -EOPNOTSUPP;

    if (!options->named) {
        fd = open_nameless(newfile->place.folder_fd, mode, flags);
        if (fd == -EINVAL && flags != 0) {
            fd = open_nameless(newfile->place.folder_fd, mode, 0);
        }
    }
    if (fd >= 0) {
        return fd;
    }
    if (!is_unsupported(fd)) {
        return img_fail_sys(err, -fd, "cannot create");
    }
    return open_named(newfile, mode, flags, err);
}

/*
 * Mode and owner of the old file. Where the group may not be given, nobody
 * gets by it what the others did not have.
 */
static int take_over(int fd, const struct img_stamp *old, struct img_error *err)
{
    struct stat st;
    mode_t mode = old->mode & 0777;

    if (fstat(fd, &st)) {
        return img_fail_sys(err, errno, "cannot examine");
    }
    if (st.st_uid != old->uid || st.st_gid != old->gid) {
        if (fchown(fd, old->uid, old->gid) && fchown(fd, (uid_t)-1, old->gid)) {
            mode &= 0707 | (mode & 07) << 3;
        }
    }
    if (fchmod(fd, mode)) {
        return img_fail_sys(err, errno, "cannot set the mode");
    }
    return 0;
}

/* A new file needs no right to write the old one, but who took that right away
   meant that it stays as it is. */
static int open_old(struct img_newfile *newfile, struct img_stamp *stamp,
                    struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_WRITER};
    const char *path = newfile->place.path;
    int fd = openat(newfile->place.folder_fd, newfile->place.name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int rc;

    if (fd < 0) {
        return img_fail_sys(err, errno, "cannot open the file to replace");
    }
    if (faccessat(newfile->place.folder_fd, newfile->place.name, W_OK,
                  AT_EACCESS)) {
        img_fail_sys(err, errno, "cannot open for writing");
        close(fd);
        return -1;
    }
    rc = img_file_open_fd(fd, path, &options, &newfile->old, err);
    close(fd);
    return rc || img_file_stamp(newfile->old, stamp, err) ? -1 : 0;
}

/* Is there an old file, and may it be replaced? *mode is for the new one. */
static int judge_old(struct img_newfile *newfile, bool replace,
                     struct img_stamp *stamp, mode_t *mode,
                     struct img_error *err)
{
    struct stat st;

    *mode = 0666;
    if (fstatat(newfile->place.folder_fd, newfile->place.name, &st,
                AT_SYMLINK_NOFOLLOW)) {
        return errno == ENOENT ? 0 : img_fail_sys(err, errno, "cannot examine");
    }
    if (!S_ISREG(st.st_mode)) {
        return img_fail(err, IMG_UNSUPPORTED, "is %s, expected a regular file",
                        img_posix_kind_name(st.st_mode));
    }
    if (!replace) {
        return img_fail(err, IMG_USAGE, "exists already");
    }
    if (open_old(newfile, stamp, err)) {
        return -1;
    }
    *mode = stamp->mode & 0777;
    return 0;
}

static int wrap(struct img_newfile *newfile, int fd, bool direct,
                struct img_error *err)
{
    const struct img_open_options options = {
        .lock = IMG_LOCK_WRITER, .writable = true, .direct = direct};

    return img_file_adopt(fd, newfile->place.path, &options, &newfile->file,
                          err);
}

static int set_temp_path(struct img_newfile *newfile, struct img_error *err)
{
    if (newfile->temp_name) {
        newfile->temp_path =
            img_place_path_of(&newfile->place, newfile->temp_name, err);
    }
    return newfile->temp_name && !newfile->temp_path ? -1 : 0;
}

static int make(struct img_newfile *newfile,
                const struct img_newfile_options *options,
                struct img_error *err)
{
    struct img_stamp old = {0};
    mode_t mode;
    int fd;

    if (judge_old(newfile, options->replace, &old, &mode, err)) {
        return -1;
    }
    fd = open_new(newfile, mode, options, err);
    if (fd < 0) {
        return -1;
    }
    if (newfile->old && take_over(fd, &old, err)) {
        close(fd);
        return -1;
    }
    return wrap(newfile, fd, options->direct, err) ||
                   set_temp_path(newfile, err)
               ? -1
               : 0;
}

int img_newfile_new(const char *path, const struct img_newfile_options *options,
                    struct img_newfile **out, struct img_error *err)
{
    struct img_newfile *newfile = img_calloc(1, sizeof(*newfile), err);

    if (!newfile) {
        return -1;
    }
    newfile->place.folder_fd = -1;
    if (img_place_init(&newfile->place, path, options->roots, err) ||
        make(newfile, options, err)) {
        img_error_set_path(err, path);
        img_newfile_free(newfile);
        return -1;
    }
    *out = newfile;
    return 0;
}

struct img_file *img_newfile_file(const struct img_newfile *newfile)
{
    return newfile->file;
}

const char *img_newfile_temp_path(const struct img_newfile *newfile)
{
    return newfile->temp_path;
}

/* Is the name still that of the file which we hold locked? */
static int check_old(const struct img_newfile *newfile, bool *is_there,
                     struct img_error *err)
{
    struct stat st;

    *is_there = false;
    if (fstatat(newfile->place.folder_fd, newfile->place.name, &st,
                AT_SYMLINK_NOFOLLOW)) {
        return errno == ENOENT ? 0 : img_fail_sys(err, errno, "cannot examine");
    }
    if (st.st_dev != newfile->old->dev || st.st_ino != newfile->old->ino) {
        return img_fail(err, IMG_CHANGED,
                        "another file has taken the place of the one to be "
                        "replaced");
    }
    *is_there = true;
    return 0;
}

/* A temporary name for a file that has none. */
static int link_temp(struct img_newfile *newfile, struct img_error *err)
{
    int rc = -EEXIST;

    for (int tries = 0; tries < TEMP_TRIES && rc == -EEXIST; tries++) {
        IMG_AUTO(img_free_ptr)
        char *name = img_place_temp_name(&newfile->place, err);
        if (!name) {
            return -1;
        }
        rc = img_place_link_fd(&newfile->place, newfile->file->fd, name);
        if (rc == 0) {
            newfile->temp_name = img_steal(&name);
        }
    }
    return rc == 0 ? 0 : img_fail_sys(err, -rc, "cannot name the new file");
}

static int replace_old(struct img_newfile *newfile, struct img_error *err)
{
    if (!newfile->temp_name && link_temp(newfile, err)) {
        return -1;
    }
    if (renameat(newfile->place.folder_fd, newfile->temp_name,
                 newfile->place.folder_fd, newfile->place.name)) {
        return img_fail_sys(err, errno, "cannot replace the old file");
    }
    return 0;
}

static int appear(struct img_newfile *newfile, struct img_error *err)
{
    int rc = newfile->temp_name
                 ? img_place_rename(&newfile->place, newfile->temp_name)
                 : img_place_link_fd(&newfile->place, newfile->file->fd,
                                     newfile->place.name);

    if (rc == -EEXIST) {
        return img_fail(err, IMG_USAGE,
                        "exists already: a file of that name appeared "
                        "meanwhile");
    }
    return rc == 0 ? 0 : img_fail_sys(err, -rc, "cannot name the new file");
}

static int flush_file(const struct img_newfile *newfile, struct img_error *err)
{
    while (fsync(newfile->file->fd)) {
        if (errno != EINTR) {
            return img_fail_sys(err, errno, "cannot flush what was written");
        }
    }
    return 0;
}

static int publish(struct img_newfile *newfile, struct img_error *err)
{
    bool has_old = false;

    if (flush_file(newfile, err) ||
        (newfile->old && check_old(newfile, &has_old, err)) ||
        (has_old ? replace_old(newfile, err) : appear(newfile, err))) {
        return -1;
    }
    free(img_steal(&newfile->temp_name));
    return img_place_flush(&newfile->place,
                           "the file is complete, but its name may not "
                           "outlive a power loss: cannot flush its folder",
                           err);
}

int img_newfile_publish(struct img_newfile *newfile, struct img_error *err)
{
    if (publish(newfile, err)) {
        img_error_set_path(err, newfile->place.path);
        return -1;
    }
    return 0;
}

void img_newfile_keep(struct img_newfile *newfile)
{
    newfile->is_kept = true;
}

void img_newfile_free(struct img_newfile *newfile)
{
    if (!newfile) {
        return;
    }
    if (newfile->temp_name && !newfile->is_kept) {
        (void)unlinkat(newfile->place.folder_fd, newfile->temp_name, 0);
    }
    img_file_unref(newfile->file);
    img_file_unref(newfile->old);
    img_place_fini(&newfile->place);
    free(newfile->temp_name);
    free(newfile->temp_path);
    free(newfile);
}

void img_newfile_free_ptr(struct img_newfile **newfile)
{
    img_newfile_free(*newfile);
}
