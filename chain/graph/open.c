/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a chain. Room: chain/graph.
 *
 * One loop from the active layer down: resolve the name that the layer above
 * records, open the file (confined, locked), compare its identity with all
 * files that are open, and only then look into it. The work per layer is
 * logarithmic in the number of layers; one descriptor per file stays open.
 */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

#include <chain/formats.h>
#include <img/memory.h>
#include <qcow2/image.h>

void chain_options_init(struct chain_options *options)
{
    *options = (struct chain_options){.fd = -1};
}

static unsigned max_depth(const struct chain_opener *opener)
{
    unsigned given = opener->options->max_depth;

    return given ? given : CHAIN_MAX_DEPTH;
}

/* Give LAYER to the chain. */
static int chain_push(struct chain *chain, struct chain_layer **layer,
                      struct img_error *err)
{
    if (chain->nr == chain->capacity) {
        size_t capacity = chain->capacity ? chain->capacity * 2 : 8;
        struct chain_layer **layers =
            reallocarray(chain->layers, capacity, sizeof(struct chain_layer *));
        if (!layers) {
            return img_fail_memory(err);
        }
        chain->layers = layers;
        chain->capacity = capacity;
    }
    chain->layers[chain->nr++] = img_steal(layer);
    return 0;
}

/* The file of LAYER is MET, which CHAIN has already. */
static int fail_loop(const struct chain_layer *upper,
                     const struct chain_layer *layer, const struct chain *chain,
                     const struct chain_identity *met, struct img_error *err)
{
    const char *other = chain->layers[met->layer]->path;
    char shown_path[448], shown_other[448];
    img_escape(layer->path, strlen(layer->path), shown_path,
               sizeof(shown_path));
    img_escape(other, strlen(other), shown_other, sizeof(shown_other));
    img_fail(err, IMG_LOOP,
             "its backing file \"%s\" is the same file as %s\"%s\": the chain "
             "is a loop",
             shown_path, met->is_data_file ? "the data file of " : "",
             shown_other);
    img_error_set_path(err, upper->path);
    return -1;
}

/*
 * Fail when the layer's file is in the chain already. UPPER, which leads to
 * it, is NULL for the top.
 */
static int check_identity(const struct chain_layer *upper,
                          const struct chain_layer *layer,
                          const struct chain_opener *opener,
                          struct img_error *err)
{
    const struct chain *chain = opener->chain;
    const struct chain_identity *met;

    if (chain_identity_add(&opener->chain->files, layer->file, chain->nr, false,
                           &met, err) < 0) {
        img_error_set_path(err, layer->path);
        return -1;
    }
    return met && upper ? fail_loop(upper, layer, chain, met, err) : 0;
}

/*
 * The file of LAYER is locked: by this very chain, which has it open for
 * writing further up?
 */
static int explain_locked(const struct chain_layer *upper,
                          const struct chain_layer *layer,
                          const struct chain_opener *opener,
                          struct img_error *err)
{
    const struct img_open_options how = {.lock = IMG_LOCK_NONE,
                                         .roots = opener->options->roots};
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    const struct chain_identity *met = NULL;
    struct img_error ignored;

    if (err->code == IMG_LOCKED &&
        img_file_open(layer->path, &how, &file, &ignored) == 0) {
        met = chain_identity_find(&opener->chain->files, file);
    }
    return met ? fail_loop(upper, layer, opener->chain, met, err) : -1;
}

/* What the user said and what json: says about the top's format. */
static int top_format(const struct chain_ref *ref, const char *given,
                      const char **out, struct img_error *err)
{
    *out = given ? given : ref->format;
    if (given && !chain_format_find(given)) {
        char shown[64];
        img_escape(given, strlen(given), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE, "the format \"%s\" is not known",
                        shown);
    }
    if (given && ref->format && strcmp(given, ref->format) != 0) {
        return img_fail(err, IMG_USAGE,
                        "the format is given as %s, but its json: name says "
                        "%s",
                        given, ref->format);
    }
    return 0;
}

static int copy_text(const char *text, char **out, struct img_error *err)
{
    free(*out);
    *out = text ? img_strndup(text, strlen(text), err) : NULL;
    return text && !*out ? -1 : 0;
}

/* The caller says which backing file the top is to have. */
static int give_backing(struct chain_layer *top,
                        const struct chain_options *options,
                        struct img_error *err)
{
    const char *name = options->backing_name;
    struct img_image *image = top->image;

    if (!name) {
        return 0;
    }
    if (name[0] == '\0') {
        name = NULL;
    }
    if (top->ref->backing || top->ref->is_backing_null) {
        img_fail(err, IMG_USAGE,
                 "its json: name says already what its backing file is");
        img_error_set_path(err, top->path);
        return -1;
    }
    if (name && !image->supports_backing) {
        img_fail(err, IMG_UNSUPPORTED, "the format %s has no backing file",
                 image->format);
        img_error_set_path(err, top->path);
        return -1;
    }
    return copy_text(name, &image->backing_name, err) < 0 ||
                   copy_text(name ? options->backing_format : NULL,
                             &image->backing_format, err) < 0
               ? -1
               : 0;
}

static int open_top(const char *operand, const struct chain_opener *opener,
                    struct img_error *err)
{
    const struct chain_options *options = opener->options;
    const char *format;
    IMG_AUTO(chain_layer_free_ptr)
    struct chain_layer *layer = img_calloc(1, sizeof(*layer), err);

    if (!layer) {
        return -1;
    }
    if (chain_operand_parse(operand, &layer->own_ref, err) < 0 ||
        top_format(&layer->own_ref, options->format, &format, err) < 0) {
        img_error_set_path(err, operand);
        return -1;
    }
    layer->ref = &layer->own_ref;
    layer->path = img_strndup(layer->ref->path, strlen(layer->ref->path), err);
    if (!layer->path || chain_layer_open_file(layer, opener, err) < 0 ||
        check_identity(NULL, layer, opener, err) < 0) {
        return -1;
    }
    /* From here on the set of files refers to the layer's file. */
    struct chain_layer *top = layer;
    const struct qcow2_options how = {
        .snapshot = options->snapshot,
        .is_for_check = options->for_check,
    };
    return chain_push(opener->chain, &layer, err) < 0 ||
                   chain_layer_open_image(top, format, &how, err) < 0
               ? -1
               : give_backing(top, options, err);
}

/* Find out what UPPER names as its backing file. */
static int resolve_backing(const struct chain_layer *upper,
                           struct chain_layer *layer, struct img_error *err)
{
    const char *name = upper->image->backing_name;

    if (upper->ref->backing) {
        layer->ref = upper->ref->backing;
    } else {
        if (chain_name_parse(name, &layer->own_ref, err) < 0) {
            img_error_set_path(err, upper->path);
            return -1;
        }
        layer->ref = &layer->own_ref;
    }
    layer->path = chain_ref_resolve(layer->ref, upper->path, err);
    return layer->path ? 0 : -1;
}

static int fail_formats_disagree(const struct chain_layer *upper,
                                 const char *recorded, const char *named,
                                 struct img_error *err)
{
    img_fail(err, IMG_FORMAT,
             "its backing format is recorded as \"%s\", but the json: name "
             "of its backing file says \"%s\"",
             recorded, named);
    img_error_set_path(err, upper->path);
    return -1;
}

/*
 * The format that UPPER, or the json: name it records, declares for LAYER;
 * NULL: none. What json "backing" declares goes before what the header
 * records, as in QEMU; a json: name in the header must agree with it.
 */
static int declared_format(const struct chain_layer *upper,
                           const struct chain_layer *layer, const char **out,
                           struct img_error *err)
{
    const char *recorded = upper->image->backing_format;
    const char *named = layer->ref->format;

    *out = named ? named : recorded;
    if (recorded && !named && !chain_format_find(recorded)) {
        const char *name = upper->image->backing_name;
        char shown_name[256], shown[64];
        img_escape(name ? name : layer->path, strlen(name ? name : layer->path),
                   shown_name, sizeof(shown_name));
        img_escape(recorded, strlen(recorded), shown, sizeof(shown));
        img_fail(err, IMG_UNSUPPORTED,
                 "the format of its backing file \"%s\" is recorded as "
                 "\"%s\", which is not known",
                 shown_name, shown);
        img_error_set_path(err, upper->path);
        return -1;
    }
    if (recorded && named && layer->ref == &layer->own_ref &&
        strcmp(recorded, named) != 0) {
        char shown[64];
        img_escape(recorded, strlen(recorded), shown, sizeof(shown));
        return fail_formats_disagree(upper, shown, named, err);
    }
    return 0;
}

/* Open what UPPER, the lowest layer so far, names as its backing file. */
static int open_backing(const struct chain_layer *upper,
                        const struct chain_opener *opener,
                        struct img_error *err)
{
    const char *format;
    IMG_AUTO(chain_layer_free_ptr)
    struct chain_layer *layer = img_calloc(1, sizeof(*layer), err);

    if (!layer || resolve_backing(upper, layer, err) < 0 ||
        declared_format(upper, layer, &format, err) < 0) {
        return -1;
    }
    bool is_undeclared = !format && !opener->options->allow_probe;
    if (chain_layer_open_file(layer, opener, err) < 0) {
        return is_undeclared
                   ? chain_fail_undeclared(opener->chain, upper, layer, err)
                   : explain_locked(upper, layer, opener, err);
    }
    if (check_identity(upper, layer, opener, err) < 0) {
        return -1;
    }
    /* From here on the set of files refers to the layer's file. */
    struct chain_layer *lower = layer;
    if (chain_push(opener->chain, &layer, err) < 0) {
        return -1;
    }
    const struct qcow2_options how = {
        .is_for_check = opener->options->for_check,
    };
    return is_undeclared
               ? chain_fail_undeclared(opener->chain, upper, lower, err)
               : chain_layer_open_image(lower, format, &how, err);
}

static int fail_no_backing(const struct chain_layer *layer,
                           struct img_error *err)
{
    img_fail(err, IMG_FORMAT,
             "its json: name gives it a backing file, but the format %s has "
             "none",
             layer->image->format);
    img_error_set_path(err, layer->path);
    return -1;
}

/* Go down from the top to the base. */
static int follow(const struct chain_opener *opener, struct img_error *err)
{
    struct chain *chain = opener->chain;

    for (;;) {
        struct chain_layer *last = chain->layers[chain->nr - 1];
        if (last->image->wants_data_file &&
            chain_layer_open_data_file(last, opener, err) < 0) {
            return -1;
        }
        if (opener->options->top_only || !chain_layer_wants_backing(last)) {
            return 0;
        }
        if (last->ref->backing && !last->image->supports_backing) {
            return fail_no_backing(last, err);
        }
        if (chain->nr >= max_depth(opener)) {
            img_fail(err, IMG_LIMIT,
                     "the chain has more than %u layers, which is the limit",
                     max_depth(opener));
            img_error_set_path(err, last->path);
            return -1;
        }
        if (open_backing(last, opener, err) < 0) {
            return -1;
        }
    }
}

/* Take away a lowest layer whose image did not open. */
static void drop_imageless(struct chain *chain)
{
    if (chain->nr > 0 && !chain->layers[chain->nr - 1]->image) {
        chain_identity_drop(&chain->files, chain->layers[chain->nr - 1]->file);
        chain_layer_free(chain->layers[--chain->nr]);
    }
}

int chain_open(const char *operand, const struct chain_options *options,
               struct chain **out, struct img_error *err)
{
    struct chain *chain = img_calloc(1, sizeof(*chain), err);
    const struct chain_opener opener = {
        .options = options,
        .file_options = {.lock = options->force_share ? IMG_LOCK_NONE
                                                      : IMG_LOCK_READER,
                         .direct = options->direct,
                         .roots = options->roots},
        .chain = chain,
    };

    if (!chain) {
        return -1;
    }
    chain->is_top_only = options->top_only;
    chain->is_backing_given = options->backing_name != NULL;
    if (open_top(operand, &opener, err) < 0) {
        chain_free(chain);
        return -1;
    }
    if ((!options->top_only || options->for_check) &&
        follow(&opener, err) < 0) {
        drop_imageless(chain);
        /* Too little memory says nothing of the chain. */
        if (!options->keep_broken || err->code == IMG_MEMORY) {
            chain_free(chain);
            return -1;
        }
        chain->broken = *err;
        img_error_clear(err);
    }
    *out = chain;
    return 0;
}
