/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON values: building, printing, and parsing of hostile text. */
#include <math.h>
#include <stdio.h>

#include <img/json.h>
#include <img/memory.h>

#include "unit.h"

static struct img_error err;

static void text_is(struct img_json *value, bool pretty, const char *want)
{
    char *text = img_json_text(value, pretty, &err);

    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, want);
    free(text);
    img_json_free(value);
}

START_TEST(build_all_types)
{
    struct img_json *root = img_json_object();
    struct img_json *list = img_json_array();

    img_json_push(list, img_json_u64(1));
    img_json_push(list, img_json_null());
    img_json_push(list, NULL);
    img_json_set(root, "list", list);
    img_json_set_u64(root, "max", UINT64_MAX);
    img_json_set_bool(root, "yes", true);
    img_json_set(root, "no", img_json_bool(false));
    img_json_set_string(root, "path", "/a/\"b\"\n");
    img_json_set_string(root, "none", NULL);
    img_json_set(root, "null", img_json_null());
    text_is(root, false,
            "{\"list\":[1,null],\"max\":18446744073709551615,\"yes\":true,"
            "\"no\":false,\"path\":\"/a/\\\"b\\\"\\n\",\"null\":null}");
}
END_TEST

START_TEST(build_pretty)
{
    struct img_json *root = img_json_object();

    img_json_set_u64(root, "a", 1);
    text_is(root, true, "{\n  \"a\": 1\n}");
    text_is(img_json_null(), true, "null");
    text_is(img_json_u64(7), true, "7");
}
END_TEST

START_TEST(build_invalid_utf8)
{
    struct img_json *root = img_json_object();

    img_json_set_string(root, "k\xff", "a\xff\xc3\xa9\xed\xa0\x80z");
    text_is(root, false,
            "{\"k\xEF\xBF\xBD\":\"a\xEF\xBF\xBD\xc3\xa9\xEF\xBF\xBD"
            "\xEF\xBF\xBD\xEF\xBF\xBDz\"}");
}
END_TEST

START_TEST(build_doubles)
{
    text_is(img_json_double(0.1), false, "0.1");
    text_is(img_json_double(1.0 / 3), false, "0.3333333333333333");
    text_is(img_json_double(-2), false, "-2");
    text_is(img_json_double(1e300), false, "1e+300");
    text_is(img_json_double(INFINITY), false, "null");
    text_is(img_json_double(NAN), false, "null");
}
END_TEST

START_TEST(build_into_wrong_containers)
{
    struct img_json *list = img_json_array();

    img_json_set_u64(list, "a", 1);
    img_json_set_u64(NULL, "a", 1);
    img_json_push(NULL, img_json_u64(1));
    text_is(list, false, "[]");
}
END_TEST

/* The printed text is whole, however it grows: control bytes are six-fold. */
START_TEST(build_long_text)
{
    struct img_json *root = img_json_array();
    struct img_json *inner = root;
    char bytes[1001];

    memset(bytes, 1, sizeof(bytes) - 1);
    bytes[sizeof(bytes) - 1] = '\0';
    for (int i = 0; i < 200; i++) {
        struct img_json *next = img_json_array();
        img_json_push(inner, img_json_string(bytes));
        img_json_push(inner, next);
        inner = next;
    }
    char *text = img_json_text(root, true, &err);
    ck_assert_ptr_nonnull(text);
    size_t escapes = 0;
    for (const char *p = text; *p != '\0'; p++) {
        escapes += strncmp(p, "\\u0001", 6) == 0;
    }
    ck_assert_uint_eq(escapes, 200 * 1000);
    ck_assert_int_eq(text[strlen(text) - 1], ']');
    free(text);
    /* Printing twice, in another form, is no different from once. */
    text = img_json_text(root, false, &err);
    ck_assert_ptr_nonnull(text);
    text_is(root, false, text);
    free(text);
}
END_TEST

START_TEST(text_of_nothing_fails)
{
    ck_assert_ptr_null(img_json_text(NULL, false, &err));
    ck_assert_int_eq((int)err.code, IMG_MEMORY);
}
END_TEST

static struct img_json *parse(const char *text)
{
    struct img_json *value = NULL;

    unit_ok(img_json_parse(text, strlen(text), &value, &err), &err);
    ck_assert_ptr_nonnull(value);
    return value;
}

START_TEST(parse_and_read)
{
    struct img_json *root = parse(
        " {\"s\":\"x\",\"n\":12,\"d\":\"34\",\"neg\":-1,\"f\":1.5,\"b\":true,"
        "\"z\":null,\"a\":[1,null],\"bad\":\"3x\"} \n");
    const char *key;
    const struct img_json *value;
    uint64_t u64 = 0;
    double real = 0;
    bool flag = false;

    ck_assert_int_eq(img_json_type(root), IMG_JSON_OBJECT);
    ck_assert_str_eq(img_json_get_string(root, "s"), "x");
    ck_assert(img_json_get_u64(root, "n", &u64) && u64 == 12);
    ck_assert(img_json_get_u64(root, "d", &u64) && u64 == 34);
    ck_assert(!img_json_get_u64(root, "neg", &u64));
    ck_assert(!img_json_get_u64(root, "bad", &u64));
    ck_assert(!img_json_get_u64(root, "f", &u64));
    ck_assert(!img_json_get_u64(root, "missing", &u64));
    ck_assert_uint_eq(u64, 34);
    ck_assert(!img_json_as_u64(img_json_get(root, "d"), &u64));
    ck_assert(img_json_as_double(img_json_get(root, "f"), &real));
    ck_assert(real > 1.4 && real < 1.6);
    ck_assert(img_json_get_bool(root, "b", &flag) && flag);
    ck_assert_int_eq(img_json_type(img_json_get(root, "z")), IMG_JSON_NULL);
    ck_assert_ptr_nonnull(img_json_get(root, "z"));
    ck_assert_ptr_null(img_json_get(root, "missing"));
    ck_assert_uint_eq(img_json_len(root), 9);
    const struct img_json *list = img_json_get(root, "a");
    ck_assert_uint_eq(img_json_len(list), 2);
    ck_assert_int_eq(img_json_type(img_json_at(list, 0)), IMG_JSON_NUMBER);
    ck_assert_int_eq(img_json_type(img_json_at(list, 1)), IMG_JSON_NULL);
    ck_assert_ptr_null(img_json_at(list, 2));
    ck_assert(img_json_entry(root, 0, &key, &value));
    ck_assert_str_eq(key, "s");
    ck_assert(img_json_entry(root, 8, &key, &value));
    ck_assert_str_eq(key, "bad");
    ck_assert(!img_json_entry(root, 9, &key, &value));
    img_json_free(root);
}
END_TEST

START_TEST(parse_scalars)
{
    uint64_t u64 = 0;
    struct img_json *value = parse("18446744073709551614");

    ck_assert(img_json_as_u64(value, &u64));
    ck_assert_uint_eq(u64, UINT64_MAX - 1);
    img_json_free(value);
    value = parse("null");
    ck_assert_int_eq(img_json_type(value), IMG_JSON_NULL);
    img_json_free(value);
    value = parse("\"\\ud83d\\ude00\\\\u0000\"");
    ck_assert_str_eq(img_json_as_string(value), "\xf0\x9f\x98\x80\\u0000");
    img_json_free(value);
}
END_TEST

static void refused(const char *text, enum img_code code, const char *why)
{
    struct img_json *value = NULL;

    unit_fails(img_json_parse(text, strlen(text), &value, &err), &err, code,
               why);
    ck_assert_ptr_null(value);
}

START_TEST(parse_duplicate_keys)
{
    refused("{\"a\":1,\"a\":2}", IMG_FORMAT,
            "JSON text: found 2 keys of which 1 differ, expected each key "
            "once in its object");
    refused("{\"a\":{\"b\":1},\"a\":2}", IMG_FORMAT,
            "JSON text: found 3 keys of which 1 differ, expected each key "
            "once in its object");
    refused("[{\"x\":{\"\\u0061\":1,\"a\":2}}]", IMG_FORMAT,
            "JSON text: found 3 keys of which 2 differ, expected each key "
            "once in its object");
    /* The same key in different objects, and colons in strings, are fine. */
    img_json_free(parse("{\"a\":{\"a\":\":\\\":\"},\"b:\":[{\"a\":1}]}"));
}
END_TEST

START_TEST(parse_bad_strings)
{
    refused("\"a\\u0000b\"", IMG_FORMAT,
            "JSON text: the escape at position 2 is no character");
    refused("\"\\ud800\"", IMG_FORMAT,
            "JSON text: the escape at position 1 is no character");
    refused("\"\\ud800\\n12345\"", IMG_FORMAT,
            "JSON text: the escape at position 1 is no character");
    refused("\"\\udc00\\ud800\"", IMG_FORMAT,
            "JSON text: the escape at position 1 is no character");
    refused("\"a\nb\"", IMG_FORMAT,
            "JSON text: found byte 0x0a in a string at position 2, expected "
            "an escape");
    refused("\"\xff\"", IMG_FORMAT,
            "JSON text: found byte 0xff at position 1, expected UTF-8 "
            "without NUL");
    struct img_json *value = NULL;
    unit_fails(img_json_parse("1\0", 2, &value, &err), &err, IMG_FORMAT,
               "JSON text: found byte 0x00 at position 1, expected UTF-8 "
               "without NUL");
}
END_TEST

START_TEST(parse_bad_numbers)
{
    static const char *const texts[] = {
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "[18446744073709551616]",
        "{\"a\":99999999999999999999999}",
        "-9223372036854775809",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        refused(texts[i], IMG_FORMAT, "JSON text: a number is out of range");
    }
    refused("[01]", IMG_FORMAT, "not JSON: number expected");
}
END_TEST

START_TEST(parse_not_json)
{
    refused("", IMG_FORMAT, "JSON text ends too early");
    refused("{\"a\":", IMG_FORMAT, "JSON text ends too early");
    refused("{} {}", IMG_FORMAT, "not JSON: unexpected character");
    refused("{'a':1}", IMG_FORMAT,
            "JSON text: found an apostrophe at position 1, expected a "
            "quotation mark");
    refused("/* c */ 1", IMG_FORMAT, "not JSON: unexpected character");
    refused("[1,]", IMG_FORMAT, "not JSON: unexpected character");
}
END_TEST

static void nested(char *text, size_t levels)
{
    memset(text, '[', levels);
    memset(text + levels, ']', levels);
    text[2 * levels] = '\0';
}

START_TEST(parse_limits)
{
    char text[4 * IMG_JSON_MAX_DEPTH];
    struct img_json *value = NULL;

    nested(text, IMG_JSON_MAX_DEPTH);
    img_json_free(parse(text));
    nested(text, IMG_JSON_MAX_DEPTH + 1);
    refused(text, IMG_LIMIT, "JSON text nests deeper than 32 levels");
    nested(text, 2 * IMG_JSON_MAX_DEPTH - 1);
    refused(text, IMG_LIMIT, "JSON text nests deeper than 32 levels");

    char *spaces = malloc(IMG_JSON_MAX_LEN + 1);
    ck_assert_ptr_nonnull(spaces);
    memset(spaces, ' ', IMG_JSON_MAX_LEN + 1);
    spaces[0] = '1';
    unit_ok(img_json_parse(spaces, IMG_JSON_MAX_LEN, &value, &err), &err);
    img_json_free(value);
    unit_fails(img_json_parse(spaces, IMG_JSON_MAX_LEN + 1, &value, &err), &err,
               IMG_LIMIT,
               "JSON text too long: found 65537 bytes, at most 65536 are "
               "accepted");
    free(spaces);
}
END_TEST

UNIT_SUITE("json", build_all_types, build_pretty, build_invalid_utf8,
           build_doubles, build_into_wrong_containers, build_long_text,
           text_of_nothing_fails, parse_and_read, parse_scalars,
           parse_duplicate_keys, parse_bad_strings, parse_bad_numbers,
           parse_not_json, parse_limits)
