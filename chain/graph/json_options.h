/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of a json: name as one flat, sorted list of dotted keys.
 *
 * QEMU takes {"file":{"filename":"a"}} and {"file.filename":"a"} for the same
 * thing, and both spellings in one object. Flattened, they are looked up in
 * one way, an option said twice is found, and so is one that nobody took.
 */
#ifndef CHAIN_GRAPH_JSON_OPTIONS_H
#define CHAIN_GRAPH_JSON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include <img/error.h>
#include <img/json.h>

/* Longer than any key of an option that is known. */
#define CHAIN_JSON_MAX_KEY_LEN 255u

struct chain_json_option {
    char *key;
    const struct img_json *value; /* no object, or an empty one */
    bool is_taken;
};

struct chain_json_options {
    struct img_json *root;
    struct chain_json_option *items; /* sorted by key */
    size_t nr, capacity;
};

/*
 * Parse TEXT (what stands after "json:"). IMG_FORMAT: not JSON, not an
 * object, an option twice, a key that is too long. Free with
 * chain_json_options_fini, also after a failure.
 */
int chain_json_options_load(const char *text, struct chain_json_options *out,
                            struct img_error *err);
void chain_json_options_fini(struct chain_json_options *options);

/* The value of PREFIX NAME, which counts as understood now; or NULL. */
const struct img_json *
chain_json_options_take(struct chain_json_options *options, const char *prefix,
                        const char *name);
/* Is there a key that begins with PREFIX NAME? */
bool chain_json_options_has_below(const struct chain_json_options *options,
                                  const char *prefix, const char *name);
/* A key that nobody took, or NULL. */
const char *
chain_json_options_first_left(const struct chain_json_options *options);

#endif
