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

#include <img/file.h>
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

static bool is_held(int fd)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE};
    struct img_lock_holder holder = {.is_held = true};
    struct img_error ignored;
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    return img_file_open_fd(fd, "", &options, &file, &ignored) < 0 ||
           img_file_writer_test(file, &holder, &ignored) < 0 || holder.is_held;
}

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
        chain_owner_is_trusted(st.st_uid) && !is_held(fd) &&
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

static int undo_folder(const struct chain_recovery *recovery,
                       const struct chain_journal *journal, size_t idx,
                       struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[idx];
    const struct dirent *entry;
    DIR *dir = chain_folder_list(folder, err);

    if (!dir) {
        return -1;
    }
    while ((entry = readdir(dir))) {
        if (is_temp_of(journal, idx, entry->d_name)) {
            remove_temp(recovery, folder, entry->d_name);
        }
    }
    closedir(dir);
    return chain_folder_flush(folder, err);
}

/* A folder that is not there any more holds nothing any more. */
static int open_folders(struct chain_journal *journal, struct img_error *err)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (journal->folders[i].fd < 0 &&
            chain_folder_open(&journal->folders[i], err) < 0 &&
            err->code != IMG_NOT_FOUND && err->code != IMG_CHANGED) {
            return -1;
        }
    }
    return 0;
}

int chain_journal_undo(struct chain_journal *journal,
                       const struct chain_recovery *recovery,
                       struct img_error *err)
{
    if (open_folders(journal, err) < 0) {
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

static int fail_taken(const struct chain_journal_folder *folder,
                      const char *name, struct img_error *err)
{
    img_fail(err, IMG_USAGE,
             "a snapshot that was decided is to have this name, and another "
             "file has it: move that one away, then recover");
    return chain_folder_name_error(folder, name, err);
}

static int fail_foreign(const struct chain_journal_folder *folder,
                        const char *name, struct img_error *err)
{
    img_fail(err, IMG_CHANGED,
             "is not the file that the journal of the snapshot tells of");
    return chain_folder_name_error(folder, name, err);
}

/* How far a file has come. */
enum progress {
    PROGRESS_NONE,
    PROGRESS_BOTH,  /* it has its name, and the temporary one still */
    PROGRESS_NAMED, /* whatever became of it since */
};

/*
 * A temporary name goes when the file gets its own: where it is gone, that
 * has been done.
 */
static int look_at_file(const struct chain_journal *journal,
                        const struct chain_journal_file *file,
                        enum progress *out, struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[file->folder];
    struct stat temp, named;

    bool is_named =
        fstatat(folder->fd, file->name, &named, AT_SYMLINK_NOFOLLOW) == 0;
    *out = PROGRESS_NAMED;
    if (fstatat(folder->fd, file->temp, &temp, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) {
            return 0;
        }
        img_fail_sys(err, errno, "cannot look at it");
        return chain_folder_name_error(folder, file->temp, err);
    }
    bool is_both = is_named && named.st_ino == temp.st_ino;
    *out = is_both ? PROGRESS_BOTH : PROGRESS_NONE;
    if (!S_ISREG(temp.st_mode) || temp.st_ino != file->ino ||
        (uint64_t)temp.st_size != file->len ||
        temp.st_nlink != (is_both ? 2u : 1u) ||
        !chain_owner_is_trusted(temp.st_uid)) {
        return fail_foreign(folder, file->temp, err);
    }
    return is_named && !is_both ? fail_taken(folder, file->name, err) : 0;
}

static int finish_file(const struct chain_recovery *recovery,
                       const struct chain_journal *journal,
                       const struct chain_journal_file *file,
                       struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[file->folder];
    enum progress progress;
    struct stat st;
    int rc = 0;

    if (look_at_file(journal, file, &progress, err) < 0) {
        return -1;
    }
    if (progress == PROGRESS_NONE) {
        rc = chain_folder_rename(folder, file->temp, file->name);
    } else if (progress == PROGRESS_BOTH) {
        rc = unlinkat(folder->fd, file->temp, 0) == 0 ? 0 : errno;
    }
    if (rc == EEXIST) {
        return fail_taken(folder, file->name, err);
    }
    if (rc != 0) {
        img_fail_sys(err, rc, "cannot name the new file");
        return chain_folder_name_error(folder, file->name, err);
    }
    if (fstatat(folder->fd, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_ino == file->ino) {
        tell(recovery, folder, file->name, "finished");
    }
    return 0;
}

int chain_journal_complete(struct chain_journal *journal,
                           const struct chain_recovery *recovery,
                           struct img_error *err)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (chain_folder_open(&journal->folders[i], err) < 0) {
            return -1;
        }
    }
    /* It may have been killed before its decision was stable. */
    if (chain_folder_flush(&journal->folders[0], err) < 0) {
        return -1;
    }
    /* What stands in the way of one stands in the way of all. */
    for (size_t i = 0; i < journal->files_nr; i++) {
        enum progress ignored;
        if (look_at_file(journal, &journal->files[i], &ignored, err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (finish_file(recovery, journal, &journal->files[i], err) < 0) {
            return -1;
        }
    }
    return chain_journal_forget(journal, err);
}
