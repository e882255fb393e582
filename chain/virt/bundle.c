/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bundles: see chain/bundle.h. Room: chain/virt. */
#include <chain/bundle.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/json.h>
#include <img/memory.h>

#include "document.h"

#define BUNDLE_FORMAT "imgchain-metadata"
#define BUNDLE_VERSION 1u

void chain_bundle_fini(struct chain_bundle *bundle)
{
    free(bundle->made_by);
    free(bundle->domain);
    chain_metadata_free(bundle->snapshots);
    chain_metadata_free(bundle->checkpoints);
    memset(bundle, 0, sizeof(*bundle));
}

/* ---- Writing. */

static int check_moment(const struct chain_moment *moment,
                        struct img_error *err)
{
    const char *text = !moment->name       ? "has no name"
                       : moment->is_double ? "has the name of another"
                                           : NULL;

    if (!text) {
        return 0;
    }
    img_fail(err, IMG_USAGE, "%s, by which alone it can be told apart", text);
    img_error_set_path(err, moment->file ? moment->file : "");
    return -1;
}

static int put_moments(struct img_json *to, const char *key,
                       const struct chain_metadata *metadata,
                       struct img_error *err)
{
    struct img_json *list = img_json_array();

    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment =
            &metadata->moments[metadata->order[i]];
        struct img_json *one;

        if (check_moment(moment, err) < 0) {
            img_json_free(list);
            return -1;
        }
        one = img_json_object();
        img_json_set_string(one, "name", moment->name);
        img_json_set_string(one, "xml", moment->text);
        img_json_push(list, one);
    }
    img_json_set(to, key, list);
    return 0;
}

static const char *current_of(const struct chain_metadata *metadata)
{
    for (size_t i = 0; i < metadata->nr; i++) {
        if (metadata->moments[i].is_current) {
            return metadata->moments[i].name;
        }
    }
    return NULL;
}

static void free_json(struct img_json **json)
{
    img_json_free(*json);
}

int chain_bundle_encode(const struct chain_bundle *bundle, char **text,
                        size_t *len, struct img_error *err)
{
    IMG_AUTO(free_json) struct img_json *json = img_json_object();
    const char *current = current_of(bundle->snapshots);

    img_json_set_string(json, "format", BUNDLE_FORMAT);
    img_json_set_u64(json, "version", BUNDLE_VERSION);
    if (bundle->made_by) {
        img_json_set_string(json, "made-by", bundle->made_by);
    }
    if (bundle->domain) {
        img_json_set_string(json, "domain", bundle->domain);
    }
    if (current) {
        img_json_set_string(json, "current", current);
    }
    if (put_moments(json, "snapshots", bundle->snapshots, err) < 0 ||
        (bundle->checkpoints &&
         put_moments(json, "checkpoints", bundle->checkpoints, err) < 0)) {
        return -1;
    }
    *text = img_json_text(json, true, err);
    if (!*text) {
        return -1;
    }
    *len = strlen(*text);
    if (*len > CHAIN_BUNDLE_MAX_LEN) {
        free(img_steal(text));
        return img_fail(err, IMG_LIMIT,
                        "a bundle of %zu bytes is not written: expected at "
                        "most %u",
                        *len, CHAIN_BUNDLE_MAX_LEN);
    }
    return 0;
}

/* ---- Reading. */

static int fail(struct img_error *err, const char *what, const char *expected)
{
    return img_fail(err, IMG_FORMAT, "found %s, expected %s", what, expected);
}

/* No key but these. */
static int check_keys(const struct img_json *object, const char *const *keys,
                      struct img_error *err)
{
    const struct img_json *value;
    const char *key;
    char shown[128];

    for (size_t i = 0; img_json_entry(object, i, &key, &value); i++) {
        size_t k = 0;

        while (keys[k] && strcmp(keys[k], key) != 0) {
            k++;
        }
        if (!keys[k]) {
            img_escape(key, strlen(key), shown, sizeof(shown));
            return img_fail(err, IMG_FORMAT,
                            "found the key \"%s\", which a bundle does not "
                            "have",
                            shown);
        }
    }
    return 0;
}

static int take_string(const struct img_json *json, const char *key, char **out,
                       struct img_error *err)
{
    const struct img_json *value = img_json_get(json, key);
    const char *text = value ? img_json_as_string(value) : NULL;

    if (!value) {
        return 0;
    }
    if (!text) {
        return img_fail(err, IMG_FORMAT, "\"%s\" is no text", key);
    }
    *out = img_strndup(text, strlen(text), err);
    return *out ? 0 : -1;
}

static int take_moment(const struct img_json *json,
                       struct chain_metadata *metadata, struct img_error *err)
{
    static const char *const keys[] = {"name", "xml", NULL};
    const char *name = img_json_get_string(json, "name");
    const char *xml = img_json_get_string(json, "xml");
    const char *real;
    char shown[256];

    if (img_json_type(json) != IMG_JSON_OBJECT || !name || !xml) {
        return fail(err, "a document without its name or XML", "both");
    }
    img_escape(name, strlen(name), shown, sizeof(shown));
    if (check_keys(json, keys, err) < 0 ||
        chain_metadata_add(metadata, shown, NULL, xml, strlen(xml), err) < 0) {
        return -1;
    }
    real = metadata->moments[metadata->nr - 1].name;
    return real && strcmp(real, name) == 0
               ? 0
               : img_fail(err, IMG_FORMAT,
                          "the document that is called \"%s\" has another name "
                          "in it",
                          shown);
}

static int take_moments(const struct img_json *list,
                        enum chain_moment_kind kind, const char *current,
                        struct chain_metadata **out, struct img_error *err)
{
    if (!list || img_json_type(list) != IMG_JSON_ARRAY) {
        return fail(err, "no list of documents", "one");
    }
    if (chain_metadata_new(kind, out, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < img_json_len(list); i++) {
        if (take_moment(img_json_at(list, i), *out, err) < 0) {
            return -1;
        }
    }
    /* "": <active> does not count. */
    if (chain_metadata_link(*out, current ? current : "", err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < (*out)->nr; i++) {
        if ((*out)->moments[i].is_double) {
            return fail(err, "two documents of one name", "one");
        }
    }
    return current && (*out)->current_nr == 0
               ? fail(err, "a \"current\" that is not there",
                      "a snapshot's name")
               : 0;
}

static int check_head(const struct img_json *json, struct img_error *err)
{
    static const char *const keys[] = {"format",      "version", "made-by",
                                       "domain",      "current", "snapshots",
                                       "checkpoints", NULL};
    const char *format = img_json_type(json) == IMG_JSON_OBJECT
                             ? img_json_get_string(json, "format")
                             : NULL;
    uint64_t version;

    if (!format || strcmp(format, BUNDLE_FORMAT) != 0) {
        return fail(err, "other JSON", "a bundle of metadata export");
    }
    if (!img_json_as_u64(img_json_get(json, "version"), &version)) {
        return fail(err, "no version", "a number");
    }
    if (version != BUNDLE_VERSION) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "found a bundle of version %llu, expected %u",
                        (unsigned long long)version, BUNDLE_VERSION);
    }
    return check_keys(json, keys, err);
}

static int check_domain(const char *text, struct img_error *err)
{
    struct chain_virt_domain *domain;

    if (!text) {
        return 0;
    }
    if (chain_virt_domain_parse(text, strlen(text), "the domain's XML", &domain,
                                err) < 0) {
        return -1;
    }
    chain_virt_domain_free(domain);
    return 0;
}

static int take_all(const struct img_json *json, struct chain_bundle *out,
                    struct img_error *err)
{
    const struct img_json *points = img_json_get(json, "checkpoints");
    IMG_AUTO(img_free_ptr) char *current = NULL;

    if (check_head(json, err) < 0 ||
        take_string(json, "made-by", &out->made_by, err) < 0 ||
        take_string(json, "domain", &out->domain, err) < 0 ||
        take_string(json, "current", &current, err) < 0 ||
        check_domain(out->domain, err) < 0 ||
        take_moments(img_json_get(json, "snapshots"), CHAIN_SNAPSHOT, current,
                     &out->snapshots, err) < 0) {
        return -1;
    }
    return points ? take_moments(points, CHAIN_CHECKPOINT, NULL,
                                 &out->checkpoints, err)
                  : 0;
}

int chain_bundle_decode(const char *text, size_t len, const char *name,
                        struct chain_bundle *out, struct img_error *err)
{
    IMG_AUTO(free_json) struct img_json *json = NULL;
    char inner[IMG_ERROR_TEXT_MAX / 2];

    if (img_json_parse_within(text, len, CHAIN_BUNDLE_MAX_LEN, &json, err) ==
            0 &&
        take_all(json, out, err) == 0) {
        return 0;
    }
    chain_bundle_fini(out);
    if (err->path[0] != '\0') {
        /* It is about a document in it. */
        enum img_code code = err->code;

        img_error_format(err, inner, sizeof(inner));
        img_fail(err, code, "%s", inner);
    }
    img_error_set_path(err, name);
    return -1;
}

int chain_bundle_read(const char *path, const struct img_roots *roots,
                      struct chain_bundle *out, struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    size_t len = 0;

    return virt_document_load_within(path, roots, CHAIN_BUNDLE_MAX_LEN, &text,
                                     &len, err) < 0
               ? -1
               : chain_bundle_decode(text, len, path, out, err);
}

bool chain_bundle_is_one(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char head[64] = "";
    ssize_t got = fd < 0 ? -1 : read(fd, head, sizeof(head) - 1);

    if (fd >= 0) {
        close(fd);
    }
    return got > 0 && head[strspn(head, " \t\r\n")] == '{';
}
