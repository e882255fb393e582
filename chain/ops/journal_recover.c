/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finishing or undoing what a killed run left: see journal.h.
 *
 * A run is dead when nobody holds the lock of its record in the first folder,
 * or where that is gone, of the one that was found; and of its journal. These
 * locks are held while it is recovered, so that two recoveries, and a run,
 * never meet.
 */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

/* One transaction that left records in a folder. */
struct remains {
    const struct chain_recovery *recovery;
    struct chain_journal_folder *here; /* where it was found; open */
    const char *id;
    struct chain_journal journal; /* what the record found says */
    bool is_journal;              /* that record is the journal itself */
    bool is_foreign;              /* what failed is none of this user's */
    int lock_fd;                  /* of the record that is locked; -1 */
    const char *lock_path;        /* the folder of that one */
};

/* What there was to do, for the caller. */
enum outcome {
    OUTCOME_FAILED = -1,
    OUTCOME_DONE,
    OUTCOME_ALIVE,
};

/* ---- Reading records. */

enum loaded {
    LOADED_FAILED = -1,
    LOADED_NOTHING,
    LOADED,
    LOADED_TORN,  /* never completed, or damaged: ERR tells */
    LOADED_ALIVE, /* a run has it locked */
};

/* A record of RECORD that can be believed: *fd, -1 when there is none. */
static int open_record(struct remains *remains,
                       const struct chain_journal_folder *folder,
                       enum chain_record record, int *fd, struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];

    (void)chain_record_name(record, remains->id, name);
    return chain_record_open(folder, name, fd, &remains->is_foreign, err) < 0
               ? chain_folder_name_error(folder, name, err)
               : 0;
}

static int fail_record(const struct remains *remains,
                       const struct chain_journal_folder *folder,
                       enum chain_record record, struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];

    return chain_folder_name_error(
        folder, chain_record_name(record, remains->id, name), err);
}

static enum loaded read_record(const struct remains *remains, int fd,
                               enum chain_record record,
                               struct chain_journal *out, struct img_error *err)
{
    size_t len;
    IMG_AUTO(img_free_ptr) char *text = chain_record_read(fd, &len, err);

    if (!text) {
        return LOADED_FAILED;
    }
    if (chain_journal_decode(text, len, remains->id,
                             record != CHAIN_RECORD_POINTER, out, err) == 0) {
        out->is_done = record == CHAIN_RECORD_DONE;
        return LOADED;
    }
    /* A pointer is stable before anything follows: one that is not whole was
       perhaps never followed by anything. A journal is whole when it has its
       name. */
    return err->code == IMG_CORRUPT && record == CHAIN_RECORD_POINTER
               ? LOADED_TORN
               : LOADED_FAILED;
}

/* The record RECORD of the transaction in FOLDER. A journal stays locked. */
static enum loaded load(struct remains *remains,
                        const struct chain_journal_folder *folder,
                        enum chain_record record, struct chain_journal *out,
                        struct img_error *err)
{
    bool locked = true;
    int fd;

    if (open_record(remains, folder, record, &fd, err) < 0) {
        return LOADED_FAILED;
    }
    if (fd < 0) {
        return LOADED_NOTHING;
    }
    enum loaded loaded = LOADED_FAILED;
    if (record == CHAIN_RECORD_POINTER ||
        chain_record_lock(fd, &locked, err) == 0) {
        loaded =
            locked ? read_record(remains, fd, record, out, err) : LOADED_ALIVE;
    }
    if (loaded == LOADED && record != CHAIN_RECORD_POINTER) {
        out->folders[0].journal_fd = fd;
    } else {
        close(fd);
    }
    if (loaded == LOADED_FAILED || loaded == LOADED_TORN) {
        (void)fail_record(remains, folder, record, err);
    }
    return loaded;
}

/* The journal, under either of its names. */
static enum loaded load_journal(struct remains *remains,
                                const struct chain_journal_folder *folder,
                                struct chain_journal *out,
                                struct img_error *err)
{
    enum loaded loaded = load(remains, folder, CHAIN_RECORD_DONE, out, err);

    return loaded == LOADED_NOTHING
               ? load(remains, folder, CHAIN_RECORD_JOURNAL, out, err)
               : loaded;
}

static int open_lock(struct remains *remains,
                     const struct chain_journal_folder *folder, bool *alive,
                     struct img_error *err)
{
    bool locked;

    *alive = false;
    if (open_record(remains, folder, CHAIN_RECORD_POINTER, &remains->lock_fd,
                    err) < 0) {
        return -1;
    }
    if (remains->lock_fd < 0) {
        return 0; /* gone already: nobody lives without it */
    }
    if (chain_record_lock(remains->lock_fd, &locked, err) < 0) {
        return fail_record(remains, folder, CHAIN_RECORD_POINTER, err);
    }
    remains->lock_path = folder->path;
    *alive = !locked;
    return 0;
}

/* ---- What has no journal that could be gone by. */

static int fail_dry(const struct remains *remains, struct img_error *err)
{
    img_fail(err, IMG_CHANGED,
             "a transaction was cut short in this folder: recover first");
    img_error_set_path(err, remains->here->path);
    return -1;
}

/* Is there anything else of it here? */
static bool is_followed(const struct remains *remains)
{
    static const enum chain_record records[] = {CHAIN_RECORD_JOURNAL,
                                                CHAIN_RECORD_DONE};
    char name[CHAIN_RECORD_NAME_LEN];
    int fd = remains->here->fd;

    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        (void)chain_record_name(records[i], remains->id, name);
        if (faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
            errno != ENOENT) {
            return true;
        }
    }
    (void)chain_stage_name(remains->id, name);
    return faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
           errno != ENOENT;
}

static void unlink_record(const struct remains *remains,
                          enum chain_record record)
{
    char name[CHAIN_RECORD_NAME_LEN];

    (void)unlinkat(remains->here->fd,
                   chain_record_name(record, remains->id, name), 0);
}

/* A record that is locked, and was cut short while it was written: what it
   says is looked at again, since it may just have been completed. */
static enum outcome drop_locked(struct remains *remains, int fd,
                                struct img_error *err)
{
    struct chain_journal again = {0};
    enum loaded loaded =
        read_record(remains, fd, CHAIN_RECORD_POINTER, &again, err);

    chain_journal_fini(&again);
    if (loaded == LOADED) {
        return OUTCOME_ALIVE;
    }
    if (loaded != LOADED_TORN || is_followed(remains)) {
        (void)fail_record(remains, remains->here, CHAIN_RECORD_POINTER, err);
        return OUTCOME_FAILED;
    }
    if (remains->recovery->is_dry) {
        return (enum outcome)fail_dry(remains, err);
    }
    unlink_record(remains, CHAIN_RECORD_POINTER);
    unlink_record(remains, CHAIN_RECORD_NEW_JOURNAL);
    return OUTCOME_DONE;
}

/* A journal that never got its name, and whose record is gone. */
static enum outcome drop_unnamed(struct remains *remains, int fd,
                                 struct img_error *err)
{
    (void)fd;
    if (remains->recovery->is_dry) {
        return (enum outcome)fail_dry(remains, err);
    }
    unlink_record(remains, CHAIN_RECORD_NEW_JOURNAL);
    return OUTCOME_DONE;
}

/* DROP the record RECORD here, if it is there and nobody lives with it. */
static enum outcome drop(struct remains *remains, enum chain_record record,
                         enum outcome (*how)(struct remains *remains, int fd,
                                             struct img_error *err),
                         struct img_error *err)
{
    bool locked;
    int fd;

    if (open_record(remains, remains->here, record, &fd, err) < 0) {
        return OUTCOME_FAILED;
    }
    if (fd < 0) {
        return OUTCOME_DONE;
    }
    enum outcome outcome = OUTCOME_FAILED;
    if (chain_record_lock(fd, &locked, err) == 0) {
        outcome = locked ? how(remains, fd, err) : OUTCOME_ALIVE;
    } else {
        (void)fail_record(remains, remains->here, record, err);
    }
    close(fd);
    return outcome;
}

/* A stage without a record may hold what somebody wants: only one that is
   empty goes. */
static enum outcome drop_stage(struct remains *remains, struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];

    (void)chain_stage_name(remains->id, name);
    if (faccessat(remains->here->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
        return OUTCOME_DONE;
    }
    if (remains->recovery->is_dry) {
        return OUTCOME_DONE;
    }
    if (unlinkat(remains->here->fd, name, AT_REMOVEDIR) == 0 ||
        errno == ENOENT) {
        return OUTCOME_DONE;
    }
    remains->is_foreign = true; /* nobody's any more */
    img_fail(err, IMG_DENIED,
             "is left of a transaction whose records are gone: see what is in "
             "it, then remove it");
    (void)chain_folder_name_error(remains->here, name, err);
    return OUTCOME_FAILED;
}

/* ---- One transaction. */

static void hand_over(struct remains *remains, struct chain_journal *journal)
{
    for (size_t i = 0; remains->lock_fd >= 0 && i < journal->folders_nr; i++) {
        struct chain_journal_folder *folder = &journal->folders[i];
        if (strcmp(folder->path, remains->lock_path) == 0 &&
            folder->record_fd < 0) {
            folder->record_fd = remains->lock_fd;
            remains->lock_fd = -1;
        }
    }
}

static int finish(struct remains *remains, struct chain_journal *journal,
                  struct img_error *err)
{
    if (chain_journal_place(journal, remains->here, err) < 0) {
        return -1;
    }
    hand_over(remains, journal);
    return chain_journal_complete(journal, remains->recovery, err);
}

static int undo(struct remains *remains, struct img_error *err)
{
    hand_over(remains, &remains->journal);
    return chain_journal_undo(&remains->journal, remains->recovery, err);
}

static enum outcome settle(struct remains *remains, struct img_error *err)
{
    struct chain_journal decided = {0};
    enum loaded loaded =
        load_journal(remains, &remains->journal.folders[0], &decided, err);
    int r = -1;

    if (loaded == LOADED_ALIVE) {
        return OUTCOME_ALIVE;
    }
    if (loaded != LOADED_FAILED) {
        r = remains->recovery->is_dry ? fail_dry(remains, err)
            : loaded == LOADED        ? finish(remains, &decided, err)
                                      : undo(remains, err);
    }
    chain_journal_fini(&decided);
    return r < 0 ? OUTCOME_FAILED : OUTCOME_DONE;
}

/*
 * The first folder's record goes last, and a run lives with it. Where it is
 * gone the one here is looked at again: a run may just have ended.
 */
static int lock_run(struct remains *remains, bool *alive, struct img_error *err)
{
    const struct chain_journal_folder *first = &remains->journal.folders[0];

    if (open_lock(remains, first, alive, err) < 0) {
        return -1;
    }
    return remains->lock_fd >= 0 ||
                   strcmp(remains->here->path, first->path) == 0
               ? 0
               : open_lock(remains, remains->here, alive, err);
}

static enum outcome recover_known(struct remains *remains,
                                  struct img_error *err)
{
    bool alive;

    if (chain_journal_place(&remains->journal, remains->here, err) < 0 ||
        lock_run(remains, &alive, err) < 0) {
        return OUTCOME_FAILED;
    }
    if (alive) {
        return OUTCOME_ALIVE;
    }
    if (remains->is_journal) {
        /* It was locked to be read; it is read again below. */
        close(remains->journal.folders[0].journal_fd);
        remains->journal.folders[0].journal_fd = -1;
    }
    return remains->lock_fd < 0 && !remains->is_journal ? OUTCOME_DONE
                                                        : settle(remains, err);
}

/* Nothing says what it was. */
static enum outcome drop_rest(struct remains *remains, struct img_error *err)
{
    enum outcome outcome =
        drop(remains, CHAIN_RECORD_NEW_JOURNAL, drop_unnamed, err);

    return outcome == OUTCOME_DONE ? drop_stage(remains, err) : outcome;
}

static enum outcome recover_one(struct remains *remains, struct img_error *err)
{
    enum loaded loaded = load(remains, remains->here, CHAIN_RECORD_POINTER,
                              &remains->journal, err);

    if (loaded == LOADED_TORN) {
        return drop(remains, CHAIN_RECORD_POINTER, drop_locked, err);
    }
    if (loaded == LOADED_NOTHING) {
        /* A journal outlives its record only when somebody took that away. */
        loaded = load_journal(remains, remains->here, &remains->journal, err);
        remains->is_journal = loaded == LOADED;
    }
    switch (loaded) {
    case LOADED:
        return recover_known(remains, err);
    case LOADED_NOTHING:
        return drop_rest(remains, err);
    case LOADED_ALIVE:
        return OUTCOME_ALIVE;
    case LOADED_TORN:
    case LOADED_FAILED:
        break;
    }
    return OUTCOME_FAILED;
}

static int recover_id(struct chain_journal_folder *here, const char *id,
                      const struct chain_recovery *recovery,
                      struct img_error *err)
{
    struct remains remains = {
        .recovery = recovery, .here = here, .id = id, .lock_fd = -1};
    enum outcome outcome = recover_one(&remains, err);

    if (remains.lock_fd >= 0) {
        close(remains.lock_fd);
    }
    chain_journal_fini(&remains.journal);
    /* What is left of an own one, and in use, goes with a later recovery. */
    if (outcome == OUTCOME_FAILED && recovery->is_by_the_way &&
        (remains.is_foreign || err->code == IMG_LOCKED)) {
        return 0;
    }
    if (outcome == OUTCOME_ALIVE && !recovery->is_by_the_way) {
        img_fail(err, IMG_LOCKED,
                 "a transaction is under way in this folder right now");
        img_error_set_path(err, here->path);
        return -1;
    }
    return outcome == OUTCOME_FAILED ? -1 : 0;
}

/* ---- All of a folder. */

struct ids {
    char (*at)[CHAIN_JOURNAL_ID_LEN + 1];
    size_t nr;
};

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int add_id(struct ids *ids, const char *id, struct img_error *err)
{
    void *more = reallocarray(ids->at, ids->nr + 1, sizeof(*ids->at));

    if (!more) {
        return img_fail_memory(err);
    }
    ids->at = more;
    memcpy(ids->at[ids->nr++], id, sizeof(*ids->at));
    return 0;
}

static int find_ids(const struct chain_journal_folder *folder, struct ids *ids,
                    struct img_error *err)
{
    char id[CHAIN_JOURNAL_ID_LEN + 1];
    const struct dirent *entry;
    DIR *dir = chain_folder_list(folder->fd);
    int r = 0;

    if (!dir) {
        img_fail_sys(err, errno, "cannot list the folder");
        img_error_set_path(err, folder->path);
        return -1;
    }
    while (r == 0 && (entry = chain_folder_next(dir))) {
        if (chain_record_id(entry->d_name, id)) {
            r = add_id(ids, id, err);
        }
    }
    if (r == 0 && errno != 0) {
        img_fail_sys(err, errno, "cannot list the folder");
        img_error_set_path(err, folder->path);
        r = -1;
    }
    closedir(dir);
    if (r == 0 && ids->nr > 0) {
        qsort(ids->at, ids->nr, sizeof(*ids->at), compare_ids);
    }
    return r;
}

/* One that cannot be recovered does not keep the others from it. */
static int recover_all(struct chain_journal_folder *here, const struct ids *ids,
                       const struct chain_recovery *recovery,
                       struct img_error *err)
{
    struct img_error later;
    int r = 0;

    for (size_t i = 0; i < ids->nr; i++) {
        if ((i == 0 || strcmp(ids->at[i], ids->at[i - 1]) != 0) &&
            recover_id(here, ids->at[i], recovery, r < 0 ? &later : err) < 0) {
            r = -1;
        }
    }
    return r;
}

int chain_journal_recover(const char *folder,
                          const struct chain_recovery *recovery,
                          struct img_error *err)
{
    struct chain_journal_folder here = {.path = realpath(folder, NULL),
                                        .fd = -1,
                                        .record_fd = -1,
                                        .journal_fd = -1,
                                        .stage_fd = -1};
    struct ids ids = {0};
    int r = 0;

    if (!here.path) {
        img_fail_sys(err, errno, "cannot find the folder");
        img_error_set_path(err, folder);
        return -1;
    }
    r = chain_folder_open(&here, err);
    if (r == 0) {
        r = find_ids(&here, &ids, err) < 0
                ? -1
                : recover_all(&here, &ids, recovery, err);
        close(here.fd);
    }
    free(ids.at);
    free(here.path);
    return r;
}
