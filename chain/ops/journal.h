/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of an atomic snapshot: several new files, in one or more
 * folders, get their names together or not at all.
 *
 * In each folder a record ".imgchain-snapshot-ID.pointer" is stable before the
 * first file is made there; it says which names are meant and where the
 * journal would be. The run holds a lock on each of its records as long as it
 * lives. ".imgchain-snapshot-ID.journal", in the first folder, appears in one
 * rename when all files are complete and stable under temporary names: from
 * then on the names are given, by this run or by whoever comes next. While it
 * is not there, whoever comes next takes the temporary files away. The journal
 * goes when all names are stable, the records last, the first folder's after
 * the others.
 */
#ifndef CHAIN_OPS_JOURNAL_H
#define CHAIN_OPS_JOURNAL_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <img/error.h>

#define CHAIN_JOURNAL_ID_LEN 16u
#define CHAIN_JOURNAL_FOLDERS_MAX 256u
#define CHAIN_JOURNAL_FILES_MAX 1024u

struct chain_journal_folder {
    char *path; /* real and absolute */
    uint64_t ino;
    int fd;        /* -1: not open */
    int record_fd; /* of a live run's record here, locked; -1 */
};

struct chain_journal_file {
    size_t folder; /* index */
    char *name;    /* the one that it is to have */
    char *temp;    /* the one that it has; NULL: not made yet */
    uint64_t ino, len;
};

struct chain_journal {
    char id[CHAIN_JOURNAL_ID_LEN + 1];
    struct chain_journal_folder *folders; /* [0]: the journal's */
    size_t folders_nr;
    struct chain_journal_file *files;
    size_t files_nr;
};

/* An empty one that can hold so many. */
int chain_journal_init(struct chain_journal *journal, size_t folders_nr,
                       size_t files_nr, struct img_error *err);
/* Closes folders and records; removes nothing. */
void chain_journal_fini(struct chain_journal *journal);

/* ---- Text (journal_text.c). Names have no '/', whatever else they have. */

/* With temporary names when DECIDED. Free with free(). */
char *chain_journal_encode(const struct chain_journal *journal, bool decided,
                           struct img_error *err);
/*
 * IMG_CORRUPT unless it is a record of ID, with plain names and absolute
 * folders within the limits above, and when DECIDED with temporary names that
 * belong to the names.
 */
int chain_journal_decode(const char *text, size_t len, const char *id,
                         bool decided, struct chain_journal *out,
                         struct img_error *err);
/* Is TEMP a temporary name of img_newfile's for NAME? */
bool chain_journal_is_temp(const char *temp, const char *name);

/* ---- Folders and records (journal_folder.c). */

enum chain_record {
    CHAIN_RECORD_POINTER,
    CHAIN_RECORD_NEW_JOURNAL, /* not renamed yet */
    CHAIN_RECORD_JOURNAL,
};
#define CHAIN_RECORD_NAME_LEN 64u

/* Its file's name. Returns OUT. */
const char *chain_record_name(enum chain_record record, const char *id,
                              char out[CHAIN_RECORD_NAME_LEN]);
/* Is NAME a record's file? ID gets its id. */
bool chain_record_parse(const char *name, enum chain_record *record,
                        char id[CHAIN_JOURNAL_ID_LEN + 1]);
/*
 * Open the folder at PATH, which is absolute, through no symbolic link.
 * IMG_CHANGED when it is not the one of that inode any more.
 */
int chain_folder_open(struct chain_journal_folder *folder,
                      struct img_error *err);
int chain_folder_flush(const struct chain_journal_folder *folder,
                       struct img_error *err);
/* The path of NAME in it, for messages; NULL without memory. free(). */
char *chain_folder_path(const struct chain_journal_folder *folder,
                        const char *name);
/* ERR is about that; returns -1. */
int chain_folder_name_error(const struct chain_journal_folder *folder,
                            const char *name, struct img_error *err);
/* For readdir and closedir; NULL with ERR filled in. */
DIR *chain_folder_list(const struct chain_journal_folder *folder,
                       struct img_error *err);
/* This user's, or the superuser's. */
bool chain_owner_is_trusted(uid_t uid);
/*
 * Give the file TEMP the name NAME in the same folder, which must be free.
 * Returns 0 or an errno.
 */
int chain_folder_rename(const struct chain_journal_folder *folder,
                        const char *temp, const char *name);

/* A write lock on an open record; false: somebody has it. */
int chain_record_lock(int fd, bool *locked, struct img_error *err);
/*
 * Open a record that is there: *fd -1 when there is none. IMG_DENIED for a
 * file that is not this user's or the superuser's own, IMG_CORRUPT for one
 * that is no small regular file with one name.
 */
int chain_record_open(const struct chain_journal_folder *folder,
                      const char *name, int *fd, struct img_error *err);
/* The text of an open record; free with free(). */
char *chain_record_read(int fd, size_t *len, struct img_error *err);
/*
 * Make a record and write TEXT into it, flushed; *fd is open and locked.
 * IMG_CHANGED when somebody took it away before it was locked.
 */
int chain_record_make(const struct chain_journal_folder *folder,
                      const char *name, const char *text, int *fd,
                      struct img_error *err);

/* ---- A live run (journal.c). */

/*
 * The folders (paths are set) are opened and the records made and stable.
 * After a failure nothing of them is left.
 */
int chain_journal_begin(struct chain_journal *journal, struct img_error *err);
/*
 * All files are complete and stable under their temporary names (temp, ino
 * and len are set): the journal appears. After a failure nothing is decided;
 * or it is not known whether it is, *is_kept is set, and files and records
 * have to stay for a recovery: the text says so.
 */
int chain_journal_decide(struct chain_journal *journal, bool *is_kept,
                         struct img_error *err);
/*
 * Give the names, and forget the journal. When a name cannot be given all is
 * as before chain_journal_decide, or the text says how to go on: then
 * *is_undone is false, and the journal stays for a recovery.
 */
int chain_journal_finish(struct chain_journal *journal, bool *is_undone,
                         struct img_error *err);
/*
 * The files are removed; so are the records now, unless that the files are
 * gone cannot be made stable: then ERR (NULL: none) says so, too.
 */
void chain_journal_abandon(struct chain_journal *journal,
                           struct img_error *err);

/* ---- What a killed run left (journal_recover.c). */

struct chain_recovery {
    void (*done)(void *opaque, const char *path, const char *what);
    void *opaque;
    bool is_by_the_way; /* what is none of ours, or alive, is passed by */
    bool is_dry;        /* IMG_CHANGED where there is something to do */
};
int chain_journal_recover(const char *folder,
                          const struct chain_recovery *recovery,
                          struct img_error *err);

/* ---- Of a dead run, whose lock the caller holds (journal_settle.c). */

/* Remove temporary files and records. */
int chain_journal_undo(struct chain_journal *journal,
                       const struct chain_recovery *recovery,
                       struct img_error *err);
/* Give the names that are missing, then remove journal and records. Nothing is
   done when one of the files cannot get its name. */
int chain_journal_complete(struct chain_journal *journal,
                           const struct chain_recovery *recovery,
                           struct img_error *err);

/* Flush the folders; journal and records go, in this order (journal.c). */
int chain_journal_forget(struct chain_journal *journal, struct img_error *err);

#endif
