/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flat options of a json: name. Room: chain/graph. No I/O.
 *
 * Invariants: nesting is walked with a stack of its own, bounded by what the
 * parser lets through; a dotted key is never longer than
 * CHAIN_JSON_MAX_KEY_LEN, so that the list is no larger than a constant times
 * the text.
 */
#include "json_options.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

struct frame {
    const struct img_json *object;
    size_t idx;     /* of the next entry */
    size_t key_len; /* of the keys above, with the dot */
};

struct walk {
    struct frame frames[IMG_JSON_MAX_DEPTH + 1];
    size_t depth;
    char key[CHAIN_JSON_MAX_KEY_LEN + 1];
};

static int option_push(struct chain_json_options *options, const char *key,
                       size_t key_len, const struct img_json *value,
                       struct img_error *err)
{
    if (options->nr == options->capacity) {
        size_t capacity = options->capacity ? options->capacity * 2 : 16;
        struct chain_json_option *items =
            reallocarray(options->items, capacity, sizeof(*items));
        if (!items) {
            return img_fail_memory(err);
        }
        options->items = items;
        options->capacity = capacity;
    }
    char *copy = img_strndup(key, key_len, err);
    if (!copy) {
        return -1;
    }
    options->items[options->nr++] =
        (struct chain_json_option){.key = copy, .value = value};
    return 0;
}

/* Append NAME to the key of the frame on top; its new length in *out. */
static int key_append(struct walk *walk, const char *name, size_t *out,
                      struct img_error *err)
{
    size_t at = walk->frames[walk->depth - 1].key_len;
    size_t len = strlen(name);

    /* One byte is kept for the dot that a nested object adds. */
    if (len >= CHAIN_JSON_MAX_KEY_LEN - at) {
        return img_fail(err, IMG_FORMAT,
                        "json: name has an option whose key is longer than "
                        "%u bytes",
                        CHAIN_JSON_MAX_KEY_LEN - 1);
    }
    memcpy(walk->key + at, name, len);
    walk->key[at + len] = '\0';
    *out = at + len;
    return 0;
}

static int flatten(struct chain_json_options *options, struct walk *walk,
                   struct img_error *err)
{
    while (walk->depth > 0) {
        struct frame *top = &walk->frames[walk->depth - 1];
        const struct img_json *value;
        const char *name;
        size_t key_len = 0;

        if (!img_json_entry(top->object, top->idx++, &name, &value)) {
            walk->depth--;
            continue;
        }
        if (key_append(walk, name, &key_len, err) < 0) {
            return -1;
        }
        if (img_json_type(value) != IMG_JSON_OBJECT ||
            img_json_len(value) == 0) {
            if (option_push(options, walk->key, key_len, value, err) < 0) {
                return -1;
            }
            continue;
        }
        if (walk->depth == IMG_JSON_MAX_DEPTH + 1) {
            return img_fail(err, IMG_LIMIT,
                            "json: name is nested deeper than %d levels",
                            IMG_JSON_MAX_DEPTH);
        }
        walk->key[key_len] = '.';
        walk->frames[walk->depth++] =
            (struct frame){.object = value, .key_len = key_len + 1};
    }
    return 0;
}

static int option_compare(const void *a, const void *b)
{
    const struct chain_json_option *first = a;
    const struct chain_json_option *second = b;

    return strcmp(first->key, second->key);
}

static int refuse_twice(const struct chain_json_options *options,
                        struct img_error *err)
{
    for (size_t i = 1; i < options->nr; i++) {
        const char *key = options->items[i].key;
        if (strcmp(key, options->items[i - 1].key) == 0) {
            char shown[64];
            img_escape(key, strlen(key), shown, sizeof(shown));
            return img_fail(err, IMG_FORMAT,
                            "json: name has the option \"%s\" twice", shown);
        }
    }
    return 0;
}

int chain_json_options_load(const char *text, struct chain_json_options *out,
                            struct img_error *err)
{
    *out = (struct chain_json_options){0};
    if (img_json_parse(text, strlen(text), &out->root, err) < 0) {
        return -1;
    }
    if (img_json_type(out->root) != IMG_JSON_OBJECT) {
        return img_fail(err, IMG_FORMAT, "json: name is not a JSON object");
    }
    struct walk walk = {.frames[0] = {.object = out->root}, .depth = 1};
    if (flatten(out, &walk, err) < 0) {
        return -1;
    }
    if (out->nr > 1) {
        qsort(out->items, out->nr, sizeof(out->items[0]), option_compare);
    }
    return refuse_twice(out, err);
}

void chain_json_options_fini(struct chain_json_options *options)
{
    for (size_t i = 0; i < options->nr; i++) {
        free(options->items[i].key);
    }
    free(options->items);
    img_json_free(options->root);
    *options = (struct chain_json_options){0};
}

/* How the key compares with PREFIX NAME; the longer one is the greater. */
static int key_compare(const char *key, const char *prefix, const char *name)
{
    size_t prefix_len = strlen(prefix);
    int order = strncmp(key, prefix, prefix_len);

    return order != 0 ? order : strcmp(key + prefix_len, name);
}

/* Index of the first key that is not below PREFIX NAME. */
static size_t lower_bound(const struct chain_json_options *options,
                          const char *prefix, const char *name)
{
    size_t low = 0, high = options->nr;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (key_compare(options->items[middle].key, prefix, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct img_json *
chain_json_options_take(struct chain_json_options *options, const char *prefix,
                        const char *name)
{
    size_t idx = lower_bound(options, prefix, name);

    if (idx == options->nr ||
        key_compare(options->items[idx].key, prefix, name) != 0) {
        return NULL;
    }
    options->items[idx].is_taken = true;
    return options->items[idx].value;
}

bool chain_json_options_has_below(const struct chain_json_options *options,
                                  const char *prefix, const char *name)
{
    size_t idx = lower_bound(options, prefix, name);
    size_t prefix_len = strlen(prefix);

    return idx < options->nr &&
           strncmp(options->items[idx].key, prefix, prefix_len) == 0 &&
           strncmp(options->items[idx].key + prefix_len, name, strlen(name)) ==
               0;
}

const char *
chain_json_options_first_left(const struct chain_json_options *options)
{
    for (size_t i = 0; i < options->nr; i++) {
        if (!options->items[i].is_taken) {
            return options->items[i].key;
        }
    }
    return NULL;
}
