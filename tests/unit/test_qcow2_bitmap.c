/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bitmap directory entries and bitmap table entries. */
#include <img/checked.h>
#include <qcow2/bitmap.h>

#include "qcow2_bytes.h"
#include "unit.h"

#define FILE_LEN 0x50001u
#define DIRECTORY_OFF 0x40000u

static uint8_t bytes[2048];
static struct qcow2_header header;
static struct qcow2_bitmap b;
static struct img_error err;

/* An entry with a name of NAME_LEN bytes; returns its padded length. */
static size_t build(uint16_t name_len)
{
    header = sample_decoded(3, 16, 0);
    memset(bytes, 0, sizeof(bytes));
    put_be(bytes, 0, 8, 0x30000);
    put_be(bytes, 8, 4, 1);
    bytes[16] = 1;
    bytes[17] = 16;
    put_be(bytes, 18, 2, name_len);
    memset(bytes + 24, 'n', name_len);
    return (24 + (size_t)name_len + 7) / 8 * 8;
}

static int decode(size_t len)
{
    return qcow2_bitmap_decode(&header, bytes, len, DIRECTORY_OFF, FILE_LEN, &b,
                               &err);
}

static void decode_fails(size_t len, const char *text, uint64_t off)
{
    unit_fails(decode(len), &err, IMG_CORRUPT, text);
    ck_assert(err.has_off);
    ck_assert_uint_eq(err.off, DIRECTORY_OFF + off);
}

START_TEST(test_good)
{
    size_t len = build(5);

    put_be(bytes, 12, 4, 3);
    unit_ok(decode(len), &err);
    ck_assert_uint_eq(b.table_off, 0x30000);
    ck_assert_uint_eq(b.table_entries, 1);
    ck_assert_uint_eq(b.flags,
                      QCOW2_BITMAP_FLAG_IN_USE | QCOW2_BITMAP_FLAG_AUTO);
    ck_assert_uint_eq(b.type, 1);
    ck_assert_uint_eq(b.granularity_bits, 16);
    ck_assert_uint_eq(b.name_len, 5);
    ck_assert_mem_eq(b.name, "nnnnn", 5);
    ck_assert_uint_eq(b.entry_len, 32);
    unit_ok(decode(len + 100), &err);
}
END_TEST

START_TEST(test_lengths)
{
    decode_fails(build(1023) - 1,
                 "bitmap directory: found 1047 bytes for an entry, expected"
                 " 1048",
                 0);
    unit_ok(decode(build(1023)), &err);
    decode_fails(build(1024),
                 "bitmap name_size: found 1024, expected 1 to 1023", 18);
    decode_fails(build(0), "bitmap name_size: found 0, expected 1 to 1023", 18);
    unit_ok(decode(build(1)), &err);
    decode_fails(23,
                 "bitmap directory: found 23 bytes for an entry, expected at"
                 " least 24",
                 0);
    put_be(bytes, 20, 4, 1);
    decode_fails(32, "bitmap extra_data_size: found 1, expected 0", 20);
}
END_TEST

START_TEST(test_kind)
{
    size_t len = build(1);

    put_be(bytes, 12, 4, 4);
    decode_fails(len, "bitmap flags: found 0x4, expected only bits 0 and 1",
                 12);
    put_be(bytes, 12, 4, 1u << 31);
    decode_fails(
        len, "bitmap flags: found 0x80000000, expected only bits 0 and 1", 12);
    build(1);
    bytes[16] = 0;
    decode_fails(len, "bitmap type: found 0, expected 1", 16);
    bytes[16] = 2;
    decode_fails(len, "bitmap type: found 2, expected 1", 16);
    build(1);
    bytes[17] = 8;
    decode_fails(len, "bitmap granularity_bits: found 8, expected 9 to 31", 17);
    bytes[17] = 9;
    unit_ok(decode(len), &err);
    bytes[17] = 31;
    unit_ok(decode(len), &err);
    bytes[17] = 32;
    decode_fails(len, "bitmap granularity_bits: found 32, expected 9 to 31",
                 17);
}
END_TEST

START_TEST(test_table)
{
    size_t len = build(1);

    put_be(bytes, 8, 4, 0);
    decode_fails(len, "bitmap_table_size: found 0, expected 1 to 8192", 8);
    put_be(bytes, 8, 4, 8192); /* 512 MiB of 64 KiB clusters */
    unit_ok(decode(len), &err);
    put_be(bytes, 8, 4, 8193);
    decode_fails(len, "bitmap_table_size: found 8193, expected 1 to 8192", 8);

    build(1);
    put_be(bytes, 0, 8, 0);
    decode_fails(len,
                 "bitmap_table_offset: found 0, expected a multiple of the"
                 " cluster size 65536, not 0",
                 0);
    put_be(bytes, 0, 8, 0x30001);
    decode_fails(len,
                 "bitmap_table_offset: found 196609, expected a multiple of"
                 " the cluster size 65536, not 0",
                 0);
    put_be(bytes, 0, 8, 0x50000);
    unit_ok(decode(len), &err);
    put_be(bytes, 0, 8, 0x60000);
    decode_fails(len,
                 "bitmap_table_offset: found 393216 for 8 bytes, expected"
                 " inside the file's 327681 bytes",
                 0);
    put_be(bytes, 0, 8, 0xffffffffffff0000);
    decode_fails(len,
                 "bitmap_table_offset: found 18446744073709486080 for 8 bytes,"
                 " expected inside the file's 327681 bytes",
                 0);
}
END_TEST

START_TEST(test_covers_the_disk)
{
    size_t len = build(1);

    /* One cluster of bits: 2^19 of them, for 512 bytes each. */
    bytes[17] = 9;
    header.virtual_len = 1ull << 28;
    unit_ok(decode(len), &err);
    header.virtual_len++;
    decode_fails(len,
                 "bitmap_table_size: found 1 for 524288 bits, expected at"
                 " least 524289 bits for the disk",
                 8);
    put_be(bytes, 12, 4, QCOW2_BITMAP_FLAG_IN_USE);
    unit_ok(decode(len), &err);
    /* The largest table there is, over the largest disk. */
    build(1);
    put_be(bytes, 8, 4, 8192);
    bytes[17] = 31;
    header.virtual_len = QCOW2_MAX_VIRTUAL_LEN;
    unit_ok(decode(len), &err);
}
END_TEST

START_TEST(test_table_entries)
{
    uint64_t off = 7;

    header = sample_decoded(3, 16, 0);
    for (uint64_t entry = 0; entry <= 1; entry++) {
        unit_ok(qcow2_bitmap_entry_decode(&header, entry, FILE_LEN, &off, &err),
                &err);
        ck_assert_uint_eq(off, 0);
    }
    unit_ok(qcow2_bitmap_entry_decode(&header, 0x50000, FILE_LEN, &off, &err),
            &err);
    ck_assert_uint_eq(off, 0x50000);
    unit_fails(
        qcow2_bitmap_entry_decode(&header, 0x60000, FILE_LEN, &off, &err), &err,
        IMG_CORRUPT,
        "bitmap table entry: found 0x0000000000060000, expected an offset"
        " inside the file");
    unit_fails(
        qcow2_bitmap_entry_decode(&header, 0x30200, FILE_LEN, &off, &err), &err,
        IMG_CORRUPT,
        "bitmap table entry: found 0x0000000000030200, expected the offset of"
        " a cluster");
    unit_fails(
        qcow2_bitmap_entry_decode(&header, 0x30001, FILE_LEN, &off, &err), &err,
        IMG_CORRUPT,
        "bitmap table entry: found 0x0000000000030001, expected bit 0 to be 0"
        " with an offset");
    for (unsigned bit = 1; bit < 64; bit = bit == 8 ? 56 : bit + 1) {
        ck_assert_int_eq(qcow2_bitmap_entry_decode(&header, 1ull << bit,
                                                   IMG_OFF_MAX, &off, &err),
                         -1);
        ck_assert_ptr_nonnull(
            strstr(err.text, ", expected bits 1 to 8 and 56 to 63 to be 0"));
    }
}
END_TEST

UNIT_SUITE("qcow2_bitmap", test_good, test_lengths, test_kind, test_table,
           test_covers_the_disk, test_table_entries)
