/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A compressed cluster. Byte 0: bit 0 zstd, the rest the cluster size; then
 * the stream. Judged against the plain decoders as QEMU drives them.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <qcow2/inflate.h>

#include "fuzz.h"

static uint8_t got[1 << QCOW2_MAX_CLUSTER_BITS];
static uint8_t want[1 << QCOW2_MAX_CLUSTER_BITS];

/* One call with the whole output; full is good. */
static bool zlib_accepts(const uint8_t *in, size_t in_len, size_t out_len)
{
    z_stream z = {0};
    int ret;

    fuzz_require(inflateInit2(&z, -12) == Z_OK);
    z.next_in = (z_const Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)in_len;
    z.next_out = want;
    z.avail_out = (uInt)out_len;
    ret = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0;
}

/* Streaming with the library's default window limit. */
static bool zstd_accepts(const uint8_t *in, size_t in_len, size_t out_len)
{
    ZSTD_DCtx *dctx = ZSTD_createDCtx();
    ZSTD_inBuffer i = {in, in_len, 0};
    ZSTD_outBuffer o = {want, out_len, 0};
    size_t ret = 1;

    fuzz_require(dctx != NULL);
    while (o.pos < o.size) {
        size_t in_pos = i.pos, out_pos = o.pos;

        ret = ZSTD_decompressStream(dctx, &o, &i);
        if (ZSTD_isError(ret) || (i.pos == in_pos && o.pos == out_pos)) {
            ret = 1;
            break;
        }
    }
    ZSTD_freeDCtx(dctx);
    return ret == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct img_inflater *inflater;
    struct img_error err = {0};
    bool is_zstd, accepted, expected;
    size_t out_len;

    if (len == 0) {
        return 0;
    }
    if (inflater == NULL) {
        fuzz_require(qcow2_inflater_new(&inflater, &err) == 0);
    }
    is_zstd = data[0] & 1;
    out_len = (size_t)1 << (QCOW2_MIN_CLUSTER_BITS +
                            (data[0] >> 1) % (QCOW2_MAX_CLUSTER_BITS -
                                              QCOW2_MIN_CLUSTER_BITS + 1));
    data++;
    len--;
    accepted =
        qcow2_inflate(inflater,
                      is_zstd ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_ZLIB,
                      data, len, got, out_len, &err) == 0;
    if (!accepted) {
        fuzz_require_error(&err);
    }
    expected = is_zstd ? zstd_accepts(data, len, out_len)
                       : zlib_accepts(data, len, out_len);
    /* libdeflate takes some damaged streams; nothing else may differ. */
    fuzz_require(accepted || !expected);
    fuzz_require(!accepted || expected || !is_zstd);
    if (expected) {
        fuzz_require(memcmp(got, want, out_len) == 0);
    }
    return 0;
}
