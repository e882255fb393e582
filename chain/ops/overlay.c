/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The overlay of a rebase: see overlay.h.
 */
#include "overlay.h"

#include <stdlib.h>
#include <string.h>

#include <chain/formats.h>
#include <chain/name.h>
#include <img/memory.h>
#include <img/newfile.h>

/* Specification, "Header": backing_file_size. */
#define NAME_MAX_LEN 1023u
/* What QEMU and libvirt take for a format's name. */
#define FORMAT_MAX_LEN 15u

static void fill_options(const struct chain_overlay *overlay,
                         struct chain_options *options)
{
    const struct chain_rebase_request *request = overlay->request;

    chain_options_init(options);
    options->format = request->format;
    options->force_share = request->force_share;
    options->allow_probe = request->allow_probe;
    options->direct = request->source_cache == CHAIN_CACHE_DIRECT;
    options->write_top = overlay->is_writable;
    options->max_depth = request->max_depth;
    options->roots = request->roots;
}

int chain_overlay_open(const struct chain_rebase_request *request,
                       bool writable, struct chain_overlay *out,
                       struct img_error *err)
{
    struct chain_options options;

    *out = (struct chain_overlay){.request = request, .is_writable = writable};
    fill_options(out, &options);
    options.direct = false;
    options.backing_name = "";
    if (chain_open(request->path, &options, &out->chain, err) < 0) {
        return -1;
    }
    const struct chain_layer *top = chain_layer_at(out->chain, 0);
    out->image = chain_layer_image(top);
    out->path = chain_layer_path(top);
    out->file = chain_layer_file(top);
    out->data_file = out->image->data_file;
    out->header = qcow2_image_header(out->image);
    out->extensions = qcow2_image_extensions(out->image);
    if (!out->header) {
        img_fail(err, IMG_UNSUPPORTED,
                 "its format is %s%s: only the backing file of a qcow2 image "
                 "can be changed",
                 out->image->format,
                 chain_layer_is_probed(top) ? ", as it was probed" : "");
        img_error_set_path(err, out->path);
        chain_overlay_fini(out);
        return -1;
    }
    return 0;
}

void chain_overlay_fini(struct chain_overlay *overlay)
{
    chain_free(overlay->chain);
    *overlay = (struct chain_overlay){0};
}

int chain_overlay_chain(const struct chain_overlay *overlay, const char *name,
                        const char *format, struct chain **out,
                        struct img_error *err)
{
    struct chain_options options;

    fill_options(overlay, &options);
    options.file = overlay->file;
    options.data_file = overlay->data_file;
    options.backing_name = name;
    options.backing_format = format;
    return chain_open(overlay->request->path, &options, out, err);
}

int chain_overlay_edit(const struct chain_overlay *overlay,
                       struct qcow2_edit **out, struct img_error *err)
{
    const struct qcow2_edit_options options = {
        .is_content_kept = true,
        .cancel = overlay->request->cancel,
    };
    int r =
        qcow2_edit_open(overlay->file, overlay->data_file, &options, out, err);

    if (r < 0) {
        img_error_set_path(err, overlay->path);
    }
    return r;
}

int chain_backing_check_raw(const struct chain *chain, const char *format,
                            struct img_error *err)
{
    const struct chain_layer *layer = chain_layer_at(chain, 1);
    struct chain_probe probe;

    if (strcmp(format, "raw") != 0 || chain_layer_ref(layer)->has_slice) {
        return 0;
    }
    if (chain_probe(chain_layer_file(layer), &probe, err) < 0) {
        return -1;
    }
    if (strcmp(probe.format->name, "raw") == 0) {
        return 0;
    }
    img_fail(err, IMG_FORMAT, "it is said to be raw, but looks like %s",
             probe.format->name);
    img_error_set_path(err, chain_layer_path(layer));
    return -1;
}

void chain_backing_fini(struct chain_backing *backing)
{
    free(backing->name);
    free(backing->format);
    *backing = (struct chain_backing){0};
}

static int copy_text(const char *text, char **out, struct img_error *err)
{
    *out = text ? img_strndup(text, strlen(text), err) : NULL;
    return text && !*out ? -1 : 0;
}

static char *restyle(const char *path, const struct chain_ref *ref,
                     enum chain_name_style_wish style, struct img_error *err)
{
    bool is_path_only =
        !ref->has_slice && !ref->is_backing_null && !ref->backing;

    if (!is_path_only) {
        img_fail(err, IMG_UNSUPPORTED,
                 "the json: name of its backing file says more than a path: "
                 "it can only be recorded as it is");
        return NULL;
    }
    IMG_AUTO(img_free_ptr) char *target = chain_ref_resolve(ref, path, err);
    if (!target) {
        return NULL;
    }
    return style == CHAIN_MAKE_RELATIVE ? chain_name_relative(path, target, err)
                                        : chain_name_absolute(target, err);
}

char *chain_name_restyle(const char *path, const char *name,
                         enum chain_name_style_wish style,
                         struct img_error *err)
{
    struct chain_ref ref;

    if (style == CHAIN_NAME_AS_GIVEN) {
        return img_strndup(name, strlen(name), err);
    }
    if (chain_name_parse(name, &ref, err) < 0) {
        img_error_set_path(err, path);
        return NULL;
    }
    char *text = restyle(path, &ref, style, err);
    chain_ref_fini(&ref);
    if (!text) {
        img_error_set_path(err, path);
    }
    return text;
}

/* The format that a json: name says itself. */
static int named_format(const char *name, char **out, struct img_error *err)
{
    struct chain_ref ref;

    *out = NULL;
    if (chain_name_parse(name, &ref, err) < 0) {
        return -1;
    }
    *out = img_steal(&ref.format);
    chain_ref_fini(&ref);
    return 0;
}

static int wish_format(const struct chain_overlay *overlay, const char *name,
                       char **out, struct img_error *err)
{
    const struct chain_rebase_request *request = overlay->request;
    IMG_AUTO(img_free_ptr) char *named = NULL;

    if (named_format(name, &named, err) < 0 &&
        !(request->unsafe && request->force && err->code != IMG_MEMORY)) {
        return -1;
    }
    const char *format = request->backing_format ? request->backing_format
                         : named                 ? named
                         : !request->backing_name
                             ? overlay->extensions->backing_format
                             : NULL;
    char shown[64];
    if (format && !chain_format_find(format)) {
        img_escape(format, strlen(format), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "the format of the new backing file, \"%s\", is not "
                        "known",
                        shown);
    }
    if (format && named && strcmp(format, named) != 0) {
        return img_fail(err, IMG_USAGE,
                        "the format of the new backing file is given as %s, "
                        "but its json: name says %s",
                        format, named);
    }
    return copy_text(format, out, err);
}

static int check_lengths(const struct chain_backing *backing,
                         struct img_error *err)
{
    size_t name_len = strlen(backing->name);

    if (name_len > NAME_MAX_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "the name of the new backing file has %zu bytes, and "
                        "at most %u can be recorded",
                        name_len, NAME_MAX_LEN);
    }
    if (backing->format && strlen(backing->format) > FORMAT_MAX_LEN) {
        return img_fail(err, IMG_LIMIT,
                        "the format of the new backing file has %zu bytes, and "
                        "at most %u can be recorded",
                        strlen(backing->format), FORMAT_MAX_LEN);
    }
    return 0;
}

static int wish(const struct chain_overlay *overlay, struct chain_backing *out,
                struct img_error *err)
{
    const struct chain_rebase_request *request = overlay->request;
    const char *name = request->backing_name
                           ? request->backing_name
                           : overlay->extensions->backing_name;

    if (!name) {
        return img_fail(err, IMG_USAGE,
                        "it has no backing file, and none is given");
    }
    if (name[0] == '\0') {
        return 0;
    }
    if (overlay->header->is_data_file_raw) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "its data file is a raw image of its own "
                        "(data_file_raw), which can have no backing file");
    }
    out->name = chain_name_restyle(overlay->path, name, request->style, err);
    return !out->name || wish_format(overlay, name, &out->format, err) < 0
               ? -1
               : check_lengths(out, err);
}

int chain_overlay_wish(const struct chain_overlay *overlay,
                       struct chain_backing *out, struct img_error *err)
{
    *out = (struct chain_backing){0};
    if (wish(overlay, out, err) < 0) {
        img_error_set_path(err, overlay->path);
        chain_backing_fini(out);
        return -1;
    }
    return 0;
}

static bool is_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool chain_overlay_has(const struct chain_overlay *overlay,
                       const struct chain_backing *backing)
{
    return is_equal(overlay->extensions->backing_name, backing->name) &&
           is_equal(overlay->extensions->backing_format, backing->format);
}

static int write_record(const char *path, const struct img_roots *roots,
                        const uint8_t *record, size_t len,
                        struct img_error *err)
{
    const struct img_newfile_options options = {.replace = true,
                                                .roots = roots};
    IMG_AUTO(img_newfile_free_ptr) struct img_newfile *newfile = NULL;

    if (img_newfile_new(path, &options, &newfile, err) < 0 ||
        img_file_write(img_newfile_file(newfile), record, len, 0, err) < 0 ||
        img_newfile_publish(newfile, err) < 0) {
        img_error_set_path(err, path);
        return -1;
    }
    return 0;
}

/* Nowhere to keep it next to a device. */
static bool wants_undo(const struct chain_overlay *overlay)
{
    return !overlay->request->no_undo &&
           img_file_kind(overlay->file) == IMG_FILE_REGULAR;
}

static int keep_undo(const struct chain_overlay *overlay,
                     struct qcow2_edit *edit, char **undo_path,
                     struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *record = NULL;
    IMG_AUTO(img_free_ptr)
    char *path = img_text(err, "%s.imgchain-undo", overlay->path);
    size_t len;

    if (!path || qcow2_edit_undo_record(edit, &record, &len, err) < 0 ||
        write_record(path, overlay->request->roots, record, len, err) < 0) {
        return -1;
    }
    *undo_path = img_steal(&path);
    return 0;
}

int chain_overlay_switch(const struct chain_overlay *overlay,
                         struct qcow2_edit *edit,
                         const struct chain_backing *backing, char **undo_path,
                         struct img_error *err)
{
    *undo_path = NULL;
    if ((wants_undo(overlay) && keep_undo(overlay, edit, undo_path, err) < 0) ||
        qcow2_edit_set_backing(edit, backing->name, backing->format, err) < 0) {
        img_error_set_path(err, overlay->path);
        return -1;
    }
    return 0;
}
