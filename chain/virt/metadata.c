/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Documents of snapshots or checkpoints: see chain/metadata.h. Room:
   chain/virt. Their hierarchy is metadata_link.c. */
#include <chain/metadata.h>

#include <stdlib.h>
#include <string.h>

#include <img/folder.h>
#include <img/memory.h>

#include "document.h"

static void moment_fini(struct chain_moment *moment)
{
    free(moment->file);
    free(moment->text);
    chain_virt_snapshot_free(moment->snapshot);
    chain_virt_checkpoint_free(moment->checkpoint);
}

void chain_metadata_free(struct chain_metadata *metadata)
{
    if (!metadata) {
        return;
    }
    for (size_t i = 0; i < metadata->nr; i++) {
        moment_fini(&metadata->moments[i]);
    }
    for (size_t i = 0; i < metadata->unread_nr; i++) {
        free(metadata->unread[i].file);
        free(metadata->unread[i].why);
    }
    free(metadata->moments);
    free(metadata->unread);
    free(metadata->order);
    free(metadata->folder);
    free(metadata);
}

static void free_metadata(struct chain_metadata **metadata)
{
    chain_metadata_free(*metadata);
}

int chain_metadata_new(enum chain_moment_kind kind, struct chain_metadata **out,
                       struct img_error *err)
{
    *out = img_calloc(1, sizeof(**out), err);
    if (!*out) {
        return -1;
    }
    (*out)->kind = kind;
    return 0;
}

static int parse(enum chain_moment_kind kind, const char *name,
                 struct chain_moment *moment, struct img_error *err)
{
    if (kind == CHAIN_CHECKPOINT) {
        if (chain_virt_checkpoint_parse(moment->text, moment->len, name,
                                        &moment->checkpoint, err) < 0) {
            return -1;
        }
        moment->name = moment->checkpoint->name;
        moment->parent_name = moment->checkpoint->parent;
        return 0;
    }
    if (chain_virt_snapshot_parse(moment->text, moment->len, name,
                                  &moment->snapshot, err) < 0) {
        return -1;
    }
    moment->name = moment->snapshot->name;
    moment->parent_name = moment->snapshot->parent;
    return 0;
}

static int check_limits(const struct chain_metadata *metadata, size_t len,
                        struct img_error *err)
{
    if (metadata->nr == CHAIN_METADATA_MAX) {
        return img_fail(err, IMG_LIMIT, "more than %u documents are not read",
                        CHAIN_METADATA_MAX);
    }
    return len > CHAIN_METADATA_MAX_LEN - metadata->text_len
               ? img_fail(err, IMG_LIMIT,
                          "more than %u bytes of documents are not read",
                          CHAIN_METADATA_MAX_LEN)
               : 0;
}

/* Room for one more of SIZE bytes at *ITEMS; at 0, 32, 64, ... there is none
   left. */
static int grow(void *items, size_t nr, size_t size, struct img_error *err)
{
    void **at = items, *grown;

    if (nr % 32 != 0) {
        return 0;
    }
    grown = reallocarray(*at, nr + 32, size);
    if (!grown) {
        return img_fail_memory(err);
    }
    *at = grown;
    return 0;
}

int chain_metadata_add(struct chain_metadata *metadata, const char *name,
                       const char *file, const char *text, size_t len,
                       struct img_error *err)
{
    IMG_AUTO(moment_fini)
    struct chain_moment moment = {.len = len, .parent = CHAIN_METADATA_NONE};

    if (check_limits(metadata, len, err) < 0) {
        return -1;
    }
    moment.text = img_strndup(text, len, err);
    if (!moment.text ||
        (file && !(moment.file = img_strndup(file, strlen(file), err))) ||
        parse(metadata->kind, name, &moment, err) < 0 ||
        grow(&metadata->moments, metadata->nr, sizeof(moment), err) < 0) {
        return -1;
    }
    metadata->moments[metadata->nr++] = moment;
    metadata->text_len += len;
    memset(&moment, 0, sizeof(moment)); /* it has a new owner */
    return 0;
}

/* FILE cannot be used, because of ERR; which it is again after a failure. */
static int keep_unread(struct chain_metadata *metadata, const char *file,
                       struct img_error *err)
{
    struct chain_metadata_unread unread = {.code = err->code};

    if (err->code == IMG_LIMIT || err->code == IMG_MEMORY) {
        return -1;
    }
    if (grow(&metadata->unread, metadata->unread_nr, sizeof(unread), err) < 0) {
        return -1;
    }
    unread.file = strdup(file);
    unread.why = strdup(err->text);
    if (!unread.file || !unread.why) {
        free(unread.file);
        free(unread.why);
        return img_fail_memory(err);
    }
    metadata->unread[metadata->unread_nr++] = unread;
    return 0;
}

static int read_file(struct chain_metadata *metadata, const char *file,
                     const struct img_roots *roots, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    size_t len;

    if (virt_document_load(file, roots, &text, &len, err) < 0 ||
        chain_metadata_add(metadata, file, file, text, len, err) < 0) {
        return keep_unread(metadata, file, err);
    }
    return 0;
}

int chain_metadata_read_files(enum chain_moment_kind kind,
                              const char *const *files, size_t nr,
                              const struct img_roots *roots,
                              struct chain_metadata **out,
                              struct img_error *err)
{
    IMG_AUTO(free_metadata) struct chain_metadata *metadata = NULL;

    if (chain_metadata_new(kind, &metadata, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        if (read_file(metadata, files[i], roots, err) < 0) {
            return -1;
        }
    }
    if (chain_metadata_link(metadata, NULL, err) < 0) {
        return -1;
    }
    *out = img_steal(&metadata);
    return 0;
}

int chain_metadata_read_folder(enum chain_moment_kind kind, const char *folder,
                               const struct img_roots *roots,
                               struct chain_metadata **out,
                               struct img_error *err)
{
    IMG_AUTO(img_names_fini) struct img_names names = {.at = NULL};
    IMG_AUTO(free_metadata) struct chain_metadata *metadata = NULL;

    if (img_folder_list(folder, CHAIN_METADATA_MAX, &names, err) < 0 ||
        chain_metadata_read_files(kind, (const char *const *)names.at, names.nr,
                                  roots, &metadata, err) < 0) {
        return -1;
    }
    metadata->folder = img_strndup(folder, strlen(folder), err);
    if (!metadata->folder) {
        return -1;
    }
    *out = img_steal(&metadata);
    return 0;
}
