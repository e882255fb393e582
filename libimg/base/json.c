/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON values: reading what was built or parsed (room: base). Every accessor
 * tolerates NULL and values of another type.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json_wrap.h"

struct img_json img_json_null_value;

static bool is_type(const struct img_json *value, enum json_type type)
{
    return value != NULL && json_object_is_type(json_unwrap(value), type);
}

enum img_json_type img_json_type(const struct img_json *value)
{
    static const enum img_json_type types[] = {
        [json_type_null] = IMG_JSON_NULL,
        [json_type_boolean] = IMG_JSON_BOOL,
        [json_type_double] = IMG_JSON_NUMBER,
        [json_type_int] = IMG_JSON_NUMBER,
        [json_type_object] = IMG_JSON_OBJECT,
        [json_type_array] = IMG_JSON_ARRAY,
        [json_type_string] = IMG_JSON_STRING,
    };

    return value != NULL ? types[json_object_get_type(json_unwrap(value))]
                         : IMG_JSON_NULL;
}

const struct img_json *img_json_get(const struct img_json *object,
                                    const char *key)
{
    struct json_object *found = NULL;

    if (!is_type(object, json_type_object) ||
        !json_object_object_get_ex(json_unwrap(object), key, &found)) {
        return NULL;
    }
    return json_wrap(found);
}

struct img_json *img_json_take(const struct img_json *object, const char *key)
{
    const struct img_json *value = img_json_get(object, key);

    return value ? json_wrap(json_object_get(json_unwrap(value))) : NULL;
}

const char *img_json_get_string(const struct img_json *object, const char *key)
{
    return img_json_as_string(img_json_get(object, key));
}

static bool u64_of_digits(const char *text, uint64_t *out)
{
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        return false;
    }
    *out = value;
    return true;
}

bool img_json_get_u64(const struct img_json *object, const char *key,
                      uint64_t *out)
{
    const struct img_json *value = img_json_get(object, key);
    const char *text = img_json_as_string(value);

    return text != NULL ? u64_of_digits(text, out)
                        : img_json_as_u64(value, out);
}

bool img_json_get_bool(const struct img_json *object, const char *key,
                       bool *out)
{
    return img_json_as_bool(img_json_get(object, key), out);
}

const char *img_json_as_string(const struct img_json *value)
{
    return is_type(value, json_type_string)
               ? json_object_get_string(json_unwrap(value))
               : NULL;
}

bool img_json_as_u64(const struct img_json *value, uint64_t *out)
{
    if (!is_type(value, json_type_int) ||
        json_object_get_int64(json_unwrap(value)) < 0) {
        return false;
    }
    *out = json_object_get_uint64(json_unwrap(value));
    return true;
}

bool img_json_as_bool(const struct img_json *value, bool *out)
{
    if (!is_type(value, json_type_boolean)) {
        return false;
    }
    *out = json_object_get_boolean(json_unwrap(value));
    return true;
}

bool img_json_as_double(const struct img_json *value, double *out)
{
    if (!is_type(value, json_type_int) && !is_type(value, json_type_double)) {
        return false;
    }
    *out = json_object_get_double(json_unwrap(value));
    return true;
}

size_t img_json_len(const struct img_json *array_or_object)
{
    if (is_type(array_or_object, json_type_array)) {
        return json_object_array_length(json_unwrap(array_or_object));
    }
    if (is_type(array_or_object, json_type_object)) {
        return (size_t)json_object_object_length(json_unwrap(array_or_object));
    }
    return 0;
}

const struct img_json *img_json_at(const struct img_json *array, size_t idx)
{
    if (!is_type(array, json_type_array) || idx >= img_json_len(array)) {
        return NULL;
    }
    return json_wrap(json_object_array_get_idx(json_unwrap(array), idx));
}

bool img_json_entry(const struct img_json *object, size_t idx, const char **key,
                    const struct img_json **value)
{
    if (!is_type(object, json_type_object) || idx >= img_json_len(object)) {
        return false;
    }
    struct json_object *raw = json_unwrap(object);
    struct json_object_iterator at = json_object_iter_begin(raw);
    for (size_t i = 0; i < idx; i++) {
        json_object_iter_next(&at);
    }
    *key = json_object_iter_peek_name(&at);
    *value = json_wrap(json_object_iter_peek_value(&at));
    return true;
}
