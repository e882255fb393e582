/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is a file the copy of a layer? See relocate_impl.h.
 *
 * The header that the copy must have is worked out by the in-place writer on a
 * staged file over the layer; what follows the first cluster must be the
 * layer's, byte for byte. So the copy shows what the layer shows, whatever
 * lies below, and nobody had to interpret it.
 */
#include "relocate_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <chain/name.h>
#include <chain/view.h>
#include <img/checked.h>
#include <img/image.h>
#include <img/memory.h>
#include <img/staged.h>
#include <qcow2/edit.h>

#include "place.h"

#define PAGE_LEN 4096u
/* The first cluster, of at most 2 MiB, and what the writer keeps besides. */
#define STAGED_MAX (8u << 20)
#define SHOWN_LEN 256u

int chain_relocation_rename(const struct chain_relocation_item *item,
                            struct img_file *file, struct img_error *err)
{
    const struct qcow2_edit_options options = {
        .is_content_kept = true, .cancel = item->relocation->request->cancel};
    struct qcow2_edit *edit;
    int rc;

    if (item->file->head) {
        return img_file_write(file, item->file->head, item->file->head_len, 0,
                              err);
    }
    if (!item->is_renamed) {
        return 0;
    }
    rc = qcow2_edit_open(file, NULL, &options, &edit, err);
    if (rc == 0) {
        rc = qcow2_edit_set_backing(edit, item->file->backing_name,
                                    item->file->backing_format, err);
        qcow2_edit_free(edit);
    }
    if (rc != 0) {
        img_error_set_path(err, item->file->from);
    }
    return rc;
}

/* ---- The header. */

static int fail_other(const struct chain_relocation_item *item,
                      const char *found, const char *expected,
                      struct img_error *err)
{
    char shown[SHOWN_LEN];

    img_escape(item->file->from, strlen(item->file->from), shown,
               sizeof(shown));
    img_fail(err, IMG_USAGE, "is no copy of \"%s\": found %s, expected %s",
             shown, found, expected);
    img_error_set_path(err, item->file->to);
    return -1;
}

/* What a text of a header says, for a message. */
static void show_name(const char *name, char out[SHOWN_LEN])
{
    if (name) {
        img_escape(name, strlen(name), out, SHOWN_LEN);
    } else {
        (void)img_escape("none", 4, out, SHOWN_LEN);
    }
}

static int fail_image(const struct chain_relocation_item *item,
                      const struct img_image *image, struct img_error *err)
{
    char found[SHOWN_LEN + 64], expected[SHOWN_LEN + 64], name[SHOWN_LEN];

    if (image->virtual_len != item->file->virtual_len) {
        (void)snprintf(found, sizeof(found), "a virtual size of %" PRIu64,
                       image->virtual_len);
        (void)snprintf(expected, sizeof(expected), "%" PRIu64,
                       item->file->virtual_len);
        return fail_other(item, found, expected, err);
    }
    if (!image->backing_name ||
        strcmp(image->backing_name, item->file->backing_name) != 0) {
        show_name(image->backing_name, name);
        (void)snprintf(found, sizeof(found), "the backing name \"%s\"", name);
        show_name(item->file->backing_name, name);
        (void)snprintf(expected, sizeof(expected), "\"%s\"", name);
        return fail_other(item, found, expected, err);
    }
    return fail_other(item, "another header",
                      "that of the layer with its new backing name", err);
}

/* The headers differ: in what? */
static int fail_header(const struct chain_relocation_item *item,
                       struct img_file *file, struct img_error *err)
{
    struct chain_options options;
    struct img_error ignored;
    struct chain *chain;

    chain_options_init(&options);
    options.format = item->file->format;
    options.file = file;
    options.force_share = true;
    options.top_only = true;
    if (chain_open("copy", &options, &chain, &ignored) != 0) {
        return fail_other(item, "no image of its format", item->file->format,
                          err);
    }
    fail_image(item, chain_layer_image(chain_layer_at(chain, 0)), err);
    chain_free(chain);
    return -1;
}

/* The layer's first cluster as the copy's is to be. */
static int expected_head(const struct chain_relocation_item *item, size_t len,
                         uint8_t *out, struct img_error *err)
{
    struct img_file *layer = chain_layer_file(item->layer);
    IMG_AUTO(img_file_unref_ptr) struct img_file *staged = NULL;

    if (img_file_staged(layer, PAGE_LEN, STAGED_MAX, &staged, err) != 0 ||
        chain_relocation_rename(item, staged, err) != 0) {
        return -1;
    }
    return img_file_read_padded(staged, out, len, 0, NULL, err);
}

int chain_relocation_try(const struct chain_relocation_item *item,
                         struct img_error *err)
{
    if (item->file->head || !item->is_renamed) {
        return 0;
    }
    size_t len = (size_t)chain_layer_image(item->layer)->cluster_len;
    IMG_AUTO(img_free_ptr) uint8_t *head = img_calloc(1, len, err);

    return head ? expected_head(item, len, head, err) : -1;
}

static int check_head(const struct chain_relocation_item *item,
                      struct img_file *file, size_t len, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *expected = img_calloc(2, len, err);

    if (!expected) {
        return -1;
    }
    if (item->file->head) {
        memcpy(expected, item->file->head, len);
    } else if (expected_head(item, len, expected, err) != 0) {
        return -1;
    }
    uint8_t *found = expected + len;
    if (img_file_read_padded(file, found, len, 0, NULL, err) != 0) {
        img_error_set_path(err, item->file->to);
        return -1;
    }
    if (memcmp(found, expected, len) == 0) {
        return 0;
    }
    return item->file->head ? fail_other(item, "another beginning",
                                         "the one that it is to have", err)
                            : fail_header(item, file, err);
}

/* ---- The rest. */

static int raw_view(const char *path, struct img_file *file,
                    const struct img_roots *roots, struct chain **chain,
                    struct chain_view **view, struct img_error *err)
{
    struct chain_options options;

    IMG_AUTO(img_free_ptr) char *operand = chain_place_operand(path, err);

    if (!operand) {
        return -1;
    }
    chain_options_init(&options);
    options.format = "raw";
    options.file = file;
    options.force_share = true; /* the handle has its locks */
    options.top_only = true;
    options.roots = roots;
    if (chain_open(operand, &options, chain, err) != 0) {
        return -1;
    }
    return chain_view_new(*chain, 0, view, err);
}

static void tell_verified(void *opaque, uint64_t done, uint64_t total)
{
    const struct chain_relocation_item *item = opaque;
    const struct chain_relocate_request *request = item->relocation->request;

    if (request->progress) {
        request->progress(request->opaque, CHAIN_PHASE_VERIFY, done, total);
    }
}

static int judge(const struct chain_relocation_item *item,
                 const struct chain_compare_result *result,
                 struct img_error *err)
{
    char found[SHOWN_LEN];

    switch (result->verdict) {
    case CHAIN_IDENTICAL:
        return 0;
    case CHAIN_UNPROVEN:
        *err = result->why;
        return -1;
    case CHAIN_DIFFERENT:
        break;
    }
    (void)snprintf(found, sizeof(found), "other bytes from offset %" PRIu64,
                   result->first_difference);
    return fail_other(item, found, "the same", err);
}

static int compare(const struct chain_relocation_item *item,
                   struct chain_view *a, struct chain_view *b,
                   uint64_t from_off, struct img_error *err)
{
    const struct chain_relocate_request *request = item->relocation->request;
    struct chain_relocation_item told = *item;
    const struct chain_compare_options options = {
        .engine = request->engine,
        .threads = request->threads,
        .budget_len = request->budget_len,
        .start_off = from_off,
        .cancel = request->cancel,
        .progress = tell_verified,
        .opaque = &told,
    };
    struct chain_compare_result result;

    return chain_compare(a, b, &options, &result, err) != 0
               ? -1
               : judge(item, &result, err);
}

static int check_rest(const struct chain_relocation_item *item,
                      struct img_file *file, uint64_t from_off,
                      struct img_error *err)
{
    const struct img_roots *roots = item->relocation->request->roots;
    struct chain *chains[2] = {NULL, NULL};
    struct chain_view *views[2] = {NULL, NULL};
    int rc = raw_view(item->file->from, chain_layer_file(item->layer), roots,
                      &chains[0], &views[0], err);

    if (rc == 0) {
        rc = raw_view(item->file->to, file, roots, &chains[1], &views[1], err);
    }
    if (rc == 0 && from_off < chain_view_len(views[0])) {
        rc = compare(item, views[0], views[1], from_off, err);
    }
    for (size_t i = 0; i < 2; i++) {
        chain_view_free(views[i]);
        chain_free(chains[i]);
    }
    return rc;
}

int chain_relocation_prove(const struct chain_relocation_item *item,
                           struct img_file *file, struct img_error *err)
{
    struct img_file *layer = chain_layer_file(item->layer);
    char found[64], expected[64];
    size_t head_len = 0;

    if (item->file->head) {
        head_len = item->file->head_len;
    } else if (item->is_renamed) {
        head_len = (size_t)chain_layer_image(item->layer)->cluster_len;
    }
    if (head_len > 0 && check_head(item, file, head_len, err) != 0) {
        return -1;
    }
    if (img_file_len(file) != img_file_len(layer)) {
        (void)snprintf(found, sizeof(found), "%" PRIu64 " bytes",
                       img_file_len(file));
        (void)snprintf(expected, sizeof(expected), "%" PRIu64,
                       img_file_len(layer));
        return fail_other(item, found, expected, err);
    }
    return check_rest(item, file, head_len, err);
}
