/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bochs growing images: the redolog header, little-endian (room: format).
 * Limits are those of QEMU's driver; contents are not read.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>

#define BOCHS_HEADER_LEN 96u /* as much of its 512 bytes as is used */
#define BOCHS_MAGIC "Bochs Virtual HD Image"
#define BOCHS_TYPE "Redolog"
#define BOCHS_SUBTYPE "Growing"
#define BOCHS_VERSION 0x00020000u
#define BOCHS_VERSION_1 0x00010000u
#define BOCHS_CATALOG_MAX 0x100000u
#define BOCHS_EXTENT_MAX 0x800000u

/* The NUL after each word belongs to what is compared. */
static bool is_header(const uint8_t *bytes)
{
    uint32_t version = img_load_le32(bytes + 64);

    return memcmp(bytes, BOCHS_MAGIC, sizeof(BOCHS_MAGIC)) == 0 &&
           memcmp(bytes + 32, BOCHS_TYPE, sizeof(BOCHS_TYPE)) == 0 &&
           memcmp(bytes + 48, BOCHS_SUBTYPE, sizeof(BOCHS_SUBTYPE)) == 0 &&
           (version == BOCHS_VERSION || version == BOCHS_VERSION_1);
}

bool img_bochs_probe(const struct img_probe_bytes *bytes)
{
    return bytes->head_len >= BOCHS_HEADER_LEN && is_header(bytes->head);
}

int img_bochs_open(struct img_file *file, struct img_image **out,
                   struct img_error *err)
{
    uint8_t bytes[BOCHS_HEADER_LEN];

    if (img_file_read(file, bytes, sizeof(bytes), 0, err) < 0) {
        return -1;
    }
    if (!is_header(bytes)) {
        return img_fail_at(err, IMG_FORMAT, 0,
                           "not a Bochs growing image of version 1 or 2");
    }
    bool is_old = img_load_le32(bytes + 64) == BOCHS_VERSION_1;
    uint32_t catalog = img_load_le32(bytes + 72);
    uint32_t extent_len = img_load_le32(bytes + 80);
    uint64_t disk_len = img_load_le64(bytes + (is_old ? 84 : 88));
    if (catalog > BOCHS_CATALOG_MAX) {
        return img_fail_at(err, IMG_CORRUPT, 72,
                           "Bochs catalog: found %" PRIu32
                           " entries, expected at most %u",
                           catalog, BOCHS_CATALOG_MAX);
    }
    if (img_check_power("Bochs extent size", extent_len, 512, BOCHS_EXTENT_MAX,
                        err) < 0) {
        return -1;
    }
    if (disk_len > (uint64_t)catalog * extent_len) {
        return img_fail_at(err, IMG_CORRUPT, 72,
                           "Bochs disk size: found %" PRIu64
                           ", expected at most %" PRIu64 " for its catalog",
                           disk_len, (uint64_t)catalog * extent_len);
    }
    struct img_image *image = img_described_new(file, "bochs", disk_len, err);
    if (image == NULL) {
        return -1;
    }
    image->cluster_len = extent_len;
    *out = image;
    return 0;
}
