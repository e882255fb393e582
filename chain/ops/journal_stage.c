/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hidden folder of a transaction, in a folder that it changes: see
 * journal.h. Nobody but its owner can put anything there, and only the owner
 * can have given it its mode: a folder of ours that somebody else renamed is
 * none.
 */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/file.h>
#include <img/memory.h>

#define STAGE_MODE 01700
#define ASIDE_PREFIX ".imgchain-old-"

const char *chain_stage_name(const char *id, char out[CHAIN_RECORD_NAME_LEN])
{
    (void)snprintf(out, CHAIN_RECORD_NAME_LEN, ".imgchain-%s.stage", id);
    return out;
}

const char *chain_stage_aside(size_t idx, char out[CHAIN_RECORD_NAME_LEN])
{
    (void)snprintf(out, CHAIN_RECORD_NAME_LEN, "%s%zu", ASIDE_PREFIX, idx);
    return out;
}

/* A folder may hand its group on to what is made in it. */
static bool is_stage(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) &&
           (st.st_mode & 07777 & ~(mode_t)S_ISGID) == STAGE_MODE &&
           chain_owner_is_trusted(st.st_uid);
}

int chain_stage_open(struct chain_journal_folder *folder, const char *id,
                     struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    int fd = openat(folder->fd, chain_stage_name(id, name),
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    folder->stage_fd = -1;
    if (fd < 0 && errno == ENOENT) {
        return 0;
    }
    if (fd >= 0 && is_stage(fd)) {
        folder->stage_fd = fd;
        return 0;
    }
    if (fd >= 0) {
        close(fd);
        img_fail(err, IMG_DENIED,
                 "is named like the folder of a transaction, but is none that "
                 "this user made");
    } else {
        img_fail_sys(err, errno, "cannot open the folder of a transaction");
    }
    return chain_folder_name_error(folder, name, err);
}

/* A folder may hand modes of its own on. */
static void mark(int folder_fd, const char *name)
{
    int fd = openat(folder_fd, name,
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0) {
        (void)!fchmod(fd, STAGE_MODE);
        close(fd);
    }
}

int chain_stage_make(struct chain_journal_folder *folder, const char *id,
                     struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];

    if (mkdirat(folder->fd, chain_stage_name(id, name), STAGE_MODE) != 0) {
        img_fail_sys(err, errno, "cannot make the folder of a transaction");
        img_error_set_path(err, folder->path);
        return -1;
    }
    mark(folder->fd, name);
    if (chain_stage_open(folder, id, err) == 0 && folder->stage_fd >= 0) {
        return 0;
    }
    (void)unlinkat(folder->fd, name, AT_REMOVEDIR);
    img_fail(err, IMG_UNSUPPORTED,
             "this file system does not keep the modes of files, as a change "
             "of several files needs it");
    img_error_set_path(err, folder->path);
    return -1;
}

/* ---- Removing. */

bool chain_file_is_held(int fd)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE};
    struct img_lock_holder holder = {.is_held = true};
    struct img_error ignored;
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    return img_file_open_fd(fd, "", &options, &file, &ignored) < 0 ||
           img_file_writer_test(file, &holder, &ignored) < 0 || holder.is_held;
}

/* Images that somebody uses stay. */
static bool is_removable(int dir_fd, const char *name)
{
    struct stat st;
    int fd = openat(dir_fd, name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0) {
        return false;
    }
    bool is =
        fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && !chain_file_is_held(fd);
    close(fd);
    return is;
}

int chain_stage_remove(struct chain_journal_folder *folder, const char *id,
                       void (*done)(void *opaque, const char *name),
                       void *opaque, struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    const struct dirent *entry;
    DIR *dir = chain_folder_list(folder->stage_fd);

    while (dir && (entry = chain_folder_next(dir))) {
        /* What lies aside is somebody's file, whatever became of the journal
           that would say what to do with it. */
        if (strncmp(entry->d_name, ASIDE_PREFIX, strlen(ASIDE_PREFIX)) != 0 &&
            is_removable(folder->stage_fd, entry->d_name) &&
            unlinkat(folder->stage_fd, entry->d_name, 0) == 0 && done) {
            done(opaque, entry->d_name);
        }
    }
    int sys_errno = errno;
    if (dir) {
        closedir(dir);
    }
    if (sys_errno != 0) {
        img_fail_sys(err, sys_errno, "cannot list the folder of a transaction");
        return chain_folder_name_error(folder, chain_stage_name(id, name), err);
    }
    if (unlinkat(folder->fd, chain_stage_name(id, name), AT_REMOVEDIR) != 0) {
        if (errno == ENOTEMPTY) {
            img_fail(err, IMG_LOCKED,
                     "holds files that are in use, or old ones whose journal "
                     "is gone: they stay; move those to where they belong, "
                     "then recover");
        } else {
            img_fail_sys(err, errno,
                         "cannot remove the folder of a transaction");
        }
        return chain_folder_name_error(folder, name, err);
    }
    close(folder->stage_fd);
    folder->stage_fd = -1;
    return 0;
}
