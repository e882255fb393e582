/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A live run's side of the journal: see journal.h.
 *
 * What is stable when (F: the folders are flushed):
 *     records F, files under temporary names F, journal F, names F,
 *     journal gone F, records gone.
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
    uint8_t bytes[CHAIN_JOURNAL_ID_LEN];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        return img_fail_sys(err, errno, "cannot find a name for the journal");
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        journal->id[i] = digits[bytes[i] % 16];
    }
    journal->id[sizeof(bytes)] = '\0';
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

/* The first folder's last: it says where the others are. */
static void remove_pointers(const struct chain_journal *journal)
{
    for (size_t i = journal->folders_nr; i > 0; i--) {
        remove_record(journal, i - 1, CHAIN_RECORD_POINTER);
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

int chain_journal_begin(struct chain_journal *journal, struct img_error *err)
{
    if (make_id(journal, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (chain_folder_open(&journal->folders[i], err) < 0) {
            return -1;
        }
    }
    if (make_records(journal, err) < 0) {
        remove_records(journal);
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

static void say_unfinished(const struct chain_journal *journal,
                           struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    bool is_there =
        faccessat(journal->folders[0].fd,
                  chain_record_name(CHAIN_RECORD_JOURNAL, journal->id, name),
                  F_OK, AT_SYMLINK_NOFOLLOW) == 0;

    say_kept(journal,
             is_there ? "the snapshot is decided, its journal is kept"
                      : "a power loss may bring the journal of the snapshot "
                        "back, its files and records are kept",
             "recover there", err);
}

void chain_journal_abandon(struct chain_journal *journal, struct img_error *err)
{
    struct img_error ignored;

    /* A record must not be gone for good while a file is there for good. */
    if (flush_folders(journal, &ignored) == 0) {
        remove_records(journal);
    } else if (err) {
        say_kept(journal,
                 "a power loss may bring its files back, its records "
                 "are kept",
                 "the next snapshot removes both", err);
    }
}

/* Does NAME stand for the file that is meant? */
static bool is_named(const struct chain_journal *journal,
                     const struct chain_journal_file *file, const char *name)
{
    struct stat st;

    return fstatat(journal->folders[file->folder].fd, name, &st,
                   AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && st.st_ino == file->ino;
}

static int check_temp(const struct chain_journal *journal,
                      const struct chain_journal_file *file,
                      struct img_error *err)
{
    if (is_named(journal, file, file->temp)) {
        return 0;
    }
    img_fail(err, IMG_CHANGED,
             "the new file is not in the folder that it was made in");
    img_error_set_path(err, journal->folders[file->folder].path);
    return -1;
}

/* The journal's text is stable, under a name that decides nothing. */
static int write_journal(const struct chain_journal *journal,
                         struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    int fd;
    IMG_AUTO(img_free_ptr)
    char *text = chain_journal_encode(journal, true, err);

    (void)chain_record_name(CHAIN_RECORD_NEW_JOURNAL, journal->id, name);
    if (!text ||
        chain_record_make(&journal->folders[0], name, text, &fd, err) < 0) {
        return -1;
    }
    close(fd);
    return 0;
}

static int name_journal(const struct chain_journal *journal,
                        struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[0];
    char new_name[CHAIN_RECORD_NAME_LEN], name[CHAIN_RECORD_NAME_LEN];

    (void)chain_record_name(CHAIN_RECORD_NEW_JOURNAL, journal->id, new_name);
    (void)chain_record_name(CHAIN_RECORD_JOURNAL, journal->id, name);
    if (renameat(folder->fd, new_name, folder->fd, name) != 0) {
        img_fail_sys(err, errno, "cannot name the journal");
        img_error_set_path(err, folder->path);
        return -1;
    }
    return chain_folder_flush(folder, err);
}

/* Take the decision back: nothing has been named yet, or not any more. */
static int undecide(struct chain_journal *journal, struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[0];
    char name[CHAIN_RECORD_NAME_LEN];

    (void)chain_record_name(CHAIN_RECORD_JOURNAL, journal->id, name);
    if (unlinkat(folder->fd, name, 0) != 0 && errno != ENOENT) {
        img_fail_sys(err, errno, "cannot remove the journal");
        img_error_set_path(err, folder->path);
        return -1;
    }
    return chain_folder_flush(folder, err);
}

int chain_journal_decide(struct chain_journal *journal, bool *is_kept,
                         struct img_error *err)
{
    struct img_error ignored;

    *is_kept = false;
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (check_temp(journal, &journal->files[i], err) < 0) {
            return -1;
        }
    }
    if (flush_folders(journal, err) < 0 || write_journal(journal, err) < 0) {
        return -1;
    }
    if (name_journal(journal, err) < 0) {
        /* While the journal may be stable, so are the files. */
        *is_kept = undecide(journal, &ignored) < 0;
        if (*is_kept) {
            say_unfinished(journal, err);
        }
        return -1;
    }
    return 0;
}

static int fail_name(const struct chain_journal *journal,
                     const struct chain_journal_file *file, int sys_errno,
                     struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    char *path = chain_folder_path(&journal->folders[file->folder], file->name);

    if (sys_errno == EEXIST) {
        img_fail(err, IMG_USAGE,
                 "exists already: a file of that name appeared meanwhile");
    } else {
        img_fail_sys(err, sys_errno, "cannot name the new file");
    }
    img_error_set_path(err, path ? path : "");
    return -1;
}

/*
 * The first NR files are named: take their names away, then the journal, then
 * the files.
 */
static int take_back(struct chain_journal *journal, size_t nr)
{
    struct img_error ignored;

    while (nr > 0) {
        const struct chain_journal_file *file = &journal->files[--nr];
        if (!is_named(journal, file, file->name) ||
            chain_folder_rename(&journal->folders[file->folder], file->name,
                                file->temp) != 0) {
            return -1;
        }
    }
    if (flush_folders(journal, &ignored) < 0 ||
        undecide(journal, &ignored) < 0) {
        return -1;
    }
    for (size_t i = 0; i < journal->files_nr; i++) {
        const struct chain_journal_file *file = &journal->files[i];
        (void)unlinkat(journal->folders[file->folder].fd, file->temp, 0);
    }
    return 0;
}

int chain_journal_forget(struct chain_journal *journal, struct img_error *err)
{
    if (flush_folders(journal, err) < 0 || undecide(journal, err) < 0) {
        return -1;
    }
    remove_pointers(journal);
    return 0;
}

int chain_journal_finish(struct chain_journal *journal, bool *is_undone,
                         struct img_error *err)
{
    *is_undone = false;
    for (size_t i = 0; i < journal->files_nr; i++) {
        const struct chain_journal_file *file = &journal->files[i];
        int rc = chain_folder_rename(&journal->folders[file->folder],
                                     file->temp, file->name);
        if (rc == 0) {
            continue;
        }
        fail_name(journal, file, rc, err);
        *is_undone = take_back(journal, i) == 0;
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
