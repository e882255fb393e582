/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening what a commit needs: see commit_target.h.
 */
#include "commit_target.h"

#include <inttypes.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "change_target.h"
#include "place.h"

static void fill_options(const struct chain_commit_request *request,
                         struct chain_options *options)
{
    chain_options_init(options);
    options->format = request->format;
    options->allow_probe = request->allow_probe;
    options->direct = request->source_cache == CHAIN_CACHE_DIRECT;
    options->max_depth = request->max_depth;
    options->roots = request->roots;
}

/* The layer whose file the path NAME leads to; false: none. */
static bool find_by_file(const struct chain *chain, const char *name,
                         const struct img_roots *roots, size_t *out)
{
    IMG_AUTO(chain_ref_fini) struct chain_ref ref = {0};
    struct img_stamp wanted, stamp;
    struct img_error ignored;

    if (chain_operand_parse(name, &ref, &ignored) < 0 ||
        img_path_stamp(ref.path, roots, &wanted, &ignored) < 0) {
        return false;
    }
    for (size_t i = 0; i < chain_depth(chain); i++) {
        const struct chain_layer *layer = chain_layer_at(chain, i);
        if (img_file_stamp(chain_layer_file(layer), &stamp, &ignored) == 0 &&
            chain_stamp_is_same_file(&stamp, &wanted)) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* The layer that is recorded by the text NAME; false: none. */
static bool find_by_name(const struct chain *chain, const char *name,
                         size_t *out)
{
    for (size_t i = 1; i < chain_depth(chain); i++) {
        const struct img_image *upper =
            chain_layer_image(chain_layer_at(chain, i - 1));
        if (upper->backing_name && strcmp(upper->backing_name, name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static int find_base(const struct chain *chain,
                     const struct chain_commit_request *request, size_t *out,
                     struct img_error *err)
{
    const char *name = request->base;
    const char *path = chain_layer_path(chain_layer_at(chain, 0));
    char shown[256];

    *out = 1;
    if (chain_depth(chain) < 2) {
        img_fail(err, IMG_USAGE,
                 "it has no backing file that it could be committed to");
        img_error_set_path(err, path);
        return -1;
    }
    if (!name) {
        return 0;
    }
    img_escape(name, strlen(name), shown, sizeof(shown));
    if (!find_by_file(chain, name, request->roots, out) &&
        !find_by_name(chain, name, out)) {
        img_fail(err, IMG_USAGE, "\"%s\" is no layer of its chain", shown);
        img_error_set_path(err, path);
        return -1;
    }
    if (*out == 0) {
        img_fail(err, IMG_USAGE,
                 "the base \"%s\" is the overlay itself: a layer below it is "
                 "wanted",
                 shown);
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

static int check_base(const struct chain_layer *layer, struct img_error *err)
{
    const char *format = chain_layer_format(layer);

    if (strcmp(format, "raw") == 0 && chain_layer_is_probed(layer)) {
        img_fail(err, IMG_UNDECLARED,
                 "its format is not recorded, and what looks raw is not "
                 "written on that ground");
    } else if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0) {
        img_fail(err, IMG_UNSUPPORTED,
                 "its format is %s: only qcow2 and raw images can be committed "
                 "to",
                 format);
    } else {
        return 0;
    }
    img_error_set_path(err, chain_layer_path(layer));
    return -1;
}

static int use_chain(struct chain_commit_target *target, struct img_error *err)
{
    const struct chain_layer *layer =
        chain_layer_at(target->chain, target->base);

    target->base_file = chain_layer_file(layer);
    target->base_image = chain_layer_image(layer);
    target->base_path = chain_layer_path(layer);
    target->is_base_raw = strcmp(chain_layer_format(layer), "raw") == 0;
    return check_base(layer, err);
}

/*
 * The chain as REQUEST has it, once the base is known for writing. Which layer
 * it is may take a look first.
 */
static int open_chain(const struct chain_commit_request *request,
                      struct chain_commit_target *out, struct img_error *err)
{
    struct chain_options options;
    size_t base = 1;

    fill_options(request, &options);
    if (request->base || request->dry_run) {
        if (chain_open(request->path, &options, &out->chain, err) < 0 ||
            find_base(out->chain, request, &out->base, err) < 0 ||
            use_chain(out, err) < 0) {
            return -1;
        }
        if (request->dry_run) {
            return 0;
        }
        base = out->base;
        chain_free(out->chain);
        out->chain = NULL;
    }
    options.write_top = out->is_emptied;
    options.write_layer = base;
    if (chain_open(request->path, &options, &out->chain, err) < 0 ||
        find_base(out->chain, request, &out->base, err) < 0) {
        return -1;
    }
    if (out->base != base) {
        img_fail(err, IMG_CHANGED, "its chain was changed meanwhile");
        img_error_set_path(err, request->path);
        return -1;
    }
    return use_chain(out, err);
}

static int open_edit(const struct chain_commit_request *request,
                     const struct chain_layer *layer, bool is_content_kept,
                     struct qcow2_edit **out, struct img_error *err)
{
    const struct qcow2_edit_options options = {
        .is_content_kept = is_content_kept,
        .cancel = request->cancel,
    };

    if (qcow2_edit_open(chain_layer_file(layer),
                        chain_layer_image(layer)->data_file, &options, out,
                        err) < 0) {
        img_error_set_path(err, chain_layer_path(layer));
        return -1;
    }
    return 0;
}

int chain_commit_target_open(const struct chain_commit_request *request,
                             struct chain_commit_target *out,
                             struct img_error *err)
{
    *out = (struct chain_commit_target){
        .is_emptied = !request->keep_overlay && !request->base,
    };
    if (open_chain(request, out, err) < 0) {
        return -1;
    }
    if (request->dry_run) {
        return 0;
    }
    const struct chain_layer *base = chain_layer_at(out->chain, out->base);
    const struct chain_layer *top = chain_layer_at(out->chain, 0);
    return (!out->is_base_raw &&
            open_edit(request, base, false, &out->base_edit, err) < 0) ||
                   (out->is_emptied &&
                    open_edit(request, top, true, &out->top_edit, err) < 0)
               ? -1
               : 0;
}

void chain_commit_target_close(struct chain_commit_target *target)
{
    qcow2_edit_free(target->base_edit);
    qcow2_edit_free(target->top_edit);
    chain_free(target->chain);
    *target = (struct chain_commit_target){0};
}

static int grow_raw(struct chain_commit_target *target, uint64_t len,
                    struct img_error *err)
{
    if (img_file_kind(target->base_file) == IMG_FILE_BLOCK) {
        return img_fail(err, IMG_LIMIT,
                        "the device has %" PRIu64
                        " bytes, and the overlay needs %" PRIu64,
                        img_file_len(target->base_file), len);
    }
    return img_file_resize(target->base_file, len, err);
}

static int grow_qcow2(struct chain_commit_target *target, uint64_t len,
                      struct img_error *err)
{
    struct chain_view *below = NULL;

    if (target->base + 1 < chain_depth(target->chain) &&
        chain_view_new(target->chain, target->base + 1, &below, err) < 0) {
        return -1;
    }
    int r = chain_resize_edit(target->base_edit, below, len, QCOW2_PREALLOC_OFF,
                              false, err);
    chain_view_free(below);
    return r;
}

int chain_commit_target_grow(struct chain_commit_target *target, uint64_t len,
                             struct img_error *err)
{
    if (target->base_image->virtual_len >= len) {
        return 0;
    }
    int r = target->base_edit ? grow_qcow2(target, len, err)
                              : grow_raw(target, len, err);
    if (r < 0) {
        img_error_set_path(err, target->base_path);
    }
    return r;
}

int chain_commit_target_reopen(const struct chain_commit_request *request,
                               const struct chain_commit_target *target,
                               struct chain **out, struct img_error *err)
{
    struct chain_options options;
    struct chain *chain;

    fill_options(request, &options);
    /* The chain that is open has the locks. */
    options.force_share = true;
    if (chain_open(request->path, &options, &chain, err) < 0) {
        return -1;
    }
    if (chain_depth(chain) != chain_depth(target->chain) ||
        chain_find_file(chain, target->base_file) != (int)target->base) {
        img_fail(err, IMG_CHANGED, "its chain was changed meanwhile");
        img_error_set_path(err, request->path);
        chain_free(chain);
        return -1;
    }
    *out = chain;
    return 0;
}
