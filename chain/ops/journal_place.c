/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the folders of a record are now: see journal.h. A folder may have been
 * moved, alone or with those around it, since the run was killed; or it is a
 * copy, of which the record does not tell.
 */
#include "journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/memory.h>

/* The folder of the record that HERE is; folders_nr: none. */
static size_t find_here(const struct chain_journal *journal,
                        const struct chain_journal_folder *here)
{
    size_t found = journal->folders_nr;

    for (size_t i = 0; i < journal->folders_nr; i++) {
        const struct chain_journal_folder *folder = &journal->folders[i];
        if (folder->ino != here->ino) {
            continue;
        }
        if (strcmp(folder->path, here->path) == 0) {
            return i;
        }
        found = i;
    }
    return found;
}

/* An inode's number is one of its file system's: is it there under the old
   name, too, in another one? */
static bool is_elsewhere(const struct chain_journal_folder *folder,
                         const struct chain_journal_folder *here)
{
    struct stat a, b;

    return lstat(folder->path, &a) == 0 && fstat(here->fd, &b) == 0 &&
           a.st_ino == b.st_ino && a.st_dev != b.st_dev;
}

static int fail_copy(const struct chain_journal *journal,
                     const struct chain_journal_folder *here,
                     struct img_error *err)
{
    img_fail(err, IMG_CHANGED,
             "holds records of a transaction that was cut short in another "
             "folder, as a copy of that one does: see that its files are as "
             "they should be, then remove \".imgchain-%s.*\" here",
             journal->id);
    img_error_set_path(err, here->path);
    return -1;
}

/* What of PATH is before the end that it shares with OTHER, in whole names. */
static size_t differing(const char *path, const char *other)
{
    size_t len = strlen(path), other_len = strlen(other), shared = 0, cut = 0;

    while (shared < len && shared < other_len &&
           path[len - 1 - shared] == other[other_len - 1 - shared]) {
        shared++;
        if (path[len - shared] == '/') {
            cut = shared;
        }
    }
    return len - cut;
}

/* Where PATH is when FROM has become TO; NULL without memory, or when they have
   nothing in common. */
static char *moved(const char *path, const char *from, const char *to)
{
    struct img_error ignored;
    size_t from_len = differing(from, to), to_len = differing(to, from);

    if (strncmp(path, from, from_len) != 0 || path[from_len] != '/') {
        return NULL;
    }
    return img_text(&ignored, "%.*s%s", (int)to_len, to, path + from_len);
}

static int open_folder(struct chain_journal_folder *folder, const char *from,
                       const char *to, struct img_error *err)
{
    struct img_error ignored;

    if (folder->fd >= 0 || chain_folder_open(folder, err) == 0) {
        return 0;
    }
    if (err->code != IMG_NOT_FOUND && err->code != IMG_CHANGED) {
        return -1;
    }
    struct chain_journal_folder there = *folder;
    there.path = moved(folder->path, from, to);
    if (!there.path || chain_folder_open(&there, &ignored) < 0) {
        free(there.path);
        return -1;
    }
    free(folder->path);
    folder->path = there.path;
    folder->fd = there.fd;
    return 0;
}

static int open_folders(struct chain_journal *journal, const char *from,
                        const char *to, struct img_error *err)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        /* Without the first folder nobody can tell what was decided; another
           one that is not there any more holds nothing any more. */
        if (open_folder(&journal->folders[i], from, to, err) < 0 &&
            (i == 0 ||
             (err->code != IMG_NOT_FOUND && err->code != IMG_CHANGED))) {
            return -1;
        }
    }
    return 0;
}

int chain_journal_place(struct chain_journal *journal,
                        const struct chain_journal_folder *here,
                        struct img_error *err)
{
    size_t idx = find_here(journal, here);

    if (idx == journal->folders_nr ||
        is_elsewhere(&journal->folders[idx], here)) {
        return fail_copy(journal, here, err);
    }
    IMG_AUTO(img_free_ptr) char *from = journal->folders[idx].path;
    journal->folders[idx].path =
        img_strndup(here->path, strlen(here->path), err);
    return journal->folders[idx].path
               ? open_folders(journal, from, here->path, err)
               : -1;
}
