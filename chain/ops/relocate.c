/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains' files in another folder: see chain/relocate.h.
 *
 * plan: names and sizes; check: formats, space, what is there already; apply:
 * one file after the other, from the bases up, so that no copy ever leads to a
 * file that is not there; verify: the copies as chains of their own.
 */
#include "relocate_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <img/image.h>
#include <img/memory.h>

#include "place.h"

void chain_relocate_result_fini(struct chain_relocate_result *result)
{
    for (size_t i = 0; i < result->nr; i++) {
        free(result->files[i].from);
        free(result->files[i].to);
        free(result->files[i].backing_name);
    }
    free(result->files);
    *result = (struct chain_relocate_result){0};
}

/* ---- Folders. */

static int stamp_folder(const char *folder, const struct img_roots *roots,
                        struct img_stamp *out, struct img_error *err)
{
    if (img_path_stamp(folder, roots, out, err) != 0) {
        img_error_set_path(err, folder);
        return -1;
    }
    if (!S_ISDIR(out->mode)) {
        img_fail(err, IMG_USAGE, "is no folder, expected one");
        img_error_set_path(err, folder);
        return -1;
    }
    return 0;
}

/* Does the name PATH stand in FOLDER? */
static int is_in(const char *path, const struct img_stamp *folder,
                 const struct img_roots *roots, bool *out,
                 struct img_error *err)
{
    struct chain_place place;

    if (chain_place_find(path, roots, &place, err) != 0) {
        return -1;
    }
    *out = place.dev == folder->dev && place.ino == folder->ino;
    return 0;
}

int chain_relocate_check_folder(const char *folder, const char *path,
                                const struct img_roots *roots,
                                struct img_error *err)
{
    struct img_stamp stamp;
    bool is_there;

    if (stamp_folder(folder, roots, &stamp, err) != 0 ||
        is_in(path, &stamp, roots, &is_there, err) != 0) {
        return -1;
    }
    if (is_there) {
        img_fail(err, IMG_USAGE,
                 "lies in the folder already that the files are to go to: "
                 "expected another folder");
        img_error_set_path(err, path);
        return -1;
    }
    if (access(folder, W_OK | X_OK) != 0) {
        img_fail_sys(err, errno, "no file can be made in this folder");
        img_error_set_path(err, folder);
        return -1;
    }
    return 0;
}

static int fail_outside(const char *path, const char *what,
                        struct img_error *err)
{
    img_fail(err, IMG_USAGE, "%s: expected a file in the folder itself", what);
    img_error_set_path(err, path);
    return -1;
}

/* A file of its own, whose name stands in FOLDER. */
static int check_inside(const char *path, const struct img_stamp *folder,
                        const struct img_roots *roots, struct img_error *err)
{
    struct stat st;
    bool is_there;

    if (is_in(path, folder, roots, &is_there, err) != 0) {
        return -1;
    }
    if (!is_there) {
        return fail_outside(path, "lies in another folder", err);
    }
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode)
               ? fail_outside(path, "is a symbolic link", err)
               : 0;
}

int chain_relocate_check_whole(const char *path, const char *format,
                               const char *folder,
                               const struct img_roots *roots,
                               struct img_error *err)
{
    struct chain_options options;
    struct img_stamp stamp;
    struct chain *chain;
    int rc = 0;

    chain_options_init(&options);
    options.format = format;
    options.force_share = true;
    options.roots = roots;
    if (stamp_folder(folder, roots, &stamp, err) != 0 ||
        chain_open(path, &options, &chain, err) != 0) {
        return -1;
    }
    for (size_t i = 0; rc == 0 && i < chain_depth(chain); i++) {
        const struct chain_layer *layer = chain_layer_at(chain, i);

        rc = chain_layer_image(layer)->data_file_name
                 ? fail_outside(chain_layer_path(layer),
                                "has an external data file", err)
                 : check_inside(chain_layer_path(layer), &stamp, roots, err);
    }
    chain_free(chain);
    return rc;
}

/* ---- The whole. */

static void tell_done(const struct chain_relocation *relocation,
                      const struct chain_relocated *file)
{
    if (relocation->request->done) {
        relocation->request->done(relocation->request->opaque, file);
    }
}

/* What is there already is looked at before anything is written. */
int chain_relocation_look(struct chain_relocation *relocation,
                          struct img_error *err)
{
    struct stat st;

    for (size_t i = relocation->result->nr; i-- > 0;) {
        struct chain_relocation_item item =
            chain_relocation_item(relocation, i);
        bool is_found;

        if (relocation->request->is_new && lstat(item.file->to, &st) == 0) {
            img_fail(err, IMG_USAGE, "exists already");
            img_error_set_path(err, item.file->to);
            return -1;
        }
        if (chain_relocation_find(&item, &is_found, err) != 0) {
            return -1;
        }
        if (is_found) {
            item.file->state = CHAIN_RELOCATED_FOUND;
            tell_done(relocation, item.file);
        } else if (chain_relocation_try(&item, err) != 0) {
            return -1;
        }
    }
    return 0;
}

static int copy_one(const struct chain_relocation *relocation, size_t idx,
                    struct img_error *err)
{
    struct chain_relocation_item item = chain_relocation_item(relocation, idx);

    if (chain_relocation_copy(&item, err) != 0) {
        return -1;
    }
    item.file->state = CHAIN_RELOCATED_COPIED;
    tell_done(relocation, item.file);
    return 0;
}

/* The next file that is not there, and whose backing file is; SIZE_MAX. */
static size_t next_file(const struct chain_relocate_result *result)
{
    for (size_t i = result->nr; i-- > 0;) {
        const struct chain_relocated *file = &result->files[i];

        if (file->state == CHAIN_RELOCATED_NOT_YET &&
            (file->backing == SIZE_MAX ||
             result->files[file->backing].state != CHAIN_RELOCATED_NOT_YET)) {
            return i;
        }
    }
    return SIZE_MAX;
}

static int copy_all(const struct chain_relocation *relocation,
                    struct img_error *err)
{
    for (size_t idx = next_file(relocation->result); idx != SIZE_MAX;
         idx = next_file(relocation->result)) {
        if (copy_one(relocation, idx, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* The copies lead to each other; names that are absolute do so only where the
   copies are to be. */
static int verify(const struct chain_relocation *relocation,
                  struct img_error *err)
{
    const struct chain_relocate_request *request = relocation->request;
    const struct chain_relocate_result *result = relocation->result;

    if (chain_relocation_check_unchanged(relocation, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < result->nr; i++) {
        struct chain_relocation_item item =
            chain_relocation_item(relocation, i);
        const char *path = chain_relocation_made(&item);

        if (!item.file->is_top ||
            (relocation->made && request->style == CHAIN_MAKE_ABSOLUTE)) {
            continue;
        }
        IMG_AUTO(img_free_ptr) char *folder = chain_place_folder(path, err);
        if (!folder ||
            chain_relocate_check_whole(path, item.file->format, folder,
                                       request->roots, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int chain_relocation_new(const struct chain_relocate_request *request,
                         struct chain_relocate_result *out,
                         struct chain_relocation **relocation,
                         struct img_error *err)
{
    struct chain_relocation *made;
    int rc;

    *out = (struct chain_relocate_result){.space_left = UINT64_MAX};
    *relocation = NULL;
    made = img_calloc(1, sizeof(*made), err);
    if (!made) {
        return -1;
    }
    made->request = request;
    made->result = out;
    rc = chain_relocation_open(made, err);
    if (rc == 0) {
        rc = chain_relocation_plan(made, err);
    }
    if (rc == 0) {
        rc = chain_relocation_check_space(made, err);
    }
    if (rc != 0) {
        chain_relocation_free(made);
        return -1;
    }
    *relocation = made;
    return 0;
}

int chain_relocation_run(struct chain_relocation *relocation,
                         const char *const *made, struct img_error *err)
{
    relocation->made = made;
    return copy_all(relocation, err) != 0 || verify(relocation, err) != 0
               ? -1
               : chain_relocation_check_alone(relocation, err);
}

void chain_relocation_free(struct chain_relocation *relocation)
{
    if (relocation) {
        chain_relocation_close(relocation);
        free(relocation);
    }
}

int chain_relocate(const struct chain_relocate_request *request,
                   struct chain_relocate_result *out, struct img_error *err)
{
    struct chain_relocation *relocation;
    int rc = chain_relocation_new(request, out, &relocation, err);

    if (rc == 0) {
        rc = chain_relocation_look(relocation, err);
    }
    if (rc == 0 && !request->dry_run) {
        rc = chain_relocation_run(relocation, NULL, err);
    }
    chain_relocation_free(relocation);
    return rc;
}
