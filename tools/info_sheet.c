/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* info: one layer as a sheet for people. */
#include <img/image.h>
#include <img/memory.h>
#include <img/size.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "info.h"
#include "sheet.h"

/* The longest name of a bitmap or file, and what stands around it. */
#define VALUE_LEN 2048u
#define NS_PER_SECOND 1000000000u

static void put_identity(struct output *out, const struct chain_layer *layer)
{
    const struct img_image *image = chain_layer_image(layer);
    const char *contents = chain_layer_contents(layer);

    sheet_text(out, "image", chain_layer_path(layer));
    sheet_row(out, "format", "%s%s%s%s", image->format,
              chain_layer_is_probed(layer) ? " (probed)" : "",
              contents ? ", bytes look like " : "", contents ? contents : "");
    sheet_size(out, "virtual size", image->virtual_len);
    sheet_size(out, "size on disk",
               img_file_allocated_len(chain_layer_file(layer)));
    if (image->cluster_len != 0) {
        sheet_size(out, "cluster size", image->cluster_len);
    }
}

static void put_state(struct output *out, const struct img_image *image)
{
    if (image->is_dirty) {
        sheet_text(out, "state", "dirty: was not closed cleanly");
    }
    if (image->is_corrupt) {
        sheet_text(out, "state", "corrupt: marked so by a writer");
    }
    if (image->is_encrypted) {
        sheet_text(out, "encrypted", "yes");
    }
    if (!image->is_readable && image->unreadable_why) {
        sheet_text(out, "contents", image->unreadable_why);
    }
}

static int put_backing(struct output *out, const struct chain_layer *layer,
                       struct img_error *err)
{
    const struct img_image *image = chain_layer_image(layer);
    IMG_AUTO(img_free_ptr) char *full = NULL;

    if (!image->backing_name) {
        return 0;
    }
    full = info_full_backing(layer, err);
    if (!full) {
        return -1;
    }
    sheet_text(out, "backing file", image->backing_name);
    if (strcmp(full, image->backing_name) != 0) {
        sheet_text(out, "  found at", full);
    }
    sheet_text(out, "backing format",
               image->backing_format ? image->backing_format : "not recorded");
    return 0;
}

/* VALUE in words: strings as they are, what is deeper as JSON. */
static void value_text(struct output *sheet, const struct img_json *value,
                       char *out, size_t size)
{
    struct img_error err;
    const char *string = img_json_as_string(value);
    bool flag;

    if (string) {
        (void)snprintf(out, size, "%s", string);
    } else if (img_json_as_bool(value, &flag)) {
        (void)snprintf(out, size, "%s", flag ? "yes" : "no");
    } else {
        char *text = img_json_text(value, false, &err);

        (void)snprintf(out, size, "%s", text ? text : "?");
        if (!text) {
            output_fail(sheet, &err);
        }
        free(text);
    }
}

/* An object of a list: "name b1, granularity 65536, flags [\"auto\"]". */
static void object_text(struct output *sheet, const struct img_json *object,
                        char *out, size_t size)
{
    const struct img_json *value;
    const char *key;
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; used < size && img_json_entry(object, i, &key, &value);
         i++) {
        char text[VALUE_LEN];

        value_text(sheet, value, text, sizeof(text));
        used += (size_t)snprintf(out + used, size - used, "%s%s %s",
                                 i > 0 ? ", " : "", key, text);
    }
}

static void put_value(struct output *out, const char *label,
                      const struct img_json *value)
{
    char text[VALUE_LEN];

    if (img_json_type(value) == IMG_JSON_OBJECT) {
        object_text(out, value, text, sizeof(text));
    } else {
        value_text(out, value, text, sizeof(text));
    }
    sheet_text(out, label, text);
}

/* One row for each member of an array; its items are short objects. */
static void put_list(struct output *out, const char *label,
                     const struct img_json *list)
{
    for (size_t i = 0; i < img_json_len(list); i++) {
        put_value(out, i == 0 ? label : "", img_json_at(list, i));
    }
}

static void put_object(struct output *out, const char *prefix,
                       const struct img_json *object)
{
    const struct img_json *value;
    const char *key;
    char label[64];

    for (size_t i = 0; img_json_entry(object, i, &key, &value); i++) {
        (void)snprintf(label, sizeof(label), "%s%s", prefix, key);
        if (img_json_type(value) == IMG_JSON_ARRAY) {
            put_list(out, label, value);
        } else {
            put_value(out, label, value);
        }
    }
}

/* The format's own part: two levels, as QEMU's schema has them. */
static int put_specific(struct output *out, struct img_image *image,
                        struct img_error *err)
{
    struct img_json *specific = NULL;
    const struct img_json *data, *value;
    const char *key;

    if (img_image_describe(image, &specific, err) < 0) {
        return -1;
    }
    data = specific ? img_json_get(specific, "data") : NULL;
    for (size_t i = 0; data && img_json_entry(data, i, &key, &value); i++) {
        if (img_json_type(value) == IMG_JSON_OBJECT) {
            sheet_text(out, key, "");
            put_object(out, "  ", value);
        } else if (img_json_type(value) == IMG_JSON_ARRAY) {
            put_list(out, key, value);
        } else {
            put_value(out, key, value);
        }
    }
    img_json_free(specific);
    return 0;
}

static void put_snapshots(struct output *out, const struct img_image *image)
{
    for (size_t i = 0; i < image->snapshots_nr; i++) {
        const struct img_snapshot *one = &image->snapshots[i];
        char name[512], date[32] = "?", size[IMG_SIZE_TEXT_LEN];
        time_t when = (time_t)one->date_sec;
        struct tm parts;

        if (gmtime_r(&when, &parts)) {
            (void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &parts);
        }
        if (i == 0) {
            output_text(out, "internal snapshots\n");
        }
        img_escape(one->name, strlen(one->name), name, sizeof(name));
        output_text(out, "  ");
        output_escaped(out, one->id);
        output_printf(out,
                      "  %s\n      taken %s, state %s, clock %" PRIu64
                      ".%03" PRIu64 " s\n",
                      name, date, img_size_short(one->vm_state_len, size),
                      one->vm_clock_nsec / NS_PER_SECOND,
                      one->vm_clock_nsec % NS_PER_SECOND / 1000000u);
    }
}

int info_sheet(struct output *out, const struct chain_layer *layer,
               struct img_error *err)
{
    struct img_image *image = chain_layer_image(layer);

    put_identity(out, layer);
    put_state(out, image);
    if (put_backing(out, layer, err) < 0 || put_specific(out, image, err) < 0) {
        return -1;
    }
    put_snapshots(out, image);
    return 0;
}
