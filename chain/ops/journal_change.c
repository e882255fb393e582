/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One change of a journal that is decided: see journal.h. Where it stands is
 * read off the names, by inode: the temporary name goes, or what is removed
 * lies aside, when the change is made; a patch is made when what is to be
 * written is gone.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/memory.h>

static const struct chain_journal_folder *
folder_of(const struct chain_journal *journal,
          const struct chain_journal_file *file)
{
    return &journal->folders[file->folder];
}

int chain_change_temp_fd(const struct chain_journal *journal,
                         const struct chain_journal_file *file)
{
    const struct chain_journal_folder *folder = folder_of(journal, file);

    return file->is_staged ? folder->stage_fd : folder->fd;
}

/* The regular file of inode INO, under NAME in FD. */
static bool is_file(int fd, const char *name, uint64_t ino)
{
    struct stat st;

    return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && st.st_ino == ino;
}

static bool is_named(const struct chain_journal *journal,
                     const struct chain_journal_file *file, uint64_t ino)
{
    return is_file(folder_of(journal, file)->fd, file->name, ino);
}

/* ---- How far it has come. */

static int fail_taken(const struct chain_journal_folder *folder,
                      const char *name, struct img_error *err)
{
    img_fail(err, IMG_USAGE,
             "a transaction that was decided is to have this name, and another "
             "file has it: move that one away, then recover");
    return chain_folder_name_error(folder, name, err);
}

static int fail_foreign(const struct chain_journal_folder *folder,
                        const char *name, struct img_error *err)
{
    img_fail(err, IMG_CHANGED,
             "is not the file that the journal of the transaction tells of");
    return chain_folder_name_error(folder, name, err);
}

/* What is staged only its owner can have put there; it may have been given to
   another user since. */
static bool is_new_file(const struct chain_journal_file *file,
                        const struct stat *st, unsigned links)
{
    return S_ISREG(st->st_mode) && st->st_ino == file->ino &&
           (uint64_t)st->st_size == file->len && st->st_nlink == links &&
           (file->is_staged || chain_owner_is_trusted(st->st_uid));
}

/*
 * A temporary name goes when the file gets its own: where it is gone, that
 * has been done.
 */
static int look_at_new(const struct chain_journal *journal,
                       const struct chain_journal_file *file,
                       enum chain_progress *out, struct img_error *err)
{
    const struct chain_journal_folder *folder = folder_of(journal, file);
    int temp_fd = chain_change_temp_fd(journal, file);
    struct stat temp, named;

    *out = CHAIN_PROGRESS_DONE;
    if (temp_fd < 0) {
        return 0; /* as below */
    }
    bool is_there =
        fstatat(folder->fd, file->name, &named, AT_SYMLINK_NOFOLLOW) == 0;
    if (fstatat(temp_fd, file->temp, &temp, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) {
            return 0;
        }
        img_fail_sys(err, errno, "cannot look at it");
        return chain_folder_name_error(folder, file->temp, err);
    }
    bool is_both = is_there && named.st_ino == temp.st_ino;
    *out = is_both ? CHAIN_PROGRESS_BOTH : CHAIN_PROGRESS_NONE;
    if (!is_new_file(file, &temp, is_both ? 2 : 1)) {
        return fail_foreign(folder, file->temp, err);
    }
    if (!is_there || is_both) {
        return 0;
    }
    if (file->op == CHAIN_JOURNAL_NAME) {
        return fail_taken(folder, file->name, err);
    }
    return S_ISREG(named.st_mode) && named.st_ino == file->old_ino
               ? 0
               : fail_foreign(folder, file->name, err);
}

static int look_at_patch(const struct chain_journal *journal, size_t idx,
                         enum chain_progress *out, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    int temp_fd = chain_change_temp_fd(journal, file);
    bool is_gone = false;

    *out = CHAIN_PROGRESS_DONE;
    if (temp_fd < 0 ||
        (faccessat(temp_fd, file->temp, F_OK, AT_SYMLINK_NOFOLLOW) != 0 &&
         errno == ENOENT)) {
        return 0;
    }
    if (chain_patch_check(journal, idx, &is_gone, err) < 0) {
        return -1;
    }
    *out = is_gone ? CHAIN_PROGRESS_DONE : CHAIN_PROGRESS_NONE;
    return 0;
}

int chain_change_look(const struct chain_journal *journal, size_t idx,
                      enum chain_progress *out, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];

    switch (file->op) {
    case CHAIN_JOURNAL_NAME:
    case CHAIN_JOURNAL_REPLACE:
        return look_at_new(journal, file, out, err);
    case CHAIN_JOURNAL_PATCH:
        return look_at_patch(journal, idx, out, err);
    case CHAIN_JOURNAL_REMOVE:
        break;
    }
    /* A stage goes when all is done. */
    *out = folder_of(journal, file)->stage_fd >= 0 &&
                   is_named(journal, file, file->old_ino)
               ? CHAIN_PROGRESS_NONE
               : CHAIN_PROGRESS_DONE;
    return 0;
}

/* ---- Making it. */

static int fail_name(const struct chain_journal *journal,
                     const struct chain_journal_file *file, int sys_errno,
                     struct img_error *err)
{
    if (sys_errno == EEXIST) {
        img_fail(err, IMG_USAGE,
                 "exists already: a file of that name appeared meanwhile");
    } else {
        img_fail_sys(err, sys_errno,
                     file->op == CHAIN_JOURNAL_REMOVE
                         ? "cannot remove it"
                         : "cannot name the new file");
    }
    return chain_folder_name_error(folder_of(journal, file), file->name, err);
}

/* Returns 0 or an errno. */
static int give_name(const struct chain_journal *journal,
                     const struct chain_journal_file *file,
                     enum chain_progress progress)
{
    int temp_fd = chain_change_temp_fd(journal, file);

    if (progress == CHAIN_PROGRESS_BOTH) {
        return unlinkat(temp_fd, file->temp, 0) == 0 ? 0 : errno;
    }
    return chain_folder_rename(temp_fd, file->temp,
                               folder_of(journal, file)->fd, file->name);
}

/* The old file gets a second name, then the new one takes its place. */
static int replace(const struct chain_journal *journal, size_t idx,
                   struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    int temp_fd = chain_change_temp_fd(journal, file);
    char aside[CHAIN_RECORD_NAME_LEN];

    (void)chain_stage_aside(idx, aside);
    if (linkat(folder->fd, file->name, folder->stage_fd, aside, 0) != 0 &&
        errno != EEXIST) {
        if (errno == ENOENT) { /* somebody removed it */
            int rc = give_name(journal, file, CHAIN_PROGRESS_NONE);
            return rc == 0 ? 0 : fail_name(journal, file, rc, err);
        }
        return fail_name(journal, file, errno, err);
    }
    if (!is_file(folder->stage_fd, aside, file->old_ino)) {
        return fail_foreign(folder, file->name, err);
    }
    return renameat(temp_fd, file->temp, folder->fd, file->name) == 0
               ? 0
               : fail_name(journal, file, errno, err);
}

static int put_aside(const struct chain_journal *journal, size_t idx,
                     struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    char aside[CHAIN_RECORD_NAME_LEN];
    int rc = chain_folder_rename(folder->fd, file->name, folder->stage_fd,
                                 chain_stage_aside(idx, aside));

    if (rc != 0) {
        return fail_name(journal, file, rc, err);
    }
    if (is_file(folder->stage_fd, aside, file->old_ino)) {
        return 0;
    }
    (void)chain_folder_rename(folder->stage_fd, aside, folder->fd, file->name);
    return fail_foreign(folder, file->name, err);
}

int chain_change_apply(const struct chain_journal *journal, size_t idx,
                       enum chain_progress progress, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    int rc;

    if (progress == CHAIN_PROGRESS_DONE) {
        return 0;
    }
    switch (file->op) {
    case CHAIN_JOURNAL_NAME:
        break;
    case CHAIN_JOURNAL_REPLACE:
        if (progress == CHAIN_PROGRESS_BOTH) {
            break;
        }
        return replace(journal, idx, err);
    case CHAIN_JOURNAL_PATCH:
        return chain_patch_write(journal, idx, false, err);
    case CHAIN_JOURNAL_REMOVE:
        return put_aside(journal, idx, err);
    }
    rc = give_name(journal, file, progress);
    return rc == 0 ? 0 : fail_name(journal, file, rc, err);
}

/* ---- Taking it back. */

/* At any time the new file, or the old one, has the name, and a recovery that
   comes in between finds where it stands. */
static int take_back_replaced(const struct chain_journal *journal, size_t idx)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    char aside[CHAIN_RECORD_NAME_LEN];
    struct img_error ignored;

    (void)chain_stage_aside(idx, aside);
    if (!is_named(journal, file, file->ino)) {
        return unlinkat(folder->stage_fd, aside, 0) == 0 || errno == ENOENT
                   ? 0
                   : -1;
    }
    /* Where the temporary name is gone the change is made: the new file must
       have it again, stable, before the old one has its own. */
    if (linkat(folder->fd, file->name, chain_change_temp_fd(journal, file),
               file->temp, 0) != 0 ||
        chain_folder_flush(folder, &ignored) < 0 ||
        renameat(folder->stage_fd, aside, folder->fd, file->name) != 0) {
        return -1;
    }
    return 0;
}

static int take_back_aside(const struct chain_journal *journal, size_t idx)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    char aside[CHAIN_RECORD_NAME_LEN];

    return chain_folder_rename(folder->stage_fd, chain_stage_aside(idx, aside),
                               folder->fd, file->name) == 0
               ? 0
               : -1;
}

int chain_change_take_back(const struct chain_journal *journal, size_t idx)
{
    const struct chain_journal_file *file = &journal->files[idx];
    struct img_error ignored;

    switch (file->op) {
    case CHAIN_JOURNAL_NAME:
        return is_named(journal, file, file->ino) &&
                       chain_folder_rename(
                           folder_of(journal, file)->fd, file->name,
                           chain_change_temp_fd(journal, file), file->temp) == 0
                   ? 0
                   : -1;
    case CHAIN_JOURNAL_REPLACE:
        return take_back_replaced(journal, idx);
    case CHAIN_JOURNAL_PATCH:
        return chain_patch_write(journal, idx, true, &ignored);
    case CHAIN_JOURNAL_REMOVE:
        break;
    }
    return take_back_aside(journal, idx);
}

/* ---- Afterwards. */

int chain_change_tidy(const struct chain_journal *journal, size_t idx,
                      struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    char aside[CHAIN_RECORD_NAME_LEN];
    const char *name = chain_stage_aside(idx, aside);
    uint64_t ino = file->old_ino;

    if (file->op == CHAIN_JOURNAL_NAME || folder->stage_fd < 0) {
        return 0;
    }
    if (file->op == CHAIN_JOURNAL_PATCH) {
        name = file->temp;
        ino = file->ino;
    }
    if (!is_file(folder->stage_fd, name, ino) ||
        unlinkat(folder->stage_fd, name, 0) == 0) {
        return 0;
    }
    img_fail_sys(err, errno, "cannot remove what lay aside");
    return chain_folder_name_error(folder, file->name, err);
}
