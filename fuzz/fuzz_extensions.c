/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A first cluster: header, extensions, backing name, unknown features. */
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
    if (qcow2_features_check(&h, &x, &err) < 0) {
        fuzz_require_error(&err);
    }
    qcow2_extensions_fini(&x);
    return 0;
}
