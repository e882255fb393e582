/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json: names: QEMU's options for a block node, as far as they name local
 * files. Room: chain/graph. No I/O.
 *
 * A reference is one format node ("driver": "qcow2"), its file (a protocol
 * node, perhaps with raw nodes between that cut a slice out of it), and what
 * stands under "backing". Everything that is not understood is refused,
 * unless it is known to leave alone which bytes are read.
 *
 * Relative file names in json: are relative to the working directory of the
 * process, in QEMU (measured with qemu-img 7.2) and libvirt alike; they are
 * never joined to the folder of the image.
 */
#include "name_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <chain/formats.h>
#include <img/checked.h>
#include <img/memory.h>

#include "json_options.h"

/* QEMU's generic options that do not change what is read. */
static const char *const harmless_of_any[] = {
    "node-name",    "read-only",      "auto-read-only",
    "discard",      "force-share",    "detect-zeroes",
    "cache.direct", "cache.no-flush", "copy-on-read",
};
/* block/file-posix.c */
static const char *const harmless_of_file[] = {
    "locking", "aio", "aio-max-batch", "x-check-cache-dropped", "drop-cache",
};
/* block/qcow2.c: caches and what concerns writers. */
static const char *const harmless_of_qcow2[] = {
    "lazy-refcounts",       "pass-discard-request", "pass-discard-snapshot",
    "pass-discard-other",   "overlap-check",        "cache-size",
    "l2-cache-size",        "l2-cache-entry-size",  "refcount-cache-size",
    "cache-clean-interval",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The node whose options begin with prefix. */
struct node {
    struct chain_json_options *options;
    char prefix[CHAIN_JSON_MAX_KEY_LEN + 1];
};

static void take_harmless(struct node *node, const char *const *names,
                          size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        chain_json_options_take(node->options, node->prefix, names[i]);
    }
}

/* The node under "NAME." of this one. */
static int node_enter(struct node *node, const char *name,
                      struct img_error *err)
{
    size_t at = strlen(node->prefix), len = strlen(name);

    if (at + len + 1 > CHAIN_JSON_MAX_KEY_LEN) {
        return img_fail(err, IMG_LIMIT, "json: name is nested too deeply");
    }
    memcpy(node->prefix + at, name, len);
    node->prefix[at + len] = '.';
    node->prefix[at + len + 1] = '\0';
    return 0;
}

/* A string option; *out is NULL when it is not there. */
static int take_string(struct node *node, const char *name, const char **out,
                       struct img_error *err)
{
    const struct img_json *value =
        chain_json_options_take(node->options, node->prefix, name);

    *out = img_json_as_string(value);
    if (value && !*out) {
        return img_fail(err, IMG_FORMAT, "json: option \"%s%s\" is no string",
                        node->prefix, name);
    }
    return 0;
}

/* A number of bytes, also one written as a string of digits. */
static int take_bytes(struct node *node, const char *name, bool *is_there,
                      uint64_t *out, struct img_error *err)
{
    const struct img_json *value =
        chain_json_options_take(node->options, node->prefix, name);
    const char *text = img_json_as_string(value);
    char *end = NULL;
    bool is_good;

    *is_there = value != NULL;
    if (!value) {
        return 0;
    }
    if (text) {
        *out = strtoull(text, &end, 10);
        is_good = text[0] >= '0' && text[0] <= '9' && *end == '\0';
    } else {
        is_good = img_json_as_u64(value, out);
    }
    if (!is_good || *out > IMG_OFF_MAX) {
        return img_fail(err, IMG_FORMAT,
                        "json: option \"%s%s\" is not a number of bytes from "
                        "0 to %" PRIu64,
                        node->prefix, name, IMG_OFF_MAX);
    }
    return 0;
}

static bool is_protocol(const char *driver)
{
    return strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0;
}

static int fail_driver(struct node *node, const char *driver,
                       struct img_error *err)
{
    char shown[64];

    img_escape(driver, strlen(driver), shown, sizeof(shown));
    return img_fail(err, IMG_UNSUPPORTED,
                    "json: option \"%sdriver\" is \"%s\": only local files "
                    "(drivers file and host_device) are read",
                    node->prefix, shown);
}

/* The options of a protocol node; DRIVER NULL is "file" or "host_device". */
static int parse_protocol(struct node *node, const char *driver,
                          struct chain_ref *ref, struct img_error *err)
{
    const char *path;

    if (take_string(node, "filename", &path, err) < 0) {
        return -1;
    }
    if (!path || path[0] == '\0') {
        return img_fail(err, IMG_FORMAT,
                        "json: name has no option \"%sfilename\"",
                        node->prefix);
    }
    ref->path = img_strndup(path, strlen(path), err);
    if (!ref->path) {
        return -1;
    }
    if (driver) {
        ref->kind =
            strcmp(driver, "file") == 0 ? CHAIN_REF_REGULAR : CHAIN_REF_BLOCK;
    }
    take_harmless(node, harmless_of_any, COUNT(harmless_of_any));
    take_harmless(node, harmless_of_file, COUNT(harmless_of_file));
    return 0;
}

/*
 * The nodes above cut REF's slice out of what this one shows, SIZE bytes
 * (UINT64_MAX: all that there is) from OFF on: REF's slice of the node below.
 */
static int compose_slice(const struct node *node, uint64_t off, uint64_t size,
                         struct chain_ref *ref, struct img_error *err)
{
    uint64_t known_len = ref->slice_len == UINT64_MAX ? 0 : ref->slice_len;

    if (!img_range_fits(ref->slice_off, known_len, size)) {
        return img_fail(err, IMG_FORMAT,
                        "json: name cuts a slice that begins or ends outside "
                        "the one that \"%ssize\" gives",
                        node->prefix);
    }
    if (ref->slice_len == UINT64_MAX && size != UINT64_MAX) {
        ref->slice_len = size - ref->slice_off;
    }
    if (!img_add(ref->slice_off, off, &ref->slice_off)) {
        return img_fail(err, IMG_FORMAT,
                        "json: the offsets of the raw drivers add up to more "
                        "than a file can have");
    }
    return 0;
}

/* "offset" and "size" of a raw node cut a slice out of what is below it. */
static int parse_slice(struct node *node, struct chain_ref *ref,
                       struct img_error *err)
{
    bool has_off, has_size;
    uint64_t off = 0, size = UINT64_MAX;

    if (take_bytes(node, "offset", &has_off, &off, err) < 0 ||
        take_bytes(node, "size", &has_size, &size, err) < 0) {
        return -1;
    }
    if (has_size && size % 512 != 0) {
        return img_fail(err, IMG_FORMAT,
                        "json: option \"%ssize\" is %" PRIu64
                        ", expected a multiple of 512",
                        node->prefix, size);
    }
    if (!has_off && !has_size) {
        return 0;
    }
    if (ref->has_slice) {
        return compose_slice(node, off, size, ref, err);
    }
    ref->has_slice = true;
    ref->slice_off = off;
    ref->slice_len = size;
    return 0;
}

/* Go down from a format node to its file: raw nodes, then a protocol. */
static int parse_file(struct node *node, struct chain_ref *ref,
                      struct img_error *err)
{
    const char *driver;

    for (;;) {
        if (chain_json_options_take(node->options, node->prefix, "file")) {
            return img_fail(err, IMG_UNSUPPORTED,
                            "json: option \"%sfile\" is no object: it refers "
                            "to a node of a running QEMU",
                            node->prefix);
        }
        if (node_enter(node, "file", err) < 0 ||
            take_string(node, "driver", &driver, err) < 0) {
            return -1;
        }
        if (!driver || is_protocol(driver)) {
            return parse_protocol(node, driver, ref, err);
        }
        if (strcmp(driver, "raw") != 0) {
            return fail_driver(node, driver, err);
        }
        if (parse_slice(node, ref, err) < 0) {
            return -1;
        }
        take_harmless(node, harmless_of_any, COUNT(harmless_of_any));
    }
}

static int parse_format(struct node *node, const char *driver,
                        struct chain_ref *ref, struct img_error *err)
{
    if (!driver) {
        return 0;
    }
    if (!chain_format_find(driver)) {
        return fail_driver(node, driver, err);
    }
    ref->format = img_strndup(driver, strlen(driver), err);
    if (!ref->format) {
        return -1;
    }
    if (strcmp(driver, "qcow2") == 0) {
        take_harmless(node, harmless_of_qcow2, COUNT(harmless_of_qcow2));
    }
    return strcmp(driver, "raw") == 0 ? parse_slice(node, ref, err) : 0;
}

/* "backing" as a value; an object is seen by the keys below it instead. */
static int parse_backing_value(struct node *node, struct chain_ref *ref,
                               struct img_error *err)
{
    const struct img_json *value =
        chain_json_options_take(node->options, node->prefix, "backing");
    const char *text = img_json_as_string(value);

    if (!value) {
        return 0;
    }
    /* An empty string is what QEMU took for null before there was one. */
    if (img_json_type(value) != IMG_JSON_NULL && !(text && text[0] == '\0')) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "json: option \"%sbacking\" is neither null nor an "
                        "object: it refers to a node of a running QEMU",
                        node->prefix);
    }
    ref->is_backing_null = true;
    return 0;
}

/* One format node with its file; *is_format false: a bare protocol node. */
static int parse_node(const struct node *at, struct chain_ref *ref,
                      bool *is_format, struct img_error *err)
{
    struct node node = *at;
    const char *driver;

    ref->style = CHAIN_NAME_JSON_OTHER;
    if (take_string(&node, "driver", &driver, err) < 0) {
        return -1;
    }
    *is_format = !driver || !is_protocol(driver);
    if (!*is_format) {
        return parse_protocol(&node, driver, ref, err);
    }
    take_harmless(&node, harmless_of_any, COUNT(harmless_of_any));
    if (parse_format(&node, driver, ref, err) < 0 ||
        parse_backing_value(&node, ref, err) < 0) {
        return -1;
    }
    return parse_file(&node, ref, err);
}

static int parse_nodes(struct chain_json_options *options,
                       struct chain_ref *ref, struct img_error *err)
{
    struct node node = {.options = options};
    bool is_format;

    for (;;) {
        if (parse_node(&node, ref, &is_format, err) < 0) {
            return -1;
        }
        if (!is_format || ref->is_backing_null ||
            !chain_json_options_has_below(options, node.prefix, "backing.")) {
            return 0;
        }
        if (node_enter(&node, "backing", err) < 0) {
            return -1;
        }
        ref->backing = img_calloc(1, sizeof(*ref->backing), err);
        if (!ref->backing) {
            return -1;
        }
        ref = ref->backing;
    }
}

static int refuse_unknown(const struct chain_json_options *options,
                          struct img_error *err)
{
    const char *key = chain_json_options_first_left(options);
    char shown[128];

    if (!key) {
        return 0;
    }
    img_escape(key, strlen(key), shown, sizeof(shown));
    return img_fail(err, IMG_FORMAT,
                    "json: name has the option \"%s\", which is not known "
                    "here",
                    shown);
}

int chain_name_parse_json(const char *text, struct chain_ref *out,
                          struct img_error *err)
{
    IMG_AUTO(chain_json_options_fini) struct chain_json_options options;

    if (chain_json_options_load(text, &options, err) < 0 ||
        parse_nodes(&options, out, err) < 0 ||
        refuse_unknown(&options, err) < 0) {
        return -1;
    }
    /* Nothing but file.driver and file.filename: libvirt reads it too. */
    if (options.nr == 2 && !out->format && out->kind == CHAIN_REF_REGULAR &&
        strcmp(options.items[0].key, "file.driver") == 0 &&
        out->path[0] == '/') {
        out->style = CHAIN_NAME_JSON_PORTABLE;
    }
    return 0;
}
