/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A live run's side of the journal: see journal.h.
 *
 * What is stable when (F: the folders are flushed):
 *     records F, files under temporary names F, journal F, changes F,
 *     journal done F, nothing lies aside F, journal gone F, records gone.
 * Each step begins when the one before is stable, so that what a crash leaves
 * is one of these states or on the way between two of them.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/memory.h>

#define ID_PREFIX "transaction-"

void chain_journal_fini(struct chain_journal *journal)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        struct chain_journal_folder *folder = &journal->folders[i];
        free(folder->path);
        if (folder->fd >= 0) {
            close(folder->fd);
        }
        if (folder->record_fd >= 0) {
            close(folder->record_fd);
        }
        if (folder->journal_fd >= 0) {
            close(folder->journal_fd);
        }
        if (folder->stage_fd >= 0) {
            close(folder->stage_fd);
        }
    }
    for (size_t i = 0; i < journal->files_nr; i++) {
        free(journal->files[i].name);
        free(journal->files[i].temp);
    }
    free(journal->folders);
    free(journal->files);
    *journal = (struct chain_journal){0};
}

static int make_id(struct chain_journal *journal, struct img_error *err)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[CHAIN_JOURNAL_ID_LEN - (sizeof(ID_PREFIX) - 1)];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        return img_fail_sys(err, errno, "cannot find a name for the journal");
    }
    (void)snprintf(journal->id, sizeof(journal->id), "%s", ID_PREFIX);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        journal->id[strlen(ID_PREFIX) + i] = digits[bytes[i] % 16];
    }
    return 0;
}

static int flush_folders(const struct chain_journal *journal,
                         struct img_error *err)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (journal->folders[i].fd >= 0 &&
            chain_folder_flush(&journal->folders[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

static void remove_record(const struct chain_journal *journal, size_t folder,
                          enum chain_record record)
{
    char name[CHAIN_RECORD_NAME_LEN];

    if (journal->folders[folder].fd >= 0) {
        (void)unlinkat(journal->folders[folder].fd,
                       chain_record_name(record, journal->id, name), 0);
    }
}

/* The first folder's last: it says where the others are. What is not locked is
   not ours, whatever it is called. */
static void remove_pointers(const struct chain_journal *journal)
{
    for (size_t i = journal->folders_nr; i > 0; i--) {
        if (journal->folders[i - 1].record_fd >= 0) {
            remove_record(journal, i - 1, CHAIN_RECORD_POINTER);
        }
    }
}

static void remove_records(const struct chain_journal *journal)
{
    if (journal->folders_nr > 0) {
        remove_record(journal, 0, CHAIN_RECORD_NEW_JOURNAL);
        remove_pointers(journal);
    }
}

static int make_records(struct chain_journal *journal, struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    char *text = chain_journal_encode(journal, false, err);
    char name[CHAIN_RECORD_NAME_LEN];

    (void)chain_record_name(CHAIN_RECORD_POINTER, journal->id, name);
    for (size_t i = 0; text && i < journal->folders_nr; i++) {
        struct chain_journal_folder *folder = &journal->folders[i];
        if (chain_record_make(folder, name, text, &folder->record_fd, err) <
            0) {
            return -1;
        }
    }
    return text ? flush_folders(journal, err) : -1;
}

/* Does a change in folder IDX need a stage? */
static bool needs_stage(const struct chain_journal *journal, size_t idx)
{
    for (size_t i = 0; i < journal->files_nr; i++) {
        const struct chain_journal_file *file = &journal->files[i];
        if (file->folder == idx &&
            (file->is_staged || file->op != CHAIN_JOURNAL_NAME)) {
            return true;
        }
    }
    return false;
}

static int remove_stages(struct chain_journal *journal, struct img_error *err)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (journal->folders[i].stage_fd >= 0 &&
            chain_stage_remove(&journal->folders[i], journal->id, NULL, NULL,
                               err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int make_stages(struct chain_journal *journal, struct img_error *err)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (needs_stage(journal, i) &&
            chain_stage_make(&journal->folders[i], journal->id, err) < 0) {
            return -1;
        }
    }
    return 0;
}

int chain_journal_begin(struct chain_journal *journal, struct img_error *err)
{
    struct img_error ignored;

    if (make_id(journal, err) < 0) {
        return -1;
    }
    journal->is_live = true;
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (chain_folder_open(&journal->folders[i], err) < 0) {
            return -1;
        }
    }
    if (make_records(journal, err) < 0 || make_stages(journal, err) < 0) {
        /* A record must not be gone for good while a stage is there. */
        if (remove_stages(journal, &ignored) == 0 &&
            flush_folders(journal, &ignored) == 0) {
            remove_records(journal);
        }
        return -1;
    }
    return 0;
}

/* After what ERR says: what remains, WHAT, where, and what to DO. */
static void say_kept(const struct chain_journal *journal, const char *what,
                     const char *todo, struct img_error *err)
{
    char shown[IMG_ERROR_TEXT_MAX / 2];
    struct img_error said = *err;
    const char *folder = journal->folders[0].path;

    img_escape(folder, strlen(folder), shown, sizeof(shown));
    img_fail(err, said.code, "%.400s; %s in \"%s\", %s", said.text, what, shown,
             todo);
    err->sys_errno = said.sys_errno;
    img_error_set_path(err, said.path);
}

static bool has_record(const struct chain_journal *journal,
                       enum chain_record record)
{
    char name[CHAIN_RECORD_NAME_LEN];

    return faccessat(journal->folders[0].fd,
                     chain_record_name(record, journal->id, name), F_OK,
                     AT_SYMLINK_NOFOLLOW) == 0;
}

static void say_unfinished(const struct chain_journal *journal,
                           struct img_error *err)
{
    say_kept(journal,
             has_record(journal, CHAIN_RECORD_DONE)
                 ? "all changes of the transaction are made, what is left of "
                   "it is kept"
             : has_record(journal, CHAIN_RECORD_JOURNAL)
                 ? "the transaction is decided, its journal is kept"
                 : "a power loss may bring the journal of the transaction "
                   "back, its files and records are kept",
             "recover there", err);
}

void chain_journal_abandon(struct chain_journal *journal, struct img_error *err)
{
    struct img_error ignored;

    /* A record must not be gone for good while a file is there for good. */
    if (remove_stages(journal, &ignored) == 0 &&
        flush_folders(journal, &ignored) == 0) {
        remove_records(journal);
    } else if (err) {
        say_kept(journal,
                 "a power loss may bring its files back, its records "
                 "are kept",
                 "a recovery removes both", err);
    }
}

/* The new file and the old one are where they have to be. */
static int check_file(const struct chain_journal *journal,
                      const struct chain_journal_file *file,
                      struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[file->folder];
    int temp_fd = chain_change_temp_fd(journal, file);

    if (file->op != CHAIN_JOURNAL_REMOVE &&
        chain_file_find(file, temp_fd, file->temp) != CHAIN_FOUND_NEW) {
        img_fail(err, IMG_CHANGED,
                 "the new file is not in the folder that it was made in");
        img_error_set_path(err, folder->path);
        return -1;
    }
    if (file->op != CHAIN_JOURNAL_NAME &&
        chain_file_find(file, folder->fd, file->name) != CHAIN_FOUND_OLD) {
        img_fail(err, IMG_CHANGED,
                 "another file has come to this name meanwhile, or it was "
                 "changed");
        return chain_folder_name_error(folder, file->name, err);
    }
    return 0;
}

/* The journal's text is stable, under a name that decides nothing. It stays
   locked under every name that it gets. */
static int write_journal(struct chain_journal *journal, struct img_error *err)
{
    struct chain_journal_folder *folder = &journal->folders[0];
    char name[CHAIN_RECORD_NAME_LEN];
    IMG_AUTO(img_free_ptr)
    char *text = chain_journal_encode(journal, true, err);

    (void)chain_record_name(CHAIN_RECORD_NEW_JOURNAL, journal->id, name);
    return text
               ? chain_record_make(folder, name, text, &folder->journal_fd, err)
               : -1;
}

/* One of its names becomes the next, stable. */
static int rename_journal(const struct chain_journal *journal,
                          enum chain_record from, enum chain_record to,
                          struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[0];
    char from_name[CHAIN_RECORD_NAME_LEN], to_name[CHAIN_RECORD_NAME_LEN];

    (void)chain_record_name(from, journal->id, from_name);
    (void)chain_record_name(to, journal->id, to_name);
    if (renameat(folder->fd, from_name, folder->fd, to_name) != 0) {
        img_fail_sys(err, errno, "cannot name the journal");
        img_error_set_path(err, folder->path);
        return -1;
    }
    return chain_folder_flush(folder, err);
}

/* The journal goes: nothing has been named yet, or not any more, or all is
   done. */
static int drop_journal(struct chain_journal *journal, struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[0];
    char name[CHAIN_RECORD_NAME_LEN];

    (void)chain_record_name(journal->is_done ? CHAIN_RECORD_DONE
                                             : CHAIN_RECORD_JOURNAL,
                            journal->id, name);
    if (unlinkat(folder->fd, name, 0) != 0 && errno != ENOENT) {
        img_fail_sys(err, errno, "cannot remove the journal");
        img_error_set_path(err, folder->path);
        return -1;
    }
    return chain_folder_flush(folder, err);
}

/* Whoever recovers finds the stage by its name. Somebody who may rename files
   in the folder may have put another there, and had files made in that one. */
static int check_stage(const struct chain_journal *journal,
                       const struct chain_journal_folder *folder,
                       struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    struct stat own, found;

    (void)chain_stage_name(journal->id, name);
    if (folder->stage_fd < 0 ||
        (fstat(folder->stage_fd, &own) == 0 &&
         fstatat(folder->fd, name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
         own.st_ino == found.st_ino && own.st_dev == found.st_dev)) {
        return 0;
    }
    img_fail(err, IMG_CHANGED,
             "is not the folder any more that was made for "
             "the new files of the transaction");
    return chain_folder_name_error(folder, name, err);
}

int chain_journal_decide(struct chain_journal *journal, bool *is_kept,
                         struct img_error *err)
{
    struct img_error ignored;

    *is_kept = false;
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (check_file(journal, &journal->files[i], err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (check_stage(journal, &journal->folders[i], err) < 0) {
            return -1;
        }
    }
    if (flush_folders(journal, err) < 0 || write_journal(journal, err) < 0) {
        return -1;
    }
    if (rename_journal(journal, CHAIN_RECORD_NEW_JOURNAL, CHAIN_RECORD_JOURNAL,
                       err) < 0) {
        /* While the journal may be stable, so are the files. */
        *is_kept = drop_journal(journal, &ignored) < 0;
        if (*is_kept) {
            say_unfinished(journal, err);
        }
        return -1;
    }
    return 0;
}

static void remove_new_file(const struct chain_journal *journal,
                            const struct chain_journal_file *file)
{
    if (file->op != CHAIN_JOURNAL_REMOVE) {
        (void)unlinkat(chain_change_temp_fd(journal, file), file->temp, 0);
    }
}

/* Take the changes back that were made, then the journal, then the files. */
static int take_back(struct chain_journal *journal)
{
    struct img_error ignored;

    for (int patches = 1; patches >= 0; patches--) {
        for (size_t i = journal->files_nr; i-- > 0;) {
            const struct chain_journal_file *file = &journal->files[i];
            if (file->is_applied &&
                (file->op == CHAIN_JOURNAL_PATCH) == patches &&
                chain_change_take_back(journal, i) < 0) {
                return -1;
            }
        }
    }
    if (flush_folders(journal, &ignored) < 0 ||
        drop_journal(journal, &ignored) < 0) {
        return -1;
    }
    for (size_t i = 0; i < journal->files_nr; i++) {
        remove_new_file(journal, &journal->files[i]);
    }
    return 0;
}

/* What lies aside goes when nobody will want it back. */
static int tidy(struct chain_journal *journal, struct img_error *err)
{
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (chain_change_tidy(journal, i, err) < 0) {
            return -1;
        }
    }
    return remove_stages(journal, err);
}

static bool has_stage(const struct chain_journal *journal)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (journal->folders[i].stage_fd >= 0) {
            return true;
        }
    }
    return false;
}

/* From here on a killed run is not finished, but cleared away. */
static int say_done(struct chain_journal *journal, struct img_error *err)
{
    if (rename_journal(journal, CHAIN_RECORD_JOURNAL, CHAIN_RECORD_DONE, err) <
        0) {
        return -1;
    }
    journal->is_done = true;
    return 0;
}

int chain_journal_forget(struct chain_journal *journal, struct img_error *err)
{
    if (flush_folders(journal, err) < 0) {
        return -1;
    }
    if (has_stage(journal) &&
        ((!journal->is_done && say_done(journal, err) < 0) ||
         tidy(journal, err) < 0 || flush_folders(journal, err) < 0)) {
        return -1;
    }
    if (drop_journal(journal, err) < 0) {
        return -1;
    }
    remove_pointers(journal);
    return 0;
}

/* Names first: they are what may not be had. */
static int apply(struct chain_journal *journal, struct img_error *err)
{
    enum chain_progress ignored;

    for (int patches = 0; patches <= 1; patches++) {
        for (size_t i = 0; i < journal->files_nr; i++) {
            struct chain_journal_file *file = &journal->files[i];
            if ((file->op == CHAIN_JOURNAL_PATCH) != patches) {
                continue;
            }
            if (patches && chain_change_look(journal, i, &ignored, err) < 0) {
                return -1;
            }
            /* All but names can be made in part. */
            file->is_applied = file->op != CHAIN_JOURNAL_NAME;
            if (chain_change_apply(journal, i, CHAIN_PROGRESS_NONE, err) < 0) {
                return -1;
            }
            file->is_applied = true;
        }
    }
    return 0;
}

int chain_journal_finish(struct chain_journal *journal, bool *is_undone,
                         struct img_error *err)
{
    *is_undone = false;
    if (apply(journal, err) < 0) {
        *is_undone = take_back(journal) == 0;
        if (!*is_undone) {
            say_unfinished(journal, err);
        }
        return -1;
    }
    if (chain_journal_forget(journal, err) < 0) {
        say_unfinished(journal, err);
        return -1;
    }
    return 0;
}
