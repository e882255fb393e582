/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes of several files: see chain/transaction.h. The plan, and the order
 * of the steps; what is stable when is the journal's business (journal.h).
 */
#include "transaction_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/memory.h>

#include "place.h"

enum stage {
    STAGE_PLAN,
    STAGE_BEGUN,
    STAGE_OVER, /* nothing is left, or it has to stay */
};

struct chain_transaction {
    enum stage stage;
    struct chain_transaction_item *items;
    size_t items_nr;
    char **folders; /* real paths */
    size_t folders_nr;
    struct chain_journal journal; /* from the beginning on */
};

int chain_transaction_new(struct chain_transaction **out, struct img_error *err)
{
    *out = img_calloc(1, sizeof(**out), err);
    return *out ? 0 : -1;
}

static void item_fini(struct chain_transaction_item *item)
{
    free(item->path);
    free(item->name);
    free(item->stage);
}

void chain_transaction_free(struct chain_transaction *transaction,
                            struct img_error *err)
{
    if (!transaction) {
        return;
    }
    if (transaction->stage == STAGE_BEGUN) {
        chain_journal_abandon(&transaction->journal, err);
    }
    chain_journal_fini(&transaction->journal);
    for (size_t i = 0; i < transaction->items_nr; i++) {
        item_fini(&transaction->items[i]);
    }
    for (size_t i = 0; i < transaction->folders_nr; i++) {
        free(transaction->folders[i]);
    }
    free(transaction->items);
    free(transaction->folders);
    free(transaction);
}

/* ---- The plan. */

static int fail_path(const char *path, enum img_code code, const char *what,
                     struct img_error *err)
{
    img_fail(err, code, "%s", what);
    img_error_set_path(err, path);
    return -1;
}

int chain_change_stamp(struct chain_change *change, struct img_error *err)
{
    struct stat st;

    if (lstat(change->path, &st) != 0) {
        img_fail_sys(err, errno, "cannot look at it");
        img_error_set_path(err, change->path);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        return fail_path(change->path, IMG_USAGE,
                         S_ISLNK(st.st_mode)
                             ? "is a symbolic link: name the file itself"
                             : "is no regular file, expected one",
                         err);
    }
    change->dev = st.st_dev;
    change->ino = st.st_ino;
    change->old_len = (uint64_t)st.st_size;
    change->mtime_ns =
        (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return 0;
}

static bool is_about_new(const struct chain_change *change)
{
    return change->kind == CHAIN_CHANGE_NAME ||
           change->kind == CHAIN_CHANGE_WRITE;
}

static int check_free(const struct chain_change *change, struct img_error *err)
{
    struct stat st;

    if (lstat(change->path, &st) == 0) {
        return fail_path(change->path, IMG_USAGE, "exists already", err);
    }
    if (errno != ENOENT) {
        img_fail_sys(err, errno, "cannot look at it");
        img_error_set_path(err, change->path);
        return -1;
    }
    return 0;
}

static int check_old(const struct chain_change *change, struct img_error *err)
{
    struct chain_change now = *change;

    if (chain_change_stamp(&now, err) < 0) {
        return -1;
    }
    if (now.dev != change->dev || now.ino != change->ino ||
        now.old_len != change->old_len || now.mtime_ns != change->mtime_ns) {
        return fail_path(change->path, IMG_CHANGED,
                         "was changed, or replaced, meanwhile", err);
    }
    if (change->kind == CHAIN_CHANGE_PATCH &&
        (change->len == 0 || change->len > CHAIN_PATCH_MAX ||
         change->len > change->old_len)) {
        return fail_path(change->path, IMG_LIMIT,
                         "more bytes than it has, or than can be written into "
                         "it at once",
                         err);
    }
    /* Who may not write it may not replace it, either. */
    if (change->kind != CHAIN_CHANGE_REMOVE &&
        faccessat(AT_FDCWD, change->path, W_OK, AT_EACCESS) != 0) {
        img_fail_sys(err, errno, "cannot write it");
        img_error_set_path(err, change->path);
        return -1;
    }
    return 0;
}

/* The index of the folder that PATH stands in. */
static int find_folder(struct chain_transaction *transaction, const char *path,
                       size_t *idx, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *folder = chain_place_folder(path, err);
    IMG_AUTO(img_free_ptr) char *real = folder ? realpath(folder, NULL) : NULL;

    if (!real) {
        if (folder) {
            img_fail_sys(err, errno, "cannot find its folder");
            img_error_set_path(err, path);
        }
        return -1;
    }
    for (*idx = 0; *idx < transaction->folders_nr; (*idx)++) {
        if (strcmp(transaction->folders[*idx], real) == 0) {
            return 0;
        }
    }
    if (*idx == CHAIN_JOURNAL_FOLDERS_MAX) {
        return img_fail(err, IMG_LIMIT,
                        "files in more than %u folders in one transaction",
                        CHAIN_JOURNAL_FOLDERS_MAX);
    }
    char **more = reallocarray(transaction->folders, *idx + 1, sizeof(*more));
    if (!more) {
        return img_fail_memory(err);
    }
    transaction->folders = more;
    transaction->folders[transaction->folders_nr++] = img_steal(&real);
    return 0;
}

static int fill_item(struct chain_transaction *transaction,
                     const struct chain_change *change,
                     struct chain_transaction_item *out, struct img_error *err)
{
    const char *slash = strrchr(change->path, '/');
    const char *name = slash ? slash + 1 : change->path;

    *out = (struct chain_transaction_item){.change = *change};
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strlen(name) > NAME_MAX || chain_journal_is_own_name(name)) {
        return fail_path(change->path, IMG_USAGE,
                         "does not end in the name of a file", err);
    }
    if (find_folder(transaction, change->path, &out->folder, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < transaction->items_nr; i++) {
        if (transaction->items[i].folder == out->folder &&
            strcmp(transaction->items[i].name, name) == 0) {
            return fail_path(change->path, IMG_USAGE,
                             "is named twice in one transaction", err);
        }
    }
    out->path = img_strndup(change->path, strlen(change->path), err);
    out->name = img_strndup(name, strlen(name), err);
    return out->path && out->name ? 0 : -1;
}

int chain_transaction_add(struct chain_transaction *transaction,
                          const struct chain_change *change, size_t *idx,
                          struct img_error *err)
{
    struct chain_transaction_item item;

    if (transaction->items_nr == CHAIN_JOURNAL_FILES_MAX) {
        return img_fail(err, IMG_LIMIT,
                        "more than %u changes in one transaction",
                        CHAIN_JOURNAL_FILES_MAX);
    }
    if ((is_about_new(change) ? check_free(change, err)
                              : check_old(change, err)) < 0) {
        return -1;
    }
    struct chain_transaction_item *more = reallocarray(
        transaction->items, transaction->items_nr + 1, sizeof(*more));
    if (!more) {
        return img_fail_memory(err);
    }
    transaction->items = more;
    if (fill_item(transaction, change, &item, err) < 0) {
        item_fini(&item);
        return -1;
    }
    if (idx) {
        *idx = transaction->items_nr;
    }
    transaction->items[transaction->items_nr++] = item;
    return 0;
}

/* ---- The beginning. */

static enum chain_journal_op op_of(const struct chain_change *change)
{
    switch (change->kind) {
    case CHAIN_CHANGE_NAME:
    case CHAIN_CHANGE_WRITE:
        break;
    case CHAIN_CHANGE_REPLACE:
        return CHAIN_JOURNAL_REPLACE;
    case CHAIN_CHANGE_PATCH:
        return CHAIN_JOURNAL_PATCH;
    case CHAIN_CHANGE_REMOVE:
        return CHAIN_JOURNAL_REMOVE;
    }
    return CHAIN_JOURNAL_NAME;
}

static int plan_file(const struct chain_transaction_item *item,
                     struct chain_journal_file *file, struct img_error *err)
{
    file->op = op_of(&item->change);
    file->folder = item->folder;
    file->is_staged = file->op != CHAIN_JOURNAL_REMOVE;
    file->old_ino = item->change.ino;
    file->old_len = item->change.old_len;
    file->name = img_strndup(item->name, strlen(item->name), err);
    file->temp = file->is_staged
                     ? img_strndup(item->name, strlen(item->name), err)
                     : NULL;
    return file->name && (file->temp || !file->is_staged) ? 0 : -1;
}

static int plan_journal(struct chain_transaction *transaction,
                        struct img_error *err)
{
    struct chain_journal *journal = &transaction->journal;

    if (chain_journal_init(journal, transaction->folders_nr,
                           transaction->items_nr, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < transaction->folders_nr; i++) {
        journal->folders[i].path = transaction->folders[i];
        transaction->folders[i] = NULL;
    }
    for (size_t i = 0; i < transaction->items_nr; i++) {
        if (plan_file(&transaction->items[i], &journal->files[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int name_stages(struct chain_transaction *transaction,
                       struct img_error *err)
{
    const struct chain_journal *journal = &transaction->journal;
    char name[CHAIN_RECORD_NAME_LEN];

    (void)chain_stage_name(journal->id, name);
    for (size_t i = 0; i < transaction->items_nr; i++) {
        struct chain_transaction_item *item = &transaction->items[i];
        const char *folder = journal->folders[item->folder].path;
        item->stage =
            img_text(err, "%s/%s/%s", strcmp(folder, "/") == 0 ? "" : folder,
                     name, item->name);
        if (!item->stage) {
            return -1;
        }
    }
    return 0;
}

int chain_transaction_begin(struct chain_transaction *transaction,
                            void (*done)(void *opaque, const char *path,
                                         const char *what),
                            void *opaque, struct img_error *err)
{
    if (transaction->stage != STAGE_PLAN || transaction->items_nr == 0) {
        return img_fail(err, IMG_USAGE, "nothing is to be changed");
    }
    for (size_t i = 0; i < transaction->folders_nr; i++) {
        if (chain_transaction_settle(transaction->folders[i], false, done,
                                     opaque, err) < 0) {
            return -1;
        }
    }
    transaction->stage = STAGE_OVER;
    if (plan_journal(transaction, err) < 0 ||
        chain_journal_begin(&transaction->journal, err) < 0) {
        return -1;
    }
    transaction->stage = STAGE_BEGUN;
    return name_stages(transaction, err);
}

const char *chain_transaction_stage(const struct chain_transaction *transaction,
                                    size_t idx)
{
    return idx < transaction->items_nr ? transaction->items[idx].stage : NULL;
}

int chain_transaction_stage_fd(const struct chain_transaction *transaction,
                               size_t idx)
{
    return idx < transaction->items_nr && transaction->stage == STAGE_BEGUN
               ? transaction->journal.folders[transaction->items[idx].folder]
                     .stage_fd
               : -1;
}

/* ---- The end. */

static int prepare(struct chain_transaction *transaction, struct img_error *err)
{
    struct chain_journal *journal = &transaction->journal;

    for (size_t i = 0; i < transaction->items_nr; i++) {
        const struct chain_transaction_item *item = &transaction->items[i];
        const struct chain_journal_folder *folder =
            &journal->folders[item->folder];
        if (!is_about_new(&item->change) &&
            chain_transaction_check_old(item, folder, &journal->files[i], err) <
                0) {
            return -1;
        }
        if (item->change.kind != CHAIN_CHANGE_REMOVE &&
            chain_transaction_make(item, folder, &journal->files[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

int chain_transaction_commit(struct chain_transaction *transaction,
                             struct img_error *err)
{
    struct chain_journal *journal = &transaction->journal;
    bool is_kept = false, is_undone = false;

    if (transaction->stage != STAGE_BEGUN) {
        return img_fail(err, IMG_USAGE, "the transaction was not begun");
    }
    if (prepare(transaction, err) < 0 ||
        chain_journal_decide(journal, &is_kept, err) < 0) {
        if (is_kept) {
            transaction->stage = STAGE_OVER;
        }
        return -1;
    }
    transaction->stage = STAGE_OVER;
    if (chain_journal_finish(journal, &is_undone, err) == 0) {
        return 0;
    }
    if (is_undone) {
        chain_journal_abandon(journal, err);
    }
    return -1;
}

/* ---- What killed runs left. */

int chain_transaction_recover(const char *folder,
                              void (*done)(void *opaque, const char *path,
                                           const char *what),
                              void *opaque, struct img_error *err)
{
    const struct chain_recovery recovery = {.done = done, .opaque = opaque};

    return chain_journal_recover(folder, &recovery, err);
}

int chain_transaction_settle(const char *folder, bool dry,
                             void (*done)(void *opaque, const char *path,
                                          const char *what),
                             void *opaque, struct img_error *err)
{
    const struct chain_recovery recovery = {
        .done = done, .opaque = opaque, .is_by_the_way = true, .is_dry = dry};

    return chain_journal_recover(folder, &recovery, err);
}
