/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal of a transaction: changes of several files, in one or more
 * folders, happen together or not at all.
 *
 * In each folder a record ".imgchain-transaction-ID.pointer" is stable before
 * the first file is made there; it says which names are meant and where the
 * journal would be. The run holds a lock on each of its records as long as it
 * lives. New files are made under temporary names, or in a folder
 * ".imgchain-transaction-ID.stage" that belongs to the run.
 * ".imgchain-transaction-ID.journal", in the first folder, appears in one
 * rename when all files are complete and stable: from then on the changes are
 * made, by this run or by whoever comes next. While it is not there, whoever
 * comes next takes the new files away. When all changes are stable it becomes
 * ".imgchain-transaction-ID.done", in one rename: from then on nobody looks at
 * the files again, which belong to their users, and only what is left of the
 * transaction is cleared away. Then it goes, and the records last, the first
 * folder's after the others.
 *
 * What is replaced or removed lies aside, in the stage, until all changes are
 * made, so that a run that fails half-way can take all of them back.
 *
 * Before there were changes of other kinds than a new name, records were
 * called ".imgchain-snapshot-ID": these are read, and no longer written.
 */
#ifndef CHAIN_OPS_JOURNAL_H
#define CHAIN_OPS_JOURNAL_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <img/error.h>

/* "transaction-" and 16 digits: as it stands in the names of its files. */
#define CHAIN_JOURNAL_ID_LEN 28u
#define CHAIN_JOURNAL_FOLDERS_MAX 256u
#define CHAIN_JOURNAL_FILES_MAX 1024u
/* More than the largest record can have (journal_text.c). */
#define CHAIN_RECORD_LEN_MAX (8u << 20)

struct chain_journal_folder {
    char *path; /* real and absolute */
    uint64_t ino;
    int fd;         /* -1: not open */
    int record_fd;  /* of the record here, locked; -1 */
    int journal_fd; /* of the journal here, locked; -1 */
    int stage_fd;   /* -1: there is none, or it is not open */
};

enum chain_journal_op {
    CHAIN_JOURNAL_NAME,    /* the new file gets a name that is free */
    CHAIN_JOURNAL_REPLACE, /* the new file gets the name of the old one */
    CHAIN_JOURNAL_PATCH,   /* the new file holds the old and the new bytes of
                              the old one's beginning, LEN in all */
    CHAIN_JOURNAL_REMOVE,  /* there is no new file */
};
#define CHAIN_JOURNAL_OPS 4u

struct chain_journal_file {
    enum chain_journal_op op;
    size_t folder;  /* index */
    char *name;     /* the one that it is to have, or that the old one has */
    char *temp;     /* the new file's; NULL: not made yet, or there is none */
    bool is_staged; /* that one lies in the stage */
    bool is_applied;
    uint64_t ino, len;         /* of the new file */
    uint64_t old_ino, old_len; /* of the one that is there */
    int64_t old_mtime_ns;
    int64_t old_born_ns; /* 0: the file system does not tell */
};

struct chain_journal {
    char id[CHAIN_JOURNAL_ID_LEN + 1];
    struct chain_journal_folder *folders; /* [0]: the journal's */
    size_t folders_nr;
    struct chain_journal_file *files;
    size_t files_nr;
    bool is_live; /* it is this run's own, not one that a killed run left */
    bool is_done; /* all changes are made and stable: it has its last name */
};

/* An empty one that can hold so many. */
int chain_journal_init(struct chain_journal *journal, size_t folders_nr,
                       size_t files_nr, struct img_error *err);
/* Does it do more than giving free names to files that have temporary ones? */
bool chain_journal_is_wide(const struct chain_journal *journal);
/* Is it one of those that are no longer written? They give names to files that
   have temporary ones, and have no stage. */
bool chain_journal_is_old(const char *id);
/* Closes folders and records; removes nothing. */
void chain_journal_fini(struct chain_journal *journal);

/* ---- Text (journal_text.c). Names have no '/', whatever else they have. */

/* With temporary names when DECIDED. Free with free(). */
char *chain_journal_encode(const struct chain_journal *journal, bool decided,
                           struct img_error *err);
/*
 * IMG_UNSUPPORTED: a record of another version of this program. IMG_CORRUPT
 * unless it is a record of ID, with plain names and absolute
 * folders within the limits above, and when DECIDED with temporary names that
 * belong to the names.
 */
int chain_journal_decode(const char *text, size_t len, const char *id,
                         bool decided, struct chain_journal *out,
                         struct img_error *err);
/* Is TEMP a temporary name of img_newfile's for NAME? */
bool chain_journal_is_temp(const char *temp, const char *name);
/* Is it a name that only this program's hidden files have? */
bool chain_journal_is_own_name(const char *name);

/* ---- Folders and records (journal_folder.c). */

enum chain_record {
    CHAIN_RECORD_POINTER,
    CHAIN_RECORD_NEW_JOURNAL, /* not renamed yet */
    CHAIN_RECORD_JOURNAL,
    CHAIN_RECORD_DONE, /* the journal when all changes are made */
};
#define CHAIN_RECORD_NAME_LEN 64u

/* Its file's name. Returns OUT. */
const char *chain_record_name(enum chain_record record, const char *id,
                              char out[CHAIN_RECORD_NAME_LEN]);
/* Is NAME one that a transaction's records, or its stage, have? ID gets its
   id. */
bool chain_record_id(const char *name, char id[CHAIN_JOURNAL_ID_LEN + 1]);
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
/* For readdir and closedir; NULL with errno. */
DIR *chain_folder_list(int fd);
/* The next entry; NULL with errno 0 at the end. */
const struct dirent *chain_folder_next(DIR *dir);
/* This user's, or the superuser's. */
bool chain_owner_is_trusted(uid_t uid);
/*
 * Give the file FROM, in one folder, the name TO in another or the same, which
 * must be free. Returns 0 or an errno.
 */
int chain_folder_rename(int from_fd, const char *from, int to_fd,
                        const char *to);

/* A write lock on an open record; false: somebody has it. */
int chain_record_lock(int fd, bool *locked, struct img_error *err);
/*
 * Open a record that is there: *fd -1 when there is none. IMG_CORRUPT for one
 * that is no small regular file with one name. IMG_DENIED, and *is_foreign, for
 * a file that is not this user's or the superuser's own, or that lacks the mark
 * which only its owner can have given it: a file of ours that somebody else
 * could rename has none, whatever is in it. Old records (snapshot-) need none.
 */
int chain_record_open(const struct chain_journal_folder *folder,
                      const char *name, int *fd, bool *is_foreign,
                      struct img_error *err);
/*
 * Lock the record of a dead run ID in FOLDER: record_fd; -1 when there is none
 * that chain_record_open takes. IMG_LOCKED: somebody has it.
 */
int chain_pointer_lock(struct chain_journal_folder *folder, const char *id,
                       struct img_error *err);
/* The text of an open record; free with free(). */
char *chain_record_read(int fd, size_t *len, struct img_error *err);
/*
 * Make a record and write TEXT into it, flushed; *fd is open and locked.
 * IMG_CHANGED when somebody took it away before it was locked.
 */
int chain_record_make(const struct chain_journal_folder *folder,
                      const char *name, const char *text, int *fd,
                      struct img_error *err);

/* ---- Stages (journal_stage.c). */

/* Its name in its folder. Returns OUT. */
const char *chain_stage_name(const char *id, char out[CHAIN_RECORD_NAME_LEN]);
int chain_stage_make(struct chain_journal_folder *folder, const char *id,
                     struct img_error *err);
/* Open the one that is there, if there is one (stage_fd). IMG_DENIED: it is
   not one that this user or the superuser made. */
int chain_stage_open(struct chain_journal_folder *folder, const char *id,
                     struct img_error *err);
/* Remove what is in it, but for what lies aside and what is in use, and the
   stage; DONE is called for each name. Fails when it is not empty then. */
int chain_stage_remove(struct chain_journal_folder *folder, const char *id,
                       void (*done)(void *opaque, const char *name),
                       void *opaque, struct img_error *err);
/* Does somebody have the image of this descriptor open? */
bool chain_file_is_held(int fd);
/* Where the old file of change IDX lies aside. Returns OUT. */
const char *chain_stage_aside(size_t idx, char out[CHAIN_RECORD_NAME_LEN]);

/* ---- Which file it is (journal_file.c). */

enum chain_found {
    CHAIN_FOUND_UNKNOWN, /* errno says why: not that there is nothing */
    CHAIN_FOUND_NOTHING,
    CHAIN_FOUND_NEW,
    CHAIN_FOUND_OLD,
    CHAIN_FOUND_OLD_CHANGED, /* it has another length or time */
    CHAIN_FOUND_OTHER,
};
/* What stands under NAME in FD (-1: nothing does). */
enum chain_found chain_file_find(const struct chain_journal_file *file, int fd,
                                 const char *name);
/* The same of an open file. */
enum chain_found chain_file_find_open(const struct chain_journal_file *file,
                                      int fd);
/* FILE's old one is what stands under NAME in FD now; -1 with errno. */
int chain_file_note_old(int fd, const char *name,
                        struct chain_journal_file *file);

/* ---- One change of a journal that is decided (journal_change.c). */

enum chain_progress {
    CHAIN_PROGRESS_NONE,
    CHAIN_PROGRESS_BOTH, /* the file has the name that it is to have, and the
                            one that it is to lose still */
    CHAIN_PROGRESS_DONE,
};
/* How far has change IDX come? Fails when it cannot be gone on with, and where
   nothing shows whether it was made. */
int chain_change_look(const struct chain_journal *journal, size_t idx,
                      enum chain_progress *out, struct img_error *err);
/* Make it, when PROGRESS is not DONE. */
int chain_change_apply(const struct chain_journal *journal, size_t idx,
                       enum chain_progress progress, struct img_error *err);
/* As before chain_change_apply, however far that came; -1: it cannot be. */
int chain_change_take_back(const struct chain_journal *journal, size_t idx);
/* It is made and stable: remove what is not needed any more. */
int chain_change_tidy(const struct chain_journal *journal, size_t idx,
                      struct img_error *err);
/* ERR: NAME in FILE's folder is WHAT, so that it cannot be gone on; what the
   user may do about it, unless it is a live run's. Returns -1. */
int chain_change_stuck(const struct chain_journal *journal,
                       const struct chain_journal_file *file, const char *name,
                       const char *what, struct img_error *err);
/* Where the temporary name stands. */
int chain_change_temp_fd(const struct chain_journal *journal,
                         const struct chain_journal_file *file);

/* ---- Patches (journal_patch.c). */

/* The beginning of the old file is the old or the new one, sector by sector:
   IMG_CHANGED otherwise. *is_gone: there is no such file any more, and it is
   not a live run's. */
int chain_patch_check(const struct chain_journal *journal, size_t idx,
                      bool *is_gone, struct img_error *err);
/* Let it be the new one, or BACK the old one, stable. */
int chain_patch_write(const struct chain_journal *journal, size_t idx,
                      bool back, struct img_error *err);

/* ---- A live run (journal.c). */

/*
 * The folders (paths are set) are opened and the records made and stable, and
 * the stages of those that have changes of another kind than a name, or names
 * of files that are staged. After a failure nothing of them is left.
 */
int chain_journal_begin(struct chain_journal *journal, struct img_error *err);
/*
 * All new files are complete and stable under their temporary names (temp, ino
 * and len are set): the journal appears. After a failure nothing is decided;
 * or it is not known whether it is, *is_kept is set, and files and records
 * have to stay for a recovery: the text says so.
 */
int chain_journal_decide(struct chain_journal *journal, bool *is_kept,
                         struct img_error *err);
/*
 * Make the changes, and forget the journal. When one cannot be made all is as
 * before chain_journal_decide, without the new files, or the text says how to
 * go on: then *is_undone is false, and the journal stays for a recovery.
 */
int chain_journal_finish(struct chain_journal *journal, bool *is_undone,
                         struct img_error *err);
/*
 * The files are removed, those of the stages now; so are then the records,
 * unless that the files are gone cannot be made stable: then ERR (NULL: none)
 * says so, too.
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

/* ---- Where its folders are (journal_place.c). */

/*
 * Open the folders of a record that was found in HERE, also where they were
 * moved; those that are gone, but for the first, stay closed. IMG_CHANGED: HERE
 * is none of them, but a copy perhaps.
 */
int chain_journal_place(struct chain_journal *journal,
                        const struct chain_journal_folder *here,
                        struct img_error *err);

/* ---- Of a dead run, whose lock the caller holds, and whose folders are open
   (journal_settle.c). */

/* Remove temporary files and records. */
int chain_journal_undo(struct chain_journal *journal,
                       const struct chain_recovery *recovery,
                       struct img_error *err);
/* Make the changes that are missing, unless it is done, then remove journal and
   records. Nothing is done when one of them cannot be made. */
int chain_journal_complete(struct chain_journal *journal,
                           const struct chain_recovery *recovery,
                           struct img_error *err);

/* All changes are made: flush the folders, and say so by the journal's name;
   what lies aside, journal and records go, in this order (journal.c). */
int chain_journal_forget(struct chain_journal *journal, struct img_error *err);

#endif
