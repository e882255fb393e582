/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deflating one cluster (specification: "Compressed Clusters Descriptor";
 * "Header", compression_type).
 *
 * Room: qcow2/codec, pure; with inflate.c the home of zlib, libzstd and
 * ISA-L.
 *
 * zlib: matches reach back at most 4096 bytes, as the specification wants it
 * and QEMU's decoder is opened. Of the encoders there are, zlib and ISA-L can
 * be held to that; libdeflate, which is as fast as zlib's lower levels at
 * better sizes, always uses the whole 32 KiB.
 *
 * Size and time for 64 KiB clusters of program files, zlib's default level (46
 * % of the plain size, 30 ns a byte) being 1:
 *     ISA-L level 3  1.07  0.13      zstd level 1   1.05  0.10
 *     zlib level 5   1.005 0.85      zstd level 3   0.99  0.16
 *     zlib level 9   0.998 2.0       zstd level 19  0.87  6.7
 */
#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <img/memory.h>
#include <qcow2/deflate.h>

#define WINDOW_BITS 12
/* One below QEMU's, see above: the time is worth more than half a percent. */
#define ZLIB_DEFAULT_LEVEL 5
/* As QEMU: all the memory that zlib can use for a block. */
#define ZLIB_MEM_LEVEL 9
#define ISAL_LEVEL 3

struct qcow2_deflater {
    enum qcow2_compression compression;
    bool has_zlib;
    z_stream zlib;
    struct isal_zstream *isal;
    void *isal_memory;
    ZSTD_CCtx *zstd;
};

static int init_zlib(struct qcow2_deflater *d, int level, struct img_error *err)
{
    if (deflateInit2(&d->zlib, level, Z_DEFLATED, -WINDOW_BITS, ZLIB_MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return img_fail_memory(err);
    }
    d->has_zlib = true;
    return 0;
}

static int init_isal(struct qcow2_deflater *d, struct img_error *err)
{
    d->isal = img_calloc(1, sizeof(*d->isal), err);
    d->isal_memory = img_calloc(1, ISAL_DEF_LVL3_DEFAULT, err);
    return d->isal == NULL || d->isal_memory == NULL ? -1 : 0;
}

static int init_zstd(struct qcow2_deflater *d, int level, struct img_error *err)
{
    d->zstd = ZSTD_createCCtx();
    if (d->zstd == NULL || ZSTD_isError(ZSTD_CCtx_setParameter(
                               d->zstd, ZSTD_c_compressionLevel, level))) {
        return img_fail_memory(err);
    }
    return 0;
}

static int init(struct qcow2_deflater *d, enum qcow2_effort effort,
                struct img_error *err)
{
    switch (d->compression) {
    case QCOW2_COMPRESSION_ZLIB:
        if (effort == QCOW2_EFFORT_FAST) {
            return init_isal(d, err);
        }
        return init_zlib(
            d, effort == QCOW2_EFFORT_BEST ? 9 : ZLIB_DEFAULT_LEVEL, err);
    case QCOW2_COMPRESSION_ZSTD:
        return init_zstd(d,
                         effort == QCOW2_EFFORT_FAST   ? 1
                         : effort == QCOW2_EFFORT_BEST ? 19
                                                       : ZSTD_CLEVEL_DEFAULT,
                         err);
    }
    return img_fail(err, IMG_UNSUPPORTED,
                    "compression_type: found %d, expected 0 or 1",
                    (int)d->compression);
}

int qcow2_deflater_new(enum qcow2_compression compression,
                       enum qcow2_effort effort, struct qcow2_deflater **out,
                       struct img_error *err)
{
    struct qcow2_deflater *d = img_calloc(1, sizeof(*d), err);

    if (d == NULL) {
        return -1;
    }
    d->compression = compression;
    if (init(d, effort, err) < 0) {
        qcow2_deflater_free(d);
        return -1;
    }
    *out = d;
    return 0;
}

void qcow2_deflater_free(struct qcow2_deflater *d)
{
    if (d == NULL) {
        return;
    }
    if (d->has_zlib) {
        deflateEnd(&d->zlib);
    }
    free(d->isal);
    free(d->isal_memory);
    ZSTD_freeCCtx(d->zstd);
    free(d);
}

static int deflate_zlib(z_stream *zlib, const void *in, size_t in_len,
                        void *out, size_t out_room, size_t *out_len,
                        struct img_error *err)
{
    if (deflateReset(zlib) != Z_OK) {
        return img_fail(err, IMG_IO, "zlib cannot be reset");
    }
    zlib->next_in = (z_const Bytef *)(uintptr_t)in;
    zlib->avail_in = (uInt)in_len;
    zlib->next_out = out;
    zlib->avail_out = (uInt)out_room;
    /* Anything but the end: the output is full. */
    *out_len = deflate(zlib, Z_FINISH) == Z_STREAM_END
                   ? out_room - zlib->avail_out
                   : 0;
    return 0;
}

static int deflate_isal(struct qcow2_deflater *d, const void *in, size_t in_len,
                        void *out, size_t out_room, size_t *out_len)
{
    struct isal_zstream *isal = d->isal;

    isal_deflate_stateless_init(isal);
    isal->next_in = (uint8_t *)(uintptr_t)in;
    isal->avail_in = (uint32_t)in_len;
    isal->next_out = out;
    isal->avail_out = (uint32_t)out_room;
    isal->end_of_stream = 1;
    isal->flush = NO_FLUSH;
    isal->gzip_flag = IGZIP_DEFLATE;
    isal->hist_bits = WINDOW_BITS;
    isal->level = ISAL_LEVEL;
    isal->level_buf = d->isal_memory;
    isal->level_buf_size = ISAL_DEF_LVL3_DEFAULT;
    *out_len = isal_deflate_stateless(isal) == COMP_OK ? isal->total_out : 0;
    return 0;
}

static int deflate_zstd(ZSTD_CCtx *zstd, const void *in, size_t in_len,
                        void *out, size_t out_room, size_t *out_len,
                        struct img_error *err)
{
    size_t got = ZSTD_compress2(zstd, out, out_room, in, in_len);

    if (!ZSTD_isError(got)) {
        *out_len = got;
        return 0;
    }
    *out_len = 0;
    if (ZSTD_getErrorCode(got) == ZSTD_error_dstSize_tooSmall) {
        return 0;
    }
    if (ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation) {
        return img_fail_memory(err);
    }
    return img_fail(err, IMG_IO, "libzstd cannot compress: %s",
                    ZSTD_getErrorName(got));
}

int qcow2_deflate(struct qcow2_deflater *d, const void *in, size_t in_len,
                  void *out, size_t out_room, size_t *out_len,
                  struct img_error *err)
{
    if (d->isal != NULL) {
        return deflate_isal(d, in, in_len, out, out_room, out_len);
    }
    if (d->has_zlib) {
        return deflate_zlib(&d->zlib, in, in_len, out, out_room, out_len, err);
    }
    return deflate_zstd(d->zstd, in, in_len, out, out_room, out_len, err);
}
