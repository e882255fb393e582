/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHD (QEMU's vpc): the footer and the dynamic disk header, big-endian
 * (room: format; "Virtual Hard Disk Image Format Specification" 1.0).
 * Contents are not read.
 *
 * A dynamic or differencing disk has a copy of the footer at its start; a
 * fixed disk has it only in its last sector, where QEMU does not probe for
 * it. The parent of a differencing disk is told by describe; QEMU ignores
 * it, so it is no backing name.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/reference.h>

#define VPC_FOOTER_LEN 512u
#define VPC_DYNAMIC_LEN 1024u
#define VPC_COOKIE "conectix"
#define VPC_DYNAMIC_COOKIE "cxsparse"
#define VPC_COOKIE_LEN 8u
/* The geometry that stands for "larger than a geometry can tell". */
#define VPC_GEOMETRY_MAX (UINT64_C(65535) * 16 * 255)
#define VPC_SECTORS_MAX UINT64_C(0xff000000) /* 2040 GiB, as Hyper-V */
#define VPC_BLOCK_MAX (1u << 31)
#define VPC_PARENT_OFF 64u
#define VPC_PARENT_LEN 512u
#define SECTOR_LEN 512u

enum vpc_type {
    VPC_FIXED = 2,
    VPC_DYNAMIC = 3,
    VPC_DIFFERENCING = 4,
};

struct vpc {
    uint32_t type;
    uint64_t footer_off;
    uint64_t dynamic_off;
    uint64_t sectors;
    uint32_t block_len;
    uint64_t table_off; /* of the blocks, and how many are used */
    uint64_t blocks;
};

static uint32_t checksum(const uint8_t *bytes, size_t len, size_t sum_off)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i >= sum_off && i < sum_off + 4 ? 0 : bytes[i];
    }
    return ~sum;
}

static int check_sum(const uint8_t *bytes, size_t len, size_t sum_off,
                     const char *what, struct img_error *err)
{
    uint32_t found = img_load_be32(bytes + sum_off);
    uint32_t expected = checksum(bytes, len, sum_off);

    if (found != expected) {
        return img_fail(err, IMG_CORRUPT,
                        "VHD %s checksum: found 0x%08" PRIx32
                        ", expected 0x%08" PRIx32,
                        what, found, expected);
    }
    return 0;
}

/*
 * Is the size the geometry's, rather than the one recorded beside it? As
 * QEMU does it: by the program that made the image.
 */
static bool counts_by_geometry(const uint8_t *footer)
{
    static const char by_size[][5] = {"win ", "qem2", "d2v ", "tap", "CTXS"};

    for (size_t i = 0; i < sizeof(by_size) / sizeof(by_size[0]); i++) {
        if (memcmp(footer + 28, by_size[i], 4) == 0) {
            return false;
        }
    }
    return true;
}

static int footer_decode(const uint8_t *footer, struct vpc *out,
                         struct img_error *err)
{
    uint64_t recorded_len = img_load_be64(footer + 48);

    if (check_sum(footer, VPC_FOOTER_LEN, 64, "footer", err) < 0) {
        return -1;
    }
    out->type = img_load_be32(footer + 60);
    out->dynamic_off = img_load_be64(footer + 16);
    out->sectors =
        (uint64_t)img_load_be16(footer + 56) * footer[58] * footer[59];
    if (!counts_by_geometry(footer) || out->sectors == VPC_GEOMETRY_MAX) {
        out->sectors = recorded_len / SECTOR_LEN;
    }
    if (out->type < VPC_FIXED || out->type > VPC_DIFFERENCING) {
        return img_fail(err, IMG_CORRUPT,
                        "VHD disk type: found %" PRIu32 ", expected %d to %d",
                        out->type, VPC_FIXED, VPC_DIFFERENCING);
    }
    if (out->sectors > VPC_SECTORS_MAX) {
        return img_fail(err, IMG_CORRUPT,
                        "VHD size: found %" PRIu64
                        " sectors, expected at most %" PRIu64,
                        out->sectors, VPC_SECTORS_MAX);
    }
    return 0;
}

static int footer_load(struct img_file *file, struct vpc *out,
                       struct img_error *err)
{
    uint8_t footer[VPC_FOOTER_LEN];
    uint64_t file_len = img_file_len(file);

    if (file_len < VPC_FOOTER_LEN) {
        return img_fail(err, IMG_CORRUPT,
                        "VHD file too short: found %" PRIu64
                        " bytes, expected at least %u",
                        file_len, VPC_FOOTER_LEN);
    }
    *out = (struct vpc){0};
    if (img_file_read(file, footer, sizeof(footer), 0, err) < 0) {
        return -1;
    }
    if (memcmp(footer, VPC_COOKIE, VPC_COOKIE_LEN) != 0) {
        out->footer_off = file_len - VPC_FOOTER_LEN;
        if (img_file_read(file, footer, sizeof(footer), out->footer_off, err) <
            0) {
            return -1;
        }
    }
    if (memcmp(footer, VPC_COOKIE, VPC_COOKIE_LEN) != 0) {
        return img_fail(err, IMG_FORMAT,
                        "not a VHD: no footer at its start or end");
    }
    if (footer_decode(footer, out, err) < 0) {
        return -1;
    }
    /* What follows a footer at the start can only be described by it. */
    if (out->footer_off == 0 && out->type == VPC_FIXED &&
        file_len > VPC_FOOTER_LEN) {
        return img_fail(err, IMG_CORRUPT,
                        "VHD disk type: found fixed, expected dynamic or "
                        "differencing for a footer at the start");
    }
    return 0;
}

static int dynamic_load(struct img_file *file, struct vpc *vpc, uint8_t *bytes,
                        struct img_error *err)
{
    uint64_t file_len = img_file_len(file);

    if (!img_range_fits(vpc->dynamic_off, VPC_DYNAMIC_LEN, file_len)) {
        return img_fail(err, IMG_CORRUPT,
                        "VHD dynamic header: found at offset %" PRIu64
                        ", expected inside the file's %" PRIu64 " bytes",
                        vpc->dynamic_off, file_len);
    }
    if (img_file_read(file, bytes, VPC_DYNAMIC_LEN, vpc->dynamic_off, err) <
        0) {
        return -1;
    }
    if (memcmp(bytes, VPC_DYNAMIC_COOKIE, VPC_COOKIE_LEN) != 0) {
        return img_fail_at(err, IMG_CORRUPT, vpc->dynamic_off,
                           "VHD dynamic header: its cookie is missing");
    }
    if (check_sum(bytes, VPC_DYNAMIC_LEN, 36, "dynamic header", err) < 0) {
        return -1;
    }
    vpc->block_len = img_load_be32(bytes + 32);
    if (img_check_power("VHD block size", vpc->block_len, SECTOR_LEN,
                        VPC_BLOCK_MAX, err) < 0) {
        return -1;
    }
    uint32_t entries = img_load_be32(bytes + 28);
    uint64_t table_off = img_load_be64(bytes + 16);
    uint64_t blocks = img_div_up(vpc->sectors * SECTOR_LEN, vpc->block_len);
    if (entries < blocks) {
        return img_fail_at(err, IMG_CORRUPT, vpc->dynamic_off,
                           "VHD block table: found %" PRIu32
                           " entries, expected at least %" PRIu64,
                           entries, blocks);
    }
    if (!img_range_fits(table_off, blocks * 4, file_len)) {
        return img_fail_at(err, IMG_CORRUPT, vpc->dynamic_off,
                           "VHD block table: found at offset %" PRIu64
                           ", expected inside the file's %" PRIu64 " bytes",
                           table_off, file_len);
    }
    vpc->table_off = table_off;
    vpc->blocks = blocks;
    return 0;
}

/* Only differencing disks have more to tell than info prints anyway. */
static int vpc_describe(struct img_image *image, struct img_json **out,
                        struct img_error *err)
{
    uint8_t bytes[VPC_DYNAMIC_LEN];
    struct vpc vpc = {0};

    if (footer_load(image->file, &vpc, err) < 0) {
        return -1;
    }
    if (vpc.type != VPC_DIFFERENCING) {
        return 0;
    }
    if (dynamic_load(image->file, &vpc, bytes, err) < 0) {
        return -1;
    }
    IMG_AUTO(img_free_ptr)
    char *parent =
        img_utf16_dup(bytes + VPC_PARENT_OFF, VPC_PARENT_LEN, true, err);
    if (parent == NULL) {
        return -1;
    }
    struct img_json *data = img_json_object();
    img_json_set_string(data, "parent-name", parent);
    return img_specific_info("vpc", data, out, err);
}

static int vpc_references(struct img_image *image, struct img_references *out,
                          struct img_error *err)
{
    uint8_t bytes[VPC_DYNAMIC_LEN];
    struct vpc vpc = {0};

    if (footer_load(image->file, &vpc, err) < 0 ||
        (vpc.type == VPC_DIFFERENCING &&
         dynamic_load(image->file, &vpc, bytes, err) < 0)) {
        return -1;
    }
    if (vpc.type != VPC_DIFFERENCING) {
        return 0;
    }
    IMG_AUTO(img_free_ptr)
    char *parent =
        img_utf16_dup(bytes + VPC_PARENT_OFF, VPC_PARENT_LEN, true, err);
    return parent == NULL
               ? -1
               : img_references_add(out, IMG_REFERENCE_PARENT, parent, err);
}

static const struct img_image_ops vpc_ops = {
    .describe = vpc_describe,
    .references = vpc_references,
    .free = img_described_free,
};

bool img_vpc_probe(const struct img_probe_bytes *bytes)
{
    return img_probe_has(bytes, 0, VPC_COOKIE, VPC_COOKIE_LEN);
}

int img_vpc_open(struct img_file *file, struct img_image **out,
                 struct img_error *err)
{
    uint8_t bytes[VPC_DYNAMIC_LEN];
    struct vpc vpc = {0};

    if (footer_load(file, &vpc, err) < 0) {
        return -1;
    }
    if (vpc.type != VPC_FIXED && dynamic_load(file, &vpc, bytes, err) < 0) {
        return -1;
    }
    if (vpc.type == VPC_FIXED && vpc.sectors * SECTOR_LEN > vpc.footer_off) {
        return img_fail(err, IMG_CORRUPT,
                        "VHD fixed disk: found %" PRIu64
                        " bytes of contents, expected %" PRIu64,
                        vpc.footer_off, vpc.sectors * SECTOR_LEN);
    }
    struct img_image *image =
        img_described_new(file, "vpc", vpc.sectors * SECTOR_LEN, err);
    if (image == NULL) {
        return -1;
    }
    image->ops = &vpc_ops;
    image->cluster_len = vpc.block_len;
    *out = image;
    return 0;
}

/*
 * A dynamic disk ends with a copy of its first sector. Readers differ in
 * which of the two they take.
 */
static int tail_load(struct img_file *file, uint8_t *head, uint8_t *tail,
                     bool *is_there, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);

    if (img_file_read(file, head, VPC_FOOTER_LEN, 0, err) < 0 ||
        img_file_read(file, tail, VPC_FOOTER_LEN, file_len - VPC_FOOTER_LEN,
                      err) < 0) {
        return -1;
    }
    *is_there = file_len >= (uint64_t)2 * VPC_FOOTER_LEN &&
                memcmp(tail, VPC_COOKIE, VPC_COOKIE_LEN) == 0;
    return 0;
}

int img_vpc_strict(struct img_file *file, struct img_error *err)
{
    uint8_t head[VPC_FOOTER_LEN], tail[VPC_FOOTER_LEN];
    bool has_tail = false;

    if (tail_load(file, head, tail, &has_tail, err) < 0) {
        return -1;
    }
    if (has_tail && memcmp(head, VPC_COOKIE, VPC_COOKIE_LEN) == 0 &&
        memcmp(head, tail, VPC_FOOTER_LEN) != 0) {
        return img_fail_at(err, IMG_CORRUPT,
                           img_file_len(file) - VPC_FOOTER_LEN,
                           "VHD footer: found another one at the end than at "
                           "the start");
    }
    return 0;
}

struct vpc_walk {
    const struct img_file *file;
    uint64_t block_len; /* with the bitmap before it */
};

static int block_check(void *opaque, uint64_t idx, const uint8_t *bytes,
                       struct img_error *err)
{
    const struct vpc_walk *walk = opaque;
    uint32_t sector = img_load_be32(bytes);

    if (sector == UINT32_MAX) {
        return 0;
    }
    uint64_t off = (uint64_t)sector * SECTOR_LEN;
    return img_range_fits(off, walk->block_len, img_file_len(walk->file))
               ? 0
               : img_fail_cut_off(walk->file, "VHD block", idx, off,
                                  walk->block_len, err);
}

int img_vpc_complete(struct img_file *file, struct img_error *err)
{
    uint8_t bytes[VPC_DYNAMIC_LEN], tail[VPC_FOOTER_LEN];
    struct vpc vpc = {0};
    bool has_tail = false;

    if (footer_load(file, &vpc, err) < 0 ||
        tail_load(file, bytes, tail, &has_tail, err) < 0) {
        return -1;
    }
    if (vpc.type == VPC_FIXED) {
        return 0;
    }
    if (!has_tail) {
        return img_fail(err, IMG_CORRUPT,
                        "VHD footer: found none in the last %u bytes: the file "
                        "is cut off",
                        VPC_FOOTER_LEN);
    }
    if (dynamic_load(file, &vpc, bytes, err) < 0) {
        return -1;
    }
    uint64_t bitmap_len = img_div_up(vpc.block_len / SECTOR_LEN, 8);
    struct vpc_walk walk = {
        .file = file,
        .block_len = vpc.block_len + img_align_up(bitmap_len, SECTOR_LEN),
    };
    return img_table_walk(file, vpc.table_off, vpc.blocks, 4, block_check,
                          &walk, err);
}
