/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bitmap directory after the prefix; the same bytes as entries of a bitmap
 * table.
 */
#include <img/bytes.h>
#include <qcow2/bitmap.h>

#include "fuzz.h"

static void decode_directory(const struct fuzz_geometry *g, const uint8_t *data,
                             size_t len)
{
    uint64_t sum = 0;

    for (size_t off = 0; off < len;) {
        struct qcow2_bitmap b;
        struct img_error err = {0};

        if (qcow2_bitmap_decode(&g->header, data + off, len - off, off,
                                g->file_len, &b, &err) < 0) {
            fuzz_require_error(&err);
            break;
        }
        fuzz_require(b.entry_len <= len - off);
        fuzz_require(b.table_off < g->file_len);
        for (uint32_t i = 0; i < b.name_len; i++) {
            sum += (uint8_t)b.name[i];
        }
        off += b.entry_len;
    }
    fuzz_require(sum <= (uint64_t)len * 255);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_geometry g;

    if (!fuzz_prefix(data, len, &g)) {
        return 0;
    }
    decode_directory(&g, data + FUZZ_PREFIX_LEN, len - FUZZ_PREFIX_LEN);
    for (size_t i = FUZZ_PREFIX_LEN; i + 8 <= len; i += 8) {
        struct img_error err = {0};
        uint64_t off = 0;

        if (qcow2_bitmap_entry_decode(&g.header, img_load_be64(data + i),
                                      g.file_len, &off, &err) < 0) {
            fuzz_require_error(&err);
        } else {
            fuzz_require(off == 0 || off < g.file_len);
        }
    }
    return 0;
}
