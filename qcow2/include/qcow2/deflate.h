/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compression of one cluster (specification: "Compressed Clusters",
 * "compression_type"). Pure; one deflater per thread.
 */
#ifndef QCOW2_DEFLATE_H
#define QCOW2_DEFLATE_H

#include <img/error.h>
#include <qcow2/geometry.h>

enum qcow2_effort {
    QCOW2_EFFORT_DEFAULT, /* about as small as QEMU's: zlib 5, zstd 3 */
    QCOW2_EFFORT_FAST,    /* much faster, up to a tenth larger */
    QCOW2_EFFORT_BEST,
};

struct qcow2_deflater;

/* IMG_UNSUPPORTED for a combination that was not built in. */
int qcow2_deflater_new(enum qcow2_compression compression,
                       enum qcow2_effort effort, struct qcow2_deflater **out,
                       struct img_error *err);
/* NULL is fine. */
void qcow2_deflater_free(struct qcow2_deflater *deflater);

/*
 * Compress IN into OUT, which has room for OUT_ROOM bytes. zlib: a raw
 * deflate stream with a window of 4 KiB, all that QEMU reads; zstd: one
 * frame. *out_len 0: it does not fit, so that it is better stored plain.
 */
int qcow2_deflate(struct qcow2_deflater *deflater, const void *in,
                  size_t in_len, void *out, size_t out_room, size_t *out_len,
                  struct img_error *err);

#endif
