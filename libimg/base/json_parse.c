/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON values: parsing hostile text (room: base; the grammar is RFC 8259).
 *
 * json-c's tokener does the parsing, strictly. What it lets pass and two
 * readers might take differently is refused here:
 * - A key that stands twice. The tokener keeps the last one, so the tree has
 *   fewer members than the text; in well-formed text the members are counted
 *   by the colons outside of strings.
 * - \u0000 (the rest of the string would be lost in C) and halves of
 *   surrogate pairs.
 * - Control characters in strings and keys between apostrophes, which the
 *   grammar forbids.
 * - NaN and the infinities, which json-c knows as numbers, and integers that
 *   do not fit: it makes them the nearest that does. (So the two extremes,
 *   -2^63 and 2^64 - 1, are refused with them.)
 *
 * json-c before 0.17 does not check all of its own allocations, so a
 * process that runs out of memory in the tokener may crash there. Texts from
 * images are short, IMG_JSON_MAX_LEN.
 */
#include <math.h>
#include <string.h>

#include <img/memory.h>
#include <json-c/json_visit.h>

#include "json_wrap.h"

static int check_bytes(const char *text, size_t len, size_t max_len,
                       struct img_error *err)
{
    if (len > max_len) {
        return img_fail(err, IMG_LIMIT,
                        "JSON text too long: found %zu bytes, at most %zu are "
                        "accepted",
                        len, max_len);
    }
    for (size_t i = 0, n; i < len; i += n) {
        n = img_utf8_len((const uint8_t *)text + i, len - i);
        if (n == 0 || text[i] == '\0') {
            return img_fail(err, IMG_FORMAT,
                            "JSON text: found byte 0x%02x at position %zu, "
                            "expected UTF-8 without NUL",
                            (unsigned)(uint8_t)text[i], i);
        }
    }
    return 0;
}

/* The four digits at P as a number; the tokener has checked that they are. */
static uint32_t hex4(const char *p)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        uint32_t digit = (uint32_t)(uint8_t)p[i];
        digit = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
        value = value << 4 | digit;
    }
    return value;
}

/*
 * The escape whose backslash is at P[0], of well-formed text: its length, or
 * 0 for one that no string may hold.
 */
static size_t escape_len(const char *p, size_t left)
{
    if (p[1] != 'u' || left < 6) {
        return 2;
    }
    uint32_t unit = hex4(p + 2);
    if (unit == 0 || (unit >= 0xdc00 && unit <= 0xdfff)) {
        return 0;
    }
    if (unit < 0xd800 || unit > 0xdbff) {
        return 6;
    }
    if (left < 12 || p[6] != '\\' || p[7] != 'u') {
        return 0;
    }
    uint32_t low = hex4(p + 8);
    return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

/*
 * What stands at text[I], inside a string: how many bytes to go on, or 0
 * with ERR filled in.
 */
static size_t string_step(const char *text, size_t len, size_t i,
                          struct img_error *err)
{
    if ((uint8_t)text[i] < 0x20) {
        img_fail(err, IMG_FORMAT,
                 "JSON text: found byte 0x%02x in a string at position %zu, "
                 "expected an escape",
                 (unsigned)(uint8_t)text[i], i);
        return 0;
    }
    if (text[i] != '\\') {
        return 1;
    }
    size_t step = escape_len(text + i, len - i);
    if (step == 0) {
        img_fail(err, IMG_FORMAT,
                 "JSON text: the escape at position %zu is no character", i);
    }
    return step;
}

/* Check strings and count the members of all objects in well-formed text. */
static int count_members(const char *text, size_t len, size_t *members,
                         struct img_error *err)
{
    bool in_string = false;

    *members = 0;
    for (size_t i = 0, step; i < len; i += step) {
        step = in_string ? string_step(text, len, i, err) : 1;
        if (step == 0) {
            return -1;
        }
        if (text[i] == '"') {
            in_string = !in_string;
        }
        if (!in_string && text[i] == '\'') {
            return img_fail(err, IMG_FORMAT,
                            "JSON text: found an apostrophe at position %zu, "
                            "expected a quotation mark",
                            i);
        }
        if (!in_string && text[i] == ':') {
            (*members)++;
        }
    }
    return 0;
}

struct tree_facts {
    size_t members;
    int depth, max_depth;
    bool has_no_number;
};

static bool is_container(json_object *node)
{
    return json_object_is_type(node, json_type_object) ||
           json_object_is_type(node, json_type_array);
}

/* Not finite, or where json-c puts integers that are out of range. */
static bool is_no_number(json_object *node)
{
    if (json_object_is_type(node, json_type_double)) {
        return !isfinite(json_object_get_double(node));
    }
    return json_object_is_type(node, json_type_int) &&
           (json_object_get_int64(node) == INT64_MIN ||
            json_object_get_uint64(node) == UINT64_MAX);
}

/* NOLINTBEGIN(readability-non-const-parameter): json_c_visit_userfunc */
static int look_at_node(json_object *node, int flags, json_object *parent,
                        const char *key, size_t *idx, void *opaque)
{
    struct tree_facts *facts = opaque;

    (void)parent;
    (void)idx;
    if (flags & JSON_C_VISIT_SECOND) {
        facts->depth--;
        return JSON_C_VISIT_RETURN_CONTINUE;
    }
    facts->members += key != NULL;
    facts->has_no_number |= is_no_number(node);
    facts->depth += is_container(node);
    if (facts->depth > facts->max_depth) {
        facts->max_depth = facts->depth;
    }
    return JSON_C_VISIT_RETURN_CONTINUE;
}
/* NOLINTEND(readability-non-const-parameter) */

static int fail_depth(struct img_error *err)
{
    return img_fail(err, IMG_LIMIT, "JSON text nests deeper than %d levels",
                    IMG_JSON_MAX_DEPTH);
}

/* Was anything merged or lost on the way from the text to the tree? */
static int check_tree(struct json_object *root, const char *text, size_t len,
                      struct img_error *err)
{
    struct tree_facts facts = {0};
    size_t members;

    if (count_members(text, len, &members, err) < 0) {
        return -1;
    }
    if (json_c_visit(root, 0, look_at_node, &facts) != 0) {
        return img_fail(err, IMG_FORMAT, "JSON text cannot be walked");
    }
    if (facts.members != members) {
        return img_fail(err, IMG_FORMAT,
                        "JSON text: found %zu keys of which %zu differ, "
                        "expected each key once in its object",
                        members, facts.members);
    }
    if (facts.max_depth > IMG_JSON_MAX_DEPTH) {
        return fail_depth(err);
    }
    if (facts.has_no_number) {
        return img_fail(err, IMG_FORMAT, "JSON text: a number is out of range");
    }
    return 0;
}

static int fail_parse(enum json_tokener_error why, struct img_error *err)
{
    if (why == json_tokener_error_depth) {
        return fail_depth(err);
    }
    if (why == json_tokener_continue || why == json_tokener_error_parse_eof) {
        return img_fail(err, IMG_FORMAT, "JSON text ends too early");
    }
    return img_fail(err, IMG_FORMAT, "not JSON: %s",
                    json_tokener_error_desc(why));
}

static void free_tokener(struct json_tokener **tokener)
{
    if (*tokener != NULL) {
        json_tokener_free(*tokener);
    }
}

static void put_object(struct json_object **object)
{
    json_object_put(*object);
}

int img_json_parse_within(const char *text, size_t len, size_t max_len,
                          struct img_json **out, struct img_error *err)
{
    if (check_bytes(text, len, max_len, err) < 0) {
        return -1;
    }
    /* The tokener sees a number's end only by what follows it: its NUL. */
    IMG_AUTO(img_free_ptr) char *copy = img_strndup(text, len, err);
    if (copy == NULL) {
        return -1;
    }
    /* Its own count includes the level of the innermost values. */
    IMG_AUTO(free_tokener)
    struct json_tokener *tokener = json_tokener_new_ex(IMG_JSON_MAX_DEPTH + 1);
    if (tokener == NULL) {
        return img_fail_memory(err);
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    IMG_AUTO(put_object)
    struct json_object *root =
        json_tokener_parse_ex(tokener, copy, (int)len + 1);
    enum json_tokener_error why = json_tokener_get_error(tokener);
    if (why != json_tokener_success) {
        return fail_parse(why, err);
    }
    if (json_tokener_get_parse_end(tokener) < len) {
        return img_fail_memory(err); /* it stops there, and calls it success */
    }
    if (check_tree(root, copy, len, err) < 0) {
        return -1;
    }
    *out = json_wrap(img_steal(&root));
    return 0;
}

int img_json_parse(const char *text, size_t len, struct img_json **out,
                   struct img_error *err)
{
    return img_json_parse_within(text, len, IMG_JSON_MAX_LEN, out, err);
}
