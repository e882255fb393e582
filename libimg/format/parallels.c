/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parallels (.hdd): the header, little-endian (room: format; "Parallels
 * Expandable Image File Format" of QEMU's docs/interop). Contents are not
 * read.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>

#define PARALLELS_HEADER_LEN 64u
#define PARALLELS_MAGIC "WithoutFreeSpace"
#define PARALLELS_MAGIC_EXT "WithouFreSpacExt"
#define PARALLELS_MAGIC_LEN 16u
#define PARALLELS_VERSION 2u
#define PARALLELS_IN_USE 0x746f6e59u
#define PARALLELS_TRACKS_MAX (INT32_MAX / 513u) /* as QEMU */
#define PARALLELS_TABLE_MAX (INT32_MAX / 4u)    /* entries, as QEMU */
#define SECTOR_LEN 512u

static bool is_ext(const uint8_t *bytes)
{
    return memcmp(bytes, PARALLELS_MAGIC_EXT, PARALLELS_MAGIC_LEN) == 0;
}

bool img_parallels_probe(const struct img_probe_bytes *bytes)
{
    return bytes->head_len >= PARALLELS_HEADER_LEN &&
           (is_ext(bytes->head) ||
            memcmp(bytes->head, PARALLELS_MAGIC, PARALLELS_MAGIC_LEN) == 0) &&
           img_load_le32(bytes->head + 16) == PARALLELS_VERSION;
}

static int check_header(const uint8_t *bytes, struct img_error *err)
{
    uint32_t version = img_load_le32(bytes + 16);
    uint32_t tracks = img_load_le32(bytes + 28);
    uint32_t entries = img_load_le32(bytes + 32);

    if (!is_ext(bytes) &&
        memcmp(bytes, PARALLELS_MAGIC, PARALLELS_MAGIC_LEN) != 0) {
        return img_fail_at(err, IMG_FORMAT, 0, "not a Parallels header");
    }
    if (version != PARALLELS_VERSION) {
        return img_fail_at(err, IMG_UNSUPPORTED, 16,
                           "Parallels version: found %" PRIu32 ", expected %u",
                           version, PARALLELS_VERSION);
    }
    if (tracks == 0 || tracks > PARALLELS_TRACKS_MAX) {
        return img_fail_at(err, IMG_CORRUPT, 28,
                           "Parallels cluster size: found %" PRIu32
                           " sectors, expected 1 to %u",
                           tracks, PARALLELS_TRACKS_MAX);
    }
    if (entries > PARALLELS_TABLE_MAX) {
        return img_fail_at(err, IMG_CORRUPT, 32,
                           "Parallels block table: found %" PRIu32
                           " entries, expected at most %u",
                           entries, PARALLELS_TABLE_MAX);
    }
    return 0;
}

int img_parallels_open(struct img_file *file, struct img_image **out,
                       struct img_error *err)
{
    uint8_t bytes[PARALLELS_HEADER_LEN];
    uint64_t virtual_len;

    if (img_file_read(file, bytes, sizeof(bytes), 0, err) < 0 ||
        check_header(bytes, err) < 0) {
        return -1;
    }
    /* The older format has only 32 bits of it. */
    uint64_t sectors =
        is_ext(bytes) ? img_load_le64(bytes + 36) : img_load_le32(bytes + 36);
    if (!img_mul(sectors, SECTOR_LEN, &virtual_len)) {
        return img_fail_at(err, IMG_CORRUPT, 36,
                           "Parallels disk size: found %" PRIu64
                           " sectors, expected at most %" PRIu64,
                           sectors, IMG_OFF_MAX / SECTOR_LEN);
    }
    struct img_image *image =
        img_described_new(file, "parallels", virtual_len, err);
    if (image == NULL) {
        return -1;
    }
    image->cluster_len = (uint64_t)img_load_le32(bytes + 28) * SECTOR_LEN;
    image->is_dirty = img_load_le32(bytes + 44) == PARALLELS_IN_USE;
    *out = image;
    return 0;
}
