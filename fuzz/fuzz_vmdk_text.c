/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text descriptor of a VMDK, as strangers' images are judged. */
#include <img/strict.h>

#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct img_error err = {0};

    if (img_vmdk_text_check((const char *)data, len, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    /* What is accepted has a type, and hides nothing behind its end. */
    size_t text_len = strnlen((const char *)data, len);
    fuzz_require(memmem(data, text_len, "createType", 10) != NULL);
    for (size_t i = text_len; i < len; i++) {
        fuzz_require(data[i] == 0);
    }
    return 0;
}
