/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A first cluster: header, extensions, backing name, unknown features. What
 * is written again is read as the same.
 */
#include <stdlib.h>
#include <string.h>

#include <qcow2/extensions.h>

#include "fuzz.h"

static void check_decoded(const struct qcow2_header *h,
                          const struct qcow2_extensions *x, const uint8_t *data,
                          size_t len)
{
    fuzz_require(x->end_off >= h->header_len && x->end_off <= len);
    if (x->backing_name != NULL) {
        fuzz_require(strlen(x->backing_name) == h->backing_name_len);
        fuzz_require(h->backing_name_off >= x->end_off);
    }
    if (x->backing_format != NULL) {
        fuzz_require(strlen(x->backing_format) <= QCOW2_MAX_BACKING_FORMAT_LEN);
        fuzz_require(memcmp(data + x->backing_format_off, x->backing_format,
                            strlen(x->backing_format)) == 0);
    }
    fuzz_require(x->features_nr <= QCOW2_MAX_FEATURE_NAMES);
    fuzz_require(x->unknown_nr <= QCOW2_MAX_UNKNOWN_EXTENSIONS);
    for (size_t i = 0; i < x->unknown_nr; i++) {
        const struct qcow2_unknown_extension *u = &x->unknown[i];

        fuzz_require(u->off + u->len <= len);
        fuzz_require(memcmp(data + u->off, u->data, u->len) == 0);
    }
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void check_same(const struct qcow2_extensions *a,
                       const struct qcow2_extensions *b)
{
    fuzz_require(is_same_text(a->backing_name, b->backing_name));
    fuzz_require(is_same_text(a->backing_format, b->backing_format));
    fuzz_require(is_same_text(a->data_file_name, b->data_file_name));
    fuzz_require(a->has_crypto == b->has_crypto);
    fuzz_require(a->crypto_off == b->crypto_off &&
                 a->crypto_len == b->crypto_len);
    fuzz_require(a->has_bitmaps == b->has_bitmaps);
    fuzz_require(a->bitmaps_nr == b->bitmaps_nr);
    fuzz_require(a->bitmap_directory_off == b->bitmap_directory_off);
    fuzz_require(a->unknown_nr == b->unknown_nr);
    for (size_t i = 0; i < a->unknown_nr; i++) {
        fuzz_require(a->unknown[i].type == b->unknown[i].type);
        fuzz_require(a->unknown[i].len == b->unknown[i].len);
        fuzz_require(memcmp(a->unknown[i].data, b->unknown[i].data,
                            a->unknown[i].len) == 0);
    }
    /* The feature names may have been left out, where room was short. */
    fuzz_require(b->features_nr == 0 || b->features_nr == a->features_nr);
}

static void check_encoded(const struct qcow2_header *h,
                          const struct qcow2_extensions *x)
{
    struct qcow2_header written = *h, header;
    struct qcow2_extensions again;
    struct img_error err = {0};
    uint8_t *cluster = malloc(h->cluster_len);

    fuzz_require(cluster != NULL);
    if (qcow2_first_cluster_encode(&written, x, false, cluster, h->cluster_len,
                                   &err) < 0) {
        /* Padding may take more room than there was. */
        fuzz_require(err.code == IMG_LIMIT);
    } else {
        fuzz_require(
            qcow2_header_decode(cluster, h->cluster_len, &header, &err) == 0);
        fuzz_require(header.l1_off == h->l1_off &&
                     header.virtual_len == h->virtual_len);
        fuzz_require(qcow2_extensions_decode(&header, cluster, h->cluster_len,
                                             &again, &err) == 0);
        check_same(x, &again);
        qcow2_extensions_fini(&again);
    }
    free(cluster);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct qcow2_header h;
    struct qcow2_extensions x;
    struct img_error err = {0};

    if (qcow2_header_decode(data, len, &h, &err) < 0) {
        return 0;
    }
    if (qcow2_extensions_decode(&h, data, len, &x, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    check_decoded(&h, &x, data, len);
    check_encoded(&h, &x);
    if (qcow2_features_check(&h, &x, &err) < 0) {
        fuzz_require_error(&err);
    }
    qcow2_extensions_fini(&x);
    return 0;
}
