/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One change of a journal that is decided, and not done: see journal.h. Where
 * it stands is read off the names, by inode: it is made when the new file has
 * its name, or when what is removed lies aside. A patch is written again.
 * Where nothing shows how far a change has come, or somebody has changed what
 * it is about, nothing is done.
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

static enum chain_found find_named(const struct chain_journal *journal,
                                   const struct chain_journal_file *file)
{
    return chain_file_find(file, folder_of(journal, file)->fd, file->name);
}

static enum chain_found find_aside(const struct chain_journal *journal,
                                   size_t idx)
{
    const struct chain_journal_file *file = &journal->files[idx];
    char aside[CHAIN_RECORD_NAME_LEN];

    return chain_file_find(file, folder_of(journal, file)->stage_fd,
                           chain_stage_aside(idx, aside));
}

static bool is_old(enum chain_found found)
{
    return found == CHAIN_FOUND_OLD || found == CHAIN_FOUND_OLD_CHANGED;
}

/* ---- How far it has come. */

static int fail_look(const struct chain_journal *journal,
                     const struct chain_journal_file *file, const char *name,
                     struct img_error *err)
{
    img_fail_sys(err, errno, "cannot look at it");
    return chain_folder_name_error(folder_of(journal, file), name, err);
}

static int fail_taken(const struct chain_journal_folder *folder,
                      const char *name, struct img_error *err)
{
    img_fail(err, IMG_USAGE,
             "a transaction that was decided is to have this name, and another "
             "file has it: move that one away, then recover");
    return chain_folder_name_error(folder, name, err);
}

int chain_change_stuck(const struct chain_journal *journal,
                       const struct chain_journal_file *file, const char *name,
                       const char *what, struct img_error *err)
{
    char record[CHAIN_RECORD_NAME_LEN];

    if (journal->is_live) {
        img_fail(err, IMG_CHANGED, "%s", what);
    } else {
        img_fail(err, IMG_CHANGED,
                 "%s: put back what was there, then recover; or, to leave all "
                 "files as they are now, remove \"%s\" first",
                 what,
                 chain_record_name(CHAIN_RECORD_JOURNAL, journal->id, record));
    }
    return chain_folder_name_error(folder_of(journal, file), name, err);
}

static int fail_foreign(const struct chain_journal *journal,
                        const struct chain_journal_file *file, const char *name,
                        struct img_error *err)
{
    return chain_change_stuck(
        journal, file, name,
        "is not the file that the journal of the transaction tells of", err);
}

/* The old file should be there, unchanged. */
static int fail_old(const struct chain_journal *journal,
                    const struct chain_journal_file *file,
                    enum chain_found found, struct img_error *err)
{
    if (found == CHAIN_FOUND_UNKNOWN) {
        return fail_look(journal, file, file->name, err);
    }
    return found == CHAIN_FOUND_OLD_CHANGED
               ? chain_change_stuck(journal, file, file->name,
                                    "was changed since the transaction was "
                                    "decided",
                                    err)
               : fail_foreign(journal, file, file->name, err);
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

/* A temporary name goes when the file gets its own. */
static int look_without_temp(const struct chain_journal *journal,
                             const struct chain_journal_file *file,
                             enum chain_progress *out, struct img_error *err)
{
    enum chain_found found = find_named(journal, file);

    *out = CHAIN_PROGRESS_DONE;
    if (found == CHAIN_FOUND_NEW) {
        return 0;
    }
    return found == CHAIN_FOUND_UNKNOWN
               ? fail_look(journal, file, file->name, err)
               : chain_change_stuck(journal, file, file->name,
                                    "the file that a transaction was to give "
                                    "this name has neither this name nor the "
                                    "one that it was made under",
                                    err);
}

static int look_at_new(const struct chain_journal *journal,
                       const struct chain_journal_file *file,
                       enum chain_progress *out, struct img_error *err)
{
    int temp_fd = chain_change_temp_fd(journal, file);
    struct stat temp;

    if (temp_fd < 0 ||
        fstatat(temp_fd, file->temp, &temp, AT_SYMLINK_NOFOLLOW) != 0) {
        return temp_fd < 0 || errno == ENOENT
                   ? look_without_temp(journal, file, out, err)
                   : fail_look(journal, file, file->temp, err);
    }
    enum chain_found found = find_named(journal, file);
    bool is_both = found == CHAIN_FOUND_NEW;
    *out = is_both ? CHAIN_PROGRESS_BOTH : CHAIN_PROGRESS_NONE;
    if (!is_new_file(file, &temp, is_both ? 2 : 1)) {
        return fail_foreign(journal, file, file->temp, err);
    }
    if (is_both || found == CHAIN_FOUND_NOTHING) {
        return 0;
    }
    if (file->op == CHAIN_JOURNAL_NAME) {
        return found == CHAIN_FOUND_UNKNOWN
                   ? fail_look(journal, file, file->name, err)
                   : fail_taken(folder_of(journal, file), file->name, err);
    }
    return found == CHAIN_FOUND_OLD ? 0 : fail_old(journal, file, found, err);
}

static int look_at_patch(const struct chain_journal *journal, size_t idx,
                         enum chain_progress *out, struct img_error *err)
{
    bool is_gone = false;

    if (chain_patch_check(journal, idx, &is_gone, err) < 0) {
        return -1;
    }
    *out = is_gone ? CHAIN_PROGRESS_DONE : CHAIN_PROGRESS_NONE;
    return 0;
}

/* What was put aside has lost its name, or is about to. What has got that name
   since is somebody's, and none of ours. */
static int look_at_removal(const struct chain_journal *journal, size_t idx,
                           enum chain_progress *out, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    enum chain_found aside = find_aside(journal, idx),
                     named = find_named(journal, file);

    if (aside == CHAIN_FOUND_UNKNOWN || named == CHAIN_FOUND_UNKNOWN) {
        return fail_look(journal, file, file->name, err);
    }
    *out = CHAIN_PROGRESS_DONE;
    if (is_old(aside)) {
        *out = is_old(named) ? CHAIN_PROGRESS_BOTH : CHAIN_PROGRESS_DONE;
        return 0;
    }
    if (aside != CHAIN_FOUND_NOTHING ||
        folder_of(journal, file)->stage_fd < 0) {
        return chain_change_stuck(journal, file, file->name,
                                  "the hidden folder for what a transaction "
                                  "removes is not there, or holds another file",
                                  err);
    }
    if (named == CHAIN_FOUND_NOTHING) { /* somebody else has removed it */
        return 0;
    }
    *out = CHAIN_PROGRESS_NONE;
    return named == CHAIN_FOUND_OLD ? 0 : fail_old(journal, file, named, err);
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
    return look_at_removal(journal, idx, out, err);
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

static int replace_missing(const struct chain_journal *journal,
                           const struct chain_journal_file *file,
                           struct img_error *err)
{
    int rc = journal->is_live ? ENOENT
                              : give_name(journal, file, CHAIN_PROGRESS_NONE);

    return rc == 0 ? 0 : fail_name(journal, file, rc, err);
}

/* The old file gets a second name, then the new one takes its place. */
static int replace(const struct chain_journal *journal, size_t idx,
                   struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    char aside[CHAIN_RECORD_NAME_LEN];

    (void)chain_stage_aside(idx, aside);
    bool is_linked =
        linkat(folder->fd, file->name, folder->stage_fd, aside, 0) == 0;
    if (!is_linked && errno != EEXIST) {
        return errno == ENOENT ? replace_missing(journal, file, err)
                               : fail_name(journal, file, errno, err);
    }
    enum chain_found found = find_aside(journal, idx);
    if (found != CHAIN_FOUND_OLD) {
        if (is_linked) {
            (void)unlinkat(folder->stage_fd, aside, 0);
        }
        return fail_old(journal, file, found, err);
    }
    return renameat(chain_change_temp_fd(journal, file), file->temp, folder->fd,
                    file->name) == 0
               ? 0
               : fail_name(journal, file, errno, err);
}

/* Where the file system cannot rename without replacing, it was cut short. */
static int drop_name(const struct chain_journal *journal,
                     const struct chain_journal_file *file,
                     struct img_error *err)
{
    const struct chain_journal_folder *folder = folder_of(journal, file);

    if (chain_folder_flush(folder, err) < 0) {
        return -1;
    }
    return unlinkat(folder->fd, file->name, 0) == 0
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
    enum chain_found found = find_aside(journal, idx);
    if (found == CHAIN_FOUND_OLD) {
        return 0;
    }
    (void)chain_folder_rename(folder->stage_fd, aside, folder->fd, file->name);
    return fail_old(journal, file, found, err);
}

int chain_change_apply(const struct chain_journal *journal, size_t idx,
                       enum chain_progress progress, struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    bool is_both = progress == CHAIN_PROGRESS_BOTH;
    int rc;

    if (progress == CHAIN_PROGRESS_DONE) {
        return 0;
    }
    switch (file->op) {
    case CHAIN_JOURNAL_NAME:
        break;
    case CHAIN_JOURNAL_REPLACE:
        if (is_both) {
            break;
        }
        return replace(journal, idx, err);
    case CHAIN_JOURNAL_PATCH:
        return chain_patch_write(journal, idx, false, err);
    case CHAIN_JOURNAL_REMOVE:
        return is_both ? drop_name(journal, file, err)
                       : put_aside(journal, idx, err);
    }
    rc = give_name(journal, file, progress);
    return rc == 0 ? 0 : fail_name(journal, file, rc, err);
}

/* ---- Taking it back. */

/* The old file is certainly elsewhere, or nobody wants it: 0 or -1. */
static int drop_aside(const struct chain_journal *journal, size_t idx)
{
    char aside[CHAIN_RECORD_NAME_LEN];
    int fd = folder_of(journal, &journal->files[idx])->stage_fd;

    return unlinkat(fd, chain_stage_aside(idx, aside), 0) == 0 ||
                   errno == ENOENT
               ? 0
               : -1;
}

/* The name is free: what lies aside gets it again, if anything does. */
static int bring_back(const struct chain_journal *journal, size_t idx)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    enum chain_found found = find_aside(journal, idx);
    char aside[CHAIN_RECORD_NAME_LEN];

    if (found == CHAIN_FOUND_NOTHING) {
        return 0;
    }
    return is_old(found) && chain_folder_rename(folder->stage_fd,
                                                chain_stage_aside(idx, aside),
                                                folder->fd, file->name) == 0
               ? 0
               : -1;
}

/*
 * Where the temporary name is gone the change is made: the new file must have
 * it again, stable, before the old one has its own. At any time the new file,
 * or the old one, has the name, and a recovery that comes in between finds
 * where it stands.
 */
static int put_back(const struct chain_journal *journal, size_t idx)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    char aside[CHAIN_RECORD_NAME_LEN];
    struct img_error ignored;

    if (!is_old(find_aside(journal, idx))) {
        return -1;
    }
    if (linkat(folder->fd, file->name, chain_change_temp_fd(journal, file),
               file->temp, 0) != 0 &&
        errno != EEXIST) {
        return -1;
    }
    return chain_folder_flush(folder, &ignored) == 0 &&
                   renameat(folder->stage_fd, chain_stage_aside(idx, aside),
                            folder->fd, file->name) == 0
               ? 0
               : -1;
}

/* What lies aside is the old file, and may be all that is left of it: it goes
   only when the name certainly is the old file's. */
static int take_back_old(const struct chain_journal *journal, size_t idx)
{
    switch (find_named(journal, &journal->files[idx])) {
    case CHAIN_FOUND_OLD:
    case CHAIN_FOUND_OLD_CHANGED:
        return drop_aside(journal, idx);
    case CHAIN_FOUND_NOTHING:
        return bring_back(journal, idx);
    case CHAIN_FOUND_NEW:
        return put_back(journal, idx);
    case CHAIN_FOUND_OTHER:
        /* It never was as far as that, or somebody has put that there since. */
        return find_aside(journal, idx) == CHAIN_FOUND_NOTHING ? 0 : -1;
    case CHAIN_FOUND_UNKNOWN:
        break;
    }
    return -1;
}

static int take_back_name(const struct chain_journal *journal,
                          const struct chain_journal_file *file)
{
    return find_named(journal, file) == CHAIN_FOUND_NEW &&
                   chain_folder_rename(folder_of(journal, file)->fd, file->name,
                                       chain_change_temp_fd(journal, file),
                                       file->temp) == 0
               ? 0
               : -1;
}

int chain_change_take_back(const struct chain_journal *journal, size_t idx)
{
    const struct chain_journal_file *file = &journal->files[idx];
    struct img_error ignored;

    switch (file->op) {
    case CHAIN_JOURNAL_NAME:
        return take_back_name(journal, file);
    case CHAIN_JOURNAL_PATCH:
        return chain_patch_write(journal, idx, true, &ignored);
    case CHAIN_JOURNAL_REPLACE:
    case CHAIN_JOURNAL_REMOVE:
        break;
    }
    return take_back_old(journal, idx);
}

/* ---- Afterwards. */

int chain_change_tidy(const struct chain_journal *journal, size_t idx,
                      struct img_error *err)
{
    const struct chain_journal_file *file = &journal->files[idx];
    const struct chain_journal_folder *folder = folder_of(journal, file);
    char aside[CHAIN_RECORD_NAME_LEN];
    const char *name = chain_stage_aside(idx, aside);
    bool is_patch = file->op == CHAIN_JOURNAL_PATCH;

    if (file->op == CHAIN_JOURNAL_NAME || folder->stage_fd < 0) {
        return 0;
    }
    if (is_patch) {
        name = file->temp;
    }
    enum chain_found found = chain_file_find(file, folder->stage_fd, name);
    if (found == CHAIN_FOUND_UNKNOWN) {
        return fail_look(journal, file, file->name, err);
    }
    if (!(is_patch ? found == CHAIN_FOUND_NEW : is_old(found)) ||
        unlinkat(folder->stage_fd, name, 0) == 0) {
        return 0;
    }
    img_fail_sys(err, errno, "cannot remove what lay aside");
    return chain_folder_name_error(folder, file->name, err);
}
