/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A new image, as it was or would be made, for people and programs. */
#ifndef MADE_H
#define MADE_H

#include <chain/create.h>

#include "output.h"

/* Its rows, without its name. */
void made_sheet(struct output *out, const struct chain_made *made);
/* Its members, with the names that QEMU's ImageInfo has for them. */
void made_json(struct img_json *json, const struct chain_made *made);

#endif
