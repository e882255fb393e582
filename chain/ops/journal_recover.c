/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finishing or undoing what a killed run left: see journal.h.
 *
 * A run is dead when nobody holds the lock of its record in the first folder.
 * That lock is held while it is recovered, so that two recoveries, and a run,
 * never meet. A file is named only when it is the one of the journal by inode
 * and length, and removed only when its name is a temporary one of a name in
 * the record, it is this user's or the superuser's own and nobody uses it.
 */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/file.h>
#include <img/memory.h>

/* One snapshot that left records in a folder. */
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

static void tell(const struct remains *remains,
                 const struct chain_journal_folder *folder, const char *name,
                 const char *what)
{
    IMG_AUTO(img_free_ptr) char *path = chain_folder_path(folder, name);

    if (path && remains->recovery->done) {
        remains->recovery->done(remains->recovery->opaque, path, what);
    }
}

static int name_error(const struct chain_journal_folder *folder,
                      const char *name, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *path = chain_folder_path(folder, name);

    img_error_set_path(err, path ? path : name);
    return -1;
}

/* ---- Reading records. */

/*
 * The record RECORD of the snapshot in FOLDER: *found false when there is
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
        return name_error(folder, name, err);
    }
    if (fd < 0) {
        return 0;
    }
    *found = true;
    IMG_AUTO(img_free_ptr) char *text = chain_record_read(fd, &len, err);
    close(fd);
    if (!text) {
        return name_error(folder, name, err);
    }
    if (chain_journal_decode(text, len, id, record == CHAIN_RECORD_JOURNAL, out,
                             err) == 0) {
        return 0;
    }
    /* A pointer is stable before anything follows: one that is not whole was
       never followed by anything. A journal is whole when it has its name. */
    *torn = err->code == IMG_CORRUPT && record == CHAIN_RECORD_POINTER;
    return *torn ? 0 : name_error(folder, name, err);
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
        return name_error(folder, name, err);
    }
    if (remains->lock_fd < 0) {
        return 0; /* gone already: nobody lives without it */
    }
    if (chain_record_lock(remains->lock_fd, &locked, err) < 0) {
        return name_error(folder, name, err);
    }
    *alive = !locked;
    return 0;
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

static void remove_temp(const struct remains *remains,
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
        tell(remains, folder, temp, "removed");
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

static DIR *list(const struct chain_journal_folder *folder,
                 struct img_error *err)
{
    /* A descriptor of its own: a listing has a position. */
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        img_fail_sys(err, errno, "cannot list the folder");
        img_error_set_path(err, folder->path);
        if (fd >= 0) {
            close(fd);
        }
    }
    return dir;
}

static int undo_folder(const struct remains *remains,
                       const struct chain_journal *journal, size_t idx,
                       struct img_error *err)
{
    const struct chain_journal_folder *folder = &journal->folders[idx];
    const struct dirent *entry;
    DIR *dir = list(folder, err);

    if (!dir) {
        return -1;
    }
    while ((entry = readdir(dir))) {
        if (is_temp_of(journal, idx, entry->d_name)) {
            remove_temp(remains, folder, entry->d_name);
        }
    }
    closedir(dir);
    return chain_folder_flush(folder, err);
}

static int undo(const struct remains *remains, struct chain_journal *journal,
                struct img_error *err)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        /* A folder that is not there any more holds nothing any more. */
        if (journal->folders[i].fd < 0 &&
            chain_folder_open(&journal->folders[i], err) < 0) {
            if (err->code != IMG_NOT_FOUND && err->code != IMG_CHANGED) {
                return -1;
            }
            continue;
        }
        if (undo_folder(remains, journal, i, err) < 0) {
            return -1;
        }
    }
    chain_journal_abandon(journal);
    return 0;
}

/* ---- Finishing. */

static int fail_taken(const struct chain_journal_folder *folder,
                      const char *name, struct img_error *err)
{
    img_fail(err, IMG_USAGE,
             "a snapshot that was decided is to have this name, and another "
             "file has it: move that one away, then recover");
    return name_error(folder, name, err);
}

static int fail_foreign(const struct chain_journal_folder *folder,
                        const char *name, struct img_error *err)
{
    img_fail(err, IMG_CHANGED,
             "is not the file that the journal of the snapshot tells of");
    return name_error(folder, name, err);
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
        return name_error(folder, file->temp, err);
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

static int finish_file(const struct remains *remains,
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
        return name_error(folder, file->name, err);
    }
    if (fstatat(folder->fd, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_ino == file->ino) {
        tell(remains, folder, file->name, "finished");
    }
    return 0;
}

static int finish(const struct remains *remains, struct chain_journal *journal,
                  struct img_error *err)
{
    for (size_t i = 0; i < journal->folders_nr; i++) {
        if (chain_folder_open(&journal->folders[i], err) < 0) {
            return -1;
        }
    }
    /* What stands in the way of one stands in the way of all. */
    for (size_t i = 0; i < journal->files_nr; i++) {
        enum progress ignored;
        if (look_at_file(journal, &journal->files[i], &ignored, err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < journal->files_nr; i++) {
        if (finish_file(remains, journal, &journal->files[i], err) < 0) {
            return -1;
        }
    }
    return chain_journal_forget(journal, err);
}

/* ---- One snapshot. */

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
        name_error(remains->here, name, err);
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
    bool found, torn;

    if (load(first, remains->id, CHAIN_RECORD_JOURNAL, &decided, &found, &torn,
             err) < 0) {
        return OUTCOME_FAILED;
    }
    if (remains->recovery->is_dry) {
        img_fail(err, IMG_CHANGED,
                 "a snapshot was cut short in this folder: recover first");
        img_error_set_path(err, remains->here->path);
        chain_journal_fini(&decided);
        return OUTCOME_FAILED;
    }
    int r = found ? finish(remains, &decided, err)
                  : undo(remains, &remains->journal, err);
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
        if (load(remains->here, remains->id, CHAIN_RECORD_JOURNAL,
                 &remains->journal, &found, &torn, err) < 0) {
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
        err->code == IMG_DENIED) {
        return 0; /* another user's */
    }
    if (outcome == OUTCOME_ALIVE && !recovery->is_by_the_way) {
        img_fail(err, IMG_LOCKED,
                 "a snapshot is being taken in this folder right now");
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
    DIR *dir = list(folder, err);
    int r = 0;

    if (!dir) {
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
    struct chain_journal_folder here = {
        .path = realpath(folder, NULL), .fd = -1, .record_fd = -1};
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
