/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refcounts of every width (specification: "Host cluster management"). Pure.
 */
#ifndef QCOW2_REFCOUNT_H
#define QCOW2_REFCOUNT_H

#include <qcow2/header.h>

/* Entries of one refcount block. */
uint64_t qcow2_refcount_block_entries(const struct qcow2_header *header);

/* Entry IDX of the refcount block at BLOCK (one cluster long). */
uint64_t qcow2_refcount_get(const struct qcow2_header *header,
                            const uint8_t *block, uint64_t idx);

/*
 * An entry of the refcount table: the offset of the block, 0 for none.
 * IMG_CORRUPT: reserved bits, unaligned, outside FILE_LEN.
 */
int qcow2_reftable_decode(const struct qcow2_header *header, uint64_t entry,
                          uint64_t file_len, uint64_t *out,
                          struct img_error *err);

/* Set entry IDX of BLOCK; VALUE is at most qcow2_refcount_max. */
void qcow2_refcount_set(const struct qcow2_header *header, uint8_t *block,
                        uint64_t idx, uint64_t value);
/* The largest refcount of the width. */
uint64_t qcow2_refcount_max(const struct qcow2_header *header);

#endif
