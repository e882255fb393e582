/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other names for the backing files of a whole chain: see chain/rebase.h.
 *
 * The chain is read once for the plan and closed; then every image that has to
 * change is opened with a writer's locks and seen to be what it was, before
 * the first of them is written.
 */
#include <chain/rebase.h>

#include <stdlib.h>
#include <string.h>

#include <chain/name.h>
#include <img/memory.h>

#include "overlay.h"
#include "place.h"

/* An image whose header is to name its backing file in another way. */
struct rename_item {
    char *path; /* as an operand */
    const char *format;
    char *from, *to;
    struct img_stamp stamp; /* when it was planned */
    struct chain_rebase_request request;
    struct chain_overlay overlay;
    struct qcow2_edit *edit;
};

struct rename_list {
    struct rename_item *items;
    size_t nr;
};

static void list_fini(struct rename_list *list)
{
    for (size_t i = 0; i < list->nr; i++) {
        struct rename_item *item = &list->items[i];
        qcow2_edit_free(item->edit);
        chain_overlay_fini(&item->overlay);
        free(item->path);
        free(item->from);
        free(item->to);
    }
    free(list->items);
}

static int plan_item(const struct chain_layer *layer, const char *to,
                     struct rename_item *item, struct img_error *err)
{
    const struct img_image *image = chain_layer_image(layer);
    const char *path = chain_layer_path(layer);

    if (chain_layer_ref(layer)->has_slice) {
        img_fail(err, IMG_UNSUPPORTED,
                 "it is a part of a file, and its header is not changed there");
        img_error_set_path(err, path);
        return -1;
    }
    item->path = chain_place_operand(path, err);
    item->format = image->format; /* static */
    item->from =
        img_strndup(image->backing_name, strlen(image->backing_name), err);
    item->to = img_strndup(to, strlen(to), err);
    return item->path && item->from && item->to &&
                   img_file_stamp(chain_layer_file(layer), &item->stamp, err) ==
                       0
               ? 0
               : -1;
}

/* The layers of CHAIN whose names are to change. */
static int plan(const struct chain *chain, enum chain_name_style_wish style,
                struct rename_list *list, struct img_error *err)
{
    list->items = img_calloc(chain_depth(chain), sizeof(*list->items), err);
    if (!list->items) {
        return -1;
    }
    for (size_t i = 0; i + 1 < chain_depth(chain); i++) {
        const struct chain_layer *layer = chain_layer_at(chain, i);
        const char *name = chain_layer_image(layer)->backing_name;
        /* What an operand's json: says below the header is in no header. */
        if (chain_layer_ref(layer)->backing) {
            continue;
        }
        IMG_AUTO(img_free_ptr)
        char *to =
            chain_name_restyle(chain_layer_path(layer), name, style, err);
        if (!to) {
            return -1;
        }
        if (strcmp(to, name) != 0 &&
            plan_item(layer, to, &list->items[list->nr++], err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int load_plan(const struct chain_rebase_request *request,
                     struct rename_list *list, struct img_error *err)
{
    struct chain_options options;
    struct chain *chain;

    chain_options_init(&options);
    options.format = request->format;
    options.force_share = request->force_share;
    options.allow_probe = request->allow_probe;
    options.max_depth = request->max_depth;
    options.roots = request->roots;
    if (chain_open(request->path, &options, &chain, err) < 0) {
        return -1;
    }
    int r = plan(chain, request->style, list, err);
    chain_free(chain);
    return r;
}

static int open_item(const struct chain_rebase_request *request,
                     struct rename_item *item, struct img_error *err)
{
    struct img_stamp stamp;

    item->request = *request;
    item->request.path = item->path;
    item->request.format = item->format;
    if (chain_overlay_open(&item->request, !request->dry_run, &item->overlay,
                           err) < 0 ||
        img_file_stamp(item->overlay.file, &stamp, err) < 0) {
        return -1;
    }
    if (!img_stamp_is_equal(&stamp, &item->stamp)) {
        img_fail(err, IMG_CHANGED, "it was changed since it was looked at");
        img_error_set_path(err, item->overlay.path);
        return -1;
    }
    return request->dry_run
               ? 0
               : chain_overlay_edit(&item->overlay, &item->edit, err);
}

static int record(struct rename_item *item, const char *name,
                  struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *format = NULL;
    const char *recorded = qcow2_edit_extensions(item->edit)->backing_format;

    if (recorded) {
        format = img_strndup(recorded, strlen(recorded), err);
        if (!format) {
            return -1;
        }
    }
    if (qcow2_edit_set_backing(item->edit, name, format, err) < 0) {
        img_error_set_path(err, item->overlay.path);
        return -1;
    }
    return 0;
}

/* The first NR get their old names again; ERR, which says why, stays, and
   tells what could not be put back. */
static void take_back(struct rename_list *list, size_t nr,
                      struct img_error *err)
{
    struct img_error said = *err, why;
    char shown[256];

    for (size_t i = 0; i < nr; i++) {
        struct rename_item *item = &list->items[i];
        if (record(item, item->from, &why) == 0) {
            continue;
        }
        img_escape(item->overlay.path, strlen(item->overlay.path), shown,
                   sizeof(shown));
        img_fail(err, said.code,
                 "%.500s; \"%s\" has its new backing name already: %.200s",
                 said.text, shown, why.text);
        err->sys_errno = said.sys_errno;
        img_error_set_path(err, said.path);
    }
}

static int write_all(struct rename_list *list, struct img_error *err)
{
    for (size_t i = 0; i < list->nr; i++) {
        if (record(&list->items[i], list->items[i].to, err) < 0) {
            take_back(list, i, err);
            return -1;
        }
    }
    return 0;
}

int chain_rename_backings(const struct chain_rebase_request *request,
                          void (*changed)(void *opaque, const char *path,
                                          const char *from, const char *to),
                          struct img_error *err)
{
    struct rename_list list = {0};
    int r = load_plan(request, &list, err);

    for (size_t i = 0; r == 0 && i < list.nr; i++) {
        r = open_item(request, &list.items[i], err);
    }
    if (r == 0 && !request->dry_run) {
        r = write_all(&list, err);
    }
    for (size_t i = 0; r == 0 && changed && i < list.nr; i++) {
        const struct rename_item *item = &list.items[i];
        changed(request->opaque, item->overlay.path, item->from, item->to);
    }
    list_fini(&list);
    return r;
}
