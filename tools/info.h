/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What info shows of one layer. */
#ifndef INFO_H
#define INFO_H

#include <chain/chain.h>
#include <img/json.h>

#include "output.h"

/*
 * QEMU's ImageInfo of LAYER, and "probed" besides. NULL with ERR filled in
 * when the format's own part cannot be read.
 */
struct img_json *info_json(const struct chain_layer *layer,
                           struct img_error *err);
/* The same for people, 80 columns. */
int info_sheet(struct output *out, const struct chain_layer *layer,
               struct img_error *err);

/*
 * The backing name of LAYER's image as QEMU completes it: joined with the
 * layer's folder when it is relative, else as it is. NULL with ERR filled in
 * when memory is out. Free with free().
 */
char *info_full_backing(const struct chain_layer *layer, struct img_error *err);

#endif
