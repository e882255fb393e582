/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compressing a cluster: what comes out is inflated to what went in, and
 * never longer than there is room. Byte 0: bit 0 zstd, bits 1 and 2 the
 * effort, the rest how often the bytes are repeated; byte 1: room.
 */
#include <stdlib.h>
#include <string.h>

#include <qcow2/deflate.h>
#include <qcow2/inflate.h>

#include "fuzz.h"

#define PLAIN_MAX (64u << 10)

static uint8_t plain[PLAIN_MAX], packed[PLAIN_MAX], back[PLAIN_MAX];

/* A deflater for each way there is. */
static struct qcow2_deflater *deflater_for(bool is_zstd, unsigned effort)
{
    static struct qcow2_deflater *made[2][3];
    struct img_error err = {0};

    if (made[is_zstd][effort] == NULL) {
        fuzz_require(qcow2_deflater_new(is_zstd ? QCOW2_COMPRESSION_ZSTD
                                                : QCOW2_COMPRESSION_ZLIB,
                                        (enum qcow2_effort)effort,
                                        &made[is_zstd][effort], &err) == 0);
    }
    return made[is_zstd][effort];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct img_inflater *inflater;
    struct img_error err = {0};
    size_t plain_len = 0, packed_len, room;
    bool is_zstd;

    if (len < 3) {
        return 0;
    }
    if (inflater == NULL) {
        fuzz_require(qcow2_inflater_new(&inflater, &err) == 0);
    }
    is_zstd = data[0] & 1;
    for (unsigned i = 0; i <= data[0] >> 3; i++) {
        if (len - 2 <= PLAIN_MAX - plain_len) {
            memcpy(plain + plain_len, data + 2, len - 2);
            plain_len += len - 2;
        }
    }
    room = plain_len * (data[1] + 1u) / 256;
    fuzz_require(qcow2_deflate(deflater_for(is_zstd, (data[0] >> 1) % 3), plain,
                               plain_len, packed, room, &packed_len,
                               &err) == 0);
    fuzz_require(packed_len <= room);
    if (packed_len > 0) {
        fuzz_require(qcow2_inflate(inflater,
                                   is_zstd ? QCOW2_COMPRESSION_ZSTD
                                           : QCOW2_COMPRESSION_ZLIB,
                                   packed, packed_len, back, plain_len,
                                   &err) == 0);
        fuzz_require(memcmp(back, plain, plain_len) == 0);
    }
    return 0;
}
