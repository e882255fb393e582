/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The header: whatever decodes keeps every limit, and encodes to the bytes it
 * came from.
 */
#include <string.h>

#include <img/checked.h>

#include "fuzz.h"

static void check_decoded(const struct qcow2_header *h)
{
    fuzz_require(h->version == 2 || h->version == 3);
    fuzz_require(h->cluster_len >= 512 && h->cluster_len <= 2u << 20);
    fuzz_require(h->refcount_order <= QCOW2_MAX_REFCOUNT_ORDER);
    fuzz_require((uint64_t)h->l1_entries * 8 <= QCOW2_MAX_L1_LEN);
    fuzz_require(h->l1_entries * h->l2_covers_len / h->l2_covers_len ==
                 h->l1_entries);
    fuzz_require(img_div_up(h->virtual_len, h->l2_covers_len) <= h->l1_entries);
    fuzz_require(h->reftable_clusters >= 1 &&
                 (uint64_t)h->reftable_clusters * h->cluster_len <=
                     QCOW2_MAX_REFTABLE_LEN);
    fuzz_require(h->l1_off % h->cluster_len == 0);
    fuzz_require(h->reftable_off % h->cluster_len == 0);
    fuzz_require(h->snapshots_nr <= QCOW2_MAX_SNAPSHOTS);
    if (h->backing_name_off != 0) {
        fuzz_require(h->backing_name_len >= 1 &&
                     h->backing_name_len <= QCOW2_MAX_BACKING_NAME_LEN);
        fuzz_require(img_range_fits(h->backing_name_off, h->backing_name_len,
                                    h->cluster_len));
    }
}

/* The fields, and of longer headers the compression type, too. */
static void check_encoded(const struct qcow2_header *h, const uint8_t *data)
{
    static uint8_t encoded[2u << 20];
    size_t known = h->version == 2        ? QCOW2_V2_HEADER_LEN
                   : h->header_len >= 112 ? QCOW2_V3_HEADER_LEN + 1
                                          : QCOW2_V3_HEADER_LEN;

    fuzz_require(h->header_len <= sizeof(encoded));
    qcow2_header_encode(h, encoded);
    fuzz_require(memcmp(encoded, data, known) == 0);
    for (size_t i = known; i < h->header_len; i++) {
        fuzz_require(encoded[i] == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct qcow2_header h;
    struct img_error err = {0};

    if (qcow2_header_decode(data, len, &h, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    check_decoded(&h);
    check_encoded(&h, data);
    fuzz_require(qcow2_header_peek_cluster_len(data, len) == h.cluster_len);
    if (qcow2_header_check_file(&h, len, &err) < 0) {
        fuzz_require_error(&err);
    } else if (h.l1_entries > 0) {
        fuzz_require(h.l1_off < len && h.reftable_off < len);
    }
    return 0;
}
