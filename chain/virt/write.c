/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests as XML, indented as virsh does. Room: chain/virt.
 *
 * What libvirt reads must be what the structures say: a value that XML cannot
 * hold is refused, and so is anything that is not written.
 */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "bytes.h"
#include "layer.h"

struct writer {
    struct virt_bytes text;
    struct img_error *err;
    bool is_failed;
};

static void fini_writer(struct writer *writer)
{
    virt_bytes_fini(&writer->text);
}

static void add(struct writer *to, const char *bytes, size_t len)
{
    if (!to->is_failed && virt_bytes_add(&to->text, bytes, len, to->err) < 0) {
        to->is_failed = true;
    }
}

static void put(struct writer *to, const char *text)
{
    add(to, text, strlen(text));
}

static void fail(struct writer *to, const char *what, const char *value)
{
    char shown[256];

    if (!to->is_failed) {
        img_escape(value, strlen(value), shown, sizeof(shown));
        img_fail(to->err, IMG_UNSUPPORTED, "%s: '%s'", what, shown);
        to->is_failed = true;
    }
}

static void put_escaped(struct writer *to, const char *value)
{
    if (!to->is_failed && virt_bytes_escape(&to->text, value, to->err) < 0) {
        to->is_failed = true;
    }
}

/* " NAME='VALUE'"; nothing for NULL. */
static void attribute(struct writer *to, const char *name, const char *value)
{
    if (value) {
        put(to, " ");
        put(to, name);
        put(to, "='");
        put_escaped(to, value);
        put(to, "'");
    }
}

static void element(struct writer *to, const char *name, const char *value)
{
    if (value) {
        put(to, "  <");
        put(to, name);
        put(to, ">");
        put_escaped(to, value);
        put(to, "</");
        put(to, name);
        put(to, ">\n");
    }
}

static void indent(struct writer *to, unsigned levels)
{
    for (unsigned i = 0; i < levels; i++) {
        put(to, "  ");
    }
}

/* What is said of a source and is not written. */
static const char *left_out(const struct chain_virt_layer *layer)
{
    const struct chain_virt_source *source = &layer->source;

    if (source->type != CHAIN_VIRT_SOURCE_FILE &&
        source->type != CHAIN_VIRT_SOURCE_BLOCK) {
        return chain_virt_source_type_name(source->type);
    }
    return source->has_slice           ? "slices"
           : source->encryption        ? "encryption"
           : source->auth              ? "auth"
           : source->startup_policy    ? "startupPolicy"
           : layer->has_metadata_cache ? "metadata_cache"
                                       : NULL;
}

static void put_source(struct writer *to, unsigned level,
                       const struct chain_virt_layer *layer)
{
    const struct chain_virt_source *source = &layer->source;
    const char *lost = left_out(layer);

    if (lost) {
        fail(to, "a request with it is not written", lost);
    }
    if (!source->path) {
        return;
    }
    indent(to, level);
    put(to, "<source");
    attribute(to, source->type == CHAIN_VIRT_SOURCE_BLOCK ? "dev" : "file",
              source->path);
    attribute(to, "fdgroup", source->fdgroup);
    put(to, "/>\n");
}

static void put_format(struct writer *to, unsigned level, const char *name,
                       const char *format)
{
    if (format) {
        indent(to, level);
        put(to, "<");
        put(to, name);
        attribute(to, "type", format);
        put(to, "/>\n");
    }
}

static void put_snapshot_disk(struct writer *to,
                              const struct chain_virt_snapshot_disk *disk)
{
    put(to, "    <disk");
    attribute(to, "name", disk->name);
    attribute(to, "snapshot", disk->snapshot);
    attribute(to, "type", disk->type);
    if (!disk->dest.format && !disk->dest.source.path &&
        !left_out(&disk->dest)) {
        put(to, "/>\n");
        return;
    }
    put(to, ">\n");
    put_format(to, 3, "driver", disk->dest.format);
    put_source(to, 3, &disk->dest);
    put(to, "    </disk>\n");
}

static void put_snapshot(struct writer *to,
                         const struct chain_virt_snapshot *snapshot)
{
    put(to, "<domainsnapshot>\n");
    element(to, "name", snapshot->name);
    element(to, "description", snapshot->description);
    if (snapshot->memory_kind || snapshot->memory_file) {
        put(to, "  <memory");
        attribute(to, "snapshot", snapshot->memory_kind);
        attribute(to, "file", snapshot->memory_file);
        put(to, "/>\n");
    }
    if (snapshot->disks_nr > 0) {
        put(to, "  <disks>\n");
        for (size_t i = 0; i < snapshot->disks_nr; i++) {
            put_snapshot_disk(to, &snapshot->disks[i]);
        }
        put(to, "  </disks>\n");
    }
    put(to, "</domainsnapshot>\n");
}

/* The <backingStore> below LAYER, and those in it; they end at LEVEL again. */
static void put_backing(struct writer *to, unsigned level,
                        const struct chain_virt_layer *layer)
{
    unsigned deep = level;

    for (; layer->backing; layer = layer->backing) {
        indent(to, deep++);
        put(to, "<backingStore");
        attribute(to, "type",
                  chain_virt_source_type_name(layer->backing->source.type));
        put(to, ">\n");
        put_format(to, deep, "format", layer->backing->format);
        put_source(to, deep, layer->backing);
    }
    if (layer->backing_kind == CHAIN_VIRT_BACKING_ENDS) {
        indent(to, deep);
        put(to, "<backingStore/>\n");
    }
    while (deep > level) {
        indent(to, --deep);
        put(to, "</backingStore>\n");
    }
}

static void put_disk(struct writer *to, const struct chain_virt_disk *disk)
{
    put(to, "<disk");
    attribute(to, "type", chain_virt_source_type_name(disk->top.source.type));
    put(to, ">\n");
    put_format(to, 1, "driver", disk->top.format);
    put_source(to, 1, &disk->top);
    put_backing(to, 1, &disk->top);
    put(to, disk->is_readonly ? "  <readonly/>\n" : "");
    put(to, disk->is_shareable ? "  <shareable/>\n" : "");
    put(to, "</disk>\n");
}

static int finish(struct writer *writer, char **out)
{
    if (writer->is_failed) {
        return -1;
    }
    *out = img_steal(&writer->text.bytes);
    return 0;
}

int chain_virt_snapshot_write(const struct chain_virt_snapshot *snapshot,
                              char **out, struct img_error *err)
{
    IMG_AUTO(fini_writer) struct writer writer = {.err = err};

    put_snapshot(&writer, snapshot);
    return finish(&writer, out);
}

int chain_virt_disk_write(const struct chain_virt_disk *disk, char **out,
                          struct img_error *err)
{
    IMG_AUTO(fini_writer) struct writer writer = {.err = err};

    put_disk(&writer, disk);
    return finish(&writer, out);
}
