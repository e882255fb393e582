/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* L1 and L2 entries, compressed descriptors and subclusters. */
#include <img/checked.h>
#include <qcow2/entry.h>

#include "qcow2_bytes.h"
#include "unit.h"

#define COPIED QCOW2_ENTRY_COPIED
#define COMPRESSED QCOW2_ENTRY_COMPRESSED
/* The files of these tests end a byte into their sixth cluster. */
#define FILE_LEN 0x50001u

static struct img_error err;

START_TEST(test_l1)
{
    struct qcow2_header h = sample_decoded(3, 16, 0);
    struct qcow2_l1_entry e;

    unit_ok(qcow2_l1_decode(&h, 0, FILE_LEN, &e, &err), &err);
    ck_assert_uint_eq(e.l2_off, 0);
    ck_assert(!e.is_copied);
    unit_ok(qcow2_l1_decode(&h, COPIED | 0x50000, FILE_LEN, &e, &err), &err);
    ck_assert_uint_eq(e.l2_off, 0x50000);
    ck_assert(e.is_copied);
    unit_fails(qcow2_l1_decode(&h, COPIED, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L1 entry: found 0x8000000000000000, expected bit 63 to be 0"
               " without an offset");
    unit_fails(qcow2_l1_decode(&h, 0x60000, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L1 entry: found 0x0000000000060000, expected an offset inside"
               " the file");
    unit_fails(qcow2_l1_decode(&h, 0x50000, 0x50000, &e, &err), &err,
               IMG_CORRUPT,
               "L1 entry: found 0x0000000000050000, expected an offset inside"
               " the file");
    unit_fails(qcow2_l1_decode(&h, COPIED | 0x50200, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L1 entry: found 0x8000000000050200, expected the offset of a"
               " cluster");
}
END_TEST

START_TEST(test_l1_reserved)
{
    struct qcow2_header h = sample_decoded(3, 9, 0);
    struct qcow2_l1_entry e;

    for (unsigned bit = 0; bit < 63; bit++) {
        uint64_t entry = 1ull << bit;
        bool is_reserved = bit <= 8 || bit >= 56;
        int ret = qcow2_l1_decode(&h, entry, IMG_OFF_MAX, &e, &err);

        ck_assert_int_eq(ret, is_reserved ? -1 : 0);
        if (is_reserved) {
            ck_assert_ptr_nonnull(
                strstr(err.text, ", expected bits 0 to 8 and 56 to 62 to be"
                                 " 0"));
        } else {
            ck_assert_uint_eq(e.l2_off, entry);
        }
    }
}
END_TEST

START_TEST(test_l2_standard)
{
    struct qcow2_header h = sample_decoded(3, 16, 0);
    struct qcow2_l2_entry e;

    unit_ok(qcow2_l2_decode(&h, 0, 0, 0, FILE_LEN, &e, &err), &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_UNALLOCATED);
    ck_assert(!e.has_host && !e.is_copied);

    unit_ok(qcow2_l2_decode(&h, COPIED | 0x50000, 0, 0, FILE_LEN, &e, &err),
            &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_DATA);
    ck_assert(e.has_host && e.is_copied);
    ck_assert_uint_eq(e.host_off, 0x50000);

    unit_ok(qcow2_l2_decode(&h, 1, 0, 0, FILE_LEN, &e, &err), &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_ZERO);
    ck_assert(!e.has_host);

    unit_ok(qcow2_l2_decode(&h, 0x50001, 0, 0, FILE_LEN, &e, &err), &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_ZERO);
    ck_assert(e.has_host && !e.is_copied);
    ck_assert_uint_eq(e.host_off, 0x50000);
}
END_TEST

START_TEST(test_l2_standard_refused)
{
    struct qcow2_header h = sample_decoded(3, 16, 0);
    struct qcow2_header h2 = sample_decoded(2, 16, 0);
    struct qcow2_l2_entry e;

    unit_fails(qcow2_l2_decode(&h, 0x60000, 0, 65536, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 65536: found 0x0000000000060000,"
               " expected an offset inside the file");
    unit_fails(qcow2_l2_decode(&h, 0x50000, 0, 0, 0x50000, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 0: found 0x0000000000050000,"
               " expected an offset inside the file");
    unit_fails(qcow2_l2_decode(&h, 0x10200, 0, 0, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 0: found 0x0000000000010200,"
               " expected the offset of a cluster");
    unit_fails(qcow2_l2_decode(&h, COPIED, 0, 0, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 0: found 0x8000000000000000,"
               " expected bit 63 to be 0 without a host offset");
    unit_fails(qcow2_l2_decode(&h2, 1, 0, 0, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 0: found 0x0000000000000001,"
               " expected bit 0 to be 0 in a version 2 image");
    unit_ok(qcow2_l2_decode(&h2, 0x50000, 0, 0, FILE_LEN, &e, &err), &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_DATA);
}
END_TEST

START_TEST(test_l2_reserved)
{
    struct qcow2_header h = sample_decoded(3, 9, 0);
    struct qcow2_l2_entry e;

    for (unsigned bit = 0; bit < 62; bit++) {
        uint64_t entry = 1ull << bit;
        bool is_reserved = (bit >= 1 && bit <= 8) || bit >= 56;
        int ret = qcow2_l2_decode(&h, entry, 0, 0, IMG_OFF_MAX, &e, &err);

        ck_assert_int_eq(ret, is_reserved ? -1 : 0);
        if (is_reserved) {
            ck_assert_ptr_nonnull(strstr(
                err.text, ", expected bits 1 to 8 and 56 to 61 to be 0"));
        }
    }
}
END_TEST

/* For each cluster size: where the sector count begins, and its extremes. */
START_TEST(test_compressed_layout)
{
    for (uint32_t bits = 9; bits <= 21; bits++) {
        struct qcow2_header h = sample_decoded(3, bits, 0);
        uint32_t sector_bits = bits - 8;
        uint32_t x = 62 - sector_bits;
        uint64_t most = (1ull << sector_bits) - 1;
        struct qcow2_l2_entry e;

        unit_ok(qcow2_l2_decode(&h, COMPRESSED | most << x | 0x12345, 0, 0,
                                0x12346, &e, &err),
                &err);
        ck_assert_int_eq(e.kind, QCOW2_CLUSTER_COMPRESSED);
        ck_assert(e.has_host && !e.is_copied);
        ck_assert_uint_eq(e.host_off, 0x12345);
        ck_assert_uint_eq(e.host_len, (most + 1) * 512 - 0x145);
        unit_ok(
            qcow2_l2_decode(&h, COMPRESSED | 0x12200, 0, 0, 0x12346, &e, &err),
            &err);
        ck_assert_uint_eq(e.host_len, 512);
        ck_assert_int_eq(
            qcow2_l2_decode(&h, COMPRESSED | 0x12346, 0, 0, 0x12346, &e, &err),
            -1);
        /* The highest offset bit the field and the format allow. */
        uint32_t top = x > 56 ? 55 : x - 1;
        unit_ok(qcow2_l2_decode(&h, COMPRESSED | 1ull << top, 0, 0, IMG_OFF_MAX,
                                &e, &err),
                &err);
        ck_assert_uint_eq(e.host_off, 1ull << top);
    }
}
END_TEST

START_TEST(test_compressed_refused)
{
    struct qcow2_header h = sample_decoded(3, 9, 0);
    struct qcow2_header data = sample_decoded(3, 16, QCOW2_INCOMPAT_DATA_FILE);
    struct qcow2_header ext = sample_decoded(3, 16, QCOW2_INCOMPAT_EXTENDED_L2);
    uint64_t entry = COMPRESSED | 0x600;
    struct qcow2_l2_entry e;

    unit_fails(qcow2_l2_decode(&h, entry | COPIED, 0, 0, FILE_LEN, &e, &err),
               &err, IMG_CORRUPT,
               "L2 entry for guest offset 0: found 0xc000000000000600,"
               " expected bit 63 to be 0 for a compressed cluster");
    unit_fails(qcow2_l2_decode(&h, entry, 0, 512, 0x600, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 512: found 0x4000000000000600,"
               " expected compressed data to begin inside the file");
    unit_fails(
        qcow2_l2_decode(&h, entry | 1ull << 56, 0, 0, IMG_OFF_MAX, &e, &err),
        &err, IMG_CORRUPT,
        "L2 entry for guest offset 0: found 0x4100000000000600,"
        " expected offset bits above 55 to be 0");
    unit_fails(qcow2_l2_decode(&data, entry, 0, 0, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 0: found 0x4000000000000600,"
               " expected no compressed cluster with an external data file");
    unit_fails(qcow2_l2_decode(&ext, entry, 1, 0, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 0: found 0x4000000000000600,"
               " expected no subclusters for a compressed cluster");
    unit_ok(qcow2_l2_decode(&ext, entry, 0, 0, FILE_LEN, &e, &err), &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_COMPRESSED);
}
END_TEST

START_TEST(test_data_file)
{
    struct qcow2_header h = sample_decoded(3, 16, QCOW2_INCOMPAT_DATA_FILE);
    struct qcow2_l2_entry e;

    unit_ok(qcow2_l2_decode(&h, COPIED, 0, 0, FILE_LEN, &e, &err), &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_DATA);
    ck_assert(e.has_host && e.is_copied);
    ck_assert_uint_eq(e.host_off, 0);
    unit_ok(qcow2_l2_decode(&h, 0, 0, 0, FILE_LEN, &e, &err), &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_UNALLOCATED);
    /* As QEMU has it, a zero cluster at offset 0 is a plain one. */
    unit_ok(qcow2_l2_decode(&h, COPIED | 1, 0, 0, FILE_LEN, &e, &err), &err);
    ck_assert_int_eq(e.kind, QCOW2_CLUSTER_ZERO);
    ck_assert(!e.has_host);

    /* Anywhere in the cluster that the entry is for. */
    unit_ok(
        qcow2_l2_decode(&h, COPIED | 0x20000, 0, 0x2fe00, FILE_LEN, &e, &err),
        &err);
    ck_assert_uint_eq(e.host_off, 0x20000);
    unit_fails(
        qcow2_l2_decode(&h, COPIED | 0x20000, 0, 0x30000, FILE_LEN, &e, &err),
        &err, IMG_CORRUPT,
        "L2 entry for guest offset 196608: found 0x8000000000020000,"
        " expected the guest's offset in the external data file");
    unit_fails(qcow2_l2_decode(&h, COPIED, 0, 0x10000, FILE_LEN, &e, &err),
               &err, IMG_CORRUPT,
               "L2 entry for guest offset 65536: found 0x8000000000000000,"
               " expected the guest's offset in the external data file");
}
END_TEST

START_TEST(test_extended_kinds)
{
    struct qcow2_header h = sample_decoded(3, 16, QCOW2_INCOMPAT_EXTENDED_L2);
    static const struct {
        uint64_t entry, bitmap;
        enum qcow2_cluster_kind kind;
    } cases[] = {
        {0, 0, QCOW2_CLUSTER_UNALLOCATED},
        {0x50000, 0, QCOW2_CLUSTER_UNALLOCATED},
        {0x50000, 0x00000000ffffffff, QCOW2_CLUSTER_DATA},
        {0, 0xffffffff00000000, QCOW2_CLUSTER_ZERO},
        {0x50000, 0xffffffff00000000, QCOW2_CLUSTER_ZERO},
        {0x50000, 0xfffffffe00000001, QCOW2_CLUSTER_MIXED},
        {0x50000, 0x0000000000000001, QCOW2_CLUSTER_MIXED},
        {0, 0x8000000000000000, QCOW2_CLUSTER_MIXED},
        /* Bit 0 means nothing here. */
        {0x50001, 0x00000000ffffffff, QCOW2_CLUSTER_DATA},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct qcow2_l2_entry e;

        unit_ok(qcow2_l2_decode(&h, cases[i].entry, cases[i].bitmap, 0,
                                FILE_LEN, &e, &err),
                &err);
        ck_assert_int_eq(e.kind, cases[i].kind);
        ck_assert_int_eq(e.has_host, cases[i].entry != 0);
        ck_assert_uint_eq(e.alloc, (uint32_t)cases[i].bitmap);
        ck_assert_uint_eq(e.zero, cases[i].bitmap >> 32);
    }
}
END_TEST

START_TEST(test_extended_refused)
{
    struct qcow2_header h = sample_decoded(3, 16, QCOW2_INCOMPAT_EXTENDED_L2);
    struct qcow2_l2_entry e;

    unit_fails(
        qcow2_l2_decode(&h, 0x50000, 0x0000001000000010, 0, FILE_LEN, &e, &err),
        &err, IMG_CORRUPT,
        "L2 entry for guest offset 0: found subcluster bitmap"
        " 0x0000001000000010, expected no subcluster both allocated and"
        " zero");
    unit_fails(qcow2_l2_decode(&h, 0, 1, 0, FILE_LEN, &e, &err), &err,
               IMG_CORRUPT,
               "L2 entry for guest offset 0: found 0x0000000000000000,"
               " expected a host offset for the allocated subclusters");
}
END_TEST

static void expect_run(const struct qcow2_l2_entry *e, uint32_t idx,
                       enum qcow2_cluster_kind kind, uint32_t want)
{
    uint32_t run = 0;

    ck_assert_int_eq(qcow2_l2_subcluster_run(e, idx, &run), kind);
    ck_assert_uint_eq(run, want);
}

START_TEST(test_subcluster_runs)
{
    struct qcow2_l2_entry mixed = {
        .kind = QCOW2_CLUSTER_MIXED, .alloc = 0x80000007, .zero = 0x00000ff0};
    struct qcow2_l2_entry all = {.kind = QCOW2_CLUSTER_DATA,
                                 .alloc = UINT32_MAX};
    struct qcow2_l2_entry none = {.kind = QCOW2_CLUSTER_UNALLOCATED};
    struct qcow2_l2_entry packed = {.kind = QCOW2_CLUSTER_COMPRESSED};

    expect_run(&mixed, 0, QCOW2_CLUSTER_DATA, 3);
    expect_run(&mixed, 2, QCOW2_CLUSTER_DATA, 1);
    expect_run(&mixed, 3, QCOW2_CLUSTER_UNALLOCATED, 1);
    expect_run(&mixed, 4, QCOW2_CLUSTER_ZERO, 8);
    expect_run(&mixed, 11, QCOW2_CLUSTER_ZERO, 1);
    expect_run(&mixed, 12, QCOW2_CLUSTER_UNALLOCATED, 19);
    expect_run(&mixed, 31, QCOW2_CLUSTER_DATA, 1);
    expect_run(&all, 0, QCOW2_CLUSTER_DATA, 32);
    expect_run(&all, 5, QCOW2_CLUSTER_DATA, 27);
    expect_run(&none, 0, QCOW2_CLUSTER_UNALLOCATED, 32);
    expect_run(&none, 31, QCOW2_CLUSTER_UNALLOCATED, 1);
    expect_run(&packed, 0, QCOW2_CLUSTER_COMPRESSED, 32);
    expect_run(&packed, 30, QCOW2_CLUSTER_COMPRESSED, 2);
}
END_TEST

UNIT_SUITE("qcow2_entry", test_l1, test_l1_reserved, test_l2_standard,
           test_l2_standard_refused, test_l2_reserved, test_compressed_layout,
           test_compressed_refused, test_data_file, test_extended_kinds,
           test_extended_refused, test_subcluster_runs)
