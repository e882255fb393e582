/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A copy with a step of the caller's own before it gets its name. */
#ifndef CHAIN_OPS_COPY_THEN_H
#define CHAIN_OPS_COPY_THEN_H

#include <chain/copy.h>

struct img_file;

/* SOURCE is the active layer's file as it was read; DEST is written, and open
   for writing, and nobody sees it yet. */
typedef int chain_copy_step(void *opaque, struct img_file *source,
                            struct img_file *dest, struct img_error *err);

/*
 * chain_copy to a name that must be free, whose last step is STEP. What STEP
 * leaves is flushed before the name appears. NULL: chain_copy.
 */
int chain_copy_then(const struct chain_copy_request *request,
                    chain_copy_step *step, void *opaque,
                    struct chain_copy_result *out, struct img_error *err);

#endif
