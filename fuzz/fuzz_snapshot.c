/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot table after the prefix. */
#include <qcow2/snapshot.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_geometry g;
    uint64_t sum = 0;

    if (!fuzz_prefix(data, len, &g)) {
        return 0;
    }
    for (size_t off = FUZZ_PREFIX_LEN; off < len;) {
        struct qcow2_snapshot s;
        struct img_error err = {0};

        if (qcow2_snapshot_decode(&g.header, data + off, len - off, off,
                                  g.file_len, &s, &err) < 0) {
            fuzz_require_error(&err);
            break;
        }
        fuzz_require(s.entry_len == qcow2_snapshot_entry_len(data + off));
        fuzz_require(s.l1_entries == 0 || s.l1_off < g.file_len);
        /* Every borrowed byte is there: read them all. */
        for (uint32_t i = 0; i < s.extra_len; i++) {
            sum += s.extra[i];
        }
        for (uint32_t i = 0; i < s.id_len; i++) {
            sum += (uint8_t)s.id[i];
        }
        for (uint32_t i = 0; i < s.name_len; i++) {
            sum += (uint8_t)s.name[i];
        }
        if (s.entry_len > len - off) {
            break; /* only the padding of the last one is missing */
        }
        off += s.entry_len;
    }
    fuzz_require(sum <= (uint64_t)len * 255);
    return 0;
}
