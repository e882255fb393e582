/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way back as text: see redefine_record.h. Room: chain/virt. */
#include "redefine_record.h"

#include <stdlib.h>
#include <string.h>

#include <img/json.h>
#include <img/memory.h>

#define RECORD_FORMAT "imgchain-redefine"
#define RECORD_VERSION 2u

void record_fini(struct record *record)
{
    for (size_t i = 0; i < record->nr; i++) {
        free(record->entries[i].name);
        free(record->entries[i].xml);
        free(record->entries[i].put);
    }
    free(record->entries);
    free(record->uuid);
    free(record->current);
    free(record->current_xml);
    free(record->current_put);
    memset(record, 0, sizeof(*record));
}

static void set(struct img_json *to, const char *key, const char *text)
{
    if (text) {
        img_json_set_string(to, key, text);
    }
}

static const char *const kinds[] = {
    [CHAIN_SNAPSHOT] = "snapshot",
    [CHAIN_CHECKPOINT] = "checkpoint",
};

int record_encode(const struct record *record, char **text,
                  struct img_error *err)
{
    struct img_json *json = img_json_object();
    struct img_json *list = img_json_array();

    img_json_set_string(json, "format", RECORD_FORMAT);
    img_json_set_u64(json, "version", RECORD_VERSION);
    set(json, "uuid", record->uuid);
    img_json_set_bool(json, "forgetting", record->is_forgetting);
    set(json, "current", record->current);
    set(json, "current-xml", record->current_xml);
    set(json, "current-put", record->current_put);
    for (size_t i = 0; i < record->nr; i++) {
        struct img_json *one = img_json_object();

        set(one, "kind", kinds[record->entries[i].kind]);
        set(one, "name", record->entries[i].name);
        set(one, "xml", record->entries[i].xml);
        set(one, "put", record->entries[i].put);
        img_json_push(list, one);
    }
    img_json_set(json, "entries", list);
    *text = img_json_text(json, true, err);
    img_json_free(json);
    if (*text && strlen(*text) > RECORD_MAX_LEN) {
        img_fail(err, IMG_LIMIT,
                 "the way back would have %zu bytes, at most %u are read",
                 strlen(*text), RECORD_MAX_LEN);
        free(img_steal(text));
    }
    return *text ? 0 : -1;
}

/* ---- Reading. */

/* A text, or nothing; what is neither fails. */
static int take(const struct img_json *from, const char *key, bool is_needed,
                char **out, struct img_error *err)
{
    const struct img_json *value = img_json_get(from, key);
    const char *text = value ? img_json_as_string(value) : NULL;

    if (!text && (value || is_needed)) {
        return img_fail(err, IMG_FORMAT, "\"%s\" is %s, expected a text", key,
                        value ? "none" : "missing");
    }
    *out = text ? img_strndup(text, strlen(text), err) : NULL;
    return text && !*out ? -1 : 0;
}

static int take_entry(const struct img_json *json, struct record_entry *out,
                      struct img_error *err)
{
    const char *kind = img_json_type(json) == IMG_JSON_OBJECT
                           ? img_json_get_string(json, "kind")
                           : NULL;

    if (!kind || (strcmp(kind, kinds[CHAIN_SNAPSHOT]) != 0 &&
                  strcmp(kind, kinds[CHAIN_CHECKPOINT]) != 0)) {
        return img_fail(err, IMG_FORMAT,
                        "found an entry that is no snapshot or checkpoint");
    }
    out->kind = strcmp(kind, kinds[CHAIN_SNAPSHOT]) == 0 ? CHAIN_SNAPSHOT
                                                         : CHAIN_CHECKPOINT;
    return take(json, "name", true, &out->name, err) < 0 ||
                   take(json, "xml", false, &out->xml, err) < 0
               ? -1
               : take(json, "put", true, &out->put, err);
}

static int take_all(const struct img_json *json, struct record *out,
                    struct img_error *err)
{
    const char *format = img_json_type(json) == IMG_JSON_OBJECT
                             ? img_json_get_string(json, "format")
                             : NULL;
    const struct img_json *list = img_json_get(json, "entries");
    uint64_t version = 0;

    if (!format || strcmp(format, RECORD_FORMAT) != 0 ||
        !img_json_get_u64(json, "version", &version) ||
        version != RECORD_VERSION || !list ||
        !img_json_get_bool(json, "forgetting", &out->is_forgetting) ||
        img_json_type(list) != IMG_JSON_ARRAY) {
        return img_fail(err, IMG_FORMAT,
                        "found something else, expected a record of metadata "
                        "redefine, version %u",
                        RECORD_VERSION);
    }
    if (img_json_len(list) > 2 * (size_t)CHAIN_METADATA_MAX) {
        return img_fail(err, IMG_LIMIT,
                        "found %zu entries, at most %u are read",
                        img_json_len(list), 2 * CHAIN_METADATA_MAX);
    }
    if (take(json, "uuid", true, &out->uuid, err) < 0 ||
        take(json, "current", false, &out->current, err) < 0 ||
        take(json, "current-xml", out->current, &out->current_xml, err) < 0 ||
        take(json, "current-put", false, &out->current_put, err) < 0) {
        return -1;
    }
    out->entries =
        img_calloc(img_json_len(list) + 1, sizeof(*out->entries), err);
    while (out->entries && out->nr < img_json_len(list)) {
        size_t i = out->nr++;

        if (take_entry(img_json_at(list, i), &out->entries[i], err) < 0) {
            return -1;
        }
    }
    return out->entries ? 0 : -1;
}

int record_decode(const char *text, size_t len, const char *name,
                  struct record *out, struct img_error *err)
{
    struct img_json *json = NULL;
    int rc = img_json_parse_within(text, len, RECORD_MAX_LEN, &json, err);

    if (rc == 0) {
        rc = take_all(json, out, err);
    }
    img_json_free(json);
    if (rc < 0) {
        record_fini(out);
        img_error_set_path(err, name);
    }
    return rc;
}
