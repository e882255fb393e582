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

void virt_disk_check(struct virt_reader *reader, const struct virt_node *node,
                     const struct chain_virt_disk *disk)
{
    bool is_disk = !disk->device || is(disk->device, "disk");

    if (!disk->target) {
        virt_refuse(reader, node, "NO_TARGET", "<disk> has no <target dev=>");
        return;
    }
    check_target(reader, node, disk);
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
