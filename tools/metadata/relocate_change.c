/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transaction of metadata relocate, and taking a copy back: relocate.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/file.h>
#include <img/memory.h>

#include "message.h"
#include "relocate.h"

void relocate_tell_recovered(void *opaque, const char *path, const char *what)
{
    char shown[IMG_ERROR_PATH_MAX];

    (void)opaque;
    img_escape(path, strlen(path), shown, sizeof(shown));
    message_note("%s: %s, of an earlier run that was cut short", shown, what);
}

static struct chain_change change_of(enum chain_change_kind kind,
                                     const char *path)
{
    return (struct chain_change){.kind = kind,
                                 .path = path,
                                 .mode = CHAIN_CHANGE_DEFAULT,
                                 .uid = CHAIN_CHANGE_DEFAULT,
                                 .gid = CHAIN_CHANGE_DEFAULT};
}

static int add_removal(struct relocation *relocation, const char *path,
                       struct img_error *err)
{
    struct chain_change change = change_of(CHAIN_CHANGE_REMOVE, path);

    return chain_change_stamp(&change, err) < 0
               ? -1
               : chain_transaction_add(relocation->transaction, &change, NULL,
                                       err);
}

static int fail_at(const char *path, enum img_code code, const char *text,
                   struct img_error *err)
{
    img_fail(err, code, "%s", text);
    img_error_set_path(err, path);
    return -1;
}

/* The file at PATH holds TEXT, and is what CHANGE, which is about it, notes:
   that is looked at first. */
static int check_text(const char *path, const char *text,
                      struct chain_change *change, struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    size_t len = strlen(text);
    IMG_AUTO(img_free_ptr) char *found = img_calloc(len + 1, 1, err);

    if (!found || chain_change_stamp(change, err) < 0 ||
        img_file_open(path, &options, &file, err) < 0) {
        return -1;
    }
    if (img_file_len(file) == len &&
        img_file_read(file, found, len, 0, err) < 0) {
        return -1;
    }
    return memcmp(found, text, len) == 0
               ? 0
               : fail_at(path, IMG_CHANGED,
                         change->kind == CHAIN_CHANGE_REMOVE
                             ? "is not the XML that was written"
                             : "is not the XML that was read",
                         err);
}

/* XML may hold passwords. */
static int add_document(struct relocation *relocation,
                        const struct document *document, struct img_error *err)
{
    bool is_new = relocation->xml_to;
    struct chain_change change = change_of(
        is_new ? CHAIN_CHANGE_WRITE : CHAIN_CHANGE_REPLACE, document->new_file);

    if (!is_new && document->changed_nr == 0) {
        return 0;
    }
    change.data = document->new_text;
    change.len = strlen(document->new_text);
    change.mode = 0600;
    if (!is_new &&
        check_text(document->file, document->text, &change, err) < 0) {
        return -1;
    }
    return chain_transaction_add(relocation->transaction, &change, NULL, err);
}

static int plan(struct relocation *relocation, struct img_error *err)
{
    const struct chain_relocate_result *files = &relocation->files;

    relocation->changes = img_calloc(files->nr, sizeof(size_t), err);
    if (!relocation->changes ||
        chain_transaction_new(&relocation->transaction, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < files->nr; i++) {
        struct chain_change change =
            change_of(CHAIN_CHANGE_NAME, files->files[i].to);

        if (chain_transaction_add(relocation->transaction, &change,
                                  &relocation->changes[i], err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < relocation->documents_nr; i++) {
        if (add_document(relocation, &relocation->documents[i], err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; relocation->values->move && i < files->nr; i++) {
        if (add_removal(relocation, files->files[i].from, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int copy(struct relocation *relocation, struct img_error *err)
{
    size_t nr = relocation->files.nr;
    IMG_AUTO(img_free_ptr)
    const char **made = img_calloc(nr, sizeof(const char *), err);

    if (!made) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        made[i] = chain_transaction_stage(relocation->transaction,
                                          relocation->changes[i]);
    }
    change_begin(&relocation->values->change.common, "copy");
    return change_end(chain_relocation_run(relocation->images, made, err));
}

int relocate_do(struct relocation *relocation, struct img_error *err)
{
    if (plan(relocation, err) < 0) {
        return -1;
    }
    if (relocation->values->change.dry_run) {
        return 0;
    }
    return chain_transaction_begin(relocation->transaction,
                                   relocate_tell_recovered, NULL, err) < 0 ||
                   copy(relocation, err) < 0 ||
                   /* Started meanwhile, it has read what is replaced. */
                   relocate_check_daemon(relocation, err) < 0
               ? -1
               : chain_transaction_commit(relocation->transaction, err);
}

/* ---- Taking a copy back. */

static int check_unused(const char *path, struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    struct img_lock_holder holder;

    if (img_file_open(path, &options, &file, err) < 0 ||
        img_file_writer_test(file, &holder, err) < 0) {
        return -1;
    }
    return holder.is_held ? fail_at(path, IMG_LOCKED,
                                    "is in use: expected nobody to use a copy "
                                    "that is taken back",
                                    err)
                          : 0;
}

static int add_copy(struct relocation *relocation,
                    const struct chain_relocated *file, struct img_error *err)
{
    struct chain_change change = change_of(CHAIN_CHANGE_REMOVE, file->to);

    if (file->state != CHAIN_RELOCATED_FOUND) {
        return fail_at(file->to, IMG_NOT_FOUND,
                       "is not there: expected the copy that is to be taken "
                       "back",
                       err);
    }
    /* What was proved, and not what has come there since. */
    change.dev = file->found.dev;
    change.ino = file->found.ino;
    change.old_len = file->found.len;
    change.mtime_ns = file->found.mtime_ns;
    return check_unused(file->to, err) < 0
               ? -1
               : chain_transaction_add(relocation->transaction, &change, NULL,
                                       err);
}

static int add_written(struct relocation *relocation,
                       const struct document *document, struct img_error *err)
{
    struct chain_change change =
        change_of(CHAIN_CHANGE_REMOVE, document->new_file);

    return check_text(document->new_file, document->new_text, &change, err) < 0
               ? -1
               : chain_transaction_add(relocation->transaction, &change, NULL,
                                       err);
}

static int plan_undo(struct relocation *relocation, struct img_error *err)
{
    for (size_t i = 0; i < relocation->files.nr; i++) {
        if (add_copy(relocation, &relocation->files.files[i], err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < relocation->documents_nr; i++) {
        if (add_written(relocation, &relocation->documents[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Again, when everything is ready. */
static int check_all_unused(const struct relocation *relocation,
                            struct img_error *err)
{
    for (size_t i = 0; i < relocation->files.nr; i++) {
        if (check_unused(relocation->files.files[i].to, err) < 0) {
            return -1;
        }
    }
    return 0;
}

int relocate_undo(struct relocation *relocation, struct img_error *err)
{
    if (chain_transaction_new(&relocation->transaction, err) < 0 ||
        plan_undo(relocation, err) < 0) {
        return -1;
    }
    if (relocation->values->change.dry_run) {
        return 0;
    }
    return chain_transaction_begin(relocation->transaction,
                                   relocate_tell_recovered, NULL, err) < 0 ||
                   check_all_unused(relocation, err) < 0
               ? -1
               : chain_transaction_commit(relocation->transaction, err);
}
