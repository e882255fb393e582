/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The chains that are relocated: see relocate_impl.h. */
#include "relocate_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "place.h"

static int open_one(struct chain_relocation *relocation, const char *path,
                    const char *format, struct img_error *err)
{
    const struct chain_relocate_request *request = relocation->request;
    struct chain_options options;

    chain_options_init(&options);
    options.format = format;
    options.force_share = request->force_share;
    options.allow_probe = request->allow_probe;
    options.max_depth = request->max_depth;
    options.roots = request->roots;
    if (chain_open(path, &options, &relocation->sources[relocation->sources_nr],
                   err) < 0) {
        return -1;
    }
    relocation->sources_nr++;
    return 0;
}

int chain_relocation_open(struct chain_relocation *relocation,
                          struct img_error *err)
{
    const struct chain_relocate_request *request = relocation->request;

    relocation->sources =
        img_calloc(request->more_nr + 1, sizeof(struct chain *), err);
    if (!relocation->sources) {
        return -1;
    }
    if (request->source && open_one(relocation, request->source,
                                    request->source_format, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < request->more_nr; i++) {
        if (open_one(relocation, request->more[i].path, request->more[i].format,
                     err) < 0) {
            return -1;
        }
    }
    return relocation->sources_nr > 0
               ? chain_relocation_check_alone(relocation, err)
               : img_fail(err, IMG_USAGE, "no image is named");
}

void chain_relocation_close(struct chain_relocation *relocation)
{
    for (size_t i = 0; i < relocation->sources_nr; i++) {
        chain_free(relocation->sources[i]);
    }
    free(relocation->sources);
    free(relocation->layers);
    relocation->sources = NULL;
    relocation->layers = NULL;
    relocation->sources_nr = 0;
}

static int fail_held(const struct chain_layer *layer,
                     const struct img_lock_holder *holder,
                     struct img_error *err)
{
    if (holder->pid > 0) {
        img_fail(err, IMG_LOCKED,
                 "is in use by process %d (%s): expected nobody to use what is "
                 "moved away",
                 holder->pid, holder->command);
    } else {
        img_fail(err, IMG_LOCKED,
                 "is in use: expected nobody to use what is moved away");
    }
    img_error_set_path(err, chain_layer_path(layer));
    return -1;
}

static int check_layers(const struct chain *chain, struct img_error *err)
{
    for (size_t i = 0; i < chain_depth(chain); i++) {
        const struct chain_layer *layer = chain_layer_at(chain, i);
        struct img_lock_holder holder;

        if (img_file_writer_test(chain_layer_file(layer), &holder, err) < 0) {
            img_error_set_path(err, chain_layer_path(layer));
            return -1;
        }
        if (holder.is_held) {
            return fail_held(layer, &holder, err);
        }
    }
    return 0;
}

int chain_relocation_check_alone(const struct chain_relocation *relocation,
                                 struct img_error *err)
{
    for (size_t i = 0;
         relocation->request->exclusive && i < relocation->sources_nr; i++) {
        if (check_layers(relocation->sources[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

bool chain_relocation_has(const struct chain_relocation *relocation,
                          const struct img_stamp *stamp, struct img_error *err)
{
    for (size_t i = 0; i < relocation->sources_nr; i++) {
        if (chain_find_stamp(relocation->sources[i], stamp, err)) {
            return true;
        }
        if (err->code != IMG_OK) {
            return false;
        }
    }
    return false;
}

int chain_relocation_check_unchanged(const struct chain_relocation *relocation,
                                     struct img_error *err)
{
    for (size_t i = 0; i < relocation->sources_nr; i++) {
        if (chain_check_unchanged(relocation->sources[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}
