/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening an image to change it in place: see change_target.h.
 */
#include "change_target.h"

#include <string.h>

#include <img/image.h>
#include <img/write.h>

static int open_edit(struct chain_change_target *target, struct img_error *err)
{
    const struct qcow2_edit_options options = {
        .cancel = target->request->cancel,
    };

    return qcow2_edit_open(target->file, target->image->data_file, &options,
                           &target->edit, err);
}

static int open_layers(struct chain_change_target *target, bool whole,
                       struct img_error *err)
{
    const struct chain_amend_request *request = target->request;
    const struct chain_layer *top;
    struct chain_options options;

    chain_options_init(&options);
    options.format = request->format;
    options.allow_probe = request->allow_probe;
    options.roots = request->roots;
    options.write_top = true;
    options.backing_name = whole ? NULL : "";
    if (chain_open(request->path, &options, &target->chain, err) < 0) {
        return -1;
    }
    top = chain_layer_at(target->chain, 0);
    target->file = chain_layer_file(top);
    target->image = chain_layer_image(top);
    target->path = chain_layer_path(top);
    if (chain_layer_is_probed(top) &&
        strcmp(target->image->format, "qcow2") != 0) {
        return img_fail(err, IMG_USAGE,
                        "format: found %s by probing, expected it to be said"
                        " (-f %s): a guest can make its disk look like"
                        " anything",
                        target->image->format, target->image->format);
    }
    return chain_depth(target->chain) > 1
               ? chain_view_new(target->chain, 1, &target->below, err)
               : 0;
}

int chain_change_open(const struct chain_amend_request *request, bool whole,
                      struct chain_change_target *out, struct img_error *err)
{
    *out = (struct chain_change_target){.request = request};
    if (open_layers(out, whole, err) < 0 ||
        (strcmp(out->image->format, "qcow2") == 0 && open_edit(out, err) < 0)) {
        img_error_set_path(err, request->path);
        chain_change_close(out);
        return -1;
    }
    return 0;
}

void chain_change_close(struct chain_change_target *target)
{
    qcow2_edit_free(target->edit);
    chain_view_free(target->below);
    chain_free(target->chain);
    *target = (struct chain_change_target){0};
}

static int read_below(void *opaque, void *buf, size_t len, uint64_t off,
                      struct img_error *err)
{
    return chain_view_read(opaque, buf, len, off, err);
}

int chain_resize_edit(struct qcow2_edit *edit, struct chain_view *below,
                      uint64_t virtual_len, enum qcow2_prealloc prealloc,
                      bool check_only, struct img_error *err)
{
    const struct qcow2_resize resize = {
        .virtual_len = virtual_len,
        .prealloc = prealloc,
        .backing_len = below ? chain_view_len(below) : 0,
        .read_backing = below ? read_below : NULL,
        .opaque = below,
    };

    return check_only ? qcow2_edit_resize_check(edit, &resize, err)
                      : qcow2_edit_resize_over(edit, &resize, err);
}
