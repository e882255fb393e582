/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshot table entries. */
#include <qcow2/snapshot.h>

#include "qcow2_bytes.h"
#include "unit.h"

#define FILE_LEN 0x50001u
#define TABLE_OFF 0x40000u

static uint8_t bytes[2048];
static struct qcow2_header header;
static struct qcow2_snapshot s;
static struct img_error err;

/* An entry with EXTRA bytes of extra data, id "7" and name "before". */
static size_t build(uint32_t version, uint32_t extra)
{
    header = sample_decoded(version, 16, 0);
    memset(bytes, 0, sizeof(bytes));
    put_be(bytes, 0, 8, 0x30000);
    put_be(bytes, 8, 4, 2);
    put_be(bytes, 12, 2, 1);
    put_be(bytes, 14, 2, 6);
    put_be(bytes, 16, 4, 1700000000);
    put_be(bytes, 20, 4, 999999999);
    put_be(bytes, 24, 8, 123456789012);
    put_be(bytes, 32, 4, 4096);
    put_be(bytes, 36, 4, extra);
    if (extra <= sizeof(bytes) - 48) {
        memcpy(bytes + 40 + extra, "7before", 7);
    }
    return (40 + (size_t)extra + 7 + 7) / 8 * 8;
}

static int decode(size_t len)
{
    return qcow2_snapshot_decode(&header, bytes, len, TABLE_OFF, FILE_LEN, &s,
                                 &err);
}

START_TEST(test_good)
{
    size_t len = build(3, 24);

    put_be(bytes, 40, 8, 5ull << 32);
    put_be(bytes, 48, 8, 3 << 20);
    put_be(bytes, 56, 8, 42);
    ck_assert_uint_eq(qcow2_snapshot_entry_len(bytes), len);
    unit_ok(decode(len), &err);
    ck_assert_uint_eq(s.l1_off, 0x30000);
    ck_assert_uint_eq(s.l1_entries, 2);
    ck_assert_uint_eq(s.date_sec, 1700000000);
    ck_assert_uint_eq(s.date_nsec, 999999999);
    ck_assert_uint_eq(s.vm_clock_nsec, 123456789012);
    ck_assert_uint_eq(s.vm_state_len, 5ull << 32);
    ck_assert_uint_eq(s.virtual_len, 3 << 20);
    ck_assert_uint_eq(s.icount, 42);
    ck_assert_uint_eq(s.id_len, 1);
    ck_assert_mem_eq(s.id, "7", 1);
    ck_assert_uint_eq(s.name_len, 6);
    ck_assert_mem_eq(s.name, "before", 6);
    ck_assert_uint_eq(s.extra_len, 24);
    ck_assert_ptr_eq(s.extra, bytes + 40);
    ck_assert_uint_eq(s.entry_len, len);
    /* The padding of the last entry may be missing; its text may not. */
    unit_ok(decode(40 + 24 + 7), &err);
    unit_fails(decode(40 + 24 + 6), &err, IMG_CORRUPT,
               "snapshot table: found 70 bytes for an entry, expected 71");
    ck_assert_uint_eq(err.off, TABLE_OFF);
    unit_fails(decode(39), &err, IMG_CORRUPT,
               "snapshot table: found 39 bytes for an entry, expected at least"
               " 40");
}
END_TEST

START_TEST(test_extra_data)
{
    /* Version 2 needs none: sizes come from elsewhere. */
    unit_ok(decode(build(2, 0)), &err);
    ck_assert_uint_eq(s.vm_state_len, 4096);
    ck_assert_uint_eq(s.virtual_len, 1 << 20);
    ck_assert_uint_eq(s.icount, UINT64_MAX);
    /* A field counts when it is there whole. */
    unit_ok(decode(build(2, 7)), &err);
    ck_assert_uint_eq(s.vm_state_len, 4096);
    unit_ok(decode(build(2, 8)), &err);
    ck_assert_uint_eq(s.vm_state_len, 0);
    ck_assert_uint_eq(s.virtual_len, 1 << 20);
    unit_ok(decode(build(2, 16)), &err);
    ck_assert_uint_eq(s.virtual_len, 0);
    unit_ok(decode(build(3, 23)), &err);
    ck_assert_uint_eq(s.icount, UINT64_MAX);

    unit_ok(decode(build(3, 16)), &err);
    unit_fails(decode(build(3, 15)), &err, IMG_CORRUPT,
               "snapshot extra data size: found 15, expected 16 to 1024");
    ck_assert_uint_eq(err.off, TABLE_OFF + 36);
    unit_ok(decode(build(3, 1024)), &err);
    unit_fails(decode(build(3, 1025)), &err, IMG_CORRUPT,
               "snapshot extra data size: found 1025, expected 16 to 1024");
    build(2, UINT32_MAX);
    unit_fails(decode(sizeof(bytes)), &err, IMG_CORRUPT,
               "snapshot extra data size: found 4294967295, expected 0 to"
               " 1024");
    ck_assert_uint_eq(qcow2_snapshot_entry_len(bytes), 4294967344);
}
END_TEST

START_TEST(test_name_lengths)
{
    build(3, 16);
    put_be(bytes, 12, 2, 65535);
    put_be(bytes, 14, 2, 65535);
    unit_fails(decode(sizeof(bytes)), &err, IMG_CORRUPT,
               "snapshot table: found 2048 bytes for an entry, expected"
               " 131126");
    put_be(bytes, 12, 2, 0);
    put_be(bytes, 14, 2, 0);
    unit_ok(decode(56), &err);
    ck_assert_uint_eq(s.entry_len, 56);
}
END_TEST

START_TEST(test_l1)
{
    size_t len = build(3, 16);

    /* The table's last cluster begins inside the file, or does not. */
    put_be(bytes, 8, 4, 8192 * 3);
    unit_ok(decode(len), &err);
    put_be(bytes, 8, 4, 8192 * 3 + 1);
    unit_fails(decode(len), &err, IMG_CORRUPT,
               "snapshot L1 table offset: found 196608 for 196616 bytes,"
               " expected inside the file's 327681 bytes");
    ck_assert_uint_eq(err.off, TABLE_OFF);
    put_be(bytes, 8, 4, 4194304);
    unit_fails(decode(len), &err, IMG_CORRUPT,
               "snapshot L1 table offset: found 196608 for 33554432 bytes,"
               " expected inside the file's 327681 bytes");
    put_be(bytes, 8, 4, 4194305);
    unit_fails(decode(len), &err, IMG_CORRUPT,
               "snapshot L1 size: found 4194305, expected at most 4194304");
    ck_assert_uint_eq(err.off, TABLE_OFF + 8);

    build(3, 16);
    put_be(bytes, 0, 8, 0x30008);
    unit_fails(decode(len), &err, IMG_CORRUPT,
               "snapshot L1 table offset: found 196616, expected a multiple of"
               " the cluster size 65536, not 0");
    put_be(bytes, 0, 8, 0);
    unit_fails(decode(len), &err, IMG_CORRUPT,
               "snapshot L1 table offset: found 0, expected a multiple of"
               " the cluster size 65536, not 0");
    put_be(bytes, 8, 4, 0); /* a snapshot of an image of 0 bytes */
    unit_ok(decode(len), &err);
    put_be(bytes, 8, 4, 1);
    put_be(bytes, 0, 8, 0xffffffffffff0000);
    unit_fails(decode(len), &err, IMG_CORRUPT,
               "snapshot L1 table offset: found 18446744073709486080 for 8"
               " bytes, expected inside the file's 327681 bytes");
}
END_TEST

START_TEST(test_virtual_len)
{
    size_t len = build(3, 16);

    put_be(bytes, 48, 8, 0x7ffffffffffffe00);
    unit_ok(decode(len), &err);
    put_be(bytes, 48, 8, 0x7ffffffffffffe01);
    unit_fails(decode(len), &err, IMG_CORRUPT,
               "snapshot virtual disk size: found 9223372036854775297,"
               " expected at most 9223372036854775296");
    ck_assert_uint_eq(err.off, TABLE_OFF + 48);
}
END_TEST

UNIT_SUITE("qcow2_snapshot", test_good, test_extra_data, test_name_lengths,
           test_l1, test_virtual_len)
