/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Do two files share the very same blocks (reflinks)?
 *
 * Asked of the file system (FIEMAP), only where it can share extents at all,
 * in windows that are kept, so that it is not asked once per cluster. For one
 * thread.
 */
#ifndef CHAIN_OPS_PHYSICAL_H
#define CHAIN_OPS_PHYSICAL_H

#include <img/file.h>

struct chain_physical;

struct chain_physical *chain_physical_new(struct img_error *err);
/* NULL is fine. */
void chain_physical_free(struct chain_physical *physical);

/*
 * Are the bytes of A at A_OFF the same blocks as those of B at B_OFF? *len,
 * at most LEN, is how far the answer holds. A file system that cannot or
 * will not tell is a "no", never an error.
 */
bool chain_physical_is_shared(struct chain_physical *physical,
                              struct img_file *a, uint64_t a_off,
                              struct img_file *b, uint64_t b_off, uint64_t len,
                              uint64_t *out_len);

#endif
