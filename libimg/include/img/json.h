/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON values: the one place that knows json-c.
 *
 * Building: a value given to img_json_set* or img_json_push belongs to the
 * container from then on, and is freed where memory is out: fill it in before.
 * NULL containers and values are accepted and
 * ignored, so that building needs no check per line; a failed allocation
 * while building is remembered in the thread and makes the next
 * img_json_text fail with IMG_MEMORY. Strings need not be UTF-8: bytes that
 * are not become U+FFFD, so that every document is valid.
 *
 * Reading: accessors return NULL or false on a missing key or other type.
 * Parsed text is hostile: length and nesting are bounded.
 */
#ifndef IMG_JSON_H
#define IMG_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

struct img_json;

#define IMG_JSON_MAX_DEPTH 32
#define IMG_JSON_MAX_LEN (64u << 10)

struct img_json *img_json_object(void);
struct img_json *img_json_array(void);
struct img_json *img_json_string(const char *text);
struct img_json *img_json_u64(uint64_t value);
struct img_json *img_json_bool(bool value);
struct img_json *img_json_double(double value);
struct img_json *img_json_null(void);
void img_json_free(struct img_json *value);

void img_json_set(struct img_json *object, const char *key,
                  struct img_json *value);
void img_json_set_string(struct img_json *object, const char *key,
                         const char *text);
void img_json_set_u64(struct img_json *object, const char *key, uint64_t value);
void img_json_set_bool(struct img_json *object, const char *key, bool value);
void img_json_push(struct img_json *array, struct img_json *value);

/*
 * For a value that is read instead of printed: IMG_MEMORY when memory ran out
 * while values were built in this thread; with that it is told.
 */
int img_json_check_built(struct img_error *err);
/*
 * The document as text, indented when PRETTY; a newline is not added. Free
 * with free(). NULL with ERR filled in when memory ran out, now or while the
 * value was built.
 */
char *img_json_text(const struct img_json *value, bool pretty,
                    struct img_error *err);

/*
 * Parse exactly one document of LEN bytes (at most IMG_JSON_MAX_LEN, nesting
 * at most IMG_JSON_MAX_DEPTH, no NUL byte, nothing after it but white space).
 * A key that stands twice in an object is refused: readers differ in which
 * one they take. Errors: IMG_FORMAT, IMG_LIMIT, IMG_MEMORY.
 */
int img_json_parse(const char *text, size_t len, struct img_json **out,
                   struct img_error *err);
/* The same for texts of up to MAX_LEN bytes, at most INT32_MAX - 1. */
int img_json_parse_within(const char *text, size_t len, size_t max_len,
                          struct img_json **out, struct img_error *err);

enum img_json_type {
    IMG_JSON_NULL,
    IMG_JSON_BOOL,
    IMG_JSON_NUMBER,
    IMG_JSON_STRING,
    IMG_JSON_ARRAY,
    IMG_JSON_OBJECT,
};

enum img_json_type img_json_type(const struct img_json *value);
/* Borrowed; valid as long as OBJECT lives. */
const struct img_json *img_json_get(const struct img_json *object,
                                    const char *key);
/* The same value for the caller to keep and to free; NULL: it is missing. */
struct img_json *img_json_take(const struct img_json *object, const char *key);
const char *img_json_get_string(const struct img_json *object, const char *key);
/* A non-negative integer, also one written as a string of digits. */
bool img_json_get_u64(const struct img_json *object, const char *key,
                      uint64_t *out);
bool img_json_get_bool(const struct img_json *object, const char *key,
                       bool *out);
/* The value itself, when it is a string; else NULL. Borrowed. */
const char *img_json_as_string(const struct img_json *value);
/* The value itself, when it is a non-negative integer. */
bool img_json_as_u64(const struct img_json *value, uint64_t *out);
bool img_json_as_bool(const struct img_json *value, bool *out);
bool img_json_as_double(const struct img_json *value, double *out);
size_t img_json_len(const struct img_json *array_or_object);
const struct img_json *img_json_at(const struct img_json *array, size_t idx);
/* Key and value at a position of an object, in insertion order. */
bool img_json_entry(const struct img_json *object, size_t idx, const char **key,
                    const struct img_json **value);

#endif
