/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One file of a chain that is relocated: see relocate_impl.h.
 *
 * It is copied by the mover, as raw bytes: so compressed clusters, bitmaps and
 * internal snapshots stay what they are, and nothing of the format has to be
 * understood.
 */
#include "relocate_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/image.h>
#include <img/memory.h>
#include <img/write.h>

#include "copy_then.h"
#include "creation.h"
#include "place.h"

/* For chain_copy_then: what was read is the layer, and the copy is made what
   it is to be. */
static int finish(void *opaque, struct img_file *source, struct img_file *dest,
                  struct img_error *err)
{
    const struct chain_relocation_item *item = opaque;
    struct img_file *file = chain_layer_file(item->layer);
    struct img_stamp stamp;

    if (!img_file_is_same(source, file)) {
        img_fail(err, IMG_CHANGED,
                 "another file has come to this name meanwhile");
        img_error_set_path(err, item->file->from);
        return -1;
    }
    /* A raw image has whole sectors, a file need not. */
    if (img_file_resize(dest, img_file_len(file), err) != 0 ||
        img_file_stamp(file, &stamp, err) != 0) {
        return -1;
    }
    chain_creation_take_owner(dest, &stamp);
    return chain_relocation_rename(item, dest, err) != 0
               ? -1
               : chain_relocation_prove(item, dest, err);
}

int chain_relocation_copy(const struct chain_relocation_item *item,
                          struct img_error *err)
{
    const struct chain_relocate_request *request = item->relocation->request;
    struct chain_relocation_item moving = *item;
    struct chain_copy_request copy;
    struct chain_copy_result result;
    IMG_AUTO(img_free_ptr)
    char *source = chain_place_operand(item->file->from, err);

    if (!source) {
        return -1;
    }
    chain_copy_request_init(&copy);
    copy.source = source;
    copy.source_format = "raw";
    copy.dest.path = chain_relocation_made(item);
    copy.dest.format = "raw";
    copy.dest.roots = request->roots;
    copy.force_share = request->force_share;
    copy.source_cache = request->source_cache;
    copy.dest_cache = request->dest_cache;
    copy.threads = request->threads;
    copy.engine = request->engine;
    copy.budget_len = request->budget_len;
    copy.cancel = request->cancel;
    copy.progress = request->progress;
    copy.opaque = request->opaque;
    int rc = chain_copy_then(&copy, finish, &moving, &result, err);
    chain_copy_result_fini(&result);
    return rc;
}

/* ---- What is there already. */

static int fail_found(const struct chain_relocation_item *item,
                      const char *what, struct img_error *err)
{
    char shown[IMG_ERROR_TEXT_MAX / 2];

    img_escape(item->file->from, strlen(item->file->from), shown,
               sizeof(shown));
    img_fail(err, IMG_USAGE,
             "is there already: found %s, expected the copy of "
             "\"%s\" or no file",
             what, shown);
    img_error_set_path(err, item->file->to);
    return -1;
}

/* A file of its own, and none of the source's. */
static int check_own(const struct chain_relocation_item *item,
                     const struct stat *st, struct img_error *err)
{
    const struct img_stamp stamp = {.dev = st->st_dev, .ino = st->st_ino};

    if (S_ISLNK(st->st_mode)) {
        return fail_found(item, "a symbolic link", err);
    }
    if (!S_ISREG(st->st_mode)) {
        return fail_found(item, "no regular file", err);
    }
    if (chain_relocation_has(item->relocation, &stamp, err)) {
        return fail_found(item, "another name of a file of the source", err);
    }
    return err->code == IMG_OK ? 0 : -1;
}

int chain_relocation_find(const struct chain_relocation_item *item, bool *found,
                          struct img_error *err)
{
    const struct img_open_options options = {
        .lock = IMG_LOCK_READER, .roots = item->relocation->request->roots};
    const char *path = item->file->to;
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    struct img_stamp stamp;
    struct stat st;

    /* Whoever removes the copy hands this on: what is written to it from here
       on is noticed. */
    *found = lstat(path, &st) == 0;
    if (!*found) {
        if (errno == ENOENT) {
            return 0;
        }
        img_fail_sys(err, errno, "cannot look at it");
        img_error_set_path(err, path);
        return -1;
    }
    if (check_own(item, &st, err) != 0 ||
        img_file_open(path, &options, &file, err) != 0 ||
        img_file_stamp(file, &stamp, err) != 0) {
        return -1;
    }
    if (stamp.dev != st.st_dev || stamp.ino != st.st_ino) {
        img_fail(err, IMG_CHANGED,
                 "another file has come to this name meanwhile");
        img_error_set_path(err, path);
        return -1;
    }
    item->file->found = (struct chain_relocated_found){
        .dev = st.st_dev,
        .ino = st.st_ino,
        .len = (uint64_t)st.st_size,
        .mtime_ns =
            (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
    };
    return chain_relocation_prove(item, file, err);
}
