/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMDK: headers of sparse extents, little-endian (room: format; VMware
 * "Virtual Disk Format 1.1", "Hosted Sparse Extents", "ESX Server Sparse
 * Extents" and "Stream-Optimized Compressed Sparse Extents"). Limits are
 * those of QEMU's driver; contents are not read.
 */
#include "vmdk_sparse.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>

#define SECTOR_LEN 512u
#define VERSION_MAX 3u
#define CLUSTER_SECTORS_MAX 0x200000u /* 1 GiB */
#define TABLE_ENTRIES_MAX 512u
#define DIRECTORY_ENTRIES_MAX (32u << 20)
#define COWD_TABLE_ENTRIES 4096u
/* The descriptor is in sector 1, where VMware and QEMU put it. */
#define DESC_SECTOR 1u
#define DESC_SECTORS_MAX 2047u /* less than 1 MiB */
/* In the header's place of the grain directory: see the footer. */
#define DIRECTORY_AT_END UINT64_MAX
#define MARKER_FOOTER 3u
#define COMPRESSION_DEFLATE 1u

static int check_directory(const struct img_vmdk_sparse *sparse,
                           uint64_t table_entries, uint64_t entries_max,
                           struct img_error *err)
{
    if (sparse->cluster_sectors == 0 ||
        sparse->cluster_sectors > CLUSTER_SECTORS_MAX) {
        return img_fail(err, IMG_CORRUPT,
                        "VMDK grain size: found %" PRIu64
                        " sectors, expected 1 to %u",
                        sparse->cluster_sectors, CLUSTER_SECTORS_MAX);
    }
    if (table_entries == 0 || table_entries > entries_max) {
        return img_fail(err, IMG_CORRUPT,
                        "VMDK grain table: found %" PRIu64
                        " entries, expected 1 to %" PRIu64,
                        table_entries, entries_max);
    }
    uint64_t bytes;
    uint64_t entries =
        img_div_up(sparse->sectors, table_entries * sparse->cluster_sectors);
    if (!img_mul(sparse->sectors, SECTOR_LEN, &bytes) ||
        entries > DIRECTORY_ENTRIES_MAX) {
        return img_fail(err, IMG_CORRUPT,
                        "VMDK capacity: found %" PRIu64
                        " sectors, expected at most %" PRIu64,
                        sparse->sectors,
                        (uint64_t)DIRECTORY_ENTRIES_MAX * table_entries *
                            sparse->cluster_sectors);
    }
    return 0;
}

/* Find the descriptor that the header tells of. */
static int decode_desc(const uint8_t *header, uint64_t file_len,
                       struct img_vmdk_sparse *out, struct img_error *err)
{
    uint64_t sector = img_load_le64(header + 28);
    uint64_t sectors = img_load_le64(header + 36);

    if (sector == 0) {
        return 0;
    }
    if (sector != DESC_SECTOR || sectors == 0 || sectors > DESC_SECTORS_MAX ||
        sectors * SECTOR_LEN > file_len - SECTOR_LEN) {
        return img_fail_at(err, IMG_CORRUPT, 28,
                           "VMDK descriptor: found %" PRIu64
                           " sectors at sector %" PRIu64
                           ", expected 1 to %u at sector %u inside the file",
                           sectors, sector, DESC_SECTORS_MAX, DESC_SECTOR);
    }
    out->desc_off = sector * SECTOR_LEN;
    out->desc_len = sectors * SECTOR_LEN;
    return 0;
}

static int decode_header(const uint8_t *header, uint64_t file_len,
                         struct img_vmdk_sparse *out, struct img_error *err)
{
    uint32_t version = img_load_le32(header + 4);
    uint64_t overhead = img_load_le64(header + 64);

    if (version > VERSION_MAX) {
        return img_fail_at(err, IMG_UNSUPPORTED, 4,
                           "VMDK version: found %" PRIu32
                           ", expected at most %u",
                           version, VERSION_MAX);
    }
    out->sectors = img_load_le64(header + 12);
    out->cluster_sectors = img_load_le64(header + 20);
    out->table_entries = img_load_le32(header + 44);
    if (!img_mul(img_load_le64(header + 56), SECTOR_LEN, &out->directory_off)) {
        return img_fail_at(err, IMG_CORRUPT, 56,
                           "VMDK grain directory: found at sector %" PRIu64
                           ", expected inside the file",
                           img_load_le64(header + 56));
    }
    out->is_compressed = img_load_le16(header + 77) == COMPRESSION_DEFLATE;
    if (overhead > img_div_up(file_len, SECTOR_LEN)) {
        return img_fail_at(err, IMG_CORRUPT, 64,
                           "VMDK metadata: found %" PRIu64
                           " sectors, expected no more than the file's "
                           "%" PRIu64,
                           overhead, img_div_up(file_len, SECTOR_LEN));
    }
    return check_directory(out, img_load_le32(header + 44), TABLE_ENTRIES_MAX,
                           err);
}

/*
 * The last three sectors of a streamed image: a marker, the header that
 * counts, and the end marker. HEADER is replaced.
 */
static int load_footer(struct img_file *file, uint8_t *header,
                       struct img_error *err)
{
    uint8_t bytes[3 * SECTOR_LEN];
    uint64_t file_len = img_file_len(file);
    const uint8_t *footer = bytes + SECTOR_LEN;
    const uint8_t *eos = bytes + 2 * (size_t)SECTOR_LEN;

    if (file_len < (uint64_t)4 * SECTOR_LEN || file_len % SECTOR_LEN != 0) {
        return img_fail(err, IMG_CORRUPT,
                        "VMDK footer: found a file of %" PRIu64
                        " bytes, expected at least four whole sectors",
                        file_len);
    }
    if (img_file_read(file, bytes, sizeof(bytes), file_len - sizeof(bytes),
                      err) < 0) {
        return -1;
    }
    if (memcmp(footer, VMDK_SPARSE_MAGIC, VMDK_MAGIC_LEN) != 0 ||
        img_load_le32(bytes + 8) != 0 ||
        img_load_le32(bytes + 12) != MARKER_FOOTER || img_load_le64(eos) != 0 ||
        img_load_le64(eos + 8) != 0) {
        return img_fail_at(err, IMG_CORRUPT, file_len - sizeof(bytes),
                           "VMDK footer: expected its marker, a header and "
                           "the end marker");
    }
    if (img_load_le64(footer + 56) == DIRECTORY_AT_END) {
        return img_fail_at(err, IMG_CORRUPT,
                           file_len - (uint64_t)2 * SECTOR_LEN + 56,
                           "VMDK footer: found no grain directory in it");
    }
    memcpy(header, footer, SECTOR_LEN);
    return 0;
}

int img_vmdk_sparse_load(struct img_file *file, struct img_vmdk_sparse *out,
                         struct img_error *err)
{
    uint8_t header[SECTOR_LEN];

    *out = (struct img_vmdk_sparse){0};
    if (img_file_read(file, header, sizeof(header), 0, err) < 0 ||
        decode_desc(header, img_file_len(file), out, err) < 0) {
        return -1;
    }
    /* A capacity of nothing: the disk is what the descriptor lists. */
    if (img_load_le64(header + 12) == 0 && out->desc_off != 0) {
        return 0;
    }
    out->has_footer = img_load_le64(header + 56) == DIRECTORY_AT_END;
    if (out->has_footer && load_footer(file, header, err) < 0) {
        return -1;
    }
    return decode_header(header, img_file_len(file), out, err);
}

int img_vmdk_cowd_load(struct img_file *file, struct img_vmdk_sparse *out,
                       struct img_error *err)
{
    uint8_t header[32];

    *out = (struct img_vmdk_sparse){0};
    if (img_file_read(file, header, sizeof(header), 0, err) < 0) {
        return -1;
    }
    out->sectors = img_load_le32(header + 12);
    out->cluster_sectors = img_load_le32(header + 16);
    return check_directory(out, COWD_TABLE_ENTRIES, COWD_TABLE_ENTRIES, err);
}
