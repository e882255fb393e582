/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A size as people write it: never more than the number says, and 64 bits. */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>
#include <img/size.h>

#include "fuzz.h"

/* Plain decimal bytes, worked out by the C library. */
static bool is_decimal(const char *text)
{
    return text[0] >= '1' && text[0] <= '9' && strlen(text) <= 18 &&
           text[strspn(text, "0123456789")] == '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    char shown[IMG_SIZE_TEXT_LEN];
    struct img_error err = {0};
    uint64_t size = 0;
    int ret;

    text = img_strndup((const char *)data, len, &err);
    fuzz_require(text != NULL);
    ret = img_size_parse(text, &size, &err);
    if (is_decimal(text)) {
        fuzz_require(ret == 0 && size == strtoull(text, NULL, 10));
    }
    if (ret < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    fuzz_require(strlen(img_size_short(size, shown)) < sizeof(shown));
    fuzz_require(strlen(img_size_exact(size, shown)) < sizeof(shown));
    return 0;
}
