/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A destination that is there already: see copy_impl.h.
 *
 * It is opened once, for writing and with a writer's locks; it is judged, read
 * and written through that one descriptor. A qcow2 image is changed in place;
 * only for what the in-place writer cannot make, compressed clusters and new
 * bitmaps, it is made anew in its file, with the options that its header says.
 */
#include "copy_impl.h"

#include <string.h>

#include <chain/name.h>
#include <img/memory.h>
#include <qcow2/image.h>

static int open_for_writing(const struct chain_copying *copying,
                            const char *path, struct img_file **out,
                            struct img_error *err)
{
    const struct img_open_options options = {
        .lock = IMG_LOCK_WRITER,
        .writable = true,
        .direct = chain_copy_wants_direct(copying),
        .roots = copying->dest.roots,
    };

    return img_file_open(path, &options, out, err);
}

static void tell_checked(void *opaque, uint64_t done, uint64_t total)
{
    const struct chain_copying *copying = opaque;
    const struct chain_copy_request *request = copying->request;

    if (request->progress) {
        request->progress(request->opaque, CHAIN_PHASE_CHECK, done, total);
    }
}

/* The first check that keeps the destination from being used; NULL: none.
   That a guest may write to a source that it shares is known. */
static const struct chain_check *find_refusal(const struct chain_report *report,
                                              bool force_share)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);
        if (check->result == CHAIN_CHECK_FAIL ||
            (check->result == CHAIN_CHECK_UNPROVEN &&
             !(force_share && strcmp(check->id, "stable-source") == 0))) {
            return check;
        }
    }
    return NULL;
}

static int judge(struct chain_copying *copying, struct img_error *err)
{
    const struct chain_copy_request *request = copying->request;
    uint64_t base;
    struct chain_validate_request question = {
        .operation = request->shallow ? CHAIN_OP_SHALLOW_COPY : CHAIN_OP_COPY,
        .source = request->source,
        .source_format = request->source_format,
        .dest = copying->dest.path,
        .dest_format = copying->dest.format,
        .dest_fd = img_file_fd(copying->creation.file, &base),
        .backing_name = copying->dest.backing_name,
        .allow_data_file = true,
        .target_is_zero = request->target_is_zero,
        .force_share = request->force_share,
        .allow_probe = request->allow_probe,
        .roots = copying->dest.roots,
        .max_depth = request->max_depth,
        .compare = {.engine = request->engine,
                    .threads = request->threads,
                    .budget_len = request->budget_len,
                    .cancel = request->cancel,
                    .progress = tell_checked,
                    .opaque = copying},
    };
    struct chain_report *report;

    if (chain_validate(&question, &report, err) != 0) {
        return -1;
    }
    const struct chain_check *check =
        find_refusal(report, request->force_share);
    if (!check) {
        chain_report_free(report);
        return 0;
    }
    copying->result->report = report;
    img_fail(err, IMG_USAGE, "%s: %s%s%s%s%s", check->id,
             check->message ? check->message : "could not be judged",
             check->found ? ": found " : "", check->found ? check->found : "",
             check->expected ? ", expected " : "",
             check->expected ? check->expected : "");
    img_error_set_path(err, check->image ? check->image : copying->dest.path);
    return -1;
}

static int copy_text(char **out, const char *text, struct img_error *err)
{
    *out = text ? img_strndup(text, strlen(text), err) : NULL;
    return text && !*out ? -1 : 0;
}

/* The options by which IMAGE would be made as it is. */
static int plan_as(struct chain_copying *copying, const struct img_image *image,
                   struct img_error *err)
{
    const struct qcow2_header *header = qcow2_image_header(image);
    struct chain_create_plan *plan = &copying->plan;
    struct qcow2_create_options *options = &plan->qcow2;

    plan->has_size = true;
    options->virtual_len = image->virtual_len;
    if (!header) {
        plan->is_raw = true;
        return 0;
    }
    options->version = header->version;
    options->cluster_len = header->cluster_len;
    options->refcount_bits = 1u << header->refcount_order;
    options->lazy_refcounts =
        (header->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS) != 0;
    options->extended_l2 = header->has_extended_l2;
    options->compression = (enum qcow2_compression)header->compression;
    options->data_file_raw =
        (header->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) != 0;
    if (copy_text(&plan->backing_name, image->backing_name, err) != 0 ||
        copy_text(&plan->backing_format, image->backing_format, err) != 0 ||
        copy_text(&copying->data_file_name, image->data_file_name, err) != 0) {
        return -1;
    }
    options->backing_name = plan->backing_name;
    options->backing_format = plan->backing_format;
    options->data_file_name = copying->data_file_name;
    if (image->data_file) {
        return copy_text(&plan->data_file_path, img_file_path(image->data_file),
                         err);
    }
    return 0;
}

static int find_blank(struct chain_copying *copying, struct img_image *image,
                      struct img_error *err)
{
    struct qcow2_usage usage;

    if (!qcow2_image_header(image)) {
        return 0;
    }
    if (qcow2_image_usage(image, &usage, err) != 0) {
        return -1;
    }
    copying->is_blank = usage.data_clusters == 0 && usage.zero_clusters == 0 &&
                        usage.compressed_clusters == 0;
    return 0;
}

/* Read what the destination is; nothing of it stays open but its file. */
static int read_existing(struct chain_copying *copying, struct img_error *err)
{
    struct chain_options options;
    struct chain *chain = NULL;

    chain_options_init(&options);
    options.format = copying->dest.format;
    options.file = copying->creation.file;
    options.force_share = copying->request->force_share;
    options.allow_probe = copying->request->allow_probe;
    options.max_depth = copying->request->max_depth;
    options.roots = copying->dest.roots;
    if (chain_open(copying->dest.path, &options, &chain, err) != 0) {
        return -1;
    }
    const struct chain_layer *layer = chain_layer_at(chain, 0);
    const char *format = chain_layer_format(layer);
    int r = 0;
    if (strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0) {
        r = img_fail(err, IMG_UNSUPPORTED,
                     "images of format %s cannot be written: expected qcow2 "
                     "or raw",
                     format);
    }
    if (r == 0) {
        r = plan_as(copying, chain_layer_image(layer), err);
    }
    if (r == 0) {
        r = find_blank(copying, chain_layer_image(layer), err);
    }
    chain_free(chain);
    return r;
}

static int check_request(const struct chain_copying *copying,
                         struct img_error *err)
{
    const struct chain_create_plan *plan = &copying->plan;
    uint64_t want = chain_virtual_len(copying->source);

    if (chain_copy_check_compress(copying, err) != 0) {
        return -1;
    }
    if (copying->is_shallow && plan->is_raw) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "a raw image has no backing file: a shallow copy is "
                        "qcow2");
    }
    if (copying->is_shallow && !copying->is_edited && !copying->is_blank) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "compressed clusters and bitmaps cannot be added to "
                        "what an existing shallow copy holds");
    }
    if (plan->is_raw ? plan->qcow2.virtual_len < want
                     : plan->qcow2.virtual_len != want) {
        return img_fail(err, IMG_USAGE,
                        "its virtual size is %llu bytes: expected the source's "
                        "%llu",
                        (unsigned long long)plan->qcow2.virtual_len,
                        (unsigned long long)want);
    }
    return 0;
}

int chain_copy_open_existing(struct chain_copying *copying,
                             struct img_error *err)
{
    struct chain_creation *creation = &copying->creation;
    const char *path = copying->dest.path;

    copying->is_existing = true;
    copying->plan.request = &copying->dest;
    qcow2_create_options_init(&copying->plan.qcow2);
    if (open_for_writing(copying, path, &creation->file, err) != 0 ||
        judge(copying, err) != 0 || read_existing(copying, err) != 0) {
        img_error_set_path(err, path);
        return -1;
    }
    copying->is_edited = !copying->plan.is_raw && !copying->request->compress &&
                         !copying->request->bitmaps;
    if (check_request(copying, err) != 0 ||
        (copying->plan.data_file_path &&
         open_for_writing(copying, copying->plan.data_file_path,
                          &creation->data_file, err) != 0)) {
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}
