/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a <disk>: see disk.h. */
#include "disk.h"

#include <stdlib.h>
#include <string.h>

/* type=, <source>, and what may stand in <disk> in its stead. */
static void read_source(struct virt_reader *reader,
                        const struct virt_node *node,
                        struct chain_virt_source *out)
{
    const struct virt_node *source = virt_child(node, "source");
    const struct virt_node *auth = virt_child(node, "auth");
    const struct virt_node *encryption = virt_child(node, "encryption");
    const char *type = virt_attribute(node, "type");

    out->type = virt_source_type(type);
    if (out->type == CHAIN_VIRT_SOURCE_NONE) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "<disk> has type='%s', which libvirt does not know", type);
    }
    if (source) {
        virt_source_read(reader, source, out);
    } else {
        out->type = CHAIN_VIRT_SOURCE_FILE;
    }
    if (auth && out->auth) {
        virt_refuse(reader, auth, VIRT_CONFIG,
                    "<auth> stands in <disk> and in <source>");
    } else {
        virt_auth_read(reader, auth, out);
    }
    if (encryption && out->encryption) {
        virt_refuse(reader, encryption, VIRT_CONFIG,
                    "<encryption> stands in <disk> and in <source>");
    } else {
        virt_encryption_read(reader, encryption, out);
    }
}

/* The format, which alone counts for a block copy. */
static void read_format(struct virt_reader *reader,
                        const struct virt_node *driver,
                        struct chain_virt_layer *out)
{
    out->format = virt_copy_attribute(reader, driver, "type");
    out->has_metadata_cache = virt_child(driver, "metadata_cache");
    if (out->format && strcmp(out->format, "aio") == 0) {
        free(out->format);
        out->format = virt_copy(reader, "raw"); /* Xen said so */
    }
    if (out->format && !virt_is_format(out->format)) {
        virt_refuse(reader, driver, VIRT_CONFIG,
                    "<driver> has type='%s', which libvirt does not know",
                    out->format);
    }
}

static void read_driver(struct virt_reader *reader,
                        const struct virt_node *driver,
                        struct chain_virt_disk *out)
{
    static const char *const caches[] = {
        "default", "none", "writethrough", "writeback", "directsync",
        "unsafe",  NULL};
    static const char *const ios[] = {"native", "threads", "io_uring", NULL};
    static const char *const discards[] = {"unmap", "ignore", NULL};
    static const char *const zeroes[] = {"off", "on", "unmap", NULL};

    out->driver = virt_copy_attribute(reader, driver, "name");
    out->cache = virt_word(reader, driver, "cache", caches, VIRT_XML_ERROR);
    out->io = virt_word(reader, driver, "io", ios, VIRT_XML_ERROR);
    out->discard =
        virt_word(reader, driver, "discard", discards, VIRT_XML_ERROR);
    out->detect_zeroes =
        virt_word(reader, driver, "detect_zeroes", zeroes, VIRT_XML_ERROR);
}

static void read_mirror(struct virt_reader *reader,
                        const struct virt_node *mirror,
                        struct chain_virt_disk *out)
{
    static const char *const jobs[] = {"copy", "active-commit", NULL};
    static const char *const states[] = {"none", "yes", "abort", "pivot", NULL};

    if (!mirror) {
        return;
    }
    out->has_mirror = true;
    out->mirror_job = virt_word(reader, mirror, "job", jobs, VIRT_CONFIG);
    out->mirror_ready =
        virt_word(reader, mirror, "ready", states, VIRT_XML_ERROR);
    virt_mirror_read(reader, mirror, &out->mirror);
}

static void read_attributes(struct virt_reader *reader,
                            const struct virt_node *node,
                            struct chain_virt_disk *out)
{
    static const char *const devices[] = {"disk", "cdrom", "floppy", "lun",
                                          NULL};
    static const char *const models[] = {"default", "virtio",
                                         "virtio-transitional",
                                         "virtio-non-transitional", NULL};
    static const char *const buses[] = {"ide", "fdc", "scsi", "virtio", "xen",
                                        "usb", "uml", "sata", "sd",     NULL};
    static const char *const policies[] = {"mandatory", "requisite", "optional",
                                           NULL};
    const struct virt_node *target = virt_child(node, "target");

    out->top.source.startup_policy =
        virt_word(reader, virt_child(node, "source"), "startupPolicy", policies,
                  VIRT_XML_ERROR);
    out->device = virt_word(reader, node, "device", devices, VIRT_XML_ERROR);
    out->model = virt_word(reader, node, "model", models, VIRT_XML_ERROR);
    out->snapshot =
        virt_word(reader, node, "snapshot", virt_locations, VIRT_XML_ERROR);
    out->bus = virt_word(reader, target, "bus", buses, VIRT_XML_ERROR);
    out->is_transient = virt_child(node, "transient");
    read_mirror(reader, virt_child(node, "mirror"), out);
}

/* "ioemu:hda" is a name that Xen gave to hda. */
static char *read_target(struct virt_reader *reader,
                         const struct virt_node *node)
{
    static const char prefix[] = "ioemu:";
    const char *name = virt_attribute(virt_child(node, "target"), "dev");

    if (name && strncmp(name, prefix, strlen(prefix)) == 0) {
        name += strlen(prefix);
    }
    return virt_copy(reader, name);
}

void virt_disk_read(struct virt_reader *reader, const struct virt_node *node,
                    enum virt_disk_use use, struct chain_virt_disk *out)
{
    const struct virt_node *driver = virt_child(node, "driver");

    out->line = node->line;
    out->top.line = node->line;
    out->target = read_target(reader, node);
    reader->is_checked = use != VIRT_DISK_HISTORY;
    reader->subject_kind = "disk";
    reader->subject = out->target;
    read_source(reader, node, &out->top.source);
    out->top.idx =
        virt_copy_attribute(reader, virt_child(node, "source"), "index");
    virt_backing_read(reader, node, &out->top);
    read_format(reader, driver, &out->top);
    out->is_readonly = virt_child(node, "readonly");
    out->is_shareable = virt_child(node, "shareable");
    if (use != VIRT_DISK_COPY) {
        read_attributes(reader, node, out);
        read_driver(reader, driver, out);
        out->is_readonly |= out->device && strcmp(out->device, "cdrom") == 0;
        virt_disk_check_place(reader, node, out);
    }
    if (use == VIRT_DISK_DOMAIN) {
        virt_disk_check(reader, node, out);
    }
    reader->subject = NULL;
}

void virt_disk_fini(struct chain_virt_disk *disk)
{
    char *const texts[] = {
        disk->target,        disk->bus,        disk->device,
        disk->model,         disk->snapshot,   disk->driver,
        disk->cache,         disk->io,         disk->discard,
        disk->detect_zeroes, disk->mirror_job, disk->mirror_ready,
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        free(texts[i]);
    }
    virt_layer_fini(&disk->top);
    virt_layer_fini(&disk->mirror);
    memset(disk, 0, sizeof(*disk));
}
