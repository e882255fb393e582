/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* info: QEMU's ImageInfo (qapi/block-core.json) of one layer. */
#include <chain/name.h>
#include <img/image.h>
#include <img/memory.h>
#include <stdio.h>
#include <string.h>

#include "info.h"

#define NS_PER_SECOND 1000000000u
/*
 * qemu-img shows no more of a snapshot's id and name either, and a table of
 * the longest names would be a document of hundreds of megabytes.
 */
#define SNAPSHOT_ID_MAX_LEN 127
#define SNAPSHOT_NAME_MAX_LEN 255

char *info_full_backing(const struct chain_layer *layer, struct img_error *err)
{
    const char *name = chain_layer_image(layer)->backing_name;
    struct chain_ref ref = {.path = NULL};
    struct img_error unused;
    char *full;

    /* Protocols that are not read here are complete names all the same. */
    if (chain_name_parse(name, &ref, &unused) < 0) {
        return img_strndup(name, strlen(name), err);
    }
    if (ref.style == CHAIN_NAME_RELATIVE) {
        full = chain_name_join(chain_layer_path(layer), ref.path, err);
    } else {
        full = img_strndup(name, strlen(name), err);
    }
    chain_ref_fini(&ref);
    return full;
}

/* The raw driver over the part of a file that LAYER's name cuts out. */
static struct img_json *slice_json(const struct chain_layer *layer)
{
    const struct chain_ref *ref = chain_layer_ref(layer);
    struct img_json *raw = img_json_object(), *file = img_json_object();

    img_json_set_string(raw, "driver", "raw");
    img_json_set_u64(raw, "offset", ref->slice_off);
    if (ref->slice_len != UINT64_MAX) {
        img_json_set_u64(raw, "size", ref->slice_len);
    }
    img_json_set_string(file, "driver",
                        img_file_kind(chain_layer_file(layer)) == IMG_FILE_BLOCK
                            ? "host_device"
                            : "file");
    img_json_set_string(file, "filename", chain_layer_path(layer));
    img_json_set(raw, "file", file);
    return raw;
}

/*
 * The name that leads back to LAYER. A path says it all, but for a part of a
 * file: QEMU then makes up a json: name, and so does this.
 */
static char *layer_filename(const struct chain_layer *layer,
                            struct img_error *err)
{
    const struct chain_ref *ref = chain_layer_ref(layer);
    const char *path = chain_layer_path(layer);

    if (!ref->has_slice) {
        return img_strndup(path, strlen(path), err);
    }
    struct img_json *name = slice_json(layer);
    if (strcmp(chain_layer_format(layer), "raw") != 0) {
        struct img_json *image = img_json_object();

        img_json_set_string(image, "driver", chain_layer_format(layer));
        img_json_set(image, "file", name);
        name = image;
    }
    IMG_AUTO(img_free_ptr) char *text = img_json_text(name, false, err);
    img_json_free(name);
    return text ? img_text(err, "json:%s", text) : NULL;
}

/* At most MAX_LEN bytes of TEXT; what is cut through is no character. */
static void set_cut(struct img_json *object, const char *key, const char *text,
                    int max_len)
{
    char cut[SNAPSHOT_NAME_MAX_LEN + 1];

    (void)snprintf(cut, sizeof(cut), "%.*s", max_len, text);
    img_json_set_string(object, key, cut);
}

static struct img_json *snapshots_json(const struct img_image *image)
{
    struct img_json *list = img_json_array();

    for (size_t i = 0; i < image->snapshots_nr; i++) {
        const struct img_snapshot *from = &image->snapshots[i];
        struct img_json *one = img_json_object();

        set_cut(one, "id", from->id, SNAPSHOT_ID_MAX_LEN);
        set_cut(one, "name", from->name, SNAPSHOT_NAME_MAX_LEN);
        img_json_set_u64(one, "vm-state-size", from->vm_state_len);
        img_json_set_u64(one, "date-sec", from->date_sec);
        img_json_set_u64(one, "date-nsec", from->date_nsec);
        img_json_set_u64(one, "vm-clock-sec",
                         from->vm_clock_nsec / NS_PER_SECOND);
        img_json_set_u64(one, "vm-clock-nsec",
                         from->vm_clock_nsec % NS_PER_SECOND);
        if (from->icount != UINT64_MAX) {
            img_json_set_u64(one, "icount", from->icount);
        }
        img_json_push(list, one);
    }
    return list;
}

static int set_backing(struct img_json *info, const struct chain_layer *layer,
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
    img_json_set_string(info, "full-backing-filename", full);
    img_json_set_string(info, "backing-filename", image->backing_name);
    if (image->backing_format) {
        img_json_set_string(info, "backing-filename-format",
                            image->backing_format);
    }
    return 0;
}

struct img_json *info_json(const struct chain_layer *layer,
                           struct img_error *err)
{
    struct img_image *image = chain_layer_image(layer);
    struct img_file *file = chain_layer_file(layer);
    IMG_AUTO(img_free_ptr) char *filename = layer_filename(layer, err);
    struct img_json *info, *specific = NULL;

    if (!filename) {
        return NULL;
    }
    info = img_json_object();
    img_json_set_string(info, "filename", filename);
    img_json_set_string(info, "format", image->format);
    img_json_set_bool(info, "probed", chain_layer_is_probed(layer));
    if (chain_layer_contents(layer)) {
        img_json_set_string(info, "contents", chain_layer_contents(layer));
    }
    img_json_set_u64(info, "virtual-size", image->virtual_len);
    img_json_set_u64(info, "actual-size", img_file_allocated_len(file));
    if (image->cluster_len != 0) {
        img_json_set_u64(info, "cluster-size", image->cluster_len);
    }
    img_json_set_bool(info, "dirty-flag", image->is_dirty);
    if (image->is_encrypted) {
        img_json_set_bool(info, "encrypted", true);
    }
    if (img_image_describe(image, &specific, err) < 0 ||
        set_backing(info, layer, err) < 0) {
        img_json_free(specific);
        img_json_free(info);
        return NULL;
    }
    if (specific) {
        img_json_set(info, "format-specific", specific);
    }
    if (image->snapshots_nr > 0) {
        img_json_set(info, "snapshots", snapshots_json(image));
    }
    return info;
}
