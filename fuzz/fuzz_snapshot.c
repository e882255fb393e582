/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot table after the prefix. */
#include <stdlib.h>
#include <string.h>

#include <qcow2/snapshot.h>

#include "fuzz.h"

/* Encoded (with the extra data of version 3) it is read as the same. */
static void check_encoded(const struct fuzz_geometry *g,
                          const struct qcow2_snapshot *s)
{
    struct qcow2_snapshot written = *s, again;
    struct img_error err = {0};
    uint8_t *bytes;

    qcow2_snapshot_encode(&written, NULL);
    fuzz_require(written.entry_len >= s->entry_len && written.extra_len >= 16);
    bytes = calloc(1, written.entry_len);
    fuzz_require(bytes != NULL);
    qcow2_snapshot_encode(&written, bytes);
    fuzz_require(qcow2_snapshot_decode(&g->header, bytes, written.entry_len, 0,
                                       g->file_len, &again, &err) == 0);
    fuzz_require(again.l1_off == s->l1_off &&
                 again.l1_entries == s->l1_entries);
    fuzz_require(again.virtual_len == s->virtual_len);
    fuzz_require(again.vm_state_len == s->vm_state_len);
    fuzz_require(again.icount == s->icount);
    fuzz_require(again.date_sec == s->date_sec);
    fuzz_require(again.id_len == s->id_len && again.name_len == s->name_len);
    fuzz_require(memcmp(again.id, s->id, s->id_len) == 0);
    fuzz_require(memcmp(again.name, s->name, s->name_len) == 0);
    free(bytes);
}

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
        check_encoded(&g, &s);
        if (s.entry_len > len - off) {
            break; /* only the padding of the last one is missing */
        }
        off += s.entry_len;
    }
    fuzz_require(sum <= (uint64_t)len * 255);
    return 0;
}
