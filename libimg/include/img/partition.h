/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Partition tables in what a disk shows: MBR and GPT (UEFI specification,
 * "GUID Partition Table Disk Layout"). Pure: no I/O.
 */
#ifndef IMG_PARTITION_H
#define IMG_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

#define IMG_MBR_LEN 512u

struct img_mbr {
    unsigned used;      /* entries that are not empty, at most 4 */
    bool is_protective; /* one of them covers the disk for GPT */
    uint64_t end_len;   /* bytes up to the end of the last partition, in
                           sectors of 512 bytes; 0 with is_protective */
};

/* Does the disk begin with a boot sector (0x55aa) that is no file system's
   own (FAT, NTFS, exFAT)? LEN is how much of the disk BYTES has. */
bool img_mbr_is_there(const uint8_t *bytes, size_t len);

/*
 * Decode the table in the first sector of a disk. IMG_CORRUPT: a boot flag
 * that is neither 0 nor 0x80, a protective entry that does not begin at
 * sector 1, other partitions beside a protective one, no partition at all, a
 * partition without sectors or one that begins in the table's own sector.
 */
int img_mbr_decode(const uint8_t sector[IMG_MBR_LEN], struct img_mbr *out,
                   struct img_error *err);

#define IMG_GPT_HEADER_LEN 92u
/* What Linux and UEFI implementations accept is far below. */
#define IMG_GPT_ENTRIES_LEN_MAX (1u << 20)

struct img_gpt {
    uint64_t own_lba, other_lba; /* of this header and of its twin */
    uint64_t entries_lba;
    uint32_t entries_nr, entry_len;
    uint32_t entries_crc;
};

/*
 * Decode the header at sector LBA of SECTOR_LEN bytes; LEN bytes of it are at
 * BYTES. IMG_CORRUPT: signature, revision, length, checksum or own place do
 * not fit, or the entries are more than the limit.
 */
int img_gpt_decode(const uint8_t *bytes, size_t len, uint64_t lba,
                   struct img_gpt *out, struct img_error *err);
/* Is the checksum of the entries (entries_nr * entry_len bytes) right? */
int img_gpt_check_entries(const struct img_gpt *gpt, const uint8_t *bytes,
                          struct img_error *err);

#endif
