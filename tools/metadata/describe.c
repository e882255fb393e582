/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All that is on record of a snapshot or checkpoint: a sheet, or JSON. */
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metadata.h"
#include "sheet.h"

const char *metadata_problem(const struct chain_metadata *metadata,
                             const struct chain_moment *moment, size_t k,
                             char text[METADATA_PROBLEM_LEN])
{
    char name[256] = "";

    if (moment->parent_name) {
        img_escape(moment->parent_name, strlen(moment->parent_name), name,
                   sizeof(name));
    }
    if (!moment->name && k-- == 0) {
        (void)snprintf(text, METADATA_PROBLEM_LEN, "it has no <name>");
        return "no-name";
    }
    if (moment->is_parent_missing && k-- == 0) {
        (void)snprintf(text, METADATA_PROBLEM_LEN, "its parent %s is not there",
                       name);
        return "parent-missing";
    }
    if (moment->is_looped && k-- == 0) {
        (void)snprintf(text, METADATA_PROBLEM_LEN,
                       "its parents lead back to it (through %s)", name);
        return "parent-loop";
    }
    if (moment->is_double && k-- == 0) {
        (void)snprintf(text, METADATA_PROBLEM_LEN, "another one has its name");
        return "double-name";
    }
    if (moment->is_current && metadata->current_nr > 1 && k-- == 0) {
        (void)snprintf(text, METADATA_PROBLEM_LEN,
                       "%zu claim to be the current one", metadata->current_nr);
        return "several-current";
    }
    return NULL;
}

/* ---- Images. */

/* What LAYER's source is, in a word or a path. */
static const char *source_text(const struct chain_virt_layer *layer)
{
    const struct chain_virt_source *source = &layer->source;

    if (source->path) {
        return source->path;
    }
    if (source->type == CHAIN_VIRT_SOURCE_NETWORK) {
        return source->name ? source->name : "";
    }
    return source->volume ? source->volume : "";
}

static void set_layer(struct img_json *json, const char *key,
                      const char *format_key,
                      const struct chain_virt_layer *layer)
{
    if (layer && source_text(layer)[0]) {
        img_json_set_string(json, key, source_text(layer));
    }
    if (layer && layer->format) {
        img_json_set_string(json, format_key, layer->format);
    }
}

static struct img_json *disk_json(const struct chain_moment_disk *disk)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "name", disk->name ? disk->name : "");
    img_json_set_string(json, "snapshot", chain_moment_place_name(disk->place));
    set_layer(json, "filename", "format", disk->overlay);
    set_layer(json, "source", "source-format", disk->before);
    return json;
}

static struct img_json *
bitmap_json(const struct chain_moment *moment,
            const struct chain_virt_checkpoint_disk *disk)
{
    struct img_json *json = img_json_object();
    bool is_none = disk->checkpoint && strcmp(disk->checkpoint, "no") == 0;

    img_json_set_string(json, "name", disk->name ? disk->name : "");
    img_json_set_string(json, "checkpoint", is_none ? "no" : "bitmap");
    if (!is_none) {
        img_json_set_string(json, "bitmap",
                            disk->bitmap   ? disk->bitmap
                            : moment->name ? moment->name
                                           : "");
    }
    return json;
}

static struct img_json *disks_json(const struct chain_moment *moment,
                                   struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct chain_moment_disk *disks = NULL;
    struct img_json *list;
    size_t nr = 0;

    if (moment->snapshot &&
        chain_snapshot_disks(moment->snapshot, &disks, &nr, err) < 0) {
        return NULL;
    }
    list = img_json_array();
    for (size_t i = 0; i < nr; i++) {
        img_json_push(list, disk_json(&disks[i]));
    }
    for (size_t i = 0; moment->checkpoint && i < moment->checkpoint->disks_nr;
         i++) {
        img_json_push(list, bitmap_json(moment, &moment->checkpoint->disks[i]));
    }
    return list;
}

/* ---- JSON. */

static void set_text(struct img_json *json, const char *key, const char *text)
{
    if (text) {
        img_json_set_string(json, key, text);
    }
}

static void set_snapshot(struct img_json *json,
                         const struct chain_virt_snapshot *snapshot)
{
    struct img_json *memory = img_json_object();

    set_text(json, "state", snapshot->state);
    set_text(json, "description", snapshot->description);
    if (snapshot->has_creation_time && snapshot->creation_time >= 0) {
        img_json_set_u64(json, "creation-time",
                         (uint64_t)snapshot->creation_time);
    }
    img_json_set_string(
        memory, "snapshot",
        chain_moment_place_name(chain_snapshot_memory(snapshot)));
    set_text(memory, "filename", snapshot->memory_file);
    img_json_set(json, "memory", memory);
    set_text(json, "uuid", snapshot->domain_uuid);
    set_text(json, "domain", snapshot->domain ? snapshot->domain->name : NULL);
}

static void set_checkpoint(struct img_json *json,
                           const struct chain_virt_checkpoint *checkpoint)
{
    set_text(json, "description", checkpoint->description);
    if (checkpoint->has_creation_time && checkpoint->creation_time >= 0) {
        img_json_set_u64(json, "creation-time",
                         (uint64_t)checkpoint->creation_time);
    }
    set_text(json, "uuid", checkpoint->domain_uuid);
}

static struct img_json *problems_json(const struct chain_metadata *metadata,
                                      const struct chain_moment *moment)
{
    struct img_json *list = img_json_array();
    char text[METADATA_PROBLEM_LEN];
    const char *id;

    for (size_t k = 0; (id = metadata_problem(metadata, moment, k, text));
         k++) {
        struct img_json *one = img_json_object();

        img_json_set_string(one, "id", id);
        img_json_set_string(one, "message", text);
        img_json_push(list, one);
    }
    return list;
}

struct img_json *metadata_json(const struct chain_metadata *metadata,
                               const struct chain_moment *moment,
                               struct img_error *err)
{
    struct img_json *disks = disks_json(moment, err), *json;

    if (!disks) {
        return NULL;
    }
    json = img_json_object();
    img_json_set_string(json, "name", moment->name ? moment->name : "");
    set_text(json, "parent", moment->parent_name);
    img_json_set_string(json, "kind", metadata_kind(moment));
    img_json_set_bool(json, "current", moment->is_current);
    set_text(json, "filename", moment->file);
    if (moment->snapshot) {
        set_snapshot(json, moment->snapshot);
    } else {
        set_checkpoint(json, moment->checkpoint);
    }
    img_json_set(json, "disks", disks);
    img_json_set(json, "problems", problems_json(metadata, moment));
    return json;
}

/* ---- For people. */

static void put_layer(struct output *out, const char *label,
                      const struct chain_virt_layer *layer)
{
    char shown[4 * IMG_ERROR_PATH_MAX], format[64];
    const char *text;

    if (!layer) {
        return;
    }
    text = layer->format ? layer->format : "raw";
    img_escape(text, strlen(text), format, sizeof(format));
    text = source_text(layer);
    img_escape(text, strlen(text), shown, sizeof(shown));
    sheet_row(out, label, "%s (%s)", shown, format);
}

static int put_disks(struct output *out, const struct chain_moment *moment,
                     struct img_error *err)
{
    IMG_AUTO(img_free_ptr) struct chain_moment_disk *disks = NULL;
    char name[256];
    size_t nr = 0;

    if (chain_snapshot_disks(moment->snapshot, &disks, &nr, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        const char *text = disks[i].name ? disks[i].name : "-";

        img_escape(text, strlen(text), name, sizeof(name));
        sheet_row(out, "disk", "%s: %s", name,
                  chain_moment_place_name(disks[i].place));
        put_layer(out, "  overlay", disks[i].overlay);
        put_layer(out, "  before it", disks[i].before);
    }
    return 0;
}

static void put_bitmaps(struct output *out, const struct chain_moment *moment)
{
    const struct chain_virt_checkpoint *checkpoint = moment->checkpoint;
    char name[256], bitmap[1024];

    for (size_t i = 0; i < checkpoint->disks_nr; i++) {
        const struct chain_virt_checkpoint_disk *disk = &checkpoint->disks[i];
        bool is_none = disk->checkpoint && strcmp(disk->checkpoint, "no") == 0;
        const char *text = disk->bitmap   ? disk->bitmap
                           : moment->name ? moment->name
                                          : "";

        img_escape(text, strlen(text), bitmap, sizeof(bitmap));
        text = disk->name ? disk->name : "-";
        img_escape(text, strlen(text), name, sizeof(name));
        sheet_row(out, "disk", "%s: %s%s", name,
                  is_none ? "no part in it" : "bitmap ", is_none ? "" : bitmap);
    }
}

static void put_children(struct output *out,
                         const struct chain_metadata *metadata,
                         const struct chain_moment *moment)
{
    size_t idx = (size_t)(moment - metadata->moments);

    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *other =
            &metadata->moments[metadata->order[i]];

        if (other->parent == idx) {
            sheet_text(out, "child", other->name);
        }
    }
}

static void put_text(struct output *out, const char *label, const char *text)
{
    if (text) {
        sheet_text(out, label, text);
    }
}

static void put_snapshot(struct output *out,
                         const struct chain_virt_snapshot *snapshot)
{
    put_text(out, "description", snapshot->description);
    sheet_row(out, "memory", "%s",
              chain_moment_place_name(chain_snapshot_memory(snapshot)));
    put_text(out, "memory file", snapshot->memory_file);
    put_text(out, "domain", snapshot->domain ? snapshot->domain->name : NULL);
    put_text(out, "uuid", snapshot->domain_uuid);
}

int metadata_sheet(struct output *out, const struct chain_metadata *metadata,
                   const struct chain_moment *moment, struct img_error *err)
{
    char state[64], time[64], text[METADATA_PROBLEM_LEN];

    sheet_text(out, "name", moment->name ? moment->name : "-");
    put_text(out, "file", moment->file);
    sheet_row(out, "current", "%s", moment->is_current ? "yes" : "no");
    sheet_row(out, "kind", "%s", metadata_kind(moment));
    sheet_row(out, "state", "%s", metadata_state(moment, state));
    sheet_row(out, "created", "%s", metadata_time(moment, time));
    put_text(out, "parent", moment->parent_name);
    put_children(out, metadata, moment);
    for (size_t k = 0; metadata_problem(metadata, moment, k, text); k++) {
        sheet_row(out, "problem", "%s", text);
    }
    if (moment->checkpoint) {
        put_text(out, "description", moment->checkpoint->description);
        put_text(out, "uuid", moment->checkpoint->domain_uuid);
        put_bitmaps(out, moment);
        return 0;
    }
    put_snapshot(out, moment->snapshot);
    return put_disks(out, moment, err);
}
