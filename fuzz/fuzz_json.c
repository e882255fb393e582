/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON from an image: what parses can be walked and written again. */
#include <stdlib.h>
#include <string.h>

#include <img/json.h>
#include <img/memory.h>

#include "fuzz.h"

static void free_json(struct img_json **value)
{
    img_json_free(*value);
}

/* Every accessor on every member of the outermost value. */
static void walk(const struct img_json *value)
{
    const struct img_json *member;
    const char *key;
    uint64_t number;
    bool flag;

    for (size_t i = 0; img_json_entry(value, i, &key, &member); i++) {
        const char *text = img_json_get_string(value, key);

        fuzz_require(text == NULL || img_json_type(member) == IMG_JSON_STRING);
        fuzz_require(img_json_get(value, key) == member);
        img_json_get_u64(value, key, &number);
        img_json_get_bool(value, key, &flag);
    }
    for (size_t i = 0; i < img_json_len(value); i++) {
        img_json_at(value, i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    IMG_AUTO(free_json) struct img_json *value = NULL;
    IMG_AUTO(img_free_ptr) char *text = NULL;
    struct img_error err = {0};

    if (img_json_parse((const char *)data, len, &value, &err) < 0) {
        fuzz_require_error(&err);
        return 0;
    }
    fuzz_require(len <= IMG_JSON_MAX_LEN);
    walk(value);
    text = img_json_text(value, false, &err);
    fuzz_require(text != NULL);
    return 0;
}
