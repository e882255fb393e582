/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a <domainsnapshot>: see snapshot.h. */
#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "domain.h"

void chain_virt_snapshot_disk_fini(struct chain_virt_snapshot_disk *disk)
{
    free(disk->name);
    free(disk->snapshot);
    free(disk->type);
    virt_layer_fini(&disk->dest);
    memset(disk, 0, sizeof(*disk));
}

void chain_virt_snapshot_free(struct chain_virt_snapshot *snapshot)
{
    if (!snapshot) {
        return;
    }
    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        chain_virt_snapshot_disk_fini(&snapshot->disks[i]);
    }
    free(snapshot->disks);
    free(snapshot->file);
    free(snapshot->name);
    free(snapshot->description);
    free(snapshot->state);
    free(snapshot->parent);
    free(snapshot->memory_kind);
    free(snapshot->memory_file);
    free(snapshot->domain_uuid);
    chain_virt_domain_free(snapshot->domain);
    chain_virt_domain_free(snapshot->inactive_domain);
    virt_refusals_fini(&snapshot->refusals);
    free(snapshot);
}

static void free_snapshot(struct chain_virt_snapshot **snapshot)
{
    chain_virt_snapshot_free(*snapshot);
}

static void read_memory(struct virt_reader *reader,
                        const struct virt_node *node,
                        struct chain_virt_snapshot *out)
{
    const char *kind = virt_attribute(node, "snapshot");
    const char *file = virt_attribute(node, "file");
    bool is_external = kind ? strcmp(kind, "external") == 0 : file != NULL;

    out->memory_kind =
        virt_word(reader, node, "snapshot", virt_locations, VIRT_XML_ERROR);
    out->memory_file = virt_copy(reader, file);
    out->memory_line = node->line;
    if (kind && strcmp(kind, "manual") == 0) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<memory> has snapshot='manual', which is for disks");
    }
    if (file && !is_external) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<memory> has file='%s' with snapshot='%s', expected "
                    "snapshot='external'",
                    file, kind);
    }
    if (is_external && !file) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<memory snapshot='external'> has no file=");
    }
    if (file && file[0] != '/') {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<memory> has file='%s', expected an absolute path", file);
    }
}

static void read_format(struct virt_reader *reader,
                        const struct virt_node *driver,
                        struct chain_virt_layer *out)
{
    const char *format = virt_attribute(driver, "type");

    out->has_metadata_cache = virt_child(driver, "metadata_cache");
    if (!format || format[0] == '\0') {
        return; /* libvirt takes an empty one for none */
    }
    out->format = virt_copy(reader, format);
    if (!virt_is_format(format)) {
        virt_refuse(reader, driver, VIRT_CONFIG,
                    "<driver> has type='%s', which libvirt does not know",
                    format);
    }
}

static void read_dest_type(struct virt_reader *reader,
                           const struct virt_node *node,
                           struct chain_virt_snapshot_disk *out)
{
    enum chain_virt_source_type type = virt_source_type(out->type);

    out->dest.source.type = type;
    if (type == CHAIN_VIRT_SOURCE_NONE) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<disk> has type='%s', which libvirt does not know",
                    out->type);
    }
    if (type == CHAIN_VIRT_SOURCE_VOLUME || type == CHAIN_VIRT_SOURCE_DIR) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<disk> has type='%s', which a snapshot cannot go to",
                    out->type);
    }
}

static void read_disk(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_snapshot_disk *out)
{
    out->line = node->line;
    out->dest.line = node->line;
    out->name = virt_copy_attribute(reader, node, "name");
    reader->subject_kind = "disk";
    reader->subject = out->name;
    if (!out->name) {
        virt_refuse(reader, node, VIRT_INTERNAL,
                    "<%s> in <disks> has no name=", node->name);
    }
    out->snapshot =
        virt_word(reader, node, "snapshot", virt_locations, VIRT_XML_ERROR);
    out->type = virt_copy_attribute(reader, node, "type");
    read_dest_type(reader, node, out);
    virt_source_read(reader, virt_child(node, "source"), &out->dest.source);
    read_format(reader, virt_child(node, "driver"), &out->dest);
    if (virt_source_is_relative(&out->dest.source)) {
        virt_refuse(reader, virt_child(node, "source"), VIRT_XML_ERROR,
                    "<source> is '%s', expected an absolute path",
                    out->dest.source.path);
    }
    out->is_delete_in_progress = virt_child(node, "snapshotDeleteInProgress");
    reader->subject = NULL;
}

/* libvirt takes every element in <disks> for a disk, whatever it is called. */
static void read_disks(struct virt_reader *reader,
                       const struct virt_node *disks,
                       struct chain_virt_snapshot *out)
{
    const struct virt_node *first = disks ? disks->first : NULL;
    size_t nr = 0;

    for (const struct virt_node *disk = first; disk; disk = disk->next) {
        nr++;
    }
    if (nr > CHAIN_VIRT_MAX_DISKS) {
        virt_fail(reader, IMG_LIMIT, disks,
                  "found %zu disks, at most %u are read", nr,
                  CHAIN_VIRT_MAX_DISKS);
        return;
    }
    out->disks = virt_items(reader, nr, sizeof(*out->disks));
    for (; out->disks && first; first = first->next) {
        read_disk(reader, first, &out->disks[out->disks_nr++]);
    }
}

static void read_domains(struct virt_reader *reader,
                         const struct virt_node *node,
                         struct chain_virt_snapshot *out)
{
    const struct virt_node *domain = virt_child(node, "domain");
    const struct virt_node *inactive = virt_child(node, "inactiveDomain");
    const char *type = virt_attribute(domain, "type");

    out->domain_uuid = virt_copy_child(reader, domain, "uuid");
    /* Before 0.9.5 there was only its uuid. */
    out->has_domain = type && type[0] != '\0';
    if (out->has_domain) {
        out->domain = virt_domain_in(reader, domain, out->file);
    }
    if (inactive) {
        out->inactive_domain = virt_domain_in(reader, inactive, out->file);
    }
}

static void read_rest(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_snapshot *out)
{
    const struct virt_node *parent = virt_child(node, "parent");
    const struct virt_node *memory = virt_child(node, "memory");
    int64_t active = 0;

    out->line = node->line;
    out->name = virt_copy_child(reader, node, "name");
    out->description = virt_copy_child(reader, node, "description");
    out->state = virt_copy_child(reader, node, "state");
    out->parent = virt_copy_child(reader, parent, "name");
    out->has_creation_time =
        virt_child_number(reader, node, "creationTime", &out->creation_time);
    if (memory) {
        read_memory(reader, memory, out);
    }
    read_disks(reader, virt_child(node, "disks"), out);
    out->has_cookie = virt_child(node, "cookie");
    out->has_active = virt_child_number(reader, node, "active", &active);
    out->is_active = active != 0;
}

struct chain_virt_snapshot *virt_snapshot_read(const struct virt_node *node,
                                               const char *file,
                                               struct img_error *err)
{
    IMG_AUTO(free_snapshot)
    struct chain_virt_snapshot *snapshot =
        img_calloc(1, sizeof(*snapshot), err);
    struct virt_reader reader = {.err = err};

    if (!snapshot) {
        return NULL;
    }
    reader.refusals = &snapshot->refusals;
    snapshot->file = virt_copy(&reader, file);
    read_rest(&reader, node, snapshot);
    read_domains(&reader, node, snapshot);
    return reader.is_failed ? NULL : img_steal(&snapshot);
}
