/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHDX: headers and the metadata items that say what the disk is,
 * little-endian (room: format; MS-VHDX). Contents are not read.
 *
 * An image whose log waits to be replayed is called dirty: its metadata may
 * be older than the log. The parent of a differencing disk is told by
 * describe; QEMU refuses such images, so it is no backing name.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/reference.h>

#include "vhdx_tables.h"

#define VHDX_SIGNATURE "vhdxfile"
#define VHDX_SIGNATURE_LEN 8u
#define VHDX_HEADER1_OFF (64u << 10)
#define VHDX_HEADER2_OFF (128u << 10)
#define VHDX_HEADER_LEN 80u /* as much of it as is used */
#define VHDX_BLOCK_MIN (1u << 20)
#define VHDX_BLOCK_MAX (256u << 20)
#define VHDX_DISK_MAX (UINT64_C(64) << 40)
#define VHDX_HAS_PARENT 2u
#define VHDX_LOCATOR_MAX 8192u /* bytes of a parent locator that are read */
#define VHDX_LOCATOR_HEADER_LEN 20u
#define VHDX_LOCATOR_ENTRY_LEN 12u
#define VHDX_BITMAP_LEN (1u << 20) /* and the unit of places */
#define VHDX_STATE_MASK 7u
#define VHDX_STATE_PRESENT 6u /* or 7, partly present */

static const struct img_vhdx_item file_parameters = {
    "file parameters",
    {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0,
     0xaa, 0x44, 0xe7, 0x6b},
    8,
};
static const struct img_vhdx_item disk_size = {
    "virtual disk size",
    {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe,
     0xd8, 0x3b, 0xf4, 0xb8},
    8,
};
static const struct img_vhdx_item sector_size = {
    "logical sector size",
    {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33,
     0xa8, 0xfa, 0xab, 0x5f},
    4,
};
static const struct img_vhdx_item parent_locator = {
    "parent locator",
    {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8,
     0x48, 0x34, 0xab, 0x0c},
    VHDX_LOCATOR_HEADER_LEN,
};

struct vhdx {
    uint64_t disk_len;
    uint32_t block_len;
    uint32_t sector_len;
    bool has_parent;
};

/* Sequence number and log of a header; false when it is none. */
static bool header_decode(const uint8_t *bytes, uint64_t *sequence,
                          bool *has_log)
{
    static const uint8_t no_log[VHDX_GUID_LEN];

    if (memcmp(bytes, "head", 4) != 0 || img_load_le16(bytes + 66) != 1) {
        return false;
    }
    *sequence = img_load_le64(bytes + 8);
    *has_log = memcmp(bytes + 48, no_log, sizeof(no_log)) != 0;
    return true;
}

/* The current header is the one of the higher sequence number. */
static int headers_load(struct img_file *file, bool *has_log,
                        struct img_error *err)
{
    static const uint32_t offsets[] = {VHDX_HEADER1_OFF, VHDX_HEADER2_OFF};
    uint8_t bytes[VHDX_HEADER_LEN];
    uint64_t best = 0;
    bool is_found = false;

    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        uint64_t sequence = 0;
        bool log = false;
        if (img_file_read(file, bytes, sizeof(bytes), offsets[i], err) < 0) {
            return -1;
        }
        if (header_decode(bytes, &sequence, &log) &&
            (!is_found || sequence > best)) {
            is_found = true;
            best = sequence;
            *has_log = log;
        }
    }
    if (!is_found) {
        return img_fail(err, IMG_CORRUPT,
                        "VHDX headers: found none of version 1 at offsets %u "
                        "and %u",
                        VHDX_HEADER1_OFF, VHDX_HEADER2_OFF);
    }
    return 0;
}

static int vhdx_load(const struct img_vhdx_metadata *metadata, struct vhdx *out,
                     struct img_error *err)
{
    uint8_t bytes[8];

    if (img_vhdx_item_load(metadata, &file_parameters, bytes, err) < 0) {
        return -1;
    }
    out->block_len = img_load_le32(bytes);
    out->has_parent = (img_load_le32(bytes + 4) & VHDX_HAS_PARENT) != 0;
    if (img_check_power("VHDX block size", out->block_len, VHDX_BLOCK_MIN,
                        VHDX_BLOCK_MAX, err) < 0 ||
        img_vhdx_item_load(metadata, &sector_size, bytes, err) < 0) {
        return -1;
    }
    uint32_t sector_len = img_load_le32(bytes);
    if (sector_len != 512 && sector_len != 4096) {
        return img_fail(err, IMG_CORRUPT,
                        "VHDX logical sector size: found %" PRIu32
                        ", expected 512 or 4096",
                        sector_len);
    }
    if (img_vhdx_item_load(metadata, &disk_size, bytes, err) < 0) {
        return -1;
    }
    out->sector_len = sector_len;
    out->disk_len = img_load_le64(bytes);
    if (out->disk_len > VHDX_DISK_MAX || out->disk_len % sector_len != 0) {
        return img_fail(err, IMG_CORRUPT,
                        "VHDX virtual disk size: found %" PRIu64
                        ", expected a multiple of %" PRIu32 " up to %" PRIu64,
                        out->disk_len, sector_len, VHDX_DISK_MAX);
    }
    return 0;
}

/* Add what the locator's entry (in a ROOM bytes long locator) says. */
static int describe_entry(const uint8_t *locator, size_t room, size_t at,
                          struct img_json *out, struct img_error *err)
{
    static const char *const known[] = {"relative_path", "volume_path",
                                        "absolute_win32_path",
                                        "parent_linkage"};
    const uint8_t *entry = locator + at;
    uint32_t key_off = img_load_le32(entry);
    uint32_t value_off = img_load_le32(entry + 4);
    uint16_t key_len = img_load_le16(entry + 8);
    uint16_t value_len = img_load_le16(entry + 10);

    if (!img_range_fits(key_off, key_len, room) ||
        !img_range_fits(value_off, value_len, room)) {
        return img_fail(err, IMG_CORRUPT,
                        "VHDX parent locator: found text at %" PRIu32
                        " and %" PRIu32 ", expected inside its %zu bytes",
                        key_off, value_off, room);
    }
    IMG_AUTO(img_free_ptr)
    char *key = img_utf16_dup(locator + key_off, key_len, false, err);
    IMG_AUTO(img_free_ptr)
    char *value = img_utf16_dup(locator + value_off, value_len, false, err);
    if (key == NULL || value == NULL) {
        return -1;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(key, known[i]) == 0) {
            img_json_set_string(out, key, value);
        }
    }
    return 0;
}

static int describe_parent(const struct img_vhdx_metadata *metadata,
                           struct img_json *out, struct img_error *err)
{
    struct img_vhdx_range range;
    uint8_t bytes[VHDX_LOCATOR_MAX];

    if (img_vhdx_item_find(metadata, &parent_locator, &range, err) < 0) {
        return -1;
    }
    if (range.len == 0 || range.len > sizeof(bytes)) {
        return img_fail(err, IMG_CORRUPT,
                        "VHDX parent locator: found %" PRIu64
                        " bytes, expected %u to %zu",
                        range.len, VHDX_LOCATOR_HEADER_LEN, sizeof(bytes));
    }
    size_t len = (size_t)range.len;
    if (img_file_read(metadata->file, bytes, len, range.off, err) < 0) {
        return -1;
    }
    size_t nr = img_load_le16(bytes + 18);
    if (nr > (len - VHDX_LOCATOR_HEADER_LEN) / VHDX_LOCATOR_ENTRY_LEN) {
        return img_fail(err, IMG_CORRUPT,
                        "VHDX parent locator: found %zu entries, expected "
                        "no more than fit in %zu bytes",
                        nr, len);
    }
    for (size_t i = 0; i < nr; i++) {
        size_t at = VHDX_LOCATOR_HEADER_LEN + i * VHDX_LOCATOR_ENTRY_LEN;
        if (describe_entry(bytes, len, at, out, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Only differencing disks have more to tell than info prints anyway. */
static int vhdx_describe(struct img_image *image, struct img_json **out,
                         struct img_error *err)
{
    IMG_AUTO(img_vhdx_metadata_fini) struct img_vhdx_metadata metadata = {0};
    struct vhdx vhdx = {0};

    if (img_vhdx_metadata_load(image->file, &metadata, err) < 0 ||
        vhdx_load(&metadata, &vhdx, err) < 0) {
        return -1;
    }
    if (!vhdx.has_parent) {
        return 0;
    }
    struct img_json *parent = img_json_object();
    if (describe_parent(&metadata, parent, err) < 0) {
        img_json_free(parent);
        return -1;
    }
    struct img_json *data = img_json_object();
    img_json_set(data, "parent-locator", parent);
    return img_specific_info("vhdx", data, out, err);
}

static int vhdx_references(struct img_image *image, struct img_references *out,
                           struct img_error *err)
{
    IMG_AUTO(img_vhdx_metadata_fini) struct img_vhdx_metadata metadata = {0};
    struct img_vhdx_range locator;
    struct vhdx vhdx = {0};

    if (img_vhdx_metadata_load(image->file, &metadata, err) < 0 ||
        vhdx_load(&metadata, &vhdx, err) < 0 ||
        img_vhdx_item_find(&metadata, &parent_locator, &locator, err) < 0) {
        return -1;
    }
    /* A locator counts even where the flag denies that there is a parent. */
    return vhdx.has_parent || locator.len > 0
               ? img_references_add(out, IMG_REFERENCE_PARENT, NULL, err)
               : 0;
}

static const struct img_image_ops vhdx_ops = {
    .describe = vhdx_describe,
    .references = vhdx_references,
    .free = img_described_free,
};

bool img_vhdx_probe(const struct img_probe_bytes *bytes)
{
    return img_probe_has(bytes, 0, VHDX_SIGNATURE, VHDX_SIGNATURE_LEN);
}

int img_vhdx_open(struct img_file *file, struct img_image **out,
                  struct img_error *err)
{
    IMG_AUTO(img_vhdx_metadata_fini) struct img_vhdx_metadata metadata = {0};
    uint8_t signature[VHDX_SIGNATURE_LEN];
    struct vhdx vhdx = {0};
    bool has_log = false;

    if (img_file_read(file, signature, sizeof(signature), 0, err) < 0) {
        return -1;
    }
    if (memcmp(signature, VHDX_SIGNATURE, VHDX_SIGNATURE_LEN) != 0) {
        return img_fail_at(err, IMG_FORMAT, 0, "not a VHDX file");
    }
    if (headers_load(file, &has_log, err) < 0 ||
        img_vhdx_metadata_load(file, &metadata, err) < 0 ||
        vhdx_load(&metadata, &vhdx, err) < 0) {
        return -1;
    }
    struct img_image *image =
        img_described_new(file, "vhdx", vhdx.disk_len, err);
    if (image == NULL) {
        return -1;
    }
    image->ops = &vhdx_ops;
    image->cluster_len = vhdx.block_len;
    image->is_dirty = has_log;
    *out = image;
    return 0;
}

struct vhdx_walk {
    const struct img_file *file;
    uint32_t block_len;
    uint64_t ratio; /* blocks per entry of a bitmap, which follows them */
};

static int block_check(void *opaque, uint64_t idx, const uint8_t *bytes,
                       struct img_error *err)
{
    const struct vhdx_walk *walk = opaque;
    uint64_t entry = img_load_le64(bytes);
    bool is_bitmap = idx % (walk->ratio + 1) == walk->ratio;
    uint64_t len = is_bitmap ? VHDX_BITMAP_LEN : walk->block_len;

    if ((entry & VHDX_STATE_MASK) < VHDX_STATE_PRESENT) {
        return 0;
    }
    uint64_t off = img_align_down(entry, VHDX_BITMAP_LEN);
    return img_range_fits(off, len, img_file_len(walk->file))
               ? 0
               : img_fail_cut_off(walk->file, "VHDX block table entry", idx,
                                  off, len, err);
}

int img_vhdx_complete(struct img_file *file, struct img_error *err)
{
    IMG_AUTO(img_vhdx_metadata_fini) struct img_vhdx_metadata metadata = {0};
    struct img_vhdx_range table = {0};
    struct vhdx vhdx = {0};

    if (img_vhdx_metadata_load(file, &metadata, err) < 0 ||
        vhdx_load(&metadata, &vhdx, err) < 0 ||
        img_vhdx_bat_find(file, &table, err) < 0) {
        return -1;
    }
    struct vhdx_walk walk = {
        .file = file,
        .block_len = vhdx.block_len,
        .ratio = ((uint64_t)vhdx.sector_len << 23) / vhdx.block_len,
    };
    uint64_t blocks = img_div_up(vhdx.disk_len, vhdx.block_len);
    uint64_t entries = blocks + (blocks > 0 ? (blocks - 1) / walk.ratio : 0);
    if (entries * 8 > table.len) {
        return img_fail_at(err, IMG_CORRUPT, table.off,
                           "VHDX block table: found %" PRIu64
                           " bytes, expected at least %" PRIu64,
                           table.len, entries * 8);
    }
    return img_table_walk(file, table.off, entries, 8, block_check, &walk, err);
}
