/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GPT headers, little-endian (room: format; UEFI specification, "GPT
 * Header"). Pure.
 */
#include <img/partition.h>

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>

#define SIGNATURE "EFI PART"
#define SIGNATURE_LEN 8u
#define REVISION 0x00010000u
#define HEADER_LEN_MAX 512u
#define ENTRY_LEN_MIN 128u
#define CRC_OFF 16u

/* CRC-32 of LEN bytes; those at [SKIP, SKIP + 4) count as zeros. */
static uint32_t crc32_without(const uint8_t *bytes, size_t len, size_t skip)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= i >= skip && i - skip < 4 ? 0u : bytes[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0u);
        }
    }
    return ~crc;
}

static int check_header(const uint8_t *bytes, size_t len, uint64_t lba,
                        struct img_error *err)
{
    if (len < IMG_GPT_HEADER_LEN ||
        memcmp(bytes, SIGNATURE, SIGNATURE_LEN) != 0) {
        return img_fail(err, IMG_CORRUPT,
                        "GPT header: found none at sector %" PRIu64, lba);
    }
    uint32_t revision = img_load_le32(bytes + 8);
    uint32_t header_len = img_load_le32(bytes + 12);
    if (revision != REVISION || header_len < IMG_GPT_HEADER_LEN ||
        header_len > HEADER_LEN_MAX || header_len > len) {
        return img_fail(err, IMG_CORRUPT,
                        "GPT header: found revision 0x%08" PRIx32
                        " and %" PRIu32 " bytes, expected 0x%08x and %u to %u",
                        revision, header_len, REVISION, IMG_GPT_HEADER_LEN,
                        HEADER_LEN_MAX);
    }
    uint32_t crc = crc32_without(bytes, header_len, CRC_OFF);
    if (crc != img_load_le32(bytes + CRC_OFF)) {
        return img_fail(err, IMG_CORRUPT,
                        "GPT header: found checksum 0x%08" PRIx32
                        ", expected 0x%08" PRIx32,
                        img_load_le32(bytes + CRC_OFF), crc);
    }
    if (img_load_le64(bytes + 24) != lba) {
        return img_fail(err, IMG_CORRUPT,
                        "GPT header: found sector %" PRIu64
                        " as its own, expected %" PRIu64,
                        img_load_le64(bytes + 24), lba);
    }
    return 0;
}

int img_gpt_decode(const uint8_t *bytes, size_t len, uint64_t lba,
                   struct img_gpt *out, struct img_error *err)
{
    if (check_header(bytes, len, lba, err) < 0) {
        return -1;
    }
    *out = (struct img_gpt){
        .own_lba = lba,
        .other_lba = img_load_le64(bytes + 32),
        .entries_lba = img_load_le64(bytes + 72),
        .entries_nr = img_load_le32(bytes + 80),
        .entry_len = img_load_le32(bytes + 84),
        .entries_crc = img_load_le32(bytes + 88),
    };
    if (out->entry_len < ENTRY_LEN_MIN ||
        (out->entry_len & (out->entry_len - 1)) != 0 || out->entries_nr == 0 ||
        (uint64_t)out->entries_nr * out->entry_len > IMG_GPT_ENTRIES_LEN_MAX) {
        return img_fail(err, IMG_CORRUPT,
                        "GPT header: found %" PRIu32 " entries of %" PRIu32
                        " bytes, expected a power of two from %u on and at "
                        "most %u bytes in all",
                        out->entries_nr, out->entry_len, ENTRY_LEN_MIN,
                        IMG_GPT_ENTRIES_LEN_MAX);
    }
    return 0;
}

int img_gpt_check_entries(const struct img_gpt *gpt, const uint8_t *bytes,
                          struct img_error *err)
{
    size_t len = (size_t)gpt->entries_nr * gpt->entry_len;
    uint32_t crc = crc32_without(bytes, len, len);

    if (crc != gpt->entries_crc) {
        return img_fail(err, IMG_CORRUPT,
                        "GPT entries: found checksum 0x%08" PRIx32
                        ", expected 0x%08" PRIx32,
                        gpt->entries_crc, crc);
    }
    return 0;
}
