/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The partition table of a master boot record (room: format). Pure.
 */
#include <img/partition.h>

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>

#define SIGNATURE_OFF 510u
#define ENTRIES_OFF 446u
#define ENTRY_LEN 16u
#define ENTRIES_NR 4u
#define TYPE_PROTECTIVE 0xee
#define SECTOR_LEN 512u

/* A boot sector of a file system (FAT, NTFS, exFAT), not of a disk. */
static bool is_volume(const uint8_t *sector)
{
    uint16_t sector_len = img_load_le16(sector + 11);
    uint8_t fats_nr = sector[16];

    if (memcmp(sector + 3, "NTFS    ", 8) == 0 ||
        memcmp(sector + 3, "EXFAT   ", 8) == 0) {
        return true;
    }
    /* The BIOS parameter block of FAT, and its name in either place. */
    return (sector_len == 512 || sector_len == 1024 || sector_len == 2048 ||
            sector_len == 4096) &&
           (fats_nr == 1 || fats_nr == 2) &&
           (memcmp(sector + 54, "FAT", 3) == 0 ||
            memcmp(sector + 82, "FAT32", 5) == 0);
}

bool img_mbr_is_there(const uint8_t *bytes, size_t len)
{
    return len >= IMG_MBR_LEN && bytes[SIGNATURE_OFF] == 0x55 &&
           bytes[SIGNATURE_OFF + 1] == 0xaa && !is_volume(bytes);
}

static int fail_entry(unsigned idx, const char *what, uint64_t found,
                      const char *expected, struct img_error *err)
{
    return img_fail_at(err, IMG_CORRUPT, ENTRIES_OFF + idx * ENTRY_LEN,
                       "MBR partition %u: found %s %" PRIu64 ", expected %s",
                       idx + 1, what, found, expected);
}

static int decode_protective(const uint8_t *entry, unsigned idx,
                             struct img_mbr *out, struct img_error *err)
{
    static const uint8_t first_chs[] = {0x00, 0x02, 0x00};

    out->is_protective = true;
    if (memcmp(entry + 1, first_chs, sizeof(first_chs)) != 0) {
        return img_fail_at(err, IMG_CORRUPT, ENTRIES_OFF + idx * ENTRY_LEN + 1,
                           "MBR partition %u protects a GPT: found its first "
                           "sector by cylinder, head and sector as "
                           "%02x%02x%02x, expected 000200",
                           idx + 1, entry[1], entry[2], entry[3]);
    }
    return img_load_le32(entry + 8) == 1
               ? 0
               : fail_entry(idx, "first sector", img_load_le32(entry + 8),
                            "1, as it protects a GPT", err);
}

static int decode_entry(const uint8_t *entry, unsigned idx, struct img_mbr *out,
                        struct img_error *err)
{
    uint64_t start = img_load_le32(entry + 8);
    uint64_t sectors = img_load_le32(entry + 12);

    if (entry[0] != 0x00 && entry[0] != 0x80) {
        return fail_entry(idx, "boot flag", entry[0], "0 or 128", err);
    }
    if (entry[4] == 0) {
        return 0;
    }
    out->used++;
    if (entry[4] == TYPE_PROTECTIVE) {
        return decode_protective(entry, idx, out, err);
    }
    if (start == 0) {
        return fail_entry(idx, "first sector", start, "1 or more", err);
    }
    if (sectors == 0) {
        return fail_entry(idx, "length", sectors, "1 or more sectors", err);
    }
    out->end_len = img_max(out->end_len, (start + sectors) * SECTOR_LEN);
    return 0;
}

int img_mbr_decode(const uint8_t sector[IMG_MBR_LEN], struct img_mbr *out,
                   struct img_error *err)
{
    *out = (struct img_mbr){0};
    for (unsigned i = 0; i < ENTRIES_NR; i++) {
        if (decode_entry(sector + ENTRIES_OFF + (size_t)i * ENTRY_LEN, i, out,
                         err) < 0) {
            return -1;
        }
    }
    if (out->used == 0) {
        return img_fail_at(err, IMG_CORRUPT, ENTRIES_OFF,
                           "MBR: found no partition, expected at least one");
    }
    if (out->is_protective && out->used > 1) {
        return img_fail_at(err, IMG_CORRUPT, ENTRIES_OFF,
                           "MBR: found %u partitions, expected no other beside "
                           "the one that protects a GPT",
                           out->used);
    }
    if (out->is_protective) {
        out->end_len = 0;
    }
    return 0;
}
