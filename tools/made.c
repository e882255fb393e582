/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A new image: see made.h. */
#include "made.h"

#include <img/size.h>
#include <stdio.h>
#include <string.h>

#include "sheet.h"

#define FEATURES_LEN 256u

static const char *compat(const struct chain_made *made)
{
    return made->version == 2 ? "0.10" : "1.1";
}

static void add(char features[FEATURES_LEN], const char *text)
{
    size_t used = strlen(features);

    (void)snprintf(features + used, FEATURES_LEN - used, "%s%s",
                   used > 0 ? ", " : "", text);
}

/* What is not as it is by default. */
static void put_features(struct output *out, const struct chain_made *made)
{
    char features[FEATURES_LEN] = "", text[64];

    if (made->version != 0 && made->refcount_bits != 16) {
        (void)snprintf(text, sizeof(text), "refcounts of %u bits",
                       made->refcount_bits);
        add(features, text);
    }
    if (made->lazy_refcounts) {
        add(features, "lazy refcounts");
    }
    if (made->extended_l2) {
        add(features, "extended L2 entries");
    }
    if (made->compression && strcmp(made->compression, "zlib") != 0) {
        (void)snprintf(text, sizeof(text), "compression %s", made->compression);
        add(features, text);
    }
    if (made->prealloc && strcmp(made->prealloc, "off") != 0) {
        (void)snprintf(text, sizeof(text), "preallocation %s", made->prealloc);
        add(features, text);
    }
    if (features[0]) {
        sheet_text(out, "features", features);
    }
}

void made_sheet(struct output *out, const struct chain_made *made)
{
    char size[IMG_SIZE_TEXT_LEN];

    if (made->version != 0) {
        sheet_row(out, "format", "%s, compat %s, clusters of %s", made->format,
                  compat(made), img_size_short(made->cluster_len, size));
    } else {
        sheet_text(out, "format", made->format);
    }
    sheet_size(out, "virtual size", made->virtual_len);
    if (made->backing_name) {
        sheet_text(out, "backing file", made->backing_name);
        sheet_text(out, "backing format",
                   made->backing_format ? made->backing_format
                                        : "not recorded");
    }
    if (made->data_file_name) {
        sheet_text(out, "data file", made->data_file_name);
    }
    put_features(out, made);
}

static void set_text(struct img_json *json, const char *key, const char *text)
{
    if (text) {
        img_json_set_string(json, key, text);
    }
}

void made_json(struct img_json *json, const struct chain_made *made)
{
    set_text(json, "format", made->format);
    img_json_set_u64(json, "virtual-size", made->virtual_len);
    set_text(json, "backing-filename", made->backing_name);
    set_text(json, "backing-filename-format", made->backing_format);
    if (made->version != 0) {
        img_json_set_string(json, "compat", compat(made));
        img_json_set_u64(json, "cluster-size", made->cluster_len);
        img_json_set_u64(json, "refcount-bits", made->refcount_bits);
        img_json_set_bool(json, "lazy-refcounts", made->lazy_refcounts);
        img_json_set_bool(json, "extended-l2", made->extended_l2);
        set_text(json, "compression-type", made->compression);
    }
    if (made->data_file_name) {
        img_json_set_string(json, "data-file", made->data_file_name);
        img_json_set_bool(json, "data-file-raw", made->data_file_raw);
    }
    set_text(json, "preallocation", made->prealloc);
}
