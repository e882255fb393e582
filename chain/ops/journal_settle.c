/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a dead run began is taken away or completed: see journal.h. The caller
 * holds the lock of its record.
 *
 * A file is named only when it is the one of the journal by inode and length,
 * and removed only when its name is a temporary one of a name in the record,
 * it is this user's or the superuser's own and nobody uses it.
 */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/memory.h>

static void tell(const struct chain_recovery *recovery,
                 const struct chain_journal_folder *folder, const char *name,
                 const char *what)
{
    IMG_AUTO(img_free_ptr) char *path = chain_folder_path(folder, name);

    if (path && recovery->done) {
        recovery->done(recovery->opaque, path, what);
    }
}

/* ---- Undoing. */

static void remove_temp(const struct chain_recovery *recovery,
                        const struct chain_journal_folder *folder,
                        const char *temp)
{
    struct stat st;
    int fd = openat(folder->fd, temp,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
        chain_owner_is_trusted(st.st_uid) && !chain_file_is_held(fd) &&
        unlinkat(folder->fd, temp, 0) == 0) {
        tell(recovery, folder, temp, "removed");
    }
    close(fd);
}

static bool is_temp_of(const struct chain_journal *journal, size_t folder,
                       const char *name)
{
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (journal->files[i].folder == folder &&
            chain_journal_is_temp(name, journal->files[i].name)) {
            return true;
        }
    }
    return false;
}

struct told {
    const struct chain_recovery *recovery;
    const struct chain_journal_folder *folder;
};

static void tell_removed(void *opaque, const char *name)
{
    const struct told *told = opaque;

    tell(told->recovery, told->folder, name, "removed");
}

static int undo_stage(const struct chain_recovery *recovery,
                      struct chain_journal_folder *folder, const char *id,
                      struct img_error *err)
{
    struct told told = {recovery, folder};

    return folder->stage_fd < 0
               ? 0
               : chain_stage_remove(folder, id, tell_removed, &told, err);
}

static int undo_folder(const struct chain_recovery *recovery,
                       struct chain_journal *journal, size_t idx,
                       struct img_error *err)
{
    struct chain_journal_folder *folder = &journal->folders[idx];
    const struct dirent *entry;
    DIR *dir = chain_folder_list(folder->fd);

    if (!dir) {
        img_fail_sys(err, errno, "cannot list the folder");
        img_error_set_path(err, folder->path);
        return -1;
    }
    while ((entry = chain_folder_next(dir))) {
        if (is_temp_of(journal, idx, entry->d_name)) {
            remove_temp(recovery, folder, entry->d_name);
        }
    }
    int sys_errno = errno;
    closedir(dir);
    if (sys_errno != 0) {
        img_fail_sys(err, sys_errno, "cannot list the folder");
        img_error_set_path(err, folder->path);
        return -1;
    }
    return undo_stage(recovery, folder, journal->id, err) < 0
               ? -1
               : chain_folder_flush(folder, err);
}

/*
 * The record of the run in each folder is locked as the first one is; *without
 * is the first folder, but for that of the journal, that has none which we
 * made, or folders_nr. A stage without one is not ours to clear: where nobody
 * else can put a record, nobody else can have anything changed.
 */
static int open_stages(struct chain_journal *journal, size_t *without,
                       struct img_error *err)
{
    *without = journal->folders_nr;
    for (size_t i = journal->folders_nr; i-- > 0;) {
        struct chain_journal_folder *folder = &journal->folders[i];
        if (folder->fd < 0) {
            continue;
        }
        if (folder->record_fd < 0 &&
            chain_pointer_lock(folder, journal->id, err) < 0) {
            return -1;
        }
        if (folder->record_fd < 0 && i > 0) {
            *without = i;
        } else if (!chain_journal_is_old(journal->id) &&
                   chain_stage_open(folder, journal->id, err) < 0) {
            return -1;
        }
    }
    return 0;
}

int chain_journal_undo(struct chain_journal *journal,
                       const struct chain_recovery *recovery,
                       struct img_error *err)
{
    size_t without;

    if (open_stages(journal, &without, err) < 0) {
        return -1;
    }
    /* A journal that was taken away must not come back without the files. */
    if (journal->folders[0].fd >= 0 &&
        chain_folder_flush(&journal->folders[0], err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (journal->folders[i].fd >= 0 &&
            undo_folder(recovery, journal, i, err) < 0) {
            return -1;
        }
    }
    chain_journal_abandon(journal, NULL);
    return 0;
}

/* ---- Finishing. */

/* All folders of a journal are needed; and their records, too, when it does
   more than giving names to files that have temporary ones. */
static int open_all(struct chain_journal *journal, struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    size_t without;

    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (journal->folders[i].fd < 0 &&
            chain_folder_open(&journal->folders[i], err) < 0) {
            return -1;
        }
    }
    if (open_stages(journal, &without, err) < 0) {
        return -1;
    }
    if (without == journal->folders_nr || !chain_journal_is_wide(journal)) {
        return 0;
    }
    img_fail(err, IMG_DENIED,
             "is missing, or was not made by a transaction: files in its "
             "folder are not changed");
    return chain_folder_name_error(
        &journal->folders[without],
        chain_record_name(CHAIN_RECORD_POINTER, journal->id, name), err);
}

static void tell_finished(const struct chain_recovery *recovery,
                          const struct chain_journal *journal,
                          const struct chain_journal_file *file)
{
    const struct chain_journal_folder *folder = &journal->folders[file->folder];
    bool is_old = file->op == CHAIN_JOURNAL_PATCH;
    struct stat st;

    if (file->op == CHAIN_JOURNAL_REMOVE) {
        tell(recovery, folder, file->name, "removed");
    } else if (fstatat(folder->fd, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               st.st_ino == (is_old ? file->old_ino : file->ino)) {
        tell(recovery, folder, file->name, "finished");
    }
}

/* What was done is not looked at any more: its files are their users'. */
static int clear_away(struct chain_journal *journal, struct img_error *err)
{
    size_t without;

    if (open_stages(journal, &without, err) < 0) {
        return -1;
    }
    return chain_journal_forget(journal, err);
}

static int finish(struct chain_journal *journal,
                  const struct chain_recovery *recovery, struct img_error *err)
{
    enum chain_progress progress;

    if (open_all(journal, err) < 0) {
        return -1;
    }
    /* It may have been killed before its decision was stable. */
    if (chain_folder_flush(&journal->folders[0], err) < 0) {
        return -1;
    }
    /* What stands in the way of one stands in the way of all. */
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (chain_change_look(journal, i, &progress, err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (chain_change_look(journal, i, &progress, err) < 0 ||
            chain_change_apply(journal, i, progress, err) < 0) {
            return -1;
        }
        tell_finished(recovery, journal, &journal->files[i]);
    }
    return chain_journal_forget(journal, err);
}

int chain_journal_complete(struct chain_journal *journal,
                           const struct chain_recovery *recovery,
                           struct img_error *err)
{
    return journal->is_done ? clear_away(journal, err)
                            : finish(journal, recovery, err);
}
