/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a file's first and last bytes say (room: format).
 *
 * Formats claim a file by the same bytes as QEMU's probe functions do, so
 * that a file is never of another format here than there. What is inside a
 * raw image is only a note for people: QEMU does not look for it.
 */
#include "formats.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>

#define MBR_SIGNATURE_OFF 510u
#define MBR_ENTRIES_OFF 446u
#define MBR_ENTRY_LEN 16u
#define MBR_ENTRIES_NR 4u
#define MBR_TYPE_PROTECTIVE 0xee

int img_probe_load(struct img_file *file, uint8_t *head, uint8_t *tail,
                   struct img_probe_bytes *out, struct img_error *err)
{
    uint64_t file_len = img_file_len(file);

    *out = (struct img_probe_bytes){
        .head = head,
        .head_len = (size_t)img_min(file_len, IMG_PROBE_HEAD_LEN),
        .tail = tail,
        .tail_len = (size_t)img_min(file_len, IMG_PROBE_TAIL_LEN),
        .file_len = file_len,
    };
    /* A hole, or a file that got shorter meanwhile, reads as zeros. */
    if (img_file_read_padded(file, head, out->head_len, 0, NULL, err) < 0) {
        return -1;
    }
    return img_file_read_padded(file, tail, out->tail_len,
                                file_len - out->tail_len, NULL, err);
}

/* A boot sector of a file system (FAT, NTFS, exFAT), not of a disk. */
static bool is_volume_boot_sector(const uint8_t *sector)
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

/*
 * A partition table: all entries have a known boot flag, at least one is
 * used. *is_protective: one covers the disk for GPT.
 */
static bool is_partition_table(const uint8_t *sector, bool *is_protective)
{
    size_t used = 0;

    *is_protective = false;
    for (size_t i = 0; i < MBR_ENTRIES_NR; i++) {
        const uint8_t *entry = sector + MBR_ENTRIES_OFF + i * MBR_ENTRY_LEN;
        if (entry[0] != 0x00 && entry[0] != 0x80) {
            return false;
        }
        if (entry[4] == 0) {
            continue;
        }
        /* A partition begins after the table and has sectors. */
        if (img_load_le32(entry + 8) == 0 || img_load_le32(entry + 12) == 0) {
            return false;
        }
        used++;
        *is_protective |= entry[4] == MBR_TYPE_PROTECTIVE;
    }
    return used > 0;
}

static bool tail_has(const struct img_probe_bytes *bytes, const char *magic,
                     size_t len)
{
    return bytes->tail_len == IMG_PROBE_TAIL_LEN &&
           memcmp(bytes->tail, magic, len) == 0;
}

static const char *partition_contents(const struct img_probe_bytes *bytes)
{
    static const char gpt[] = "EFI PART";
    bool is_protective;

    if (!img_probe_has(bytes, MBR_SIGNATURE_OFF, "\x55\xaa", 2) ||
        is_volume_boot_sector(bytes->head) ||
        !is_partition_table(bytes->head, &is_protective)) {
        return NULL;
    }
    if (is_protective && (img_probe_has(bytes, 512, gpt, 8) ||
                          img_probe_has(bytes, 4096, gpt, 8))) {
        return "gpt";
    }
    return "mbr";
}

const char *img_probe_contents(const struct img_probe_bytes *bytes)
{
    if (!img_probe_has(bytes, 0, "conectix", 8) &&
        tail_has(bytes, "conectix", 8)) {
        return "vhd";
    }
    if (img_probe_has(bytes, 0, "LUKS\xba\xbe\0\2", 8)) {
        return "luks2";
    }
    if (img_probe_has(bytes, 32769, "CD001", 5)) {
        return "iso";
    }
    return partition_contents(bytes);
}
