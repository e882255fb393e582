/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Planning a new image: see create_plan.h.
 *
 * The backing file is looked at through the very text that will be recorded,
 * from the folder that the new image will stand in: what opens here is what
 * QEMU will open.
 */
#include "create_plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <chain/formats.h>
#include <chain/name.h>
#include <img/checked.h>
#include <img/image.h>
#include <img/memory.h>
#include <qcow2/fresh.h>

#include "place.h"

#define SECTOR_LEN 512u
#define SHOWN_LEN 512u

static const char *shown(const char *text, char buf[SHOWN_LEN])
{
    img_escape(text, strlen(text), buf, SHOWN_LEN);
    return buf;
}

static char *copy(const char *text, struct img_error *err)
{
    return img_strndup(text, strlen(text), err);
}

int chain_plan_check_apart(const char *path, const struct chain *chain,
                           const struct img_roots *roots, struct img_error *err)
{
    struct img_stamp own;
    char buf[SHOWN_LEN];

    if (img_path_stamp(path, roots, &own, err) < 0) {
        if (err->code == IMG_NOT_FOUND) {
            return 0;
        }
        img_error_set_path(err, path);
        return -1;
    }
    const struct img_file *file = chain_find_stamp(chain, &own, err);
    if (!file) {
        return err->code == IMG_OK ? 0 : -1;
    }
    img_fail(err, IMG_LOOP,
             "the new file would take the place of \"%s\", which its own "
             "chain needs",
             shown(img_file_path(file), buf));
    img_error_set_path(err, path);
    return -1;
}

/* A name that was not looked at may still be seen to be the new image's. */
static int check_not_itself(const struct chain_create_plan *plan,
                            struct img_error *err)
{
    const char *path = plan->request->path;
    const struct img_roots *roots = plan->request->roots;
    struct chain_place own, below;
    struct img_stamp a, b;
    struct img_error ignored;

    bool is_same =
        (chain_place_find(path, roots, &own, &ignored) == 0 &&
         chain_place_find(plan->backing_path, roots, &below, &ignored) == 0 &&
         chain_place_is_same(&own, &below)) ||
        (img_path_stamp(path, roots, &a, &ignored) == 0 &&
         img_path_stamp(plan->backing_path, roots, &b, &ignored) == 0 &&
         chain_stamp_is_same_file(&a, &b));
    if (is_same) {
        img_fail(err, IMG_LOOP, "the new image would be its own backing file");
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

/* The format must be said: what a file looks like is told, not taken. */
static int fail_undeclared(const struct chain_create_plan *plan,
                           const char *name, struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE,
                                             .roots = plan->request->roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    struct chain_probe probe;
    struct img_error ignored;
    char buf[SHOWN_LEN];

    if (plan->backing_path && !plan->request->unchecked_backing &&
        img_file_open(plan->backing_path, &options, &file, &ignored) == 0 &&
        chain_probe(file, &probe, &ignored) == 0) {
        img_fail(err, IMG_USAGE,
                 "the format of the backing file \"%s\" is not given: it "
                 "looks like %s (-F %s)",
                 shown(name, buf), probe.format->name, probe.format->name);
    } else {
        img_fail(err, IMG_USAGE,
                 "the format of the backing file \"%s\" is not given (-F)",
                 shown(name, buf));
    }
    img_error_set_path(err, plan->request->path);
    return -1;
}

static int check_format(const struct chain_create_plan *plan, const char *name,
                        const char *format, struct img_error *err)
{
    char buf[SHOWN_LEN];

    if (!format) {
        return fail_undeclared(plan, name, err);
    }
    if (!chain_format_find(format)) {
        img_fail(err, IMG_USAGE,
                 "the format of the backing file: \"%s\" is not known",
                 shown(format, buf));
        img_error_set_path(err, plan->request->path);
        return -1;
    }
    return 0;
}

/* Where NAME leads from the new image's folder. */
static int resolve(struct chain_create_plan *plan, const char *name,
                   struct img_error *err)
{
    const char *path = plan->request->path;
    struct chain_ref ref;
    int r = chain_name_parse(name, &ref, err);

    if (r < 0) {
        chain_ref_fini(&ref);
        img_error_set_path(err, path);
        /* As it stands, for others to read. */
        return plan->request->unchecked_backing && err->code != IMG_MEMORY ? 0
                                                                           : -1;
    }
    if (ref.path) {
        plan->backing_path = chain_ref_resolve(&ref, path, err);
        r = plan->backing_path ? 0 : -1;
    }
    chain_ref_fini(&ref);
    return r;
}

/* The text to record for what NAME leads to. */
static int restyle(struct chain_create_plan *plan, const char *name,
                   struct img_error *err)
{
    const struct chain_create_request *request = plan->request;
    struct chain_ref ref = {0};

    if (request->style == CHAIN_NAME_AS_GIVEN) {
        plan->backing_name = copy(name, err);
        return plan->backing_name ? 0 : -1;
    }
    int r = chain_name_parse(name, &ref, err);
    bool is_part = ref.has_slice || ref.is_backing_null || ref.backing;
    chain_ref_fini(&ref);
    if (r < 0) {
        return -1;
    }
    if (!plan->backing_path || is_part) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "the backing file is not named by a path alone: its "
                        "name can only be recorded as it is given");
    }
    plan->backing_name =
        request->style == CHAIN_MAKE_RELATIVE
            ? chain_name_relative(request->path, plan->backing_path, err)
            : chain_name_absolute(plan->backing_path, err);
    return plan->backing_name ? 0 : -1;
}

/* A name that was made relative may leave a root where the file does not. */
static void advise_absolute(const struct chain_create_plan *plan,
                            const char *name, struct img_error *err)
{
    struct img_error said = *err;

    if (err->code == IMG_DENIED && plan->request->roots && plan->is_name_made &&
        name[0] != '/') {
        img_fail(err, said.code,
                 "%.400s, by the relative name that leads there; --absolute "
                 "records one that leaves none",
                 said.text);
        err->sys_errno = said.sys_errno;
        img_error_set_path(err, said.path);
    }
}

static int open_backing(struct chain_create_plan *plan, const char *name,
                        struct img_error *err)
{
    const struct chain_create_request *request = plan->request;
    struct chain_options options;
    bool is_json = strncmp(name, "json:", 5) == 0;
    const char *operand = is_json ? name : plan->backing_path;
    IMG_AUTO(img_free_ptr) char *plain = NULL;

    if (!operand) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "the backing file is no local file");
    }
    if (!is_json && operand[strcspn(operand, ":/")] == ':') {
        /* A path is a path here, whatever it begins with. */
        plain = img_text(err, "./%s", operand);
        if (!plain) {
            return -1;
        }
        operand = plain;
    }
    chain_options_init(&options);
    options.format = plan->backing_format;
    options.force_share = request->force_share;
    options.allow_probe = request->allow_probe;
    options.roots = request->roots;
    if (chain_open(operand, &options, &plan->backing, err) < 0) {
        advise_absolute(plan, name, err);
        return -1;
    }
    if (chain_depth(plan->backing) >= CHAIN_MAX_DEPTH) {
        img_fail(err, IMG_LIMIT,
                 "the chain would have %zu layers: expected at most %u",
                 chain_depth(plan->backing) + 1, CHAIN_MAX_DEPTH);
        img_error_set_path(err, request->path);
        return -1;
    }
    return chain_plan_check_apart(request->path, plan->backing, request->roots,
                                  err);
}

int chain_plan_backing(struct chain_create_plan *plan, const char *name,
                       const char *format, struct img_error *err)
{
    const struct chain_create_request *request = plan->request;

    if (name[0] == '\0') {
        return img_fail(err, IMG_USAGE,
                        "the name of the backing file is empty");
    }
    if (plan->is_raw) {
        return img_fail(err, IMG_USAGE, "a raw image has no backing file");
    }
    if (resolve(plan, name, err) < 0 ||
        check_format(plan, name, format, err) < 0) {
        return -1;
    }
    plan->backing_format = copy(format, err);
    if (!plan->backing_format ||
        (plan->backing_path && check_not_itself(plan, err) < 0) ||
        (!request->unchecked_backing && open_backing(plan, name, err) < 0) ||
        restyle(plan, name, err) < 0) {
        img_error_set_path(err, request->path);
        return -1;
    }
    plan->qcow2.backing_name = plan->backing_name;
    plan->qcow2.backing_format = plan->backing_format;
    return 0;
}

/* -b and -F go before the options of these names. */
static int plan_backing(struct chain_create_plan *plan, struct img_error *err)
{
    const struct chain_create_request *request = plan->request;
    const char *name = request->backing_name ? request->backing_name
                                             : plan->qcow2.backing_name;
    const char *format = request->backing_format ? request->backing_format
                                                 : plan->qcow2.backing_format;

    if (name) {
        return chain_plan_backing(plan, name, format, err);
    }
    return format ? img_fail(err, IMG_USAGE,
                             "a backing format (%s) is given, but no backing "
                             "file",
                             chain_format_find(format) ? format : "-F")
                  : 0;
}

static int plan_size(struct chain_create_plan *plan, struct img_error *err)
{
    const struct chain_create_request *request = plan->request;

    if (request->has_size && plan->has_size) {
        return img_fail(err, IMG_USAGE,
                        "the size is given twice, as SIZE and among the "
                        "options");
    }
    if (request->has_size) {
        if (request->size > QCOW2_MAX_VIRTUAL_LEN) {
            return img_fail(err, IMG_USAGE,
                            "the size is %" PRIu64
                            " bytes: expected less than 8 EiB",
                            request->size);
        }
        plan->qcow2.virtual_len = img_align_up(request->size, SECTOR_LEN);
    } else if (!plan->has_size && plan->backing) {
        plan->qcow2.virtual_len = chain_virtual_len(plan->backing);
    } else if (!plan->has_size) {
        return img_fail(err, IMG_USAGE,
                        "no size is given, and no backing file tells one");
    }
    return 0;
}

/* The data file stands where readers look for it: by the image. */
static int plan_data_file(struct chain_create_plan *plan, struct img_error *err)
{
    const char *name = plan->qcow2.data_file_name;
    const char *from = plan->request->path;
    const struct img_roots *roots = plan->request->roots;
    struct chain_place image, data;
    struct img_stamp a, b;
    struct img_error ignored;

    if (!name) {
        return 0;
    }
    plan->data_file_path = chain_name_join(from, name, err);
    if (!plan->data_file_path ||
        chain_place_find(from, roots, &image, err) < 0 ||
        chain_place_find(plan->data_file_path, roots, &data, err) < 0) {
        return -1;
    }
    if (chain_place_is_same(&image, &data) ||
        (img_path_stamp(from, roots, &a, &ignored) == 0 &&
         img_path_stamp(plan->data_file_path, roots, &b, &ignored) == 0 &&
         chain_stamp_is_same_file(&a, &b))) {
        return img_fail(err, IMG_LOOP,
                        "the image and its data file would be one file");
    }
    return plan->backing ? chain_plan_check_apart(plan->data_file_path,
                                                  plan->backing, roots, err)
                         : 0;
}

int chain_plan_finish(struct chain_create_plan *plan, struct img_error *err)
{
    if (plan_size(plan, err) < 0 ||
        (!plan->is_raw && qcow2_create_options_check(&plan->qcow2, err) < 0) ||
        plan_data_file(plan, err) < 0) {
        img_error_set_path(err, plan->request->path);
        return -1;
    }
    return 0;
}

int chain_plan_make(const struct chain_create_request *request,
                    struct chain_create_plan *out, struct img_error *err)
{
    if (chain_plan_begin(request, out, err) < 0 || plan_backing(out, err) < 0 ||
        chain_plan_finish(out, err) < 0) {
        img_error_set_path(err, request->path);
        return -1;
    }
    return 0;
}

void chain_plan_fini(struct chain_create_plan *plan)
{
    chain_free(plan->backing);
    free(plan->backing_name);
    free(plan->backing_path);
    free(plan->backing_format);
    free(plan->data_file_path);
    *plan = (struct chain_create_plan){0};
}

uint64_t chain_plan_needed_len(const struct chain_create_plan *plan)
{
    bool is_reserved = plan->qcow2.prealloc == QCOW2_PREALLOC_FALLOC ||
                       plan->qcow2.prealloc == QCOW2_PREALLOC_FULL;
    uint64_t data_len = is_reserved ? plan->qcow2.virtual_len : 0;

    if (plan->is_raw) {
        return data_len;
    }
    uint64_t len = qcow2_fresh_measure(&plan->qcow2, data_len);
    /* Metadata only: the data's places stay holes. */
    return plan->qcow2.prealloc == QCOW2_PREALLOC_METADATA
               ? len - img_min(len, plan->qcow2.virtual_len)
               : len;
}

static int copy_to(char **out, const char *text, struct img_error *err)
{
    *out = text ? copy(text, err) : NULL;
    return text && !*out ? -1 : 0;
}

int chain_plan_describe(const struct chain_create_plan *plan,
                        struct chain_made *out, struct img_error *err)
{
    static const char *const preallocs[] = {
        [QCOW2_PREALLOC_OFF] = "off",
        [QCOW2_PREALLOC_METADATA] = "metadata",
        [QCOW2_PREALLOC_FALLOC] = "falloc",
        [QCOW2_PREALLOC_FULL] = "full",
    };
    const struct qcow2_create_options *options = &plan->qcow2;

    *out = (struct chain_made){
        .format = plan->is_raw ? "raw" : "qcow2",
        .virtual_len = options->virtual_len,
        .prealloc = preallocs[options->prealloc],
    };
    if (!plan->is_raw) {
        out->version = options->version;
        out->cluster_len = options->cluster_len;
        out->refcount_bits = options->refcount_bits;
        out->lazy_refcounts = options->lazy_refcounts;
        out->extended_l2 = options->extended_l2;
        out->data_file_raw = options->data_file_raw;
        out->compression =
            options->compression == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib";
    }
    if (copy_to(&out->path, plan->request->path, err) < 0 ||
        copy_to(&out->backing_name, options->backing_name, err) < 0 ||
        copy_to(&out->backing_format, options->backing_format, err) < 0 ||
        copy_to(&out->data_file_name, options->data_file_name, err) < 0) {
        chain_made_fini(out);
        return -1;
    }
    return 0;
}

void chain_made_fini(struct chain_made *made)
{
    free(made->path);
    free(made->backing_name);
    free(made->backing_format);
    free(made->data_file_name);
    *made = (struct chain_made){0};
}
