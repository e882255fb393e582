/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHDX: region table and metadata table, little-endian (room: format;
 * MS-VHDX, "Region Table" and "Metadata Region"). Both are 64 KiB with
 * entries of 32 bytes; every offset is checked against its container. Their
 * CRC-32C is not verified: nothing is read or written by them but the few
 * items that describe the disk.
 */
#include "vhdx_tables.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define REGION_TABLE_OFF (192u << 10)
#define REGION_HEADER_LEN 16u
#define METADATA_HEADER_LEN 32u
#define TABLE_LEN (64u << 10)
#define ENTRY_LEN 32u
#define ENTRIES_MAX 2047u
#define REGION_MIN_OFF (1u << 20) /* the header section is before it */

static const uint8_t metadata_region[VHDX_GUID_LEN] = {
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
    0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
};

static int check_table(const uint8_t *table, uint64_t off,
                       const char *signature, uint32_t entries_nr,
                       struct img_error *err)
{
    if (memcmp(table, signature, strlen(signature)) != 0) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "VHDX table: its signature \"%s\" is missing",
                           signature);
    }
    if (entries_nr > ENTRIES_MAX) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "VHDX table \"%s\": found %" PRIu32
                           " entries, expected at most %u",
                           signature, entries_nr, ENTRIES_MAX);
    }
    return 0;
}

static const uint8_t bat_region[VHDX_GUID_LEN] = {
    0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
    0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08,
};

/* The region of KIND, of MIN_LEN bytes at least. */
static int region_find(struct img_file *file, const uint8_t *kind,
                       const char *what, uint32_t min_len, uint8_t *table,
                       struct img_vhdx_range *out, struct img_error *err)
{
    if (img_file_read(file, table, TABLE_LEN, REGION_TABLE_OFF, err) < 0) {
        return -1;
    }
    uint32_t nr = img_load_le32(table + 8);
    if (check_table(table, REGION_TABLE_OFF, "regi", nr, err) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < nr; i++) {
        const uint8_t *entry =
            table + REGION_HEADER_LEN + (size_t)i * ENTRY_LEN;
        if (memcmp(entry, kind, VHDX_GUID_LEN) != 0) {
            continue;
        }
        out->off = img_load_le64(entry + 16);
        out->len = img_load_le32(entry + 24);
        if (out->off < REGION_MIN_OFF || out->len < min_len ||
            !img_range_fits(out->off, out->len, img_file_len(file))) {
            return img_fail_at(err, IMG_CORRUPT, REGION_TABLE_OFF,
                               "VHDX %s region: found %" PRIu64
                               " bytes at offset %" PRIu64
                               ", expected at least %" PRIu32
                               " inside the file, behind its first MiB",
                               what, out->len, out->off, min_len);
        }
        return 0;
    }
    return img_fail_at(err, IMG_CORRUPT, REGION_TABLE_OFF,
                       "VHDX region table: found no %s region", what);
}

int img_vhdx_bat_find(struct img_file *file, struct img_vhdx_range *out,
                      struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *table = img_calloc(1, TABLE_LEN, err);

    return table == NULL ? -1
                         : region_find(file, bat_region, "block table", 0,
                                       table, out, err);
}

int img_vhdx_metadata_load(struct img_file *file, struct img_vhdx_metadata *out,
                           struct img_error *err)
{
    IMG_AUTO(img_free_ptr) uint8_t *table = img_calloc(1, TABLE_LEN, err);

    if (table == NULL ||
        region_find(file, metadata_region, "metadata", TABLE_LEN, table,
                    &out->region, err) < 0 ||
        img_file_read(file, table, TABLE_LEN, out->region.off, err) < 0) {
        return -1;
    }
    out->entries_nr = img_load_le16(table + 10);
    if (check_table(table, out->region.off, "metadata",
                    (uint32_t)out->entries_nr, err) < 0) {
        return -1;
    }
    out->file = file;
    out->table = img_steal(&table);
    return 0;
}

void img_vhdx_metadata_fini(struct img_vhdx_metadata *metadata)
{
    free(metadata->table);
    metadata->table = NULL;
}

int img_vhdx_item_find(const struct img_vhdx_metadata *metadata,
                       const struct img_vhdx_item *item,
                       struct img_vhdx_range *out, struct img_error *err)
{
    *out = (struct img_vhdx_range){0};
    for (size_t i = 0; i < metadata->entries_nr; i++) {
        const uint8_t *entry =
            metadata->table + METADATA_HEADER_LEN + i * ENTRY_LEN;
        if (memcmp(entry, item->id, VHDX_GUID_LEN) != 0) {
            continue;
        }
        uint32_t off = img_load_le32(entry + 16);
        uint32_t len = img_load_le32(entry + 20);
        if (off < TABLE_LEN || len < item->len ||
            !img_range_fits(off, len, metadata->region.len)) {
            return img_fail_at(err, IMG_CORRUPT, metadata->region.off,
                               "VHDX %s: found %" PRIu32 " bytes at %" PRIu32
                               ", expected at least %" PRIu32
                               " in the metadata region, behind its table",
                               item->what, len, off, item->len);
        }
        if (out->len != 0) {
            return img_fail_at(err, IMG_CORRUPT, metadata->region.off,
                               "VHDX %s: found it twice", item->what);
        }
        out->off = metadata->region.off + off;
        out->len = len;
    }
    return 0;
}

int img_vhdx_item_load(const struct img_vhdx_metadata *metadata,
                       const struct img_vhdx_item *item, uint8_t *out,
                       struct img_error *err)
{
    struct img_vhdx_range range;

    if (img_vhdx_item_find(metadata, item, &range, err) < 0) {
        return -1;
    }
    if (range.len == 0) {
        return img_fail_at(err, IMG_CORRUPT, metadata->region.off,
                           "VHDX metadata: found no %s", item->what);
    }
    return img_file_read(metadata->file, out, item->len, range.off, err);
}
