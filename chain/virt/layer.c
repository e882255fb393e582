/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images of which the XML says where they are: see layer.h. */
#include "layer.h"

#include <stdlib.h>
#include <string.h>

bool virt_is_format(const char *name)
{
    static const char *const formats[] = {
        "raw", "dir",   "bochs", "cloop", "dmg",   "iso", "vpc",  "vdi", "fat",
        "vhd", "ploop", "cow",   "qcow",  "qcow2", "qed", "vmdk", NULL,
    };

    return virt_word_find(formats, name) >= 0;
}

/* type= and <format type=> of a <backingStore> or a <mirror>. */
static void read_base(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_layer *out)
{
    const char *type = virt_attribute(node, "type");
    const struct virt_node *format = virt_child(node, "format");

    out->line = node->line;
    out->source.type = virt_source_type(type);
    if (out->source.type == CHAIN_VIRT_SOURCE_NONE) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<%s> has type='%s', which libvirt does not know",
                    node->name, type);
    }
    out->format = virt_copy_attribute(reader, format, "type");
    if (out->format && out->format[0] != '\0' && !virt_is_format(out->format)) {
        virt_refuse(reader, format, VIRT_XML_ERROR,
                    "<format> in <%s> has type='%s', which libvirt does not "
                    "know",
                    node->name, out->format);
    }
    out->has_metadata_cache = virt_child(format, "metadata_cache");
}

/* One layer; whatever is below it is read by whoever calls. */
static void read_backing(struct virt_reader *reader,
                         const struct virt_node *node,
                         struct chain_virt_layer *out)
{
    const struct virt_node *source = virt_child(node, "source");

    read_base(reader, node, out);
    if (!out->format || out->format[0] == '\0') {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<backingStore> has no <format type=...>");
    }
    if (!source) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<backingStore> has no <source>");
    }
    out->idx = virt_copy_attribute(reader, node, "index");
    virt_source_read(reader, source, &out->source);
}

void virt_backing_read(struct virt_reader *reader, const struct virt_node *node,
                       struct chain_virt_layer *layer)
{
    for (unsigned nr = 0; (node = virt_child(node, "backingStore")); nr++) {
        if (!virt_attribute(node, "type")) {
            layer->backing_kind = CHAIN_VIRT_BACKING_ENDS;
            return;
        }
        if (nr == CHAIN_VIRT_MAX_LAYERS) {
            virt_fail(reader, IMG_LIMIT, node,
                      "more than %u <backingStore> in each other, expected at "
                      "most as many layers as libvirt uses",
                      CHAIN_VIRT_MAX_LAYERS);
            return;
        }
        layer->backing = virt_items(reader, 1, sizeof(*layer->backing));
        if (!layer->backing) {
            return;
        }
        layer->backing_kind = CHAIN_VIRT_BACKING_GIVEN;
        layer = layer->backing;
        read_backing(reader, node, layer);
    }
}

/* The way of libvirt before 1.2: file= and format= of a <mirror>. */
static void read_old_mirror(struct virt_reader *reader,
                            const struct virt_node *node,
                            struct chain_virt_layer *out)
{
    const char *job = virt_attribute(node, "job");

    out->line = node->line;
    out->source.type = CHAIN_VIRT_SOURCE_FILE;
    out->source.path = virt_copy_attribute(reader, node, "file");
    out->format = virt_copy_attribute(reader, node, "format");
    if (out->format && !virt_is_format(out->format)) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<mirror> has format='%s', which libvirt does not know",
                    out->format);
    }
    if (job && strcmp(job, "active-commit") == 0) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<mirror> has no type=, which only a copy may lack");
    }
    if (!out->source.path) {
        virt_refuse(reader, node, VIRT_XML_ERROR, "<mirror> has no file=");
    }
}

void virt_mirror_read(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_layer *layer)
{
    const struct virt_node *source = virt_child(node, "source");

    if (!virt_attribute(node, "type")) {
        read_old_mirror(reader, node, layer);
        return;
    }
    read_base(reader, node, layer);
    if (!source) {
        virt_refuse(reader, node, VIRT_XML_ERROR, "<mirror> has no <source>");
    }
    layer->idx = virt_copy_attribute(reader, source, "index");
    virt_source_read(reader, source, &layer->source);
    virt_backing_read(reader, node, layer);
}

static void fini_one(struct chain_virt_layer *layer)
{
    virt_source_fini(&layer->source);
    free(layer->format);
    free(layer->idx);
}

void virt_layer_fini(struct chain_virt_layer *layer)
{
    struct chain_virt_layer *below = layer->backing;

    fini_one(layer);
    while (below) {
        struct chain_virt_layer *next = below->backing;

        fini_one(below);
        free(below);
        below = next;
    }
    memset(layer, 0, sizeof(*layer));
}
