/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virsh's --diskspec and --memspec. Room: chain/virt.
 *
 * A comma ends a field, two are one comma in it; a last one ends in an empty
 * field. virsh takes three as one in the field before and an end of it.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "bytes.h"
#include "layer.h"

enum { MAX_FIELDS = 5 }; /* a name, and four keys once each */

struct fields {
    struct virt_bytes list[MAX_FIELDS];
    size_t nr;
    bool is_over; /* there were more */
};

static void fini_fields(struct fields *fields)
{
    for (size_t i = 0; i < fields->nr; i++) {
        virt_bytes_fini(&fields->list[i]);
    }
}

static int begin_field(struct fields *fields, const char *text, size_t len,
                       struct img_error *err)
{
    if (fields->nr == MAX_FIELDS) {
        fields->is_over = true;
        return 0;
    }
    return virt_bytes_add(&fields->list[fields->nr++], text, len, err);
}

/* A comma that is meant, and what follows it. */
static int go_on(struct fields *fields, const char *text, size_t len,
                 struct img_error *err)
{
    struct virt_bytes *last = &fields->list[fields->nr - 1];

    if (virt_bytes_add(last, ",", 1, err) < 0) {
        return -1;
    }
    return virt_bytes_add(last, text, len, err);
}

static int split(const char *spec, struct fields *fields, struct img_error *err)
{
    bool is_first = true, is_after_comma = false;
    int ret = 0;

    for (const char *at = spec; ret == 0; is_first = false) {
        size_t len = strcspn(at, ",");

        if (is_after_comma) {
            ret = go_on(fields, at, len, err);
            is_after_comma = false;
        } else if (len == 0 && !is_first) {
            is_after_comma = true;
        } else {
            ret = begin_field(fields, at, len, err);
        }
        if (at[len] == '\0') {
            break;
        }
        at += len + 1;
    }
    if (ret == 0 && is_after_comma) {
        ret = begin_field(fields, "", 0, err);
    }
    return ret;
}

/* One key of a spec, and what it had. */
struct key {
    const char *name; /* "file=" */
    const char *value;
};

/* The key of FIELD that has no value yet gets it. */
static bool take(const char *field, struct key *keys, size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        size_t len = strlen(keys[i].name);

        if (!keys[i].value && strncmp(field, keys[i].name, len) == 0) {
            keys[i].value = field + len;
            return true;
        }
    }
    return false;
}

static int fail_spec(const char *what, const char *spec, const char *found,
                     const char *expected, struct img_error *err)
{
    char shown_spec[256], shown[256];

    img_escape(spec, strlen(spec), shown_spec, sizeof(shown_spec));
    img_escape(found, strlen(found), shown, sizeof(shown));
    return img_fail(err, IMG_USAGE, "%s '%s': found '%s', expected %s", what,
                    shown_spec, shown, expected);
}

#define DISK_KEYS                                                              \
    "NAME[,snapshot=KIND][,driver=FORMAT][,stype=file|block][,file=PATH], "    \
    "each once"
#define MEMORY_KEYS "[file=]/PATH[,snapshot=KIND], each once"

enum { SNAPSHOT, FILE_KEY, DRIVER, STYPE, KEYS };

static int fill_disk(const char *name, const struct key *keys,
                     struct chain_virt_snapshot_disk *out,
                     struct img_error *err)
{
    struct virt_reader reader = {.err = err};
    const char *format = keys[DRIVER].value, *path = keys[FILE_KEY].value;

    out->name = virt_copy(&reader, name);
    out->snapshot = virt_copy(&reader, keys[SNAPSHOT].value);
    out->type = virt_copy(&reader, keys[STYPE].value);
    out->dest.source.type = virt_source_type(out->type);
    out->dest.format = virt_copy(&reader, format && *format ? format : NULL);
    out->dest.source.path = virt_copy(&reader, path && *path ? path : NULL);
    if (reader.is_failed) {
        chain_virt_snapshot_disk_fini(out);
        return -1;
    }
    return 0;
}

int chain_virt_diskspec_parse(const char *spec,
                              struct chain_virt_snapshot_disk *out,
                              struct img_error *err)
{
    IMG_AUTO(fini_fields) struct fields fields = {0};
    struct key keys[KEYS] = {[SNAPSHOT] = {"snapshot=", NULL},
                             [FILE_KEY] = {"file=", NULL},
                             [DRIVER] = {"driver=", NULL},
                             [STYPE] = {"stype=", NULL}};
    const char *stype;

    memset(out, 0, sizeof(*out));
    if (spec[0] == '\0') {
        return fail_spec("diskspec", spec, spec, DISK_KEYS, err);
    }
    if (split(spec, &fields, err) < 0) {
        return -1;
    }
    for (size_t i = 1; i < fields.nr; i++) {
        if (!take(fields.list[i].bytes, keys, KEYS)) {
            return fail_spec("diskspec", spec, fields.list[i].bytes, DISK_KEYS,
                             err);
        }
    }
    if (fields.is_over) {
        return fail_spec("diskspec", spec, "more fields", DISK_KEYS, err);
    }
    stype = keys[STYPE].value;
    if (stype && strcmp(stype, "file") != 0 && strcmp(stype, "block") != 0) {
        return fail_spec("diskspec", spec, stype, "stype=file or stype=block",
                         err);
    }
    return fill_disk(fields.list[0].bytes, keys, out, err);
}

int chain_virt_memspec_parse(const char *spec, struct chain_virt_snapshot *out,
                             struct img_error *err)
{
    IMG_AUTO(fini_fields) struct fields fields = {0};
    struct key keys[] = {
        [SNAPSHOT] = {"snapshot=", NULL}, [FILE_KEY] = {"file=", NULL}};
    struct virt_reader reader = {.err = err};

    if (spec[0] == '\0') {
        return fail_spec("memspec", spec, spec, MEMORY_KEYS, err);
    }
    if (split(spec, &fields, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < fields.nr; i++) {
        const char *field = fields.list[i].bytes;

        if (take(field, keys, 2)) {
            continue;
        }
        if (keys[FILE_KEY].value || field[0] != '/') {
            return fail_spec("memspec", spec, field, MEMORY_KEYS, err);
        }
        keys[FILE_KEY].value = field;
    }
    if (fields.is_over) {
        return fail_spec("memspec", spec, "more fields", MEMORY_KEYS, err);
    }
    free(out->memory_kind);
    free(out->memory_file);
    out->memory_kind = virt_copy(&reader, keys[SNAPSHOT].value);
    out->memory_file = virt_copy(&reader, keys[FILE_KEY].value);
    return reader.is_failed ? -1 : 0;
}
