/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A chain that is open: its layers, and whether its files are still the same.
 * Room: chain/graph. How it is opened: open.c.
 */
#include <chain/chain.h>

#include <limits.h>
#include <stdlib.h>

#include <img/write.h>

#include "graph.h"

void chain_free(struct chain *chain)
{
    if (!chain) {
        return;
    }
    chain_identity_fini(&chain->files);
    for (size_t i = 0; i < chain->nr; i++) {
        chain_layer_free(chain->layers[i]);
    }
    free(chain->layers);
    free(chain->broken_command);
    free(chain);
}

size_t chain_depth(const struct chain *chain)
{
    return chain->nr;
}

const struct img_error *chain_broken(const struct chain *chain)
{
    return chain->broken.code == IMG_OK ? NULL : &chain->broken;
}

const char *chain_broken_command(const struct chain *chain)
{
    return chain->broken_command;
}

uint64_t chain_virtual_len(const struct chain *chain)
{
    return chain->layers[0]->image->virtual_len;
}

const struct chain_layer *chain_layer_at(const struct chain *chain, size_t idx)
{
    return chain->layers[idx];
}

struct img_image *chain_layer_image(const struct chain_layer *layer)
{
    return layer->image;
}

struct img_file *chain_layer_file(const struct chain_layer *layer)
{
    return layer->file;
}

const char *chain_layer_format(const struct chain_layer *layer)
{
    return layer->image->format;
}

const char *chain_layer_path(const struct chain_layer *layer)
{
    return layer->path;
}

bool chain_layer_is_probed(const struct chain_layer *layer)
{
    return layer->is_probed;
}

const struct chain_ref *chain_layer_ref(const struct chain_layer *layer)
{
    return layer->ref;
}

bool chain_layer_wants_backing(const struct chain_layer *layer)
{
    if (layer->ref->is_backing_null) {
        return false;
    }
    return layer->ref->backing || layer->image->backing_name;
}

const char *chain_layer_contents(const struct chain_layer *layer)
{
    return layer->contents;
}

int chain_find_file(const struct chain *chain, const struct img_file *file)
{
    const struct chain_identity *found =
        chain_identity_find(&chain->files, file);

    return found && found->layer <= INT_MAX ? (int)found->layer : -1;
}

static int check_stamp(const struct img_file *file,
                       const struct img_stamp *then, struct img_error *err)
{
    struct img_stamp now;

    if (img_file_is_writable(file)) {
        return 0;
    }
    if (img_file_stamp(file, &now, err) < 0) {
        img_error_set_path(err, img_file_path(file));
        return -1;
    }
    if (img_stamp_is_equal(&now, then)) {
        return 0;
    }
    img_fail(err, IMG_CHANGED,
             now.len != then->len
                 ? "its length changed since it was opened"
                 : "it was changed since it was opened (its times, owner or "
                   "mode say so)");
    img_error_set_path(err, img_file_path(file));
    return -1;
}

int chain_check_unchanged(const struct chain *chain, struct img_error *err)
{
    return chain_check_unchanged_from(chain, 0, err);
}

static int check_layer(const struct chain_layer *layer, struct img_error *err)
{
    if (check_stamp(layer->file, &layer->stamp, err) < 0) {
        return -1;
    }
    return layer->is_data_file_open
               ? check_stamp(layer->image->data_file, &layer->data_stamp, err)
               : 0;
}

int chain_check_unchanged_from(const struct chain *chain, size_t first,
                               struct img_error *err)
{
    for (size_t i = first; i < chain->nr; i++) {
        if (check_layer(chain->layers[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

int chain_check_unchanged_but(const struct chain *chain, int idx,
                              struct img_error *err)
{
    for (size_t i = 0; i < chain->nr; i++) {
        if ((idx < 0 || (size_t)idx != i) &&
            check_layer(chain->layers[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}
