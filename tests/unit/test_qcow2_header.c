/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The header decoder: each limit at, one below and one above. */
#include <inttypes.h>
#include <stdio.h>

#include "qcow2_bytes.h"
#include "unit.h"

struct patch {
    uint32_t off, width;
    uint64_t value;
};

/* A good header with some fields changed; TEXT is NULL when it stays good. */
struct header_case {
    uint32_t version;
    struct patch patches[5]; /* ended by width 0 */
    const char *text;
    uint64_t off;
};

static uint8_t bytes[SAMPLE_CLUSTER_LEN];

static void run_case(const struct header_case *c, size_t idx)
{
    struct qcow2_header h;
    struct img_error err = {0};
    int ret;

    sample_header(bytes, c->version);
    for (const struct patch *p = c->patches; p->width != 0; p++) {
        put_be(bytes, p->off, p->width, p->value);
    }
    ret = qcow2_header_decode(bytes, sizeof(bytes), &h, &err);
    if (c->text == NULL) {
        ck_assert_msg(ret == 0, "case %zu: %s", idx, err.text);
        return;
    }
    ck_assert_msg(ret == -1, "case %zu was accepted", idx);
    ck_assert_str_eq(err.text, c->text);
    ck_assert_int_eq((int)err.code, IMG_CORRUPT);
    ck_assert(err.has_off);
    ck_assert_uint_eq(err.off, c->off);
}

#define RUN_CASES(cases)                                                       \
    for (size_t i = 0; i < sizeof(cases) / sizeof((cases)[0]); i++) {          \
        run_case(&(cases)[i], i);                                              \
    }

/* Fields, as patches. */
#define BACKING_OFF(v)                                                         \
    {                                                                          \
        8, 8, v                                                                \
    }
#define BACKING_LEN(v)                                                         \
    {                                                                          \
        16, 4, v                                                               \
    }
#define CLUSTER_BITS(v)                                                        \
    {                                                                          \
        20, 4, v                                                               \
    }
#define SIZE(v)                                                                \
    {                                                                          \
        24, 8, v                                                               \
    }
#define CRYPT(v)                                                               \
    {                                                                          \
        32, 4, v                                                               \
    }
#define L1_SIZE(v)                                                             \
    {                                                                          \
        36, 4, v                                                               \
    }
#define L1_OFF(v)                                                              \
    {                                                                          \
        40, 8, v                                                               \
    }
#define REFTABLE_OFF(v)                                                        \
    {                                                                          \
        48, 8, v                                                               \
    }
#define REFTABLE_CLUSTERS(v)                                                   \
    {                                                                          \
        56, 4, v                                                               \
    }
#define SNAPSHOTS_NR(v)                                                        \
    {                                                                          \
        60, 4, v                                                               \
    }
#define SNAPSHOTS_OFF(v)                                                       \
    {                                                                          \
        64, 8, v                                                               \
    }
#define INCOMPATIBLE(v)                                                        \
    {                                                                          \
        72, 8, v                                                               \
    }
#define COMPATIBLE(v)                                                          \
    {                                                                          \
        80, 8, v                                                               \
    }
#define AUTOCLEAR(v)                                                           \
    {                                                                          \
        88, 8, v                                                               \
    }
#define ORDER(v)                                                               \
    {                                                                          \
        96, 4, v                                                               \
    }
#define HEADER_LEN(v)                                                          \
    {                                                                          \
        100, 4, v                                                              \
    }
#define COMPRESSION(v)                                                         \
    {                                                                          \
        104, 1, v                                                              \
    }

START_TEST(test_good_headers)
{
    struct qcow2_header h;
    struct img_error err = {0};

    sample_header(bytes, 3);
    unit_ok(qcow2_header_decode(bytes, sizeof(bytes), &h, &err), &err);
    ck_assert_uint_eq(h.version, 3);
    ck_assert_uint_eq(h.cluster_len, 65536);
    ck_assert_uint_eq(h.l2_entry_len, 8);
    ck_assert_uint_eq(h.l2_entries, 8192);
    ck_assert_uint_eq(h.l2_covers_len, 512u << 20);
    ck_assert_uint_eq(h.subcluster_len, 65536);
    ck_assert_uint_eq(h.virtual_len, 1 << 20);
    ck_assert_uint_eq(h.l1_entries, 1);
    ck_assert_uint_eq(h.l1_off, 0x30000);
    ck_assert_uint_eq(h.reftable_off, 0x10000);
    ck_assert_uint_eq(h.reftable_clusters, 1);
    ck_assert_uint_eq(h.header_len, 112);
    ck_assert(!h.has_extended_l2 && !h.has_data_file && !h.is_data_file_raw);

    /* Version 2: what stands where version 3 has its fields means nothing. */
    sample_header(bytes, 2);
    memset(bytes + 72, 0xff, 40);
    unit_ok(qcow2_header_decode(bytes, 72, &h, &err), &err);
    ck_assert_uint_eq(h.header_len, 72);
    ck_assert_uint_eq(h.refcount_order, 4);
    ck_assert_uint_eq(h.incompatible | h.compatible | h.autoclear, 0);
    ck_assert_uint_eq(h.compression, QCOW2_COMPRESSION_ZLIB);
    unit_ok(qcow2_header_decode(bytes, sizeof(bytes), &h, &err), &err);
}
END_TEST

START_TEST(test_extended_l2_geometry)
{
    struct qcow2_header h;
    struct img_error err = {0};

    sample_header(bytes, 3);
    put_be(bytes, 72, 8, QCOW2_INCOMPAT_EXTENDED_L2);
    unit_ok(qcow2_header_decode(bytes, sizeof(bytes), &h, &err), &err);
    ck_assert(h.has_extended_l2);
    ck_assert_uint_eq(h.l2_entry_len, 16);
    ck_assert_uint_eq(h.l2_entries, 4096);
    ck_assert_uint_eq(h.l2_covers_len, 256u << 20);
    ck_assert_uint_eq(h.subcluster_len, 2048);
}
END_TEST

START_TEST(test_start)
{
    struct qcow2_header h;
    struct img_error err = {0};

    sample_header(bytes, 3);
    unit_fails(qcow2_header_decode(bytes, 3, &h, &err), &err, IMG_FORMAT,
               "magic: found 3 bytes, expected 4");
    unit_fails(qcow2_header_decode(bytes, 7, &h, &err), &err, IMG_CORRUPT,
               "header: found 7 bytes, expected at least 72");
    unit_fails(qcow2_header_decode(bytes, 103, &h, &err), &err, IMG_CORRUPT,
               "header: found 103 bytes, expected at least 104 in version 3");
    unit_fails(qcow2_header_decode(bytes, 104, &h, &err), &err, IMG_CORRUPT,
               "header: found 104 bytes, expected the 112 of header_length");
    unit_ok(qcow2_header_decode(bytes, 112, &h, &err), &err);
    put_be(bytes, 100, 4, 104);
    unit_ok(qcow2_header_decode(bytes, 104, &h, &err), &err);

    sample_header(bytes, 2);
    unit_fails(qcow2_header_decode(bytes, 71, &h, &err), &err, IMG_CORRUPT,
               "header: found 71 bytes, expected at least 72 in version 2");
    put_be(bytes, 4, 4, 1);
    unit_fails(qcow2_header_decode(bytes, 4096, &h, &err), &err,
               IMG_UNSUPPORTED, "version: found 1, expected 2 or 3");
    ck_assert_uint_eq(err.off, 4);
    put_be(bytes, 4, 4, 4);
    unit_fails(qcow2_header_decode(bytes, 4096, &h, &err), &err,
               IMG_UNSUPPORTED, "version: found 4, expected 2 or 3");
    put_be(bytes, 0, 4, 0x514649fa);
    unit_fails(qcow2_header_decode(bytes, 4096, &h, &err), &err, IMG_FORMAT,
               "magic: found 0x514649fa, expected 0x514649fb");
}
END_TEST

START_TEST(test_cluster_bits)
{
    static const struct header_case cases[] = {
        {2, {CLUSTER_BITS(8)}, "cluster_bits: found 8, expected 9 to 21", 20},
        {2,
         {CLUSTER_BITS(9), L1_SIZE(32), L1_OFF(0x600), REFTABLE_OFF(0x200)},
         NULL,
         0},
        {3,
         {CLUSTER_BITS(21), L1_OFF(6 << 20), REFTABLE_OFF(2 << 20)},
         NULL,
         0},
        {3, {CLUSTER_BITS(22)}, "cluster_bits: found 22, expected 9 to 21", 20},
        {3, {CLUSTER_BITS(0)}, "cluster_bits: found 0, expected 9 to 21", 20},
        {3,
         {CLUSTER_BITS(UINT32_MAX)},
         "cluster_bits: found 4294967295, expected 9 to 21",
         20},
        {3,
         {CLUSTER_BITS(13), INCOMPATIBLE(16)},
         "cluster_bits: found 13, expected 14 to 21 with extended L2 entries",
         20},
        {3, {CLUSTER_BITS(14), INCOMPATIBLE(16)}, NULL, 0},
    };

    RUN_CASES(cases);
}
END_TEST

START_TEST(test_header_length)
{
    static const char expected[] =
        "header_length: found %u, expected a multiple of 8 from 104 to the"
        " cluster size 65536";
    static const uint32_t bad[] = {0, 72, 96, 103, 105, 108, 111, 113, 65544};
    static const struct header_case good[] = {
        {3, {HEADER_LEN(104)}, NULL, 0},
        {3, {HEADER_LEN(112)}, NULL, 0},
        {3, {HEADER_LEN(120)}, NULL, 0},
        {3, {HEADER_LEN(65536)}, NULL, 0},
    };

    RUN_CASES(good);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[128];
        struct header_case c = {3, {HEADER_LEN(bad[i])}, text, 100};

        snprintf(text, sizeof(text), expected, bad[i]);
        run_case(&c, i);
    }
}
END_TEST

START_TEST(test_compression)
{
    static const struct header_case cases[] = {
        {3, {INCOMPATIBLE(8), COMPRESSION(1)}, NULL, 0},
        {3,
         {INCOMPATIBLE(8)},
         "compression_type: found 0, expected 1 as incompatible feature bit 3"
         " is set",
         104},
        {3,
         {COMPRESSION(1)},
         "compression_type: found 1, expected 0 as incompatible feature bit 3"
         " is clear",
         104},
        {3,
         {INCOMPATIBLE(8), COMPRESSION(2)},
         "compression_type: found 2, expected 0 (zlib) or 1 (zstd)",
         104},
        /* A header of 104 bytes has no such field: it is an extension. */
        {3, {HEADER_LEN(104), COMPRESSION(1)}, NULL, 0},
        {3,
         {HEADER_LEN(104), INCOMPATIBLE(8), COMPRESSION(1)},
         "compression_type: found 0, expected 1 as incompatible feature bit 3"
         " is set",
         104},
        {3, {{105, 1, 7}}, "header padding: found 0x07, expected 0", 105},
        {3, {{111, 1, 255}}, "header padding: found 0xff, expected 0", 111},
        {3, {HEADER_LEN(120), {112, 8, UINT64_MAX}}, NULL, 0},
    };

    RUN_CASES(cases);
}
END_TEST

START_TEST(test_features)
{
    static const struct header_case cases[] = {
        {3, {INCOMPATIBLE(4), AUTOCLEAR(3)}, NULL, 0},
        {3,
         {AUTOCLEAR(2)},
         "autoclear_features: found bit 1 (raw external data), expected it"
         " only with incompatible feature bit 2 (external data file)",
         88},
        /* Unknown bits: incompatible ones are qcow2_features_check's. */
        {3, {INCOMPATIBLE(1ull << 63), COMPATIBLE(~1ull)}, NULL, 0},
        {3, {AUTOCLEAR(~2ull)}, NULL, 0},
        {3, {ORDER(0)}, NULL, 0},
        {3, {ORDER(6)}, NULL, 0},
        {3, {ORDER(7)}, "refcount_order: found 7, expected at most 6", 96},
        {3, {CRYPT(1)}, NULL, 0},
        {3, {CRYPT(2)}, NULL, 0},
        {2,
         {CRYPT(3)},
         "crypt_method: found 3, expected 0 (none), 1 (AES) or 2 (LUKS)",
         32},
    };

    RUN_CASES(cases);
}
END_TEST

START_TEST(test_backing)
{
    static const struct header_case cases[] = {
        {3, {BACKING_LEN(99999)}, NULL, 0}, /* no offset: no name */
        {3, {BACKING_OFF(112), BACKING_LEN(1)}, NULL, 0},
        {3, {BACKING_OFF(112), BACKING_LEN(1023)}, NULL, 0},
        {3, {BACKING_OFF(65535), BACKING_LEN(1)}, NULL, 0},
        {2, {BACKING_OFF(72), BACKING_LEN(1)}, NULL, 0},
        {3,
         {BACKING_OFF(112)},
         "backing_file_size: found 0, expected 1 to 1023 as"
         " backing_file_offset is set",
         16},
        {3,
         {BACKING_OFF(112), BACKING_LEN(1024)},
         "backing_file_size: found 1024, expected 1 to 1023 as"
         " backing_file_offset is set",
         16},
        {3,
         {BACKING_OFF(111), BACKING_LEN(1)},
         "backing_file_offset: found 111, expected at least the header's"
         " length 112",
         8},
        {2,
         {BACKING_OFF(71), BACKING_LEN(1)},
         "backing_file_offset: found 71, expected at least the header's"
         " length 72",
         8},
        {3,
         {BACKING_OFF(65535), BACKING_LEN(2)},
         "backing_file_offset: found 65535, expected the name's 2 bytes to"
         " end in the first cluster (65536 bytes)",
         8},
        {3,
         {BACKING_OFF(UINT64_MAX), BACKING_LEN(1)},
         "backing_file_offset: found 18446744073709551615, expected the name's"
         " 1 bytes to end in the first cluster (65536 bytes)",
         8},
    };

    RUN_CASES(cases);
}
END_TEST

#define TABLE_TEXT(field, found)                                               \
    field ": found " found                                                     \
          ", expected a multiple of the cluster size 65536, not 0 and below"   \
          " 2^63"

START_TEST(test_size_and_l1)
{
    static const struct header_case cases[] = {
        /* An image without bytes has no table, or an unused one. */
        {3, {SIZE(0), L1_SIZE(0), L1_OFF(0)}, NULL, 0},
        {3, {SIZE(0), L1_SIZE(0)}, NULL, 0},
        {3, {SIZE(1)}, NULL, 0},
        {3, {SIZE(512u << 20)}, NULL, 0},
        {3,
         {SIZE((512u << 20) + 1)},
         "l1_size: found 1, expected at least 2 entries for the size and at"
         " most 4194304",
         36},
        {3,
         {L1_SIZE(0)},
         "l1_size: found 0, expected at least 1 entries for the size and at"
         " most 4194304",
         36},
        {3, {L1_SIZE(4194304)}, NULL, 0},
        {3,
         {L1_SIZE(4194305)},
         "l1_size: found 4194305, expected at least 1 entries for the size and"
         " at most 4194304",
         36},
        /* 2^63 - 512 needs an L1 table that fits only with large clusters. */
        {3,
         {CLUSTER_BITS(21), SIZE(0x7ffffffffffffe00), L1_SIZE(4194304),
          L1_OFF(6 << 20)},
         "l1_size: found 4194304, expected at least 16777216 entries for the"
         " size and at most 4194304",
         36},
        {3,
         {SIZE(0x7ffffffffffffe01)},
         "size: found 9223372036854775297, expected at most"
         " 9223372036854775296",
         24},
        {3,
         {SIZE(UINT64_MAX)},
         "size: found 18446744073709551615, expected at most"
         " 9223372036854775296",
         24},
        {3, {L1_OFF(0)}, TABLE_TEXT("l1_table_offset", "0"), 40},
        {3, {L1_OFF(0x30200)}, TABLE_TEXT("l1_table_offset", "197120"), 40},
        {3, {L1_OFF(0x7fffffffffff0000)}, NULL, 0},
        {3,
         {L1_OFF(0x7fffffffffff0000), L1_SIZE(8192)},
         TABLE_TEXT("l1_table_offset", "9223372036854710272"),
         40},
        {3,
         {L1_OFF(1ull << 63)},
         TABLE_TEXT("l1_table_offset", "9223372036854775808"),
         40},
    };

    RUN_CASES(cases);
}
END_TEST

START_TEST(test_reftable)
{
    static const struct header_case cases[] = {
        {3, {REFTABLE_CLUSTERS(128)}, NULL, 0},
        {3,
         {REFTABLE_CLUSTERS(0)},
         "refcount_table_clusters: found 0, expected 1 to 128",
         56},
        {3,
         {REFTABLE_CLUSTERS(129)},
         "refcount_table_clusters: found 129, expected 1 to 128",
         56},
        {3,
         {REFTABLE_CLUSTERS(UINT32_MAX)},
         "refcount_table_clusters: found 4294967295, expected 1 to 128",
         56},
        {3, {REFTABLE_OFF(0)}, TABLE_TEXT("refcount_table_offset", "0"), 48},
        {3,
         {REFTABLE_OFF(0x10001)},
         TABLE_TEXT("refcount_table_offset", "65537"),
         48},
        {3, {REFTABLE_OFF(0x7ffffffffffe0000)}, NULL, 0},
        {3,
         {REFTABLE_OFF(0x7ffffffffffe0000), REFTABLE_CLUSTERS(2)},
         TABLE_TEXT("refcount_table_offset", "9223372036854644736"),
         48},
    };

    RUN_CASES(cases);
}
END_TEST

START_TEST(test_snapshots)
{
    static const struct header_case cases[] = {
        {3, {SNAPSHOTS_NR(65536), SNAPSHOTS_OFF(0x40000)}, NULL, 0},
        {3,
         {SNAPSHOTS_NR(65537), SNAPSHOTS_OFF(0x40000)},
         "nb_snapshots: found 65537, expected at most 65536",
         60},
        {3, {SNAPSHOTS_NR(1)}, TABLE_TEXT("snapshots_offset", "0"), 64},
        {3,
         {SNAPSHOTS_NR(1), SNAPSHOTS_OFF(0x40008)},
         TABLE_TEXT("snapshots_offset", "262152"),
         64},
        {3, {SNAPSHOTS_OFF(0x40000)}, NULL, 0},
        {3,
         {SNAPSHOTS_OFF(8)},
         "snapshots_offset: found 8, expected a multiple of the cluster size"
         " 65536",
         64},
        {3,
         {SNAPSHOTS_NR(1), SNAPSHOTS_OFF(0x40000), INCOMPATIBLE(4)},
         "nb_snapshots: found 1, expected 0 with an external data file",
         60},
    };

    RUN_CASES(cases);
}
END_TEST

/* A failed decode must not leave a half-made header behind. */
START_TEST(test_failure_leaves_out_alone)
{
    struct qcow2_header h = {.version = 77};
    struct img_error err = {0};

    sample_header(bytes, 3);
    put_be(bytes, 60, 4, UINT32_MAX);
    ck_assert_int_eq(qcow2_header_decode(bytes, sizeof(bytes), &h, &err), -1);
    ck_assert_uint_eq(h.version, 77);
}
END_TEST

START_TEST(test_check_file)
{
    struct qcow2_header h;
    struct img_error err = {0};

    sample_header(bytes, 3);
    put_be(bytes, 36, 4, 8193); /* an L1 table of 64 KiB and 8 bytes */
    unit_ok(qcow2_header_decode(bytes, sizeof(bytes), &h, &err), &err);
    unit_ok(qcow2_header_check_file(&h, 0x40001, &err), &err);
    unit_fails(qcow2_header_check_file(&h, 0x40000, &err), &err, IMG_CORRUPT,
               "l1_table_offset: found a table from 196608 to 262152, expected"
               " it inside the file's 262144 bytes");
    ck_assert_uint_eq(err.off, 40);

    h.l1_entries = 0;
    unit_ok(qcow2_header_check_file(&h, 0x10001, &err), &err);
    unit_fails(qcow2_header_check_file(&h, 0x10000, &err), &err, IMG_CORRUPT,
               "refcount_table_offset: found a table from 65536 to 131072,"
               " expected it inside the file's 65536 bytes");
    ck_assert_uint_eq(err.off, 48);
    unit_fails(qcow2_header_check_file(&h, 111, &err), &err, IMG_CORRUPT,
               "header: found 111 bytes, expected the 112 of header_length");

    h.snapshots_nr = 1;
    h.snapshots_off = 0x50000;
    unit_ok(qcow2_header_check_file(&h, 0x50001, &err), &err);
    unit_fails(qcow2_header_check_file(&h, 0x50000, &err), &err, IMG_CORRUPT,
               "snapshots_offset: found 327680, expected inside the file's"
               " 327680 bytes");
    ck_assert_uint_eq(err.off, 64);
}
END_TEST

START_TEST(test_peek)
{
    sample_header(bytes, 2);
    ck_assert_uint_eq(qcow2_header_peek_cluster_len(bytes, 24), 65536);
    ck_assert_uint_eq(qcow2_header_peek_cluster_len(bytes, 23), 0);
    put_be(bytes, 20, 4, 9);
    ck_assert_uint_eq(qcow2_header_peek_cluster_len(bytes, 24), 512);
    put_be(bytes, 20, 4, 8);
    ck_assert_uint_eq(qcow2_header_peek_cluster_len(bytes, 24), 0);
    put_be(bytes, 20, 4, 21);
    ck_assert_uint_eq(qcow2_header_peek_cluster_len(bytes, 24), 2 << 20);
    put_be(bytes, 20, 4, 22);
    ck_assert_uint_eq(qcow2_header_peek_cluster_len(bytes, 24), 0);
    put_be(bytes, 0, 4, 0);
    put_be(bytes, 20, 4, 16);
    ck_assert_uint_eq(qcow2_header_peek_cluster_len(bytes, 24), 0);
}
END_TEST

UNIT_SUITE("qcow2_header", test_good_headers, test_extended_l2_geometry,
           test_start, test_cluster_bits, test_header_length, test_compression,
           test_features, test_backing, test_size_and_l1, test_reftable,
           test_snapshots, test_failure_leaves_out_alone, test_check_file,
           test_peek)
