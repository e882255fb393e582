/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several overlays, all or none: the run around the journal (journal.h).
 */
#include "snapshot_run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "journal.h"
#include "place.h"

static char *real_folder(const char *path, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *folder = chain_place_folder(path, err);
    char *real = folder ? realpath(folder, NULL) : NULL;

    if (folder && !real) {
        img_fail_sys(err, errno, "cannot find its folder");
        img_error_set_path(err, path);
    }
    return real;
}

/* The index of the folder at PATH, which becomes the journal's. */
static int add_folder(struct chain_journal *journal, char *path, size_t *idx,
                      struct img_error *err)
{
    for (*idx = 0; *idx < journal->folders_nr; (*idx)++) {
        if (strcmp(journal->folders[*idx].path, path) == 0) {
            free(path);
            return 0;
        }
    }
    if (journal->folders_nr == CHAIN_JOURNAL_FOLDERS_MAX) {
        free(path);
        return img_fail(err, IMG_LIMIT,
                        "overlays in more than %u folders in one atomic "
                        "snapshot",
                        CHAIN_JOURNAL_FOLDERS_MAX);
    }
    journal->folders[journal->folders_nr++].path = path;
    return 0;
}

static int fill(struct chain_journal *journal,
                const struct chain_snapshot_request *request,
                struct img_error *err)
{
    for (size_t i = 0; i < request->disks_nr; i++) {
        struct chain_journal_file *file = &journal->files[i];
        const char *path = request->disks[i].overlay;
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        char *folder = real_folder(path, err);
        if (!folder || add_folder(journal, folder, &file->folder, err) < 0) {
            return -1;
        }
        file->name = img_strndup(name, strlen(name), err);
        if (!file->name) {
            return -1;
        }
    }
    return 0;
}

static int plan(struct chain_journal *journal,
                const struct chain_snapshot_request *request,
                struct img_error *err)
{
    size_t nr = request->disks_nr;

    if (chain_journal_init(journal, nr, nr, err) < 0) {
        return -1;
    }
    /* Room for a folder each; those that are used count. */
    journal->folders_nr = 0;
    return fill(journal, request, err);
}

/* What the files are called until they get their names. */
static int note_files(struct chain_journal *journal,
                      const struct chain_snapshot_run *run,
                      struct img_error *err)
{
    for (size_t i = 0; i < journal->files_nr; i++) {
        const struct chain_creation *creation = &run->jobs[i].creation;
        struct chain_journal_file *file = &journal->files[i];
        const char *path = img_newfile_temp_path(creation->newfile);
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        struct img_stamp stamp;
        if (img_file_stamp(creation->file, &stamp, err) < 0) {
            return -1;
        }
        file->ino = stamp.ino;
        file->len = stamp.len;
        file->temp = img_strndup(name, strlen(name), err);
        if (!file->temp) {
            return -1;
        }
    }
    return 0;
}

/* The files' temporary names, where they still have them, go with them. */
static void drop_files(const struct chain_snapshot_run *run)
{
    for (size_t i = 0; i < run->request->disks_nr; i++) {
        chain_creation_fini(&run->jobs[i].creation);
    }
}

/* From here on the journal, or who recovers, says what becomes of the files. */
static void keep_files(const struct chain_snapshot_run *run)
{
    for (size_t i = 0; i < run->request->disks_nr; i++) {
        img_newfile_keep(run->jobs[i].creation.newfile);
    }
}

static int prepare(const struct chain_snapshot_run *run,
                   struct chain_journal *journal, bool *is_kept,
                   struct img_error *err)
{
    return note_files(journal, run, err) < 0 ||
                   chain_snapshot_check_cancel(run, err) < 0
               ? -1
               : chain_journal_decide(journal, is_kept, err);
}

static int finish(struct chain_journal *journal, struct img_error *err)
{
    bool is_undone;
    int r = chain_journal_finish(journal, &is_undone, err);

    if (r < 0 && is_undone) {
        chain_journal_abandon(journal, err);
    }
    return r;
}

static int run_with(struct chain_snapshot_run *run,
                    struct chain_journal *journal, struct img_error *err)
{
    bool is_kept = false;

    if (chain_journal_begin(journal, err) < 0) {
        return -1;
    }
    int r = chain_snapshot_write(run, CHAIN_CREATION_NAMED, err);
    if (r == 0 && !run->result->is_refused) {
        r = prepare(run, journal, &is_kept, err);
    }
    if (is_kept) {
        keep_files(run);
        return r;
    }
    if (r < 0 || run->result->is_refused) {
        drop_files(run);
        chain_journal_abandon(journal, r < 0 ? err : NULL);
        return r;
    }
    keep_files(run);
    return finish(journal, err);
}

int chain_snapshot_atomic(struct chain_snapshot_run *run, struct img_error *err)
{
    struct chain_journal journal;
    int r = plan(&journal, run->request, err);

    if (r == 0) {
        r = run_with(run, &journal, err);
    }
    chain_journal_fini(&journal);
    return r;
}
