/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON values: building and printing (room: base).
 *
 * json-c prints into a buffer that it grows as it goes, and drops what did
 * not fit when memory runs out. The buffer is therefore made large enough
 * before the real printing, where a failure can be seen: a text is whole or
 * it is an error.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>
#include <json-c/json_visit.h>
#include <json-c/printbuf.h>

#include "json_wrap.h"

/* Some allocation since the last img_json_text failed. */
static _Thread_local bool build_failed;

static struct img_json *built(struct json_object *object)
{
    if (object == NULL) {
        build_failed = true;
        return NULL;
    }
    return json_wrap(object);
}

struct img_json *img_json_object(void)
{
    return built(json_object_new_object());
}

struct img_json *img_json_array(void)
{
    return built(json_object_new_array());
}

struct img_json *img_json_null(void)
{
    return &img_json_null_value;
}

static bool is_utf8(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;

    for (size_t i = 0, n; i < len; i += n) {
        n = img_utf8_len(p + i, len - i);
        if (n == 0) {
            return false;
        }
    }
    return true;
}

/* TEXT with U+FFFD for each byte that is not UTF-8; NULL without memory. */
static char *utf8_dup(const char *text, size_t len)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    const uint8_t *p = (const uint8_t *)text;

    if (len > SIZE_MAX / 3 - 1) {
        return NULL;
    }
    char *out = malloc(len * 3 + 1);
    if (out == NULL) {
        return NULL;
    }
    size_t used = 0;
    for (size_t i = 0; i < len;) {
        size_t n = img_utf8_len(p + i, len - i);
        memcpy(out + used, n != 0 ? text + i : replacement, n != 0 ? n : 3);
        used += n != 0 ? n : 3;
        i += n != 0 ? n : 1;
    }
    out[used] = '\0';
    return out;
}

struct img_json *img_json_string(const char *text)
{
    if (is_utf8(text, strlen(text))) {
        return built(json_object_new_string(text));
    }
    IMG_AUTO(img_free_ptr) char *valid = utf8_dup(text, strlen(text));
    return built(valid != NULL ? json_object_new_string(valid) : NULL);
}

struct img_json *img_json_u64(uint64_t value)
{
    return built(json_object_new_uint64(value));
}

struct img_json *img_json_bool(bool value)
{
    return built(json_object_new_boolean(value));
}

/* JSON has no infinities: they, and what is no number, become null. */
struct img_json *img_json_double(double value)
{
    char text[40];

    if (!isfinite(value)) {
        return img_json_null();
    }
    /* 17 digits always give the value back; fewer often do. */
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    return built(json_object_new_double_s(value, text));
}

void img_json_free(struct img_json *value)
{
    if (value != NULL) {
        json_object_put(json_unwrap(value));
    }
}

static void add_member(struct img_json *object, const char *key,
                       struct img_json *value)
{
    if (json_object_object_add(json_unwrap(object), key, json_unwrap(value)) !=
        0) {
        build_failed = true;
        img_json_free(value);
    }
}

void img_json_set(struct img_json *object, const char *key,
                  struct img_json *value)
{
    if (value == NULL) {
        return;
    }
    if (object == NULL || img_json_type(object) != IMG_JSON_OBJECT) {
        img_json_free(value);
        return;
    }
    if (is_utf8(key, strlen(key))) {
        add_member(object, key, value);
        return;
    }
    char *valid = utf8_dup(key, strlen(key));
    if (valid == NULL) {
        build_failed = true;
        img_json_free(value);
        return;
    }
    add_member(object, valid, value);
    free(valid);
}

void img_json_set_string(struct img_json *object, const char *key,
                         const char *text)
{
    img_json_set(object, key, text != NULL ? img_json_string(text) : NULL);
}

void img_json_set_u64(struct img_json *object, const char *key, uint64_t value)
{
    img_json_set(object, key, img_json_u64(value));
}

void img_json_set_bool(struct img_json *object, const char *key, bool value)
{
    img_json_set(object, key, img_json_bool(value));
}

void img_json_push(struct img_json *array, struct img_json *value)
{
    if (value == NULL) {
        return;
    }
    if (array == NULL || img_json_type(array) != IMG_JSON_ARRAY) {
        img_json_free(value);
        return;
    }
    if (json_object_array_add(json_unwrap(array), json_unwrap(value)) != 0) {
        build_failed = true;
        img_json_free(value);
    }
}

int img_json_check_built(struct img_error *err)
{
    if (build_failed) {
        build_failed = false;
        return img_fail_memory(err);
    }
    return 0;
}

/* An upper bound of the printed length, counted node by node. */
struct text_bound {
    size_t depth;
    size_t len;
};

/* NOLINTBEGIN(readability-non-const-parameter): json_c_visit_userfunc */
static int bound_node(json_object *node, int flags, json_object *parent,
                      const char *key, size_t *idx, void *opaque)
{
    struct text_bound *bound = opaque;

    (void)parent;
    (void)idx;
    if (flags & JSON_C_VISIT_SECOND) {
        bound->depth--;
        return JSON_C_VISIT_RETURN_CONTINUE;
    }
    /* Numbers and punctuation fit in 64; a line is indented by two columns
       a level, twice for a container; a byte is at most six as \u00XX. */
    bound->len += 64 + 4 * bound->depth;
    bound->len += key != NULL ? 6 * strlen(key) : 0;
    if (json_object_is_type(node, json_type_string)) {
        bound->len += 6 * (size_t)json_object_get_string_len(node);
    }
    if (json_object_is_type(node, json_type_object) ||
        json_object_is_type(node, json_type_array)) {
        bound->depth++;
    }
    return JSON_C_VISIT_RETURN_CONTINUE;
}
/* NOLINTEND(readability-non-const-parameter) */

/* A "serializer" that only makes room; the object keeps the buffer. */
static int reserve(struct json_object *object, struct printbuf *buffer,
                   int level, int flags)
{
    struct text_bound bound = {0};

    (void)level;
    (void)flags;
    if (json_c_visit(object, 0, bound_node, &bound) != 0 ||
        bound.len > INT32_MAX - 64) {
        return -1;
    }
    return printbuf_memset(buffer, (int)bound.len, 0, 1);
}

char *img_json_text(const struct img_json *value, bool pretty,
                    struct img_error *err)
{
    struct json_object *object = json_unwrap(value);
    int flags = JSON_C_TO_STRING_NOSLASHESCAPE;

    if (value == NULL || build_failed) {
        build_failed = false;
        img_fail_memory(err);
        return NULL;
    }
    if (object == NULL) {
        return img_strndup("null", 4, err);
    }
    flags |= pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED
                    : JSON_C_TO_STRING_PLAIN;
    if (json_object_is_type(object, json_type_object) ||
        json_object_is_type(object, json_type_array) ||
        json_object_is_type(object, json_type_string)) {
        json_object_set_serializer(object, reserve, NULL, NULL);
        const char *room = json_object_to_json_string_ext(object, flags);
        json_object_set_serializer(object, NULL, NULL, NULL);
        if (room == NULL) {
            img_fail_memory(err);
            return NULL;
        }
    }
    size_t len = 0;
    const char *text = json_object_to_json_string_length(object, flags, &len);
    if (text == NULL) {
        img_fail_memory(err);
        return NULL;
    }
    return img_strndup(text, len, err);
}
