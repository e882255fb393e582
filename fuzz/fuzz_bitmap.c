/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bitmap directory after the prefix; the same bytes as entries of a bitmap
 * table.
 */
#include <string.h>

#include <img/bytes.h>
#include <qcow2/bitmap.h>

#include "fuzz.h"

static void check_encoded(const struct fuzz_geometry *g,
                          const struct qcow2_bitmap *b)
{
    static uint8_t bytes[2048];
    struct qcow2_bitmap written = *b, again;
    struct img_error err = {0};

    qcow2_bitmap_encode(&written, NULL);
    fuzz_require(written.entry_len == b->entry_len);
    fuzz_require(written.entry_len <= sizeof(bytes));
    qcow2_bitmap_encode(&written, bytes);
    fuzz_require(qcow2_bitmap_decode(&g->header, bytes, written.entry_len, 0,
                                     g->file_len, &again, &err) == 0);
    fuzz_require(again.table_off == b->table_off);
    fuzz_require(again.table_entries == b->table_entries);
    fuzz_require(again.flags == b->flags && again.type == b->type);
    fuzz_require(again.granularity_bits == b->granularity_bits);
    fuzz_require(again.name_len == b->name_len);
    fuzz_require(memcmp(again.name, b->name, b->name_len) == 0);
}

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
        check_encoded(g, &b);
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
