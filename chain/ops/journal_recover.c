/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finishing or undoing what a killed run left: see journal.h.
 *
 * A run is dead when nobody holds the lock of its record in the first folder.
 * That lock is held while it is recovered, so that two recoveries, and a run,
 * never meet.
 */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
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
    int lock_fd;                  /* of the record that is locked; -1 */
};

/* What there was to do, for the caller. */
enum outcome {
    OUTCOME_FAILED = -1,
    OUTCOME_DONE,
    OUTCOME_ALIVE,
};

/* ---- Reading records. */

static int fail_unmarked(const struct chain_journal_folder *folder,
                         const char *name, struct chain_journal *journal,
                         struct img_error *err)
{
    chain_journal_fini(journal);
    img_fail(err, IMG_DENIED,
             "was not made by a transaction: it would have files changed, and "
             "lacks the mode that its owner gives to records of that kind");
    return chain_folder_name_error(folder, name, err);
}

/*
 * The record RECORD of the transaction in FOLDER: *found false when there is
 * none, *torn when it was never completed.
 */
static int load(const struct chain_journal_folder *folder, const char *id,
                enum chain_record record, struct chain_journal *out,
                bool *found, bool *torn, struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    size_t len;
    int fd;

    *found = *torn = false;
    (void)chain_record_name(record, id, name);
    if (chain_record_open(folder, name, &fd, err) < 0) {
        return chain_folder_name_error(folder, name, err);
    }
    if (fd < 0) {
        return 0;
    }
    *found = true;
    IMG_AUTO(img_free_ptr) char *text = chain_record_read(fd, &len, err);
    bool is_marked = chain_record_is_marked(fd);
    close(fd);
    if (!text) {
        (void)chain_folder_name_error(folder, name, err);
        return -1;
    }
    if (chain_journal_decode(text, len, id, record != CHAIN_RECORD_POINTER, out,
                             err) == 0) {
        out->is_done = record == CHAIN_RECORD_DONE;
        return is_marked || !chain_journal_is_wide(out)
                   ? 0
                   : fail_unmarked(folder, name, out, err);
    }
    /* A pointer is stable before anything follows: one that is not whole was
       never followed by anything. A journal is whole when it has its name. */
    *torn = err->code == IMG_CORRUPT && record == CHAIN_RECORD_POINTER;
    return *torn ? 0 : chain_folder_name_error(folder, name, err);
}

/* The journal, under either of its names. */
static int load_journal(const struct chain_journal_folder *folder,
                        const char *id, struct chain_journal *out, bool *found,
                        struct img_error *err)
{
    bool torn;

    if (load(folder, id, CHAIN_RECORD_DONE, out, found, &torn, err) < 0) {
        return -1;
    }
    return *found
               ? 0
               : load(folder, id, CHAIN_RECORD_JOURNAL, out, found, &torn, err);
}

static int open_lock(struct remains *remains,
                     const struct chain_journal_folder *folder, bool *alive,
                     struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    bool locked;

    *alive = false;
    (void)chain_record_name(CHAIN_RECORD_POINTER, remains->id, name);
    if (chain_record_open(folder, name, &remains->lock_fd, err) < 0) {
        return chain_folder_name_error(folder, name, err);
    }
    if (remains->lock_fd < 0) {
        return 0; /* gone already: nobody lives without it */
    }
    if (chain_record_lock(remains->lock_fd, &locked, err) < 0) {
        return chain_folder_name_error(folder, name, err);
    }
    *alive = !locked;
    return 0;
}

/* ---- One transaction. */

/* A journal that never got its name, and whose record is gone. */
static void drop_unnamed(const struct remains *remains)
{
    struct img_error ignored;
    char name[CHAIN_RECORD_NAME_LEN];
    int fd;

    (void)chain_record_name(CHAIN_RECORD_NEW_JOURNAL, remains->id, name);
    if (!remains->recovery->is_dry &&
        chain_record_open(remains->here, name, &fd, &ignored) == 0 && fd >= 0) {
        (void)unlinkat(remains->here->fd, name, 0);
        close(fd);
    }
}

/* A record that was cut short while it was written. */
static enum outcome drop_torn(const struct remains *remains,
                              struct img_error *err)
{
    char name[CHAIN_RECORD_NAME_LEN];
    bool locked = false;
    int fd;

    (void)chain_record_name(CHAIN_RECORD_POINTER, remains->id, name);
    if (chain_record_open(remains->here, name, &fd, err) < 0 ||
        (fd >= 0 && chain_record_lock(fd, &locked, err) < 0)) {
        chain_folder_name_error(remains->here, name, err);
        return OUTCOME_FAILED;
    }
    if (fd < 0) {
        return OUTCOME_DONE;
    }
    if (locked) {
        (void)unlinkat(remains->here->fd, name, 0);
        (void)unlinkat(
            remains->here->fd,
            chain_record_name(CHAIN_RECORD_NEW_JOURNAL, remains->id, name), 0);
    }
    close(fd);
    return locked ? OUTCOME_DONE : OUTCOME_ALIVE;
}

static enum outcome settle(struct remains *remains,
                           const struct chain_journal_folder *first,
                           struct img_error *err)
{
    struct chain_journal decided = {0};
    bool found;

    if (load_journal(first, remains->id, &decided, &found, err) < 0) {
        return OUTCOME_FAILED;
    }
    if (remains->recovery->is_dry) {
        img_fail(err, IMG_CHANGED,
                 "a transaction was cut short in this folder: recover first");
        img_error_set_path(err, remains->here->path);
        chain_journal_fini(&decided);
        return OUTCOME_FAILED;
    }
    int r = found
                ? chain_journal_complete(&decided, remains->recovery, err)
                : chain_journal_undo(&remains->journal, remains->recovery, err);
    chain_journal_fini(&decided);
    return r < 0 ? OUTCOME_FAILED : OUTCOME_DONE;
}

/*
 * The first folder's record goes last, and a run lives with it. Where it is
 * gone the one here is looked at again: a run may just have ended.
 */
static int lock_run(struct remains *remains,
                    const struct chain_journal_folder *first, bool *alive,
                    struct img_error *err)
{
    if (open_lock(remains, first, alive, err) < 0) {
        return -1;
    }
    return remains->lock_fd >= 0 || remains->here->ino == first->ino
               ? 0
               : open_lock(remains, remains->here, alive, err);
}

static enum outcome recover_known(struct remains *remains,
                                  struct img_error *err)
{
    struct chain_journal_folder *first = &remains->journal.folders[0];
    bool alive;

    /* Without the first folder nobody can tell what was decided. */
    if (chain_folder_open(first, err) < 0 ||
        lock_run(remains, first, &alive, err) < 0) {
        return OUTCOME_FAILED;
    }
    if (alive) {
        return OUTCOME_ALIVE;
    }
    return remains->lock_fd < 0 && !remains->is_journal
               ? OUTCOME_DONE
               : settle(remains, first, err);
}

static enum outcome recover_one(struct remains *remains, struct img_error *err)
{
    bool found, torn;

    if (load(remains->here, remains->id, CHAIN_RECORD_POINTER,
             &remains->journal, &found, &torn, err) < 0) {
        return OUTCOME_FAILED;
    }
    if (torn) {
        return drop_torn(remains, err);
    }
    if (!found) {
        /* A journal outlives its record only when somebody took that away. */
        if (load_journal(remains->here, remains->id, &remains->journal, &found,
                         err) < 0) {
            return OUTCOME_FAILED;
        }
        if (!found) {
            drop_unnamed(remains);
            return OUTCOME_DONE;
        }
        remains->is_journal = true;
    }
    return recover_known(remains, err);
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
    if (outcome == OUTCOME_FAILED && recovery->is_by_the_way &&
        (err->code == IMG_DENIED || err->code == IMG_LOCKED)) {
        return 0; /* another user's, or what it made is in use */
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
    enum chain_record record;
    const struct dirent *entry;
    DIR *dir = chain_folder_list(folder->fd);
    int r = 0;

    if (!dir) {
        img_fail_sys(err, errno, "cannot list the folder");
        img_error_set_path(err, folder->path);
        return -1;
    }
    while (r == 0 && (entry = readdir(dir))) {
        if (chain_record_parse(entry->d_name, &record, id)) {
            r = add_id(ids, id, err);
        }
    }
    closedir(dir);
    if (r == 0 && ids->nr > 0) {
        qsort(ids->at, ids->nr, sizeof(*ids->at), compare_ids);
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
        r = find_ids(&here, &ids, err);
        for (size_t i = 0; r == 0 && i < ids.nr; i++) {
            if (i == 0 || strcmp(ids.at[i], ids.at[i - 1]) != 0) {
                r = recover_id(&here, ids.at[i], recovery, err);
            }
        }
        close(here.fd);
    }
    free(ids.at);
    free(here.path);
    return r;
}
