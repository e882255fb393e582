/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a copy's destination is to be: see copy_impl.h.
 */
#include "copy_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/vfs.h>

#include <chain/name.h>
#include <img/checked.h>
#include <img/image.h>
#include <img/memory.h>
#include <img/size.h>
#include <qcow2/geometry.h>
#include <qcow2/image.h>

#include "diff.h"
#include "place.h"

#define SHOWN_LEN 512u
/* Samples of the data that are looked at to see whether much of it is zeros,
   and their length. */
#define SAMPLES_NR 64u
#define SAMPLE_LEN 4096u

int chain_copy_check_apart(const struct chain_copying *copying,
                           const char *path, struct img_error *err)
{
    struct img_stamp stamp;
    char shown[SHOWN_LEN];

    if (img_path_stamp(path, copying->dest.roots, &stamp, err) != 0) {
        if (err->code == IMG_NOT_FOUND) {
            return 0;
        }
        img_error_set_path(err, path);
        return -1;
    }
    const struct img_file *file =
        chain_find_stamp(copying->source, &stamp, err);
    if (!file) {
        return err->code == IMG_OK ? 0 : -1;
    }
    const char *name = img_file_path(file);
    img_escape(name, strlen(name), shown, sizeof(shown));
    img_fail(err, IMG_USAGE,
             "source and destination are the same file: it is \"%s\" of the "
             "source's chain",
             shown);
    img_error_set_path(err, path);
    return -1;
}

/* Size and backing file follow from the source. */
static int check_options(const struct chain_copying *copying,
                         struct img_error *err)
{
    static const char *const fixed[] = {"size", "backing_file", "backing_fmt"};

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (chain_plan_mentions(&copying->dest, fixed[i])) {
            return img_fail(err, IMG_USAGE,
                            "option: found \"%s\", which follows from the "
                            "source and cannot be given",
                            fixed[i]);
        }
    }
    if (copying->dest.backing_name && !copying->request->shallow) {
        return img_fail(err, IMG_USAGE,
                        "a full copy has no backing file: found one, expected "
                        "none or a shallow copy");
    }
    return 0;
}

/*
 * A shallow copy is of the active layer's kind as far as the request leaves it
 * open: with other clusters, parts of the backing file would have to be
 * copied along.
 */
static void inherit(struct chain_copying *copying)
{
    struct qcow2_create_options *options = &copying->plan.qcow2;
    const struct qcow2_header *header = qcow2_image_header(
        chain_layer_image(chain_layer_at(copying->source, 0)));

    if (!header || !copying->is_shallow) {
        return;
    }
    if (!chain_plan_mentions(&copying->dest, "cluster_size")) {
        options->cluster_len = header->cluster_len;
    }
    if (options->version >= 3 &&
        !chain_plan_mentions(&copying->dest, "extended_l2")) {
        options->extended_l2 =
            header->has_extended_l2 &&
            options->cluster_len >= 1u << QCOW2_MIN_SUBCLUSTER_CLUSTER_BITS;
    }
}

/*
 * The text by which the destination names the source's backing file: relative
 * if that was asked for, or the source's own name is relative and such a text
 * exists from the new folder.
 */
static char *backing_text(const struct chain_copying *copying,
                          struct img_error *err)
{
    const struct chain_layer *layer = chain_layer_at(copying->source, 1);
    const struct chain_ref *ref = chain_layer_ref(layer);
    const char *path = chain_layer_path(layer);
    enum chain_name_style_wish style = copying->dest.style;

    if (ref->has_slice || ref->is_backing_null || ref->backing) {
        img_fail(err, IMG_UNSUPPORTED,
                 "no plain name can be recorded for it: it is named by a "
                 "json: that says more than a path");
        img_error_set_path(err, path);
        return NULL;
    }
    if (style == CHAIN_MAKE_RELATIVE ||
        (style == CHAIN_NAME_AS_GIVEN && ref->style == CHAIN_NAME_RELATIVE)) {
        char *name = chain_name_relative(copying->dest.path, path, err);
        if (name || style == CHAIN_MAKE_RELATIVE ||
            err->code != IMG_UNSUPPORTED) {
            return name;
        }
    }
    return chain_name_absolute(path, err);
}

static bool is_source_backing(const struct chain_copying *copying)
{
    const struct chain_layer *mine = chain_layer_at(copying->plan.backing, 0);
    const struct chain_layer *theirs = chain_layer_at(copying->source, 1);

    return img_file_is_same(chain_layer_file(mine), chain_layer_file(theirs)) &&
           strcmp(chain_layer_format(mine), chain_layer_format(theirs)) == 0;
}

/* Another backing file than the source's must show the same. */
static int check_backing(const struct chain_copying *copying,
                         struct img_error *err)
{
    const struct chain_copy_request *request = copying->request;
    struct chain_compare_options options = {
        .engine = request->engine,
        .threads = request->threads,
        .budget_len = request->budget_len,
        .cancel = request->cancel,
    };
    struct chain_compare_result result;
    struct chain_view *theirs = NULL, *mine = NULL;

    if (!copying->plan.backing || is_source_backing(copying)) {
        return 0;
    }
    int r = chain_view_new(copying->source, 1, &theirs, err);
    if (r == 0) {
        r = chain_view_new(copying->plan.backing, 0, &mine, err);
    }
    if (r == 0) {
        r = chain_compare(theirs, mine, &options, &result, err);
    }
    if (r == 0 && result.verdict == CHAIN_UNPROVEN) {
        *err = result.why;
        r = -1;
    }
    if (r == 0 && result.verdict == CHAIN_DIFFERENT) {
        r = img_fail(err, IMG_USAGE,
                     "the backing file to be recorded shows other contents "
                     "than the source's: the first difference is at %llu",
                     (unsigned long long)result.first_difference);
        img_error_set_path(err, copying->plan.backing_path);
    }
    chain_view_free(theirs);
    chain_view_free(mine);
    return r;
}

static int plan_backing(struct chain_copying *copying, struct img_error *err)
{
    struct chain_create_request *dest = &copying->dest;
    const char *name = dest->backing_name;
    const char *format = dest->backing_format;
    enum chain_name_style_wish style = dest->style;
    IMG_AUTO(img_free_ptr) char *text = NULL;

    if (!copying->is_shallow) {
        return 0;
    }
    if (copying->plan.is_raw) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "a raw image has no backing file: a shallow copy is "
                        "qcow2");
    }
    if (!name) {
        text = backing_text(copying, err);
        if (!text) {
            return -1;
        }
        /* It is in the words that it is to be recorded in already. */
        dest->style = CHAIN_NAME_AS_GIVEN;
        copying->plan.is_name_made = true;
        name = text;
    }
    if (!format) {
        format = chain_layer_format(chain_layer_at(copying->source, 1));
    }
    int r = chain_plan_backing(&copying->plan, name, format, err);
    dest->style = style;
    return r == 0 ? check_backing(copying, err) : -1;
}

int chain_copy_check_compress(const struct chain_copying *copying,
                              struct img_error *err)
{
    if (!copying->request->compress) {
        return 0;
    }
    if (copying->plan.is_raw) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "a raw image cannot be compressed: expected qcow2");
    }
    if (copying->plan.qcow2.data_file_name) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "what lies in an external data file cannot be "
                        "compressed");
    }
    return 0;
}

/* Who wants no holes, not even where the source has some, gets none. */
static void allocate_all(struct chain_copying *copying)
{
    const struct chain_copy_request *request = copying->request;
    struct qcow2_create_options *options = &copying->plan.qcow2;

    if (request->sparse_len == 0 && !request->compress &&
        !copying->is_shallow && options->prealloc < QCOW2_PREALLOC_FALLOC) {
        options->prealloc = QCOW2_PREALLOC_FALLOC;
    }
}

int chain_copy_plan_new(struct chain_copying *copying, struct img_error *err)
{
    struct chain_create_plan *plan = &copying->plan;

    if (check_options(copying, err) != 0 ||
        chain_plan_begin(&copying->dest, plan, err) != 0) {
        return -1;
    }
    plan->qcow2.virtual_len = chain_virtual_len(copying->source);
    plan->has_size = true;
    inherit(copying);
    allocate_all(copying);
    if (plan_backing(copying, err) != 0 || chain_plan_finish(plan, err) != 0 ||
        chain_copy_check_compress(copying, err) != 0) {
        return -1;
    }
    /* What it names is open, and locked, as part of the source's chain; where
       it is not, it is no file of ours. */
    chain_free(img_steal(&plan->backing));
    return plan->data_file_path
               ? chain_copy_check_apart(copying, plan->data_file_path, err)
               : 0;
}

/* ---- Space. */

/* Is there a zero block among some that are spread over the data? Then nobody
   knows how much the copy will really take. */
static int has_zero_samples(struct chain_copying *copying, bool *out,
                            struct img_error *err)
{
    uint64_t end = chain_view_len(copying->view);
    uint64_t step = img_max(end / SAMPLES_NR, SAMPLE_LEN);
    uint8_t bytes[SAMPLE_LEN];

    *out = false;
    for (uint64_t off = 0; off < end && !*out;) {
        struct chain_extent extent;
        if (chain_view_at(copying->view, off, end - off, &extent, err) != 0) {
            return -1;
        }
        if (extent.e.kind == IMG_EXTENT_ZERO) {
            off += extent.e.len;
            continue;
        }
        size_t len = img_min(extent.e.len, SAMPLE_LEN);
        if (chain_view_read(copying->view, bytes, len, off, err) != 0) {
            return -1;
        }
        *out = chain_diff_is_zero(bytes, len);
        off += step;
    }
    return 0;
}

static bool is_without_sharing(const struct img_file *file)
{
    uint64_t base;
    struct statfs fs;

    return fstatfs(img_file_fd(file, &base), &fs) == 0 &&
           chain_place_is_without_sharing(&fs);
}

/* Blocks that are shared with the source take no space. */
static bool may_share(const struct chain_copying *copying)
{
    struct img_stamp source, dest;
    struct img_error ignored;
    const struct img_file *file = copying->creation.data_file
                                      ? copying->creation.data_file
                                      : copying->creation.file;

    if (copying->request->no_share || copying->request->compress || !file ||
        img_file_stamp(file, &dest, &ignored) != 0 ||
        is_without_sharing(file)) {
        return false;
    }
    for (size_t i = 0; i < chain_depth(copying->source); i++) {
        const struct chain_layer *layer = chain_layer_at(copying->source, i);
        if (img_file_stamp(chain_layer_file(layer), &source, &ignored) == 0 &&
            source.dev == dest.dev) {
            return true;
        }
    }
    return false;
}

static uint64_t needed_len(const struct chain_copying *copying)
{
    const struct chain_create_plan *plan = &copying->plan;
    uint64_t data_len = copying->survey.clusters_len;

    if (plan->is_raw) {
        return img_max(data_len, chain_plan_needed_len(plan));
    }
    uint64_t len = qcow2_fresh_measure(&plan->qcow2, data_len);
    return img_max(plan->data_file_path ? len + data_len : len,
                   chain_plan_needed_len(plan));
}

int chain_copy_check_space(struct chain_copying *copying, uint64_t space_left,
                           uint64_t held_len, struct img_error *err)
{
    struct chain_copy_result *result = copying->result;
    char needed[IMG_SIZE_TEXT_LEN], left[IMG_SIZE_TEXT_LEN];
    bool is_less = copying->request->compress || may_share(copying);

    result->needed_len = needed_len(copying);
    result->space_left = space_left;
    if (space_left == UINT64_MAX || result->needed_len <= space_left ||
        result->needed_len - space_left <= held_len) {
        return 0;
    }
    /* It is a bound; is it met? */
    if (!is_less && copying->request->sparse_len > 0 &&
        has_zero_samples(copying, &is_less, err) != 0) {
        return -1;
    }
    if (is_less) {
        return 0;
    }
    img_fail(err, IMG_SYSTEM,
             "there is not enough space for it: found %s, expected %s",
             img_size_exact(space_left + held_len, left),
             img_size_exact(result->needed_len, needed));
    err->sys_errno = ENOSPC;
    img_error_set_path(err, copying->dest.path);
    return -1;
}
