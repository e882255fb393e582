/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decompression of one cluster (specification: "Compressed Clusters",
 * "compression_type"). Pure; one inflater per thread.
 */
#ifndef QCOW2_INFLATE_H
#define QCOW2_INFLATE_H

#include <img/error.h>
#include <qcow2/geometry.h>

struct img_inflater;

int qcow2_inflater_new(struct img_inflater **out, struct img_error *err);
void qcow2_inflater_free(struct img_inflater *inflater);

/*
 * Inflate IN (IN_LEN bytes, the stored length is an upper bound: what
 * follows the stream is ignored) into exactly OUT_LEN bytes. As QEMU judges:
 * zlib (raw deflate) is good when the output is full, whether or not the
 * stream ends there; zstd may be several frames and must end with one.
 * IMG_CORRUPT for anything else. zstd's window memory is bounded.
 */
int qcow2_inflate(struct img_inflater *inflater,
                  enum qcow2_compression compression, const void *in,
                  size_t in_len, void *out, size_t out_len,
                  struct img_error *err);

/* CRC-32 (as gzip and PNG use it) of LEN bytes. */
uint32_t qcow2_crc32(const void *bytes, size_t len);

#endif
