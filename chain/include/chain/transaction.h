/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes of several files, in one or more folders, that happen all or not at
 * all.
 *
 * A transaction is planned (chain_transaction_add), begun, its new files are
 * made, and then it is committed: a journal appears in one rename. Before that
 * nothing has happened, and a run that is killed leaves only hidden files that
 * the next one takes away. After that all of it happens, in this run or in the
 * recovery (chain_transaction_recover) of whoever comes next.
 *
 * The journal is that of snapshot --atomic; docs/writing.md says what is
 * stable when, and which records are believed.
 */
#ifndef CHAIN_TRANSACTION_H
#define CHAIN_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chain_change_kind {
    /* A file that the caller makes in the staging folder gets the name PATH,
       which must be free. */
    CHAIN_CHANGE_NAME,
    /* A new file of DATA, MODE, UID and GID; PATH must be free. */
    CHAIN_CHANGE_WRITE,
    /*
     * Another file takes the place of PATH: one of DATA, or, when that is
     * NULL, one that the caller makes in the staging folder. It keeps mode,
     * owner and extended attributes of the old one as far as it may; where it
     * cannot have the group, that of this process may do no more than anybody.
     * The file system must have hard links.
     */
    CHAIN_CHANGE_REPLACE,
    /* The first LEN bytes of PATH become DATA, in place: it stays the same
       file with the same names. They must be OLD_DATA until then. */
    CHAIN_CHANGE_PATCH,
    CHAIN_CHANGE_REMOVE,
};

/* The most that a patch may write. */
#define CHAIN_PATCH_MAX (64u << 20)

struct chain_change {
    enum chain_change_kind kind;
    const char *path; /* its folder must be there; a final symbolic link is
                         not followed, and refused */
    /* REPLACE, PATCH, REMOVE: the regular file that it is about. IMG_CHANGED
       when another one, or one that changed, is there at the commit. */
    uint64_t dev, ino, old_len;
    int64_t mtime_ns;
    const void *data, *old_data; /* borrowed until the transaction is freed */
    size_t len;
    /* WRITE only; -1: as for any new file of this process. */
    uint32_t mode, uid, gid;
};
#define CHAIN_CHANGE_DEFAULT UINT32_MAX

struct chain_transaction;

IMG_PUBLIC int chain_transaction_new(struct chain_transaction **out,
                                     struct img_error *err);
/*
 * What was begun and not committed is taken away. ERR of the failure that led
 * here gets what remains, if anything has to; or NULL.
 */
IMG_PUBLIC void chain_transaction_free(struct chain_transaction *transaction,
                                       struct img_error *err);
/* For IMG_AUTO. */
static inline void
chain_transaction_free_ptr(struct chain_transaction **transaction)
{
    chain_transaction_free(*transaction, NULL);
}

/*
 * One more change. *idx (may be NULL) gets its number, from 0 on. IMG_USAGE: a
 * path twice; one that should be free and is not; one that is no regular file.
 * IMG_LIMIT: too many changes or folders.
 */
IMG_PUBLIC int chain_transaction_add(struct chain_transaction *transaction,
                                     const struct chain_change *change,
                                     size_t *idx, struct img_error *err);
/* Fill in dev, ino, old_len and mtime_ns from the file that PATH is now. */
IMG_PUBLIC int chain_change_stamp(struct chain_change *change,
                                  struct img_error *err);

/*
 * No change may be added any more. What killed runs left in the folders is
 * finished or undone first (DONE is told, as in chain_transaction_recover);
 * then the records are made, stable, and the staging folders.
 */
IMG_PUBLIC int chain_transaction_begin(struct chain_transaction *transaction,
                                       void (*done)(void *opaque,
                                                    const char *path,
                                                    const char *what),
                                       void *opaque, struct img_error *err);
/*
 * Where the caller makes the file of change IDX (NAME, or REPLACE without
 * DATA): a path in a hidden folder of its own beside PATH, on the same file
 * system, under PATH's own name, so that relative backing names between files
 * of one folder lead to each other there, too. The file must be flushed, and
 * regular, at the commit. Borrowed.
 *
 * Somebody who may rename files in PATH's folder could let the path lead to
 * another place: make the file with O_EXCL, so that nothing is overwritten
 * there. A file that does not lie in the hidden folder itself is not taken.
 */
IMG_PUBLIC const char *
chain_transaction_stage(const struct chain_transaction *transaction,
                        size_t idx);
/*
 * That hidden folder, open, for openat and the like with the last part of the
 * path: it is the one that was made, whatever the path leads to. Borrowed; -1:
 * there is none.
 */
IMG_PUBLIC int
chain_transaction_stage_fd(const struct chain_transaction *transaction,
                           size_t idx);

/*
 * Make the rest of the new files, decide, and do it all. After a failure
 * nothing has happened; or the text says that the decision stands (or may),
 * and where to recover.
 */
IMG_PUBLIC int chain_transaction_commit(struct chain_transaction *transaction,
                                        struct img_error *err);

/*
 * Finish or undo what a run that was killed left in FOLDER, and in the others
 * that belong to it; DONE is called for each file with what became of it
 * ("finished", "removed"). 0 also when there is nothing to do. IMG_LOCKED: a
 * run is under way there. IMG_DENIED: it is another user's. Where one of
 * several cannot be recovered the others are, and ERR tells of the first.
 */
IMG_PUBLIC int chain_transaction_recover(const char *folder,
                                         void (*done)(void *opaque,
                                                      const char *path,
                                                      const char *what),
                                         void *opaque, struct img_error *err);
/*
 * The same by the way, for a command that works on FOLDER: what is alive or
 * another user's is passed by. With DRY nothing is done, and IMG_CHANGED says
 * that there is something to do.
 */
IMG_PUBLIC int chain_transaction_settle(const char *folder, bool dry,
                                        void (*done)(void *opaque,
                                                     const char *path,
                                                     const char *what),
                                        void *opaque, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
