/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other options for an existing image, as qemu-img amend sets them. Other than
 * that program, it lets the backing file be recorded anew as well.
 *
 * Everything is checked before anything is written. Then each option is a step
 * of its own that is atomic: after a crash some are set and some are not.
 */
#include <chain/amend.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/formats.h>
#include <img/memory.h>

#include "change_target.h"
#include "overlay.h"

#define NAME_LEN 64u

/* What the words of -o say; each counts as it is given last. */
struct wish {
    struct qcow2_create_options values;
    bool has_version, has_lazy, has_bits, has_raw, has_size;
    bool has_backing_name, has_backing_format, has_data_file;
};

static bool *wish_flag(struct wish *wish, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } known[] = {
        {"compat", &wish->has_version},
        {"lazy_refcounts", &wish->has_lazy},
        {"refcount_bits", &wish->has_bits},
        {"data_file_raw", &wish->has_raw},
        {"size", &wish->has_size},
        {"backing_file", &wish->has_backing_name},
        {"backing_fmt", &wish->has_backing_format},
        {"data_file", &wish->has_data_file},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(name, known[i].name) == 0) {
            return known[i].flag;
        }
    }
    return NULL;
}

/* An option of new images, or none at all? */
static int fail_name(const char *name, struct img_error *err)
{
    static const char *const creation_only[] = {
        "cluster_size",     "preallocation", "encryption",      "extended_l2",
        "compression_type", "nocow",         "extent_size_hint"};
    char shown[NAME_LEN];
    bool is_known = strncmp(name, "encrypt.", 8) == 0;

    for (size_t i = 0; i < sizeof(creation_only) / sizeof(creation_only[0]);
         i++) {
        is_known |= strcmp(name, creation_only[i]) == 0;
    }
    img_escape(name, strlen(name), shown, sizeof(shown));
    return img_fail(err, IMG_USAGE,
                    is_known
                        ? "option: found \"%s\", which is only for new images;"
                          " expected compat, lazy_refcounts, refcount_bits,"
                          " backing_file, backing_fmt, data_file,"
                          " data_file_raw or size"
                        : "option: found \"%s\", which is unknown; expected"
                          " compat, lazy_refcounts, refcount_bits,"
                          " backing_file, backing_fmt, data_file,"
                          " data_file_raw or size",
                    shown);
}

/* An empty name is none: is the option one, then it is cleared. */
static bool clear_name(struct wish *wish, const bool *flag)
{
    if (flag == &wish->has_backing_name) {
        wish->values.backing_name = NULL;
    } else if (flag == &wish->has_backing_format) {
        wish->values.backing_format = NULL;
    } else if (flag == &wish->has_data_file) {
        wish->values.data_file_name = NULL;
    } else {
        return false;
    }
    return true;
}

/* "NAME=VALUE"; a NAME alone is switched on. */
static int parse_word(struct wish *wish, const char *word,
                      struct img_error *err)
{
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    char name[NAME_LEN];
    bool *flag;

    if (len == 0 || len >= sizeof(name)) {
        return fail_name(word, err);
    }
    memcpy(name, word, len);
    name[len] = '\0';
    flag = wish_flag(wish, name);
    if (!flag) {
        return fail_name(name, err);
    }
    *flag = true;
    if (equals && equals[1] == '\0' && clear_name(wish, flag)) {
        return 0;
    }
    if (qcow2_create_options_set(&wish->values, name,
                                 equals ? equals + 1 : "on", err) < 0) {
        return -1;
    }
    return wish->has_bits && wish->values.refcount_bits == 0
               ? img_fail(err, IMG_USAGE,
                          "refcount_bits: found 0, expected a power of two"
                          " from 1 to 64")
               : 0;
}

static int parse(const struct chain_amend_request *request, struct wish *out,
                 struct img_error *err)
{
    *out = (struct wish){0};
    qcow2_create_options_init(&out->values);
    if (request->options_nr == 0) {
        return img_fail(err, IMG_USAGE,
                        "options: found none, expected at least one (-o)");
    }
    for (size_t i = 0; i < request->options_nr; i++) {
        if (parse_word(out, request->options[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

static void to_amend_options(const struct wish *wish,
                             const struct chain_amend_request *request,
                             struct qcow2_amend_options *out)
{
    const struct qcow2_create_options *v = &wish->values;

    *out = (struct qcow2_amend_options){
        .version = wish->has_version ? v->version : 0,
        .refcount_bits = wish->has_bits ? v->refcount_bits : 0,
        .lazy_refcounts = wish->has_lazy ? v->lazy_refcounts : -1,
        .data_file_raw = wish->has_raw ? v->data_file_raw : -1,
        .progress = request->progress,
        .opaque = request->opaque,
    };
}

/* What the header is to record of the backing file. */
struct backing {
    const char *name, *format; /* NULL: none */
    bool is_changed;
    char *own_name, *own_format; /* copies that name and format are */
};

/* What was borrowed of the edit is gone with the header's next change. */
static int backing_own(struct backing *b, struct img_error *err)
{
    if (b->name) {
        b->own_name = img_strndup(b->name, strlen(b->name), err);
        b->name = b->own_name;
        if (!b->name) {
            return -1;
        }
    }
    if (b->format) {
        b->own_format = img_strndup(b->format, strlen(b->format), err);
        b->format = b->own_format;
        if (!b->format) {
            return -1;
        }
    }
    return 0;
}

static void backing_fini(struct backing *b)
{
    free(b->own_name);
    free(b->own_format);
}

static bool is_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int backing_of(const struct chain_change_target *target,
                      const struct wish *wish, struct backing *out,
                      struct img_error *err)
{
    const struct qcow2_extensions *now = qcow2_edit_extensions(target->edit);
    char shown[NAME_LEN];

    *out = (struct backing){.name = now->backing_name,
                            .format = now->backing_format};
    if (wish->has_backing_name) {
        out->name = wish->values.backing_name;
        if (!is_equal(out->name, now->backing_name)) {
            out->format = NULL;
        }
    }
    if (wish->has_backing_format) {
        out->format = wish->values.backing_format;
    }
    out->is_changed = !is_equal(out->name, now->backing_name) ||
                      !is_equal(out->format, now->backing_format);
    if (!out->is_changed) {
        return 0;
    }
    if (out->format && !out->name) {
        return img_fail(err, IMG_USAGE,
                        "backing_fmt: found a format, expected a backing file"
                        " that it is of (backing_file)");
    }
    if (out->name && !out->format) {
        return img_fail(err, IMG_USAGE,
                        "backing_fmt: found none, expected the format of the"
                        " backing file");
    }
    if (out->format && !chain_format_find(out->format)) {
        img_escape(out->format, strlen(out->format), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "backing_fmt: found \"%s\", expected the name of a"
                        " format",
                        shown);
    }
    return 0;
}

/* The chain opens with the backing file that is to be recorded. */
static int check_backing(const struct chain_change_target *target,
                         const struct backing *backing, struct img_error *err)
{
    struct chain_options options;
    struct chain *chain;

    if (!backing->is_changed || !backing->name) {
        return 0;
    }
    if (qcow2_edit_header(target->edit)->is_data_file_raw) {
        return img_fail(err, IMG_USAGE,
                        "backing_file: found one, expected none with a raw"
                        " external data file");
    }
    chain_options_init(&options);
    options.format = "qcow2";
    options.file = target->file;
    options.data_file = target->image->data_file;
    options.allow_probe = target->request->allow_probe;
    options.roots = target->request->roots;
    options.backing_name = backing->name;
    options.backing_format = backing->format;
    if (chain_open(target->request->path, &options, &chain, err) < 0) {
        return -1;
    }
    int r = chain_backing_check_raw(chain, backing->format, err);
    if (r < 0 && err->code == IMG_FORMAT) {
        size_t used = strlen(err->text);
        (void)snprintf(err->text + used, sizeof(err->text) - used,
                       "; rebase -u --force records it all the same");
    }
    chain_free(chain);
    return r;
}

static int check_size(const struct chain_change_target *target,
                      const struct wish *wish, struct img_error *err)
{
    uint64_t len = wish->values.virtual_len;

    if (!wish->has_size) {
        return 0;
    }
    if (len < target->image->virtual_len) {
        return img_fail(err, IMG_USAGE,
                        "size: found %" PRIu64 " bytes, expected at least the"
                        " %" PRIu64 " it has; a smaller one is for resize"
                        " --shrink",
                        len, target->image->virtual_len);
    }
    return chain_resize_edit(target->edit, target->below, len,
                             QCOW2_PREALLOC_OFF, true, err);
}

static int check_data_file(const struct chain_change_target *target,
                           const struct wish *wish, struct img_error *err)
{
    if (wish->has_data_file &&
        !qcow2_edit_header(target->edit)->has_data_file) {
        return img_fail(err, IMG_USAGE,
                        "data_file: found an image without an external data"
                        " file, expected one that has it");
    }
    return 0;
}

static int set_size(const struct chain_change_target *target,
                    const struct wish *wish, struct img_error *err)
{
    return wish->has_size ? chain_resize_edit(target->edit, target->below,
                                              wish->values.virtual_len,
                                              QCOW2_PREALLOC_OFF, false, err)
                          : 0;
}

static int set_names(const struct chain_change_target *target,
                     const struct wish *wish, const struct backing *backing,
                     struct img_error *err)
{
    const struct qcow2_extensions *now = qcow2_edit_extensions(target->edit);
    const char *data_file = wish->values.data_file_name;

    if (wish->has_data_file && !is_equal(data_file, now->data_file_name) &&
        qcow2_edit_set_data_file(target->edit, data_file, err) < 0) {
        return -1;
    }
    return backing->is_changed
               ? qcow2_edit_set_backing(target->edit, backing->name,
                                        backing->format, err)
               : 0;
}

/* The size as long as it may be version 3, or when it is. */
static int apply(const struct chain_change_target *target,
                 const struct wish *wish,
                 const struct qcow2_amend_options *options,
                 const struct backing *backing, struct img_error *err)
{
    bool is_downgrade = options->version == 2;

    if ((is_downgrade && set_size(target, wish, err) < 0) ||
        qcow2_edit_amend(target->edit, options, err) < 0 ||
        set_names(target, wish, backing, err) < 0) {
        return -1;
    }
    return is_downgrade ? 0 : set_size(target, wish, err);
}

static int amend(const struct chain_change_target *target,
                 const struct wish *wish, struct img_error *err)
{
    IMG_AUTO(backing_fini) struct backing backing = {0};
    struct qcow2_amend_options options;

    if (!target->edit) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "format: found %s, expected qcow2: it has no options"
                        " that can be changed",
                        target->image->format);
    }
    to_amend_options(wish, target->request, &options);
    if (qcow2_edit_amend_check(target->edit, &options, err) < 0 ||
        check_data_file(target, wish, err) < 0 ||
        backing_of(target, wish, &backing, err) < 0 ||
        backing_own(&backing, err) < 0 ||
        check_backing(target, &backing, err) < 0 ||
        check_size(target, wish, err) < 0) {
        return -1;
    }
    return target->request->dry_run
               ? 0
               : apply(target, wish, &options, &backing, err);
}

int chain_amend(const struct chain_amend_request *request,
                struct img_error *err)
{
    struct chain_change_target target;
    struct wish wish;
    int result;

    if (parse(request, &wish, err) < 0) {
        img_error_set_path(err, request->path);
        return -1;
    }
    if (chain_change_open(request, wish.has_size, &target, err) < 0) {
        return -1;
    }
    result = amend(&target, &wish, err);
    if (result < 0) {
        img_error_set_path(err, request->path);
    }
    chain_change_close(&target);
    return result;
}
