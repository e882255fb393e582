/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* New files of a transaction, in its stage: see transaction_impl.h. */
#include "transaction_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <img/memory.h>

/* The kernel's own limits. */
#define XATTR_NAMES_MAX 65536u
#define XATTR_VALUE_MAX 65536u

static int fail_item(const struct chain_transaction_item *item, int sys_errno,
                     const char *what, struct img_error *err)
{
    img_fail_sys(err, sys_errno, "%s", what);
    img_error_set_path(err, item->path);
    return -1;
}

static int fail_changed(const struct chain_transaction_item *item,
                        const char *what, struct img_error *err)
{
    img_fail(err, IMG_CHANGED, "%s", what);
    img_error_set_path(err, item->path);
    return -1;
}

/* ---- The old file. */

static int64_t mtime_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/*
 * What the journal is to tell of it must be stable: a power loss that took it
 * back would have another file found than the one that was judged. One that
 * cannot be read was hardly written by us.
 */
static int flush_old(const struct chain_transaction_item *item,
                     const struct chain_journal_folder *folder,
                     struct img_error *err)
{
    int fd = openat(folder->fd, item->name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int r = 0;

    if (fd < 0) {
        return 0;
    }
    while (r == 0 && fsync(fd) != 0) {
        if (errno == EINVAL) { /* no file that can be flushed */
            break;
        }
        if (errno != EINTR) {
            r = fail_item(item, errno, "cannot flush it", err);
        }
    }
    close(fd);
    return r;
}

int chain_transaction_check_old(const struct chain_transaction_item *item,
                                const struct chain_journal_folder *folder,
                                struct chain_journal_file *file,
                                struct img_error *err)
{
    const struct chain_change *change = &item->change;
    struct stat st;

    if (flush_old(item, folder, err) < 0) {
        return -1;
    }
    if (fstatat(folder->fd, item->name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        chain_file_note_old(folder->fd, item->name, file) < 0) {
        return fail_item(item, errno, "cannot look at it", err);
    }
    return S_ISREG(st.st_mode) && st.st_dev == change->dev &&
                   file->old_ino == change->ino &&
                   file->old_len == change->old_len &&
                   mtime_of(&st) == change->mtime_ns
               ? 0
               : fail_changed(item, "was changed, or replaced, meanwhile", err);
}

static int open_old(const struct chain_transaction_item *item,
                    const struct chain_journal_folder *folder, int *fd,
                    struct img_error *err)
{
    *fd = openat(folder->fd, item->name,
                 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return *fd >= 0 ? 0 : fail_item(item, errno, "cannot open it", err);
}

/* ---- Bytes. */

static int write_bytes(const struct chain_transaction_item *item, int fd,
                       const void *data, struct img_error *err)
{
    size_t done = 0, len = item->change.len;

    while (done < len) {
        ssize_t put = write(fd, (const uint8_t *)data + done, len - done);
        if (put < 0 && errno != EINTR) {
            return fail_item(item, errno, "cannot write the new file", err);
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return 0;
}

static int check_bytes(const struct chain_transaction_item *item, int fd,
                       struct img_error *err)
{
    const uint8_t *old = item->change.old_data;
    size_t done = 0, len = item->change.len;
    uint8_t found[4096];

    while (done < len) {
        size_t want = len - done < sizeof(found) ? len - done : sizeof(found);
        ssize_t got = pread(fd, found, want, (off_t)done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fail_item(item, errno, "cannot read it", err);
        }
        if (got == 0 || memcmp(found, old + done, (size_t)got) != 0) {
            return fail_changed(item, "its beginning was changed meanwhile",
                                err);
        }
        done += (size_t)got;
    }
    return 0;
}

/* ---- What belongs to a file besides its bytes. */

/* These vouch for the bytes of the old file, or give rights to whoever runs
   it. */
static bool is_copied(const char *name)
{
    static const char *const not [] = {"security.capability", "security.ima",
                                       "security.evm"};

    for (size_t i = 0; i < sizeof(not ) / sizeof(not [0]); i++) {
        if (strcmp(name, not [i]) == 0) {
            return false;
        }
    }
    return true;
}

static void copy_attribute(int from, int to, const char *name, void *value)
{
    ssize_t len = fgetxattr(from, name, value, XATTR_VALUE_MAX);

    if (len >= 0) {
        (void)fsetxattr(to, name, value, (size_t)len, 0);
    }
}

static int copy_attributes(int from, int to, struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    char *names = img_calloc(XATTR_NAMES_MAX + XATTR_VALUE_MAX, 1, err);

    if (!names) {
        return -1;
    }
    ssize_t len = flistxattr(from, names, XATTR_NAMES_MAX);
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
        if (is_copied(names + at)) {
            copy_attribute(from, to, names + at, names + XATTR_NAMES_MAX);
        }
    }
    return 0;
}

/*
 * Owner before mode: a change of owner takes bits of the mode away. Where the
 * file cannot have its old group, the other one may do no more than anybody.
 */
static int take_owner(const struct chain_transaction_item *item,
                      const struct stat *old, int fd, struct img_error *err)
{
    mode_t mode = old->st_mode & 07777;
    struct stat st;

    if (fchown(fd, old->st_uid, old->st_gid) != 0) {
        (void)!fchown(fd, (uid_t)-1, old->st_gid);
    }
    if (fstat(fd, &st) != 0) {
        return fail_item(item, errno, "cannot look at its new file", err);
    }
    if (st.st_gid != old->st_gid) {
        mode &= ~(mode_t)S_IRWXG | (mode & S_IRWXO) << 3;
    }
    if (st.st_gid != old->st_gid || st.st_uid != old->st_uid) {
        mode &= ~(mode_t)(S_ISUID | S_ISGID);
    }
    return fchmod(fd, mode) == 0
               ? 0
               : fail_item(item, errno, "cannot give the new file its mode",
                           err);
}

static int take_after(const struct chain_transaction_item *item,
                      const struct chain_journal_folder *folder, int fd,
                      struct img_error *err)
{
    struct stat st;
    int old_fd, r;

    if (open_old(item, folder, &old_fd, err) < 0) {
        return -1;
    }
    r = copy_attributes(old_fd, fd, err);
    if (r == 0 && fstat(old_fd, &st) != 0) {
        r = fail_item(item, errno, "cannot look at it", err);
    }
    close(old_fd);
    return r == 0 ? take_owner(item, &st, fd, err) : r;
}

static int set_owner(const struct chain_transaction_item *item, int fd,
                     struct img_error *err)
{
    const struct chain_change *change = &item->change;

    if ((change->uid != CHAIN_CHANGE_DEFAULT ||
         change->gid != CHAIN_CHANGE_DEFAULT) &&
        fchown(fd, change->uid, change->gid) != 0) {
        return fail_item(item, errno, "cannot give the new file its owner",
                         err);
    }
    if (change->mode != CHAIN_CHANGE_DEFAULT &&
        fchmod(fd, change->mode & 07777) != 0) {
        return fail_item(item, errno, "cannot give the new file its mode", err);
    }
    return 0;
}

/* ---- Each kind. */

static int fill(const struct chain_transaction_item *item,
                const struct chain_journal_folder *folder, int fd,
                struct img_error *err)
{
    const struct chain_change *change = &item->change;
    int old_fd, r;

    switch (change->kind) {
    case CHAIN_CHANGE_WRITE:
        return write_bytes(item, fd, change->data, err) < 0
                   ? -1
                   : set_owner(item, fd, err);
    case CHAIN_CHANGE_REPLACE:
        if (change->data && write_bytes(item, fd, change->data, err) < 0) {
            return -1;
        }
        return take_after(item, folder, fd, err);
    case CHAIN_CHANGE_PATCH:
        if (open_old(item, folder, &old_fd, err) < 0) {
            return -1;
        }
        r = check_bytes(item, old_fd, err);
        close(old_fd);
        return r < 0 || write_bytes(item, fd, change->old_data, err) < 0
                   ? -1
                   : write_bytes(item, fd, change->data, err);
    case CHAIN_CHANGE_NAME:
    case CHAIN_CHANGE_REMOVE:
        break;
    }
    return 0;
}

/* What the caller makes is there; else it is made. */
static int open_new(const struct chain_transaction_item *item, int stage_fd,
                    struct img_error *err)
{
    const struct chain_change *change = &item->change;
    bool is_callers = change->kind == CHAIN_CHANGE_NAME ||
                      (change->kind == CHAIN_CHANGE_REPLACE && !change->data);
    int flags = is_callers ? O_RDONLY : O_WRONLY | O_CREAT | O_EXCL;
    /* Only what is to look like any other file has a mode of this process's
       choice. */
    mode_t mode = change->kind == CHAIN_CHANGE_WRITE ? 0666 : 0600;
    int fd = openat(stage_fd, item->name,
                    flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode);

    return fd >= 0 ? fd
                   : fail_item(item, errno,
                               is_callers ? "its new file is not there"
                                          : "cannot make its new file",
                               err);
}

static int settle(const struct chain_transaction_item *item, int fd,
                  struct chain_journal_file *file, struct img_error *err)
{
    struct stat st;

    while (fsync(fd) != 0) {
        if (errno != EINTR) {
            return fail_item(item, errno, "cannot flush its new file", err);
        }
    }
    if (fstat(fd, &st) != 0) {
        return fail_item(item, errno, "cannot look at its new file", err);
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
        return fail_changed(
            item, "its new file is no regular file with one name", err);
    }
    file->ino = st.st_ino;
    file->len = (uint64_t)st.st_size;
    return 0;
}

int chain_transaction_make(const struct chain_transaction_item *item,
                           const struct chain_journal_folder *folder,
                           struct chain_journal_file *file,
                           struct img_error *err)
{
    int fd = open_new(item, folder->stage_fd, err);

    if (fd < 0) {
        return -1;
    }
    int r = fill(item, folder, fd, err) < 0 ? -1 : settle(item, fd, file, err);
    if (close(fd) != 0 && r == 0) {
        r = fail_item(item, errno, "cannot close its new file", err);
    }
    return r;
}
