/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying a chain's contents: see chain/copy.h.
 *
 * Everything that can be found wrong is looked for before the destination is
 * touched; then it is written, flushed, compared if that was asked for, and
 * only then given its name.
 */
#include "copy_impl.h"

#include <stdlib.h>
#include <unistd.h>

#include <img/image.h>
#include <img/memory.h>

#include "copy_then.h"
#include "place.h"

#define SPARSE_DEFAULT_LEN 4096u
#define SECTOR_LEN 512u

void chain_copy_request_init(struct chain_copy_request *request)
{
    *request = (struct chain_copy_request){.sparse_len = SPARSE_DEFAULT_LEN};
}

void chain_copy_result_fini(struct chain_copy_result *result)
{
    chain_made_fini(&result->made);
    chain_report_free(result->report);
    *result = (struct chain_copy_result){0};
}

static int check_request(const struct chain_copy_request *request,
                         struct img_error *err)
{
    if (request->target_is_zero && !request->into_existing) {
        return img_fail(err, IMG_USAGE,
                        "only a destination that exists can be said to be "
                        "zero");
    }
    if (request->target_is_zero && request->shallow) {
        return img_fail(err, IMG_USAGE,
                        "the destination of a shallow copy shows its backing "
                        "file: it cannot be said to be zero");
    }
    if (request->sparse_len % SECTOR_LEN != 0) {
        return img_fail(err, IMG_USAGE,
                        "the length of zeros that are left out is %llu bytes: "
                        "expected a multiple of %u",
                        (unsigned long long)request->sparse_len, SECTOR_LEN);
    }
    if (request->skip_broken_bitmaps && !request->bitmaps) {
        return img_fail(err, IMG_USAGE,
                        "broken bitmaps can only be skipped when bitmaps are "
                        "copied");
    }
    return 0;
}

static int plan(struct chain_copying *copying, struct img_error *err)
{
    const char *path = copying->dest.path;

    if (chain_copy_check_apart(copying, path, err) != 0) {
        return -1;
    }
    int r = copying->request->into_existing
                ? chain_copy_open_existing(copying, err)
                : chain_copy_plan_new(copying, err);
    if (r != 0 || chain_copy_check_bitmaps(copying, err) != 0) {
        img_error_set_path(err, path);
        return -1;
    }
    return chain_plan_describe(&copying->plan, &copying->result->made, err);
}

/* The bytes go where the data file is, if there is one. */
static int check_space(struct chain_copying *copying, struct img_error *err)
{
    const struct img_file *file = copying->creation.data_file
                                      ? copying->creation.data_file
                                      : copying->creation.file;
    uint64_t held_len = copying->is_existing ? img_file_allocated_len(file) : 0;
    uint64_t space_left = file ? img_file_space_left(file)
                               : chain_place_space_left(copying->dest.path);

    return chain_copy_check_space(copying, space_left, held_len, err);
}

static enum chain_creation_kind
creation_kind(const struct chain_copying *copying)
{
    return copying->then ? CHAIN_CREATION_NEW : CHAIN_CREATION_REPLACE;
}

/* All that can be found wrong without writing. */
static int prepare(struct chain_copying *copying, struct img_error *err)
{
    if (check_request(copying->request, err) != 0 ||
        chain_copy_open_source(copying, err) != 0 || plan(copying, err) != 0 ||
        chain_copy_survey(copying, err) != 0) {
        return -1;
    }
    if (copying->dest.dry_run) {
        if (!copying->is_existing &&
            chain_creation_check(&copying->plan, creation_kind(copying), err) !=
                0) {
            return -1;
        }
        return check_space(copying, err);
    }
    if (!copying->is_existing &&
        chain_creation_open(&copying->plan, creation_kind(copying),
                            chain_copy_wants_direct(copying),
                            &copying->creation, err) != 0) {
        return -1;
    }
    return check_space(copying, err) == 0 ? chain_copy_tune_source(copying, err)
                                          : -1;
}

/*
 * The data file is opened by its name when the image is read: it gets it first,
 * and is let go of, with its locks.
 */
static int publish_data(struct chain_copying *copying, struct img_error *err)
{
    struct chain_creation *creation = &copying->creation;

    if (creation->data_newfile) {
        if (img_newfile_publish(creation->data_newfile, err) != 0) {
            copying->is_data_published =
                chain_creation_is_named(creation->data_file);
            return -1;
        }
        img_newfile_free(img_steal(&creation->data_newfile));
        copying->is_data_published = true;
    }
    img_file_unref(img_steal(&creation->data_file));
    return 0;
}

static int carry_out(struct chain_copying *copying, struct img_error *err)
{
    const struct chain_copy_request *request = copying->request;
    struct chain_creation *creation = &copying->creation;

    copying->result->is_dest_direct =
        img_file_direct_align(creation->data_file ? creation->data_file
                                                  : creation->file) > 1;
    if (chain_copy_run(copying, err) != 0) {
        return -1;
    }
    if (copying->request->verify && (publish_data(copying, err) != 0 ||
                                     chain_copy_verify(copying, err) != 0)) {
        return -1;
    }
    if (copying->then &&
        copying->then(copying->then_opaque,
                      chain_layer_file(chain_layer_at(copying->source, 0)),
                      creation->file, err) != 0) {
        return -1;
    }
    if (request->cancel && *request->cancel) {
        return img_fail(err, IMG_CANCELLED, "cancelled");
    }
    return chain_creation_publish(creation, err);
}

/* What was written in place has to be told of. */
static void say_remains(const struct chain_copying *copying,
                        struct img_error *err)
{
    struct img_error said = *err;

    if (!copying->is_begun || copying->creation.newfile) {
        return;
    }
    img_fail(err, said.code, "%.900s; the destination is incomplete%s",
             said.text,
             copying->is_edited     ? ", and a valid image"
             : copying->plan.is_raw ? ""
                                    : " and no valid image any more");
    err->sys_errno = said.sys_errno;
    err->has_off = said.has_off;
    err->off = said.off;
    img_error_set_path(err, said.path);
}

static void fini(struct chain_copying *copying)
{
    chain_creation_fini(&copying->creation);
    chain_plan_fini(&copying->plan);
    chain_view_free(copying->view);
    chain_free(copying->source);
    free(copying->data_file_name);
}

int chain_copy(const struct chain_copy_request *request,
               struct chain_copy_result *out, struct img_error *err)
{
    return chain_copy_then(request, NULL, NULL, out, err);
}

int chain_copy_then(const struct chain_copy_request *request,
                    chain_copy_step *step, void *opaque,
                    struct chain_copy_result *out, struct img_error *err)
{
    struct chain_copying copying = {
        .request = request,
        .result = out,
        .dest = request->dest,
        .then = step,
        .then_opaque = opaque,
    };

    *out = (struct chain_copy_result){0};
    copying.dest.cancel = request->cancel;
    copying.dest.force_share = request->force_share;
    copying.dest.allow_probe = request->allow_probe;
    int r = prepare(&copying, err);
    if (r == 0 && !copying.dest.dry_run) {
        r = carry_out(&copying, err);
    }
    if (r != 0) {
        if (copying.is_data_published &&
            !chain_creation_is_named(copying.creation.file)) {
            (void)unlink(copying.plan.data_file_path);
        }
        say_remains(&copying, err);
    }
    fini(&copying);
    return r;
}
