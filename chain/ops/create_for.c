/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images for an operation: see create_for.h.
 *
 * The image is judged where it is, without a name or under a temporary one,
 * as the file of the name that it is to have: validate reads the descriptor
 * and resolves what the header records from the path as it is spelled.
 */
#include "create_for.h"

#include <string.h>

#include <chain/name.h>
#include <img/image.h>
#include <img/memory.h>
#include <qcow2/geometry.h>
#include <qcow2/image.h>

static int open_source(struct chain_job *job, struct img_error *err)
{
    struct chain_options options;

    chain_options_init(&options);
    options.format = job->purpose.active_format;
    options.force_share = job->request.force_share;
    options.allow_probe = job->request.allow_probe;
    options.max_depth = job->purpose.max_depth;
    options.roots = job->request.roots;
    return chain_open(job->purpose.active, &options, &job->source, err);
}

/* The layer that the new image is to stand on; NULL: on none. */
static const struct chain_layer *backing_layer(const struct chain_job *job)
{
    switch (job->purpose.operation) {
    case CHAIN_OP_SNAPSHOT:
        return chain_layer_at(job->source, 0);
    case CHAIN_OP_SHALLOW_COPY:
        return chain_depth(job->source) > 1 ? chain_layer_at(job->source, 1)
                                            : NULL;
    case CHAIN_OP_COPY:
        break;
    }
    return NULL;
}

/* Size and backing file follow from the active layer. */
static int check_options(const struct chain_job *job, struct img_error *err)
{
    static const char *const fixed[] = {"size", "backing_file", "backing_fmt"};

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (chain_plan_mentions(&job->request, fixed[i])) {
            return img_fail(err, IMG_USAGE,
                            "option: found \"%s\", which follows from the "
                            "active layer and cannot be given",
                            fixed[i]);
        }
    }
    return 0;
}

static int check_raw(const struct chain_job *job, struct img_error *err)
{
    if (!job->plan.is_raw || !backing_layer(job)) {
        return 0;
    }
    return job->purpose.operation == CHAIN_OP_SNAPSHOT
               ? img_fail(err, IMG_USAGE,
                          "an overlay cannot be raw: expected qcow2")
               : img_fail(err, IMG_UNSUPPORTED,
                          "the raw target of a shallow copy has to hold what "
                          "the backing file shows: make it with copy");
}

/* What the source's kind is, as far as the request leaves it open. */
static void inherit(struct chain_job *job)
{
    const struct chain_create_request *request = &job->request;
    struct qcow2_create_options *options = &job->plan.qcow2;
    const struct chain_layer *top = chain_layer_at(job->source, 0);
    const struct qcow2_header *header =
        qcow2_image_header(chain_layer_image(top));

    if (!header) {
        return;
    }
    if (!chain_plan_mentions(request, "cluster_size")) {
        options->cluster_len = header->cluster_len;
    }
    if (options->version < 3) {
        return;
    }
    if (!chain_plan_mentions(request, "extended_l2")) {
        options->extended_l2 =
            header->has_extended_l2 &&
            options->cluster_len >= 1u << QCOW2_MIN_SUBCLUSTER_CLUSTER_BITS;
    }
    if (!chain_plan_mentions(request, "compression_type")) {
        options->compression = (enum qcow2_compression)header->compression;
    }
}

/* LAYER's file by a name that leads to it from the new image's folder. */
static char *backing_text(struct chain_job *job,
                          const struct chain_layer *layer,
                          struct img_error *err)
{
    const char *given = job->purpose.backing_text;
    const char *path = chain_layer_path(layer);
    const struct chain_ref *ref = chain_layer_ref(layer);

    if (given) {
        return img_strndup(given, strlen(given), err);
    }
    if (ref->has_slice || ref->is_backing_null || ref->backing) {
        img_fail(err, IMG_UNSUPPORTED,
                 "no plain name can be recorded for it: it is named by a "
                 "json: that says more than a path");
        img_error_set_path(err, path);
        return NULL;
    }
    /* A device stays where it is when images are moved together. */
    job->is_absolute =
        job->request.style == CHAIN_MAKE_ABSOLUTE ||
        (job->request.style == CHAIN_NAME_AS_GIVEN &&
         img_file_kind(chain_layer_file(layer)) == IMG_FILE_BLOCK);
    return job->is_absolute ? chain_name_absolute(path, err)
                            : chain_name_relative(job->request.path, path, err);
}

static int plan_backing(struct chain_job *job, struct img_error *err)
{
    const struct chain_layer *layer = backing_layer(job);

    if (!layer) {
        return 0;
    }
    IMG_AUTO(img_free_ptr) char *name = backing_text(job, layer, err);
    /* It is in the words that it is to be recorded in already. */
    enum chain_name_style_wish style = job->request.style;
    job->request.style = CHAIN_NAME_AS_GIVEN;
    job->plan.is_name_made = !job->purpose.backing_text;
    int r = name ? chain_plan_backing(&job->plan, name,
                                      chain_layer_format(layer), err)
                 : -1;
    job->request.style = style;
    return r;
}

int chain_job_plan(struct chain_job *job, const struct chain_purpose *purpose,
                   const struct chain_create_request *request,
                   struct img_error *err)
{
    job->purpose = *purpose;
    job->request = *request;
    job->request.has_size = false;
    job->request.backing_name = NULL;
    job->request.backing_format = NULL;
    job->request.unchecked_backing = false;
    if (!job->request.format) {
        job->request.format = "qcow2";
    }
    if ((!job->source && open_source(job, err) < 0) ||
        chain_plan_check_apart(request->path, job->source, request->roots,
                               err) < 0) {
        return -1;
    }
    if (check_options(job, err) < 0 ||
        chain_plan_begin(&job->request, &job->plan, err) < 0 ||
        check_raw(job, err) < 0) {
        img_error_set_path(err, request->path);
        return -1;
    }
    job->plan.qcow2.virtual_len = chain_virtual_len(job->source);
    job->plan.has_size = true;
    if (!job->plan.is_raw) {
        inherit(job);
    }
    if (plan_backing(job, err) < 0 || chain_plan_finish(&job->plan, err) < 0) {
        img_error_set_path(err, request->path);
        return -1;
    }
    /* The source keeps the same files open, and locked. */
    chain_free(img_steal(&job->plan.backing));
    return 0;
}

static int judge(struct chain_job *job, struct img_error *err)
{
    const struct chain_create_request *request = &job->request;
    uint64_t base;
    struct chain_validate_request question = {
        .operation = job->purpose.operation,
        .source = job->purpose.active,
        .source_format = job->purpose.active_format,
        .dest = request->path,
        .dest_format = request->format,
        .dest_fd = img_file_fd(job->creation.file, &base),
        .backing_name = job->purpose.backing_text,
        .force_share = request->force_share,
        .allow_probe = request->allow_probe,
        .roots = request->roots,
        .max_depth = job->purpose.max_depth,
        .compare = {.engine = job->purpose.engine, .cancel = request->cancel},
    };

    if (!job->purpose.backing_text) {
        question.require =
            job->is_absolute ? CHAIN_REQUIRE_ABSOLUTE : CHAIN_REQUIRE_RELATIVE;
    }
    return chain_validate(&question, &job->report, err);
}

int chain_job_write(struct chain_job *job, enum chain_creation_kind kind,
                    struct img_error *err)
{
    enum qcow2_prealloc prealloc = job->plan.qcow2.prealloc;

    job->kind = kind;
    if (kind == CHAIN_CREATION_SCRATCH) {
        job->plan.qcow2.prealloc = QCOW2_PREALLOC_OFF;
    }
    int r = chain_creation_write(&job->plan, kind, &job->creation, err);
    job->plan.qcow2.prealloc = prealloc;
    return r < 0 ? -1 : judge(job, err);
}

static int fail_check(const struct chain_check *check, struct img_error *err)
{
    img_fail(err, IMG_USAGE, "%s: %s%s%s%s%s", check->id,
             check->message ? check->message : "not judged",
             check->found ? ": found " : "", check->found ? check->found : "",
             check->expected ? ", expected " : "",
             check->expected ? check->expected : "");
    img_error_set_path(err, check->image ? check->image : "");
    return -1;
}

static bool is_refusal(const struct chain_job *job,
                       const struct chain_check *check)
{
    switch (check->result) {
    case CHAIN_CHECK_FAIL:
        return job->kind != CHAIN_CREATION_SCRATCH ||
               strcmp(check->id, "space-enough") != 0;
    case CHAIN_CHECK_UNPROVEN:
        return !job->request.force_share ||
               strcmp(check->id, "stable-source") != 0;
    case CHAIN_CHECK_PASS:
    case CHAIN_CHECK_WARN:
    case CHAIN_CHECK_SKIP:
        break;
    }
    return false;
}

const struct chain_check *chain_job_refusal(const struct chain_job *job)
{
    for (size_t i = 0; i < chain_report_len(job->report); i++) {
        const struct chain_check *check = chain_report_at(job->report, i);
        if (is_refusal(job, check)) {
            return check;
        }
    }
    return NULL;
}

int chain_job_check_accepted(const struct chain_job *job, struct img_error *err)
{
    const struct chain_check *check = chain_job_refusal(job);

    return check ? fail_check(check, err) : 0;
}

void chain_job_fini(struct chain_job *job)
{
    chain_creation_fini(&job->creation);
    chain_plan_fini(&job->plan);
    chain_free(job->source);
    chain_report_free(job->report);
    *job = (struct chain_job){0};
}
