/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <source> of each type, and its <encryption>: see layer.h. */
#include <stdlib.h>
#include <string.h>

#include "layer.h"

static const char *const type_names[] = {"none", "file",      "block",
                                         "dir",  "network",   "volume",
                                         "nvme", "vhostuser", NULL};

const char *chain_virt_source_type_name(enum chain_virt_source_type type)
{
    return type_names[type];
}

enum chain_virt_source_type virt_source_type(const char *word)
{
    int found =
        word ? virt_word_find(type_names, word) : (int)CHAIN_VIRT_SOURCE_FILE;

    return found < 0 ? CHAIN_VIRT_SOURCE_NONE
                     : (enum chain_virt_source_type)found;
}

/* <slice type='storage'> */
static const struct virt_node *find_slice(const struct virt_node *node)
{
    const struct virt_node *slice =
        virt_child(virt_child(node, "slices"), "slice");

    while (slice) {
        const char *type = virt_attribute(slice, "type");

        if (type && strcmp(type, "storage") == 0) {
            break;
        }
        slice = virt_same(slice);
    }
    return slice;
}

static uint64_t slice_number(struct virt_reader *reader,
                             const struct virt_node *slice, const char *name)
{
    const char *text = virt_attribute(slice, name);
    uint64_t value = 0;

    if (!text || text[0] == '\0') {
        virt_refuse(reader, slice, VIRT_XML_ERROR, "<slice> has no %s=", name);
    } else if (!virt_number(text, &value)) {
        virt_refuse(reader, slice, VIRT_XML_ERROR,
                    "<slice> has %s='%s', expected a number of bytes", name,
                    text);
    }
    return value;
}

static void read_slice(struct virt_reader *reader, const struct virt_node *node,
                       struct chain_virt_source *out)
{
    const struct virt_node *slice = find_slice(node);

    if (slice) {
        out->has_slice = true;
        out->slice_offset = slice_number(reader, slice, "offset");
        out->slice_len = slice_number(reader, slice, "size");
    }
}

char *virt_secret_read(struct virt_reader *reader, const struct virt_node *node,
                       const char *around)
{
    const char *uuid = virt_attribute(node, "uuid");
    const char *usage = virt_attribute(node, "usage");

    if (!uuid == !usage) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<secret> in <%s> has %s, expected one of uuid= and usage=",
                    around, uuid ? "both" : "neither");
    } else if (uuid && !virt_is_uuid(uuid)) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<secret> in <%s> has uuid='%s', expected 32 hexadecimal "
                    "digits",
                    around, uuid);
    }
    return virt_copy(reader, uuid ? uuid : usage);
}

/* The secrets of an <encryption>; the first one's name is kept. */
static void read_secrets(struct virt_reader *reader,
                         const struct virt_node *node,
                         struct chain_virt_source *out)
{
    static const char *const types[] = {"passphrase", NULL};
    const struct virt_node *secret = virt_child(node, "secret");

    for (; secret; secret = virt_same(secret)) {
        const char *type = virt_attribute(secret, "type");
        char *name = virt_secret_read(reader, secret, node->name);

        if (!type || type[0] == '\0') {
            virt_refuse(reader, secret, VIRT_XML_ERROR,
                        "<secret> in <encryption> has no type=");
        } else if (virt_word_find(types, type) < 0) {
            virt_refuse(reader, secret, VIRT_CONFIG,
                        "<secret> in <encryption> has type='%s', which "
                        "libvirt does not know",
                        type);
        }
        if (out->secret) {
            free(name);
        } else {
            out->secret = name;
        }
    }
}

void virt_encryption_read(struct virt_reader *reader,
                          const struct virt_node *node,
                          struct chain_virt_source *out)
{
    static const char *const formats[] = {"default", "qcow", "luks", "luks2",
                                          NULL};
    static const char *const engines[] = {"qemu", "librbd", NULL};
    const char *format = virt_attribute(node, "format");

    if (!node) {
        return;
    }
    if (!format || format[0] == '\0') {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<encryption> has no format=");
        out->encryption = virt_copy(reader, "");
    } else {
        out->encryption =
            virt_word(reader, node, "format", formats, VIRT_CONFIG);
    }
    out->engine = virt_word(reader, node, "engine", engines, VIRT_XML_ERROR);
    if (reader->is_checked && format && strcmp(format, "luks") == 0 &&
        virt_child(node, "cipher")) {
        virt_refuse(reader, node, VIRT_CONFIG,
                    "<encryption> of a disk has a <cipher>, which its image "
                    "knows itself");
    }
    read_secrets(reader, node, out);
}

/* A path of ours; an empty one is none. */
static char *read_path(struct virt_reader *reader, const struct virt_node *node,
                       const char *name)
{
    const char *path = virt_attribute(node, name);

    return path && path[0] != '\0' ? virt_copy(reader, path) : NULL;
}

static void read_volume(struct virt_reader *reader,
                        const struct virt_node *node,
                        struct chain_virt_source *out)
{
    static const char *const modes[] = {"host", "direct", NULL};

    out->pool = virt_copy_attribute(reader, node, "pool");
    out->volume = virt_copy_attribute(reader, node, "volume");
    out->mode = virt_word(reader, node, "mode", modes, VIRT_CONFIG);
    if (!out->pool != !out->volume) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<source> of a volume has %s alone, expected pool= and "
                    "volume=",
                    out->pool ? "pool=" : "volume=");
    }
}

static void need(struct virt_reader *reader, const struct virt_node *node,
                 const char *name, const char *value)
{
    const char *found = virt_attribute(node, name);

    if (!found) {
        virt_refuse(reader, node, VIRT_XML_ERROR, "<source> has no %s=", name);
    } else if (value && strcmp(found, value) != 0) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<source> has %s='%s', expected '%s'", name, found, value);
    }
}

static void read_nvme(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_source *out)
{
    uint64_t number;

    need(reader, node, "type", "pci");
    need(reader, node, "namespace", NULL);
    out->namespace_id = virt_copy_attribute(reader, node, "namespace");
    if (out->namespace_id && !virt_number(out->namespace_id, &number)) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<source> has namespace='%s', expected a number",
                    out->namespace_id);
    }
    if (!virt_child(node, "address")) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<source> of an NVMe disk has no <address>");
    }
}

static void read_locator(struct virt_reader *reader,
                         const struct virt_node *node,
                         struct chain_virt_source *out)
{
    switch (out->type) {
    case CHAIN_VIRT_SOURCE_FILE:
        out->path = read_path(reader, node, "file");
        out->fdgroup = virt_copy_attribute(reader, node, "fdgroup");
        break;
    case CHAIN_VIRT_SOURCE_BLOCK:
        out->path = read_path(reader, node, "dev");
        break;
    case CHAIN_VIRT_SOURCE_DIR:
        out->path = read_path(reader, node, "dir");
        break;
    case CHAIN_VIRT_SOURCE_NETWORK:
        virt_network_read(reader, node, out);
        break;
    case CHAIN_VIRT_SOURCE_VOLUME:
        read_volume(reader, node, out);
        break;
    case CHAIN_VIRT_SOURCE_NVME:
        read_nvme(reader, node, out);
        break;
    case CHAIN_VIRT_SOURCE_VHOSTUSER:
        need(reader, node, "type", "unix");
        need(reader, node, "path", NULL);
        out->socket = virt_copy_attribute(reader, node, "path");
        break;
    case CHAIN_VIRT_SOURCE_NONE:
        break;
    }
}

void virt_source_read(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_source *out)
{
    if (!node) {
        return;
    }
    out->line = node->line;
    read_locator(reader, node, out);
    virt_auth_read(reader, virt_child(node, "auth"), out);
    virt_encryption_read(reader, virt_child(node, "encryption"), out);
    read_slice(reader, node, out);
    out->has_data_store = virt_child(node, "dataStore");
}

bool virt_source_is_empty(const struct chain_virt_source *source)
{
    switch (source->type) {
    case CHAIN_VIRT_SOURCE_NONE:
        return true;
    case CHAIN_VIRT_SOURCE_NETWORK:
        return !source->protocol;
    case CHAIN_VIRT_SOURCE_VOLUME:
        return !source->pool && !source->volume;
    case CHAIN_VIRT_SOURCE_FILE:
    case CHAIN_VIRT_SOURCE_BLOCK:
    case CHAIN_VIRT_SOURCE_DIR:
        return !source->path;
    case CHAIN_VIRT_SOURCE_NVME:
    case CHAIN_VIRT_SOURCE_VHOSTUSER:
        break;
    }
    return false;
}

bool virt_source_is_relative(const struct chain_virt_source *source)
{
    return source->path && source->path[0] != '/';
}

void virt_source_fini(struct chain_virt_source *source)
{
    char *const texts[] = {
        source->path,           source->protocol,
        source->name,           source->host,
        source->port,           source->transport,
        source->socket,         source->network_snapshot,
        source->config,         source->pool,
        source->volume,         source->mode,
        source->namespace_id,   source->encryption,
        source->engine,         source->secret,
        source->auth,           source->fdgroup,
        source->startup_policy,
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        free(texts[i]);
    }
    memset(source, 0, sizeof(*source));
}
