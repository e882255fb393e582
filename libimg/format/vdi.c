/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VDI (VirtualBox): the header of version 1.1, little-endian (room: format).
 * Contents are not read. A differencing image names its parent by UUID only.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/reference.h>

#define VDI_HEADER_LEN 512u
#define VDI_SIGNATURE_OFF 0x40u
#define VDI_SIGNATURE "\x7f\x10\xda\xbe"
#define VDI_VERSION 0x00010001u
#define VDI_BLOCK_MAX (1u << 30) /* VirtualBox writes 1 MiB */
#define VDI_BLOCKS_MAX 0x3fffffffu
#define VDI_BLOCK_ZERO 0xfffffffeu /* and above: no block */
#define SECTOR_LEN 512u

enum vdi_type {
    VDI_DYNAMIC = 1,
    VDI_STATIC = 2,
    VDI_UNDO = 3,
    VDI_DIFFERENCING = 4,
};

static int check_table(const uint8_t *bytes, size_t at, const char *what,
                       struct img_error *err)
{
    uint32_t off = img_load_le32(bytes + at);

    if (off % SECTOR_LEN != 0) {
        return img_fail_at(err, IMG_CORRUPT, at,
                           "VDI %s: found offset %" PRIu32
                           ", expected a multiple of %u",
                           what, off, SECTOR_LEN);
    }
    return 0;
}

static int check_layout(const uint8_t *bytes, struct img_error *err)
{
    uint32_t version = img_load_le32(bytes + 0x44);
    uint32_t type = img_load_le32(bytes + 0x4c);
    uint32_t sector_len = img_load_le32(bytes + 0x168);

    if (version != VDI_VERSION) {
        return img_fail_at(err, IMG_UNSUPPORTED, 0x44,
                           "VDI version: found %" PRIu32 ".%" PRIu32
                           ", expected 1.1",
                           version >> 16, version & 0xffff);
    }
    if (type < VDI_DYNAMIC || type > VDI_DIFFERENCING) {
        return img_fail_at(err, IMG_CORRUPT, 0x4c,
                           "VDI image type: found %" PRIu32
                           ", expected %d to %d",
                           type, VDI_DYNAMIC, VDI_DIFFERENCING);
    }
    if (sector_len != SECTOR_LEN) {
        return img_fail_at(err, IMG_UNSUPPORTED, 0x168,
                           "VDI sector size: found %" PRIu32 ", expected %u",
                           sector_len, SECTOR_LEN);
    }
    if (check_table(bytes, 0x154, "block map", err) < 0) {
        return -1;
    }
    return check_table(bytes, 0x158, "data", err);
}

/* The disk's size in bytes; *block_len is set too. */
static int decode_size(const uint8_t *bytes, uint64_t *virtual_len,
                       uint32_t *block_len, struct img_error *err)
{
    uint64_t disk_len = img_load_le64(bytes + 0x170);
    uint32_t blocks_nr = img_load_le32(bytes + 0x180);
    uint64_t room;

    *block_len = img_load_le32(bytes + 0x178);
    if (img_check_power("VDI block size", *block_len, SECTOR_LEN, VDI_BLOCK_MAX,
                        err) < 0) {
        return -1;
    }
    if (blocks_nr > VDI_BLOCKS_MAX || !img_mul(blocks_nr, *block_len, &room)) {
        return img_fail_at(err, IMG_CORRUPT, 0x180,
                           "VDI blocks: found %" PRIu32 ", expected at most %u",
                           blocks_nr, VDI_BLOCKS_MAX);
    }
    if (disk_len > room) {
        return img_fail_at(err, IMG_CORRUPT, 0x170,
                           "VDI disk size: found %" PRIu64
                           ", expected at most %" PRIu64 " for its blocks",
                           disk_len, room);
    }
    /* VirtualBox wrote sizes that are no whole sectors; QEMU rounds up. */
    *virtual_len = img_align_up(disk_len, SECTOR_LEN);
    return 0;
}

static int vdi_references(struct img_image *image, struct img_references *out,
                          struct img_error *err)
{
    uint8_t bytes[VDI_HEADER_LEN];

    if (img_file_read(image->file, bytes, sizeof(bytes), 0, err) < 0) {
        return -1;
    }
    /* An undo image goes with the disk that it undoes. */
    return img_load_le32(bytes + 0x4c) >= VDI_UNDO
               ? img_references_add(out, IMG_REFERENCE_PARENT, NULL, err)
               : 0;
}

static const struct img_image_ops vdi_ops = {
    .references = vdi_references,
    .free = img_described_free,
};

struct vdi_walk {
    const struct img_file *file;
    uint64_t data_off;
    uint32_t block_len;
};

static int block_check(void *opaque, uint64_t idx, const uint8_t *bytes,
                       struct img_error *err)
{
    const struct vdi_walk *walk = opaque;
    uint32_t block = img_load_le32(bytes);

    if (block >= VDI_BLOCK_ZERO) {
        return 0;
    }
    uint64_t off = walk->data_off + (uint64_t)block * walk->block_len;
    return img_range_fits(off, walk->block_len, img_file_len(walk->file))
               ? 0
               : img_fail_cut_off(walk->file, "VDI block", idx, off,
                                  walk->block_len, err);
}

int img_vdi_complete(struct img_file *file, struct img_error *err)
{
    uint8_t bytes[VDI_HEADER_LEN];

    if (img_file_read(file, bytes, sizeof(bytes), 0, err) < 0) {
        return -1;
    }
    struct vdi_walk walk = {
        .file = file,
        .data_off = img_load_le32(bytes + 0x158),
        .block_len = img_load_le32(bytes + 0x178),
    };
    uint64_t blocks = img_div_up(img_load_le64(bytes + 0x170), walk.block_len);
    /* In a hole all blocks are number 0, of which one look is enough. */
    return img_table_walk(file, img_load_le32(bytes + 0x154), blocks, 4,
                          block_check, &walk, err);
}

bool img_vdi_probe(const struct img_probe_bytes *bytes)
{
    return img_probe_has(bytes, VDI_SIGNATURE_OFF, VDI_SIGNATURE, 4);
}

int img_vdi_open(struct img_file *file, struct img_image **out,
                 struct img_error *err)
{
    uint8_t bytes[VDI_HEADER_LEN];
    uint64_t virtual_len = 0;
    uint32_t block_len = 0;

    if (img_file_read(file, bytes, sizeof(bytes), 0, err) < 0) {
        return -1;
    }
    if (memcmp(bytes + VDI_SIGNATURE_OFF, VDI_SIGNATURE, 4) != 0) {
        return img_fail_at(err, IMG_FORMAT, VDI_SIGNATURE_OFF,
                           "not a VDI header");
    }
    if (check_layout(bytes, err) < 0 ||
        decode_size(bytes, &virtual_len, &block_len, err) < 0) {
        return -1;
    }
    struct img_image *image = img_described_new(file, "vdi", virtual_len, err);
    if (image == NULL) {
        return -1;
    }
    image->ops = &vdi_ops;
    image->cluster_len = block_len;
    *out = image;
    return 0;
}
