/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Partition tables of strangers' disks: MBR and GPT. */
#include <img/bytes.h>
#include <img/partition.h>

#include "unit.h"

static uint8_t sector[IMG_MBR_LEN];
static struct img_error err;

/* Entry IDX: flag, type, first sector, length. */
static void entry(unsigned idx, uint8_t flag, uint8_t type, uint8_t first,
                  uint8_t len)
{
    uint8_t *at = sector + 446 + idx * 16;

    memset(at, 0, 16);
    at[0] = flag;
    at[2] = type == 0xee ? 2 : 0;
    at[4] = type;
    at[8] = first;
    at[12] = len;
}

static void begin(void)
{
    memset(sector, 0, sizeof(sector));
    sector[510] = 0x55;
    sector[511] = 0xaa;
}

START_TEST(test_is_there)
{
    begin();
    ck_assert(img_mbr_is_there(sector, sizeof(sector)));
    ck_assert(!img_mbr_is_there(sector, sizeof(sector) - 1));
    memcpy(sector + 3, "NTFS    ", 8);
    ck_assert(!img_mbr_is_there(sector, sizeof(sector)));
    begin();
    sector[12] = 2; /* 512 bytes a sector */
    sector[16] = 2;
    memcpy(sector + 54, "FAT", 3);
    ck_assert(!img_mbr_is_there(sector, sizeof(sector)));
    sector[16] = 3;
    ck_assert(img_mbr_is_there(sector, sizeof(sector)));
}
END_TEST

START_TEST(test_mbr_good)
{
    struct img_mbr mbr;

    begin();
    entry(0, 0x80, 0x83, 1, 9);
    entry(3, 0, 0x82, 20, 5);
    unit_ok(img_mbr_decode(sector, &mbr, &err), &err);
    ck_assert_uint_eq(mbr.used, 2);
    ck_assert(!mbr.is_protective);
    ck_assert_uint_eq(mbr.end_len, 25 * 512);
    begin();
    entry(0, 0, 0xee, 1, 255);
    unit_ok(img_mbr_decode(sector, &mbr, &err), &err);
    ck_assert(mbr.is_protective);
    ck_assert_uint_eq(mbr.end_len, 0);
}
END_TEST

START_TEST(test_mbr_bad)
{
    struct img_mbr mbr;

    begin();
    unit_fails(img_mbr_decode(sector, &mbr, &err), &err, IMG_CORRUPT,
               "MBR: found no partition, expected at least one");
    entry(1, 1, 0x83, 1, 1);
    unit_fails(img_mbr_decode(sector, &mbr, &err), &err, IMG_CORRUPT,
               "MBR partition 2: found boot flag 1, expected 0 or 128");
    entry(1, 0, 0x83, 0, 1);
    unit_fails(img_mbr_decode(sector, &mbr, &err), &err, IMG_CORRUPT,
               "MBR partition 2: found first sector 0, expected 1 or more");
    entry(1, 0, 0x83, 1, 0);
    unit_fails(img_mbr_decode(sector, &mbr, &err), &err, IMG_CORRUPT,
               "MBR partition 2: found length 0, expected 1 or more sectors");
    entry(1, 0, 0x83, 1, 1);
    entry(0, 0, 0xee, 1, 1);
    unit_fails(img_mbr_decode(sector, &mbr, &err), &err, IMG_CORRUPT,
               "MBR: found 2 partitions, expected no other beside the one "
               "that protects a GPT");
    begin();
    entry(0, 0, 0xee, 2, 1);
    unit_fails(img_mbr_decode(sector, &mbr, &err), &err, IMG_CORRUPT,
               "MBR partition 1: found first sector 2, expected 1, as it "
               "protects a GPT");
    sector[446 + 2] = 1;
    unit_fails(img_mbr_decode(sector, &mbr, &err), &err, IMG_CORRUPT,
               "MBR partition 1 protects a GPT: found its first sector by "
               "cylinder, head and sector as 000100, expected 000200");
}
END_TEST

static void put_le32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> 8 * i);
    }
}

/* A header of one entry of 128 zeros; its checksum as Python's zlib has it. */
static void gpt_begin(uint8_t head[IMG_GPT_HEADER_LEN])
{
    memset(head, 0, IMG_GPT_HEADER_LEN);
    memcpy(head, "EFI PART", 8);
    put_le32(head + 8, 0x10000);
    put_le32(head + 12, 92);
    put_le32(head + 16, 0x6b2f5e2b);
    put_le32(head + 24, 1);
    put_le32(head + 32, 99);
    put_le32(head + 72, 2);
    put_le32(head + 80, 1);
    put_le32(head + 84, 128);
    put_le32(head + 88, 0xc2a8fa9d);
}

START_TEST(test_gpt)
{
    uint8_t head[IMG_GPT_HEADER_LEN], entries[128] = {0};
    struct img_gpt gpt;

    gpt_begin(head);
    unit_ok(img_gpt_decode(head, sizeof(head), 1, &gpt, &err), &err);
    ck_assert_uint_eq(gpt.other_lba, 99);
    ck_assert_uint_eq(gpt.entries_lba, 2);
    unit_ok(img_gpt_check_entries(&gpt, entries, &err), &err);
    entries[5] = 1;
    ck_assert_int_eq(img_gpt_check_entries(&gpt, entries, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "GPT entries: found checksum "
                                           "0xc2a8fa9d"));
    unit_fails(img_gpt_decode(head, sizeof(head), 7, &gpt, &err), &err,
               IMG_CORRUPT,
               "GPT header: found sector 1 as its own, expected 7");
    unit_fails(img_gpt_decode(head, sizeof(head) - 1, 1, &gpt, &err), &err,
               IMG_CORRUPT, "GPT header: found none at sector 1");
    head[40]++;
    ck_assert_int_eq(img_gpt_decode(head, sizeof(head), 1, &gpt, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "GPT header: found checksum"));
    gpt_begin(head);
    put_le32(head + 12, 93);
    ck_assert_int_eq(img_gpt_decode(head, sizeof(head), 1, &gpt, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "found revision"));
}
END_TEST

UNIT_SUITE("partition", test_is_there, test_mbr_good, test_mbr_bad, test_gpt)
