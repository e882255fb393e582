/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A LUKS header. */
#include <img/format.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct img_json *described = NULL;
    struct img_error err = {0};

    if (img_luks_describe(data, len, &described, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    fuzz_require(len >= IMG_LUKS_HEADER_LEN);
    fuzz_require(img_json_type(described) == IMG_JSON_OBJECT);
    img_json_free(described);
    return 0;
}
