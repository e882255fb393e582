/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libvirt (with its QEMU driver) refuses in a <disk> of a domain although
 * each word of it is known: see disk.h.
 */
#include <string.h>

#include "disk.h"

static bool is(const char *found, const char *wanted)
{
    return found && strcmp(found, wanted) == 0;
}

static bool begins(const char *text, const char *const *prefixes)
{
    for (size_t i = 0; prefixes[i]; i++) {
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* hda, sdb2: a place is made up for a disk of such a name. */
static bool has_place(const struct virt_node *node, const char *target)
{
    static const char *const prefixes[] = {"fd",  "hd",  "vd", "sd",
                                           "xvd", "ubd", NULL};
    size_t len = target[0] == 'x' || target[0] == 'u' ? 3 : 2;
    size_t letters;

    if (virt_child(node, "address")) {
        return true;
    }
    if (!begins(target, prefixes)) {
        return false;
    }
    letters = strspn(target + len, "abcdefghijklmnopqrstuvwxyz");
    target += len + letters;
    return letters > 0 && target[strspn(target, "0123456789")] == '\0';
}

void virt_disk_check_place(struct virt_reader *reader,
                           const struct virt_node *node,
                           const struct chain_virt_disk *disk)
{
    if (disk->target && !has_place(node, disk->target)) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "the target of a disk without <address>, expected a name "
                    "like vda");
    }
}

/* The format that libvirt goes on with. */
static bool is_raw(const struct chain_virt_layer *layer)
{
    return !layer->format || strcmp(layer->format, "raw") == 0;
}

static void check_lun(struct virt_reader *reader, const struct virt_node *node,
                      const struct chain_virt_disk *disk)
{
    const struct chain_virt_source *source = &disk->top.source;

    if (source->type == CHAIN_VIRT_SOURCE_NETWORK) {
        if (!is(source->protocol, "iscsi")) {
            virt_refuse(reader, node, VIRT_CONFIG,
                        "device='lun' is for iscsi, block and volume");
        }
    } else if (source->type != CHAIN_VIRT_SOURCE_BLOCK &&
               source->type != CHAIN_VIRT_SOURCE_VOLUME) {
        virt_refuse(reader, node, VIRT_CONFIG,
                    "device='lun' with type='%s', expected block",
                    chain_virt_source_type_name(source->type));
    }
    if (!is_raw(&disk->top)) {
        virt_refuse(reader, node, VIRT_CONFIG,
                    "device='lun' with format '%s', expected raw",
                    disk->top.format);
    }
    if (source->has_slice) {
        virt_refuse(reader, node, VIRT_CONFIG, "device='lun' with a <slice>");
    }
    if (source->encryption && !is(source->encryption, "default")) {
        virt_refuse(reader, node, VIRT_CONFIG,
                    "device='lun' with <encryption>");
    }
}

/* Names by which libvirt tells what a disk is. */
static void check_target(struct virt_reader *reader,
                         const struct virt_node *node,
                         const struct chain_virt_disk *disk)
{
    static const char *const hard[] = {"hd", "sd", "vd", "xvd", "ubd", NULL};
    static const char *const soft[] = {"fd", NULL};
    bool is_floppy = is(disk->device, "floppy");

    if (is_floppy && !begins(disk->target, soft)) {
        virt_refuse(reader, node, VIRT_INTERNAL,
                    "the target of a floppy, expected a name that begins with "
                    "fd");
    }
    if (!is_floppy && !is(disk->device, "cdrom") &&
        !begins(disk->target, hard)) {
        virt_refuse(reader, node, VIRT_INTERNAL,
                    "the target of a disk, expected a name that begins with "
                    "hd, sd, vd, xvd or ubd");
    }
    if (disk->bus && is_floppy != is(disk->bus, "fdc")) {
        virt_refuse(reader, node, VIRT_INTERNAL, "%s with bus='%s'",
                    is_floppy ? "a floppy" : "no floppy", disk->bus);
    }
}

/* The bus that a disk is on where none is named. */
static const char *bus_of(const struct chain_virt_disk *disk)
{
    static const char *const buses[][2] = {
        {"sd", "scsi"}, {"vd", "virtio"}, {"xvd", "xen"}, {"ubd", "uml"}};

    if (disk->bus) {
        return disk->bus;
    }
    for (size_t i = 0; i < sizeof(buses) / sizeof(buses[0]); i++) {
        if (strncmp(disk->target, buses[i][0], strlen(buses[i][0])) == 0) {
            return buses[i][1];
        }
    }
    return "ide";
}

static void check_policy(struct virt_reader *reader,
                         const struct virt_node *node,
                         const struct chain_virt_disk *disk)
{
    const struct chain_virt_source *source = &disk->top.source;
    bool is_removable = is(disk->device, "cdrom") || is(disk->device, "floppy");

    if (!source->startup_policy) {
        return;
    }
    if (source->type == CHAIN_VIRT_SOURCE_NETWORK ||
        source->type == CHAIN_VIRT_SOURCE_NVME ||
        source->type == CHAIN_VIRT_SOURCE_VHOSTUSER) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "startupPolicy with type='%s'",
                    chain_virt_source_type_name(source->type));
    } else if (!is_removable && is(source->startup_policy, "requisite")) {
        virt_refuse(reader, node, VIRT_XML_ERROR,
                    "startupPolicy='requisite' is for a cdrom or a floppy");
    }
}

void virt_disk_check(struct virt_reader *reader, const struct virt_node *node,
                     const struct chain_virt_disk *disk)
{
    bool is_disk = !disk->device || is(disk->device, "disk");

    if (!disk->target) {
        virt_refuse(reader, node, "NO_TARGET", "<disk> has no <target dev=>");
        return;
    }
    check_target(reader, node, disk);
    check_policy(reader, node, disk);
    if (disk->model && !is(disk->model, "default") &&
        !is(bus_of(disk), "virtio")) {
        virt_refuse(reader, node, VIRT_CONFIG, "model='%s' with bus='%s'",
                    disk->model, bus_of(disk));
    }
    if (is(disk->device, "lun")) {
        check_lun(reader, node, disk);
    }
    if (is_disk && virt_source_is_empty(&disk->top.source)) {
        virt_refuse(reader, node, "NO_SOURCE",
                    "no source, which only a cdrom or a floppy may lack");
    }
    if (disk->is_shareable && !disk->is_readonly && !is_raw(&disk->top)) {
        virt_refuse(reader, node, VIRT_CONFIG,
                    "<shareable/> with format '%s', expected raw",
                    disk->top.format);
    }
}
