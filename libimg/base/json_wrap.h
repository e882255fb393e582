/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private to the three JSON sources of this room: struct img_json is
 * json-c's object under another name, so that no json-c type leaves the room.
 *
 * json-c keeps a null as a NULL pointer, which img/json.h reserves for
 * "missing" and "out of memory"; a null therefore has an object of its own
 * on our side of the border.
 */
#ifndef JSON_WRAP_H
#define JSON_WRAP_H

#include <img/json.h>
#include <json-c/json.h>

struct img_json {
    char unused;
};

extern struct img_json img_json_null_value;

/* json-c caches the printed text in the object, hence no const there. */
static inline struct json_object *json_unwrap(const struct img_json *value)
{
    if (value == &img_json_null_value) {
        return NULL;
    }
    return (struct json_object *)(uintptr_t)value;
}

static inline struct img_json *json_wrap(struct json_object *object)
{
    return object != NULL ? (struct img_json *)(void *)object
                          : &img_json_null_value;
}

#endif
