/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a chain and its layers are made of. For this room only. */
#ifndef CHAIN_GRAPH_GRAPH_H
#define CHAIN_GRAPH_GRAPH_H

#include <chain/chain.h>
#include <chain/name.h>
#include <img/file.h>
#include <img/image.h>

#include "identity.h"

struct qcow2_options;

struct chain_layer {
    char *path;                  /* joined as spelled, not normalised */
    struct chain_ref own_ref;    /* parsed from the name in the layer above */
    const struct chain_ref *ref; /* own_ref, or a part of a higher layer's
                                    own_ref (json "backing") */
    struct img_file *file;       /* own reference; a slice where ref has one */
    struct img_image *image;
    struct img_stamp stamp; /* of file and data file as they were opened */
    struct img_stamp data_stamp;
    const char *contents; /* static; NULL: nothing seen, or not raw */
    bool is_probed;
    bool is_data_file_open; /* data_stamp is meaningful */
};

struct chain {
    struct chain_layer **layers; /* each its own: refs point into them */
    size_t nr, capacity;
    struct chain_identity_set files;
    struct img_error broken; /* code IMG_OK: the chain is whole */
    char *broken_command;    /* see chain_broken_command */
    bool is_top_only;
    bool is_backing_given; /* the top's backing file is the caller's choice */
};

/* What is needed to open layers, all borrowed. */
struct chain_opener {
    const struct chain_options *options;
    struct img_open_options file_options;
    struct chain *chain;
};

/*
 * Open the file of LAYER (path and ref are set), cut the slice out of it and
 * note its stamp. It becomes layer chain->nr; the top's may be given
 * (chain_options.file, fd).
 */
int chain_layer_open_file(struct chain_layer *layer,
                          const struct chain_opener *opener,
                          struct img_error *err);
/*
 * Open the image in the layer's file: as FORMAT, or as what it is probed as
 * when FORMAT is NULL; HOW is for qcow2.
 */
int chain_layer_open_image(struct chain_layer *layer, const char *format,
                           const struct qcow2_options *how,
                           struct img_error *err);
/* Open the external data file that the image of LAYER, the lowest so far,
   wants. */
int chain_layer_open_data_file(struct chain_layer *layer,
                               const struct chain_opener *opener,
                               struct img_error *err);
void chain_layer_free(struct chain_layer *layer);
/* For IMG_AUTO. */
void chain_layer_free_ptr(struct chain_layer **layer);

/*
 * The error for a backing file whose format nobody declared: LOWER is the
 * layer as far as it could be opened (its file may be NULL). The command that
 * puts it right is left in CHAIN.
 */
int chain_fail_undeclared(struct chain *chain, const struct chain_layer *upper,
                          const struct chain_layer *lower,
                          struct img_error *err);

#endif
