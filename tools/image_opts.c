/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --image-opts: see image_opts.h. */
#include "image_opts.h"

#include <img/json.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "words.h"

/* QEMU takes suffixes here that a json: name does not. */
static void set_option(struct img_json *object, const char *key,
                       const char *value)
{
    const char *dot = strrchr(key, '.');
    const char *last = dot ? dot + 1 : key;
    struct img_error ignored;
    uint64_t number;

    if ((strcmp(last, "offset") == 0 || strcmp(last, "size") == 0) &&
        size_parse(value, &number, &ignored) == 0) {
        img_json_set_u64(object, key, number);
    } else {
        img_json_set_string(object, key, value);
    }
}

static int fill(struct img_json *object, const char *text,
                struct img_error *err)
{
    while (*text) {
        size_t key_len = strcspn(text, "=,");
        IMG_AUTO(img_free_ptr) char *key = img_strndup(text, key_len, err);
        IMG_AUTO(img_free_ptr) char *value = NULL;

        if (!key) {
            return -1;
        }
        if (key_len == 0 || text[key_len] != '=') {
            return img_fail(err, IMG_USAGE,
                            "--image-opts: expected KEY=VALUE,...");
        }
        text = words_take(text + key_len + 1, &value, err);
        if (!text) {
            return -1;
        }
        text += *text == ',' ? 1 : 0;
        set_option(object, key, value);
    }
    return 0;
}

char *image_opts_name(const char *text, struct img_error *err)
{
    struct img_json *object = img_json_object();
    IMG_AUTO(img_free_ptr) char *json = NULL;

    if (fill(object, text, err) == 0) {
        json = img_json_text(object, false, err);
    }
    img_json_free(object);
    return json ? img_text(err, "json:%s", json) : NULL;
}
