/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Header extensions, backing name and unknown features. */
#include <stdio.h>

#include <qcow2/extensions.h>

#include "qcow2_bytes.h"
#include "unit.h"

static uint8_t bytes[SAMPLE_CLUSTER_LEN];
static size_t end; /* where the next extension goes */
static struct qcow2_header header;
static struct qcow2_extensions x;
static struct img_error err;

static void start(uint32_t version)
{
    sample_header(bytes, version);
    end = version >= 3 ? 112 : 72;
}

static void add(uint32_t type, const void *data, uint32_t len)
{
    put_be(bytes, end, 4, type);
    put_be(bytes, end + 4, 4, len);
    memcpy(bytes + end + 8, data, len);
    end += 8 + (len + 7) / 8 * 8;
}

static void set_backing(const char *name, size_t off)
{
    put_be(bytes, 8, 8, off);
    put_be(bytes, 16, 4, strlen(name));
    memcpy(bytes + off, name, strlen(name));
}

static int decode_len(size_t len)
{
    unit_ok(qcow2_header_decode(bytes, sizeof(bytes), &header, &err), &err);
    return qcow2_extensions_decode(&header, bytes, len, &x, &err);
}

static void decode_ok(void)
{
    unit_ok(decode_len(sizeof(bytes)), &err);
}

/* The decode fails, says so at OFF, and keeps nothing. */
static void decode_fails(const char *text, uint64_t off)
{
    unit_fails(decode_len(sizeof(bytes)), &err, IMG_CORRUPT, text);
    ck_assert(err.has_off);
    ck_assert_uint_eq(err.off, off);
    ck_assert_ptr_null(x.backing_name);
    ck_assert_ptr_null(x.backing_format);
    ck_assert_ptr_null(x.data_file_name);
    ck_assert_ptr_null(x.features);
    ck_assert_ptr_null(x.unknown);
}

START_TEST(test_none)
{
    for (uint32_t version = 2; version <= 3; version++) {
        start(version);
        decode_ok();
        ck_assert_ptr_null(x.backing_name);
        ck_assert_ptr_null(x.backing_format);
        ck_assert_uint_eq(x.end_off, version == 2 ? 80 : 120);
        qcow2_extensions_fini(&x);
        qcow2_extensions_fini(&x); /* an empty one, again */
    }
}
END_TEST

START_TEST(test_backing)
{
    start(3);
    add(QCOW2_EXT_BACKING_FORMAT, "qcow2", 5);
    add(QCOW2_EXT_END, "", 0);
    set_backing("dir/base \n\x1b.qcow2", end);
    decode_ok();
    ck_assert_str_eq(x.backing_name, "dir/base \n\x1b.qcow2");
    ck_assert_str_eq(x.backing_format, "qcow2");
    ck_assert_uint_eq(x.backing_format_off, 120);
    ck_assert(!x.is_backing_format_hidden);
    ck_assert_uint_eq(x.end_off, end);
    qcow2_extensions_fini(&x);

    /* Version 2: the area begins at byte 72. */
    start(2);
    add(QCOW2_EXT_BACKING_FORMAT, "raw", 3);
    set_backing("b", end);
    decode_ok();
    ck_assert_str_eq(x.backing_name, "b");
    ck_assert_str_eq(x.backing_format, "raw");
    ck_assert_uint_eq(x.backing_format_off, 80);
    qcow2_extensions_fini(&x);
}
END_TEST

START_TEST(test_backing_name_limits)
{
    char name[1024];

    memset(name, 'n', sizeof(name));
    name[1023] = '\0';
    start(3);
    set_backing(name, SAMPLE_CLUSTER_LEN - 1023);
    decode_ok();
    ck_assert_str_eq(x.backing_name, name);
    qcow2_extensions_fini(&x);

    start(3);
    set_backing("abc", 4096);
    bytes[4097] = 0;
    decode_fails("backing file name: found a NUL byte after 1 bytes, expected"
                 " 3 bytes without one",
                 4097);

    /* The name stands behind the end of a file that is cut short. */
    start(3);
    set_backing("abc", 4096);
    unit_ok(decode_len(4099), &err);
    qcow2_extensions_fini(&x);
    unit_fails(decode_len(4098), &err, IMG_CORRUPT,
               "backing_file_offset: found 4096, expected the name's 3 bytes"
               " inside the file's 4098");
    unit_fails(decode_len(111), &err, IMG_CORRUPT,
               "header: found 111 bytes, expected the 112 of header_length");
}
END_TEST

/* The backing name ends the area; it must not lie inside an extension. */
START_TEST(test_backing_name_inside_extensions)
{
    start(3);
    add(0x12345678, "abcdefgh", 8);
    set_backing("e", 112 + 12);
    decode_fails("header extension 0x12345678: found length 8, expected at"
                 " most 4",
                 116);
    start(3);
    add(0x12345678, "abcdefgh", 8);
    set_backing("e", 112 + 4);
    decode_fails("header extensions: found 4 bytes at the end of the area,"
                 " expected none or at least 8",
                 112);
    /* Without an end mark the area may end right where the name begins. */
    start(3);
    add(0x12345678, "abcdefgh", 8);
    set_backing("e", end);
    decode_ok();
    ck_assert_uint_eq(x.end_off, end);
    ck_assert_uint_eq(x.unknown_nr, 1);
    qcow2_extensions_fini(&x);
    /* The padding of the last extension is not needed. */
    start(3);
    add(0x12345678, "abc", 3);
    set_backing("e", 112 + 8 + 3);
    decode_ok();
    ck_assert_uint_eq(x.end_off, 112 + 8 + 3);
    qcow2_extensions_fini(&x);
}
END_TEST

START_TEST(test_backing_format_limits)
{
    start(3);
    add(QCOW2_EXT_BACKING_FORMAT, "0123456789abcde", 15);
    decode_ok();
    ck_assert_str_eq(x.backing_format, "0123456789abcde");
    qcow2_extensions_fini(&x);

    start(3);
    add(QCOW2_EXT_BACKING_FORMAT, "0123456789abcdef", 16);
    decode_fails("backing format: found 16 bytes, expected at most 15", 116);

    start(3);
    add(QCOW2_EXT_BACKING_FORMAT, "ra\0w", 4);
    decode_fails("backing format: found a NUL byte after 2 bytes, expected 4"
                 " bytes without one",
                 122);

    start(3);
    add(QCOW2_EXT_BACKING_FORMAT, "", 0);
    decode_ok();
    ck_assert_ptr_null(x.backing_format);
    ck_assert_uint_eq(x.backing_format_off, 0);
    qcow2_extensions_fini(&x);

    start(3);
    add(QCOW2_EXT_BACKING_FORMAT, "raw", 3);
    add(QCOW2_EXT_BACKING_FORMAT, "raw", 3);
    decode_fails("header extension 0xe2792aca: found twice, expected once",
                 128);
}
END_TEST

START_TEST(test_backing_format_hidden)
{
    start(3);
    add(0x11111111, "12345678", 8);
    add(QCOW2_EXT_BACKING_FORMAT, "raw", 3);
    decode_ok();
    ck_assert(!x.is_backing_format_hidden);
    qcow2_extensions_fini(&x);

    start(3);
    add(0x11111111, "1234567", 7);
    add(QCOW2_EXT_BACKING_FORMAT, "raw", 3);
    decode_ok();
    ck_assert(x.is_backing_format_hidden);
    qcow2_extensions_fini(&x);

    /* What comes after it hides nothing. */
    start(3);
    add(QCOW2_EXT_BACKING_FORMAT, "raw", 3);
    add(0x11111111, "1234567", 7);
    decode_ok();
    ck_assert(!x.is_backing_format_hidden);
    qcow2_extensions_fini(&x);
}
END_TEST

START_TEST(test_lengths)
{
    static const uint32_t bad[] = {SAMPLE_CLUSTER_LEN - 119, 0x7fffffff,
                                   0xfffffff8, 0xfffffff9, 0xffffffff};

    /* One extension up to the very end of the cluster, without end mark. */
    start(3);
    put_be(bytes, 112, 4, 0xabcdef01);
    put_be(bytes, 116, 4, SAMPLE_CLUSTER_LEN - 120);
    decode_ok();
    ck_assert_uint_eq(x.unknown_nr, 1);
    ck_assert_uint_eq(x.unknown[0].len, SAMPLE_CLUSTER_LEN - 120);
    ck_assert_uint_eq(x.end_off, SAMPLE_CLUSTER_LEN);
    qcow2_extensions_fini(&x);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[128];

        put_be(bytes, 116, 4, bad[i]);
        snprintf(text, sizeof(text),
                 "header extension 0xabcdef01: found length %u, expected at"
                 " most 65416",
                 bad[i]);
        decode_fails(text, 116);
    }
    /* The end mark's length is bounded, too. */
    start(3);
    put_be(bytes, 116, 4, UINT32_MAX);
    decode_fails("header extension 0x00000000: found length 4294967295,"
                 " expected at most 65416",
                 116);
}
END_TEST

START_TEST(test_unknown_kept)
{
    start(3);
    add(0x11111111, "first", 5);
    add(0x22222222, "", 0);
    add(0x11111111, "again", 5); /* only known types are unique */
    decode_ok();
    ck_assert_uint_eq(x.unknown_nr, 3);
    ck_assert_uint_eq(x.unknown[0].type, 0x11111111);
    ck_assert_uint_eq(x.unknown[0].off, 120);
    ck_assert_uint_eq(x.unknown[0].len, 5);
    ck_assert_mem_eq(x.unknown[0].data, "first", 5);
    ck_assert_uint_eq(x.unknown[1].type, 0x22222222);
    ck_assert_uint_eq(x.unknown[1].len, 0);
    ck_assert_mem_eq(x.unknown[2].data, "again", 5);
    qcow2_extensions_fini(&x);
}
END_TEST

START_TEST(test_unknown_limit)
{
    start(3);
    for (unsigned i = 0; i < QCOW2_MAX_UNKNOWN_EXTENSIONS; i++) {
        add(0x33333333, "", 0);
    }
    decode_ok();
    ck_assert_uint_eq(x.unknown_nr, 1024);
    qcow2_extensions_fini(&x);
    add(0x33333333, "", 0);
    unit_fails(decode_len(sizeof(bytes)), &err, IMG_LIMIT,
               "header extensions: found more than 1024 unknown ones, expected"
               " at most 1024");
    ck_assert_uint_eq(err.off, 112 + 8 * 1024);
}
END_TEST

START_TEST(test_bitmaps)
{
    uint8_t data[24] = {0};

    /* Numbers are judged only where the autoclear bit vouches for them. */
    start(3);
    add(QCOW2_EXT_BITMAPS, data, 24);
    decode_ok();
    ck_assert(x.has_bitmaps);
    qcow2_extensions_fini(&x);

    start(3);
    add(QCOW2_EXT_BITMAPS, data, 23);
    decode_fails("bitmaps extension: found 23 bytes, expected 24", 116);

    start(3);
    add(QCOW2_EXT_BITMAPS, data, 24);
    add(QCOW2_EXT_BITMAPS, data, 24);
    decode_fails("header extension 0x23852875: found twice, expected once",
                 144);

    put_be(data, 4, 4, 0x100);
    start(3);
    add(QCOW2_EXT_BITMAPS, data, 24);
    decode_fails("bitmaps extension, reserved field: found 0x100, expected 0",
                 124);
}
END_TEST

/* A bitmaps extension in an image whose autoclear bit says it is good. */
static void add_bitmaps(uint32_t nr, uint64_t len, uint64_t off)
{
    uint8_t data[24] = {0};

    put_be(data, 0, 4, nr);
    put_be(data, 8, 8, len);
    put_be(data, 16, 8, off);
    start(3);
    put_be(bytes, 88, 8, QCOW2_AUTOCLEAR_BITMAPS);
    add(QCOW2_EXT_BITMAPS, data, 24);
}

START_TEST(test_bitmaps_limits)
{
    add_bitmaps(1, 1, 65536);
    decode_ok();
    qcow2_extensions_fini(&x);
    add_bitmaps(65535, 65535 * 1024, 65536);
    decode_ok();
    ck_assert_uint_eq(x.bitmaps_nr, 65535);
    ck_assert_uint_eq(x.bitmap_directory_len, 65535 * 1024);
    ck_assert_uint_eq(x.bitmap_directory_off, 65536);
    qcow2_extensions_fini(&x);

    add_bitmaps(0, 32, 65536);
    decode_fails("nb_bitmaps: found 0, expected 1 to 65535", 120);
    add_bitmaps(65536, 32, 65536);
    decode_fails("nb_bitmaps: found 65536, expected 1 to 65535", 120);
    add_bitmaps(1, 0, 65536);
    decode_fails("bitmap_directory_size: found 0, expected 1 to 67107840", 128);
    add_bitmaps(1, 65535 * 1024 + 1, 65536);
    decode_fails("bitmap_directory_size: found 67107841, expected 1 to"
                 " 67107840",
                 128);
    add_bitmaps(1, 32, 0);
    decode_fails("bitmap_directory_offset: found 0, expected a multiple of the"
                 " cluster size 65536, not 0 and below 2^63",
                 136);
    add_bitmaps(1, 32, 65537);
    decode_fails("bitmap_directory_offset: found 65537, expected a multiple of"
                 " the cluster size 65536, not 0 and below 2^63",
                 136);
    add_bitmaps(1, 32, 0x7fffffffffff0000);
    decode_ok();
    qcow2_extensions_fini(&x);
    add_bitmaps(1, 65536, 0x7fffffffffff0000);
    decode_fails("bitmap_directory_offset: found 9223372036854710272, expected"
                 " a multiple of the cluster size 65536, not 0 and below 2^63",
                 136);
}
END_TEST

static void add_crypto(uint64_t off, uint64_t len, uint32_t data_len)
{
    uint8_t data[24] = {0};

    put_be(data, 0, 8, off);
    put_be(data, 8, 8, len);
    start(3);
    put_be(bytes, 32, 4, QCOW2_CRYPT_LUKS);
    add(QCOW2_EXT_CRYPTO, data, data_len);
}

START_TEST(test_crypto)
{
    add_crypto(0x40000, 2068480, 16);
    decode_ok();
    ck_assert(x.has_crypto);
    ck_assert_uint_eq(x.crypto_off, 0x40000);
    ck_assert_uint_eq(x.crypto_len, 2068480);
    qcow2_extensions_fini(&x);
    add_crypto(0x10000, 16 << 20, 16);
    decode_ok();
    qcow2_extensions_fini(&x);
    add_crypto(0x10000, (16 << 20) + 1, 16);
    decode_fails("crypto header length: found 16777217, expected 1 to"
                 " 16777216",
                 128);
    add_crypto(0x10000, 0, 16);
    decode_fails("crypto header length: found 0, expected 1 to 16777216", 128);
    add_crypto(0, 1, 16);
    decode_fails("crypto header offset: found 0, expected a multiple of the"
                 " cluster size 65536, not 0 and below 2^63",
                 120);
    add_crypto(0x10200, 1, 16);
    decode_fails("crypto header offset: found 66048, expected a multiple of"
                 " the cluster size 65536, not 0 and below 2^63",
                 120);
    add_crypto(0x10000, 1, 15);
    decode_fails("crypto header pointer: found 15 bytes, expected 16", 116);
    add_crypto(0x10000, 1, 17);
    decode_fails("crypto header pointer: found 17 bytes, expected 16", 116);
    add_crypto(0x10000, 1, 16);
    add(QCOW2_EXT_CRYPTO, bytes + 120, 16);
    decode_fails("header extension 0x0537be77: found twice, expected once",
                 136);
    add_crypto(0x10000, 1, 16);
    put_be(bytes, 32, 4, QCOW2_CRYPT_AES);
    decode_fails("crypto header pointer: found one with crypt_method 1,"
                 " expected it only with 2 (LUKS)",
                 112);
    start(3);
    put_be(bytes, 32, 4, QCOW2_CRYPT_LUKS);
    decode_fails("crypto header pointer: found none, expected one with"
                 " crypt_method 2 (LUKS)",
                 32);
}
END_TEST

START_TEST(test_data_file)
{
    start(3);
    put_be(bytes, 72, 8, QCOW2_INCOMPAT_DATA_FILE);
    add(QCOW2_EXT_DATA_FILE, "d.raw", 5);
    decode_ok();
    ck_assert_str_eq(x.data_file_name, "d.raw");
    qcow2_extensions_fini(&x);

    add(QCOW2_EXT_DATA_FILE, "e.raw", 5);
    decode_fails("header extension 0x44415441: found twice, expected once",
                 128);

    start(3);
    put_be(bytes, 72, 8, QCOW2_INCOMPAT_DATA_FILE);
    add(QCOW2_EXT_DATA_FILE, "", 0);
    decode_fails("data file name: found 0 bytes, expected at least 1", 116);

    start(3);
    put_be(bytes, 72, 8, QCOW2_INCOMPAT_DATA_FILE);
    add(QCOW2_EXT_DATA_FILE, "d\0e", 3);
    decode_fails("data file name: found a NUL byte after 1 bytes, expected 3"
                 " bytes without one",
                 121);

    start(3);
    add(QCOW2_EXT_DATA_FILE, "d.raw", 5);
    decode_fails("data file name: found one, expected none without"
                 " incompatible feature bit 2",
                 112);
}
END_TEST

static void add_features(uint32_t nr, uint32_t extra)
{
    static uint8_t table[(QCOW2_MAX_FEATURE_NAMES + 1) * 48 + 48];

    for (uint32_t i = 0; i < nr; i++) {
        uint8_t *entry = table + (size_t)i * 48;

        entry[0] = (uint8_t)(i % 3);
        entry[1] = (uint8_t)(i & 63);
        memset(entry + 2, 'a' + (int)(i % 26), 46);
    }
    add(QCOW2_EXT_FEATURE_NAMES, table, nr * 48 + extra);
}

START_TEST(test_feature_names)
{
    start(3);
    add_features(2, 47);
    decode_ok();
    ck_assert_uint_eq(x.features_nr, 2);
    ck_assert_uint_eq(x.features[1].kind, QCOW2_FEATURE_COMPATIBLE);
    ck_assert_uint_eq(x.features[1].bit, 1);
    ck_assert_uint_eq(strlen(x.features[1].name), 46);
    qcow2_extensions_fini(&x);

    start(3);
    add_features(0, 0);
    decode_ok();
    ck_assert_uint_eq(x.features_nr, 0);
    qcow2_extensions_fini(&x);

    start(3);
    add_features(QCOW2_MAX_FEATURE_NAMES, 0);
    decode_ok();
    ck_assert_uint_eq(x.features_nr, 1024);
    qcow2_extensions_fini(&x);

    start(3);
    add_features(QCOW2_MAX_FEATURE_NAMES + 1, 0);
    unit_fails(decode_len(sizeof(bytes)), &err, IMG_LIMIT,
               "feature name table: found 1025 names, expected at most 1024");
    ck_assert_uint_eq(err.off, 116);

    start(3);
    add_features(1, 0);
    add_features(1, 0);
    decode_fails("header extension 0x6803f857: found twice, expected once",
                 112 + 56);
}
END_TEST

START_TEST(test_features_check)
{
    struct qcow2_feature_name names[] = {
        {QCOW2_FEATURE_COMPATIBLE, 5, "not this one"},
        {QCOW2_FEATURE_INCOMPATIBLE, 5, "shiny"},
        {QCOW2_FEATURE_INCOMPATIBLE, 6, "a\nb"},
    };
    struct qcow2_extensions known = {.features = names, .features_nr = 3};
    struct qcow2_extensions none = {0};
    struct qcow2_header h = {.incompatible = 0x1f};

    unit_ok(qcow2_features_check(&h, &none, &err), &err);
    h.incompatible = 0x20;
    unit_fails(qcow2_features_check(&h, &none, &err), &err, IMG_UNSUPPORTED,
               "incompatible_features: found unknown bit 5, expected only bits"
               " 0 to 4");
    ck_assert_uint_eq(err.off, 72);
    unit_fails(qcow2_features_check(&h, &known, &err), &err, IMG_UNSUPPORTED,
               "incompatible_features: found unknown bit 5 (shiny), expected"
               " only bits 0 to 4");
    h.incompatible = 1ull << 63 | 0x60;
    unit_fails(qcow2_features_check(&h, &known, &err), &err, IMG_UNSUPPORTED,
               "incompatible_features: found unknown bit 5 (shiny),"
               " 6 (a\\x0ab), 63, expected only bits 0 to 4");
    h.incompatible = UINT64_MAX;
    unit_fails(qcow2_features_check(&h, &none, &err), &err, IMG_UNSUPPORTED,
               "incompatible_features: found unknown bit 5, 6, 7 and 56 more,"
               " expected only bits 0 to 4");
}
END_TEST

/* The longest names, all of bytes that must be escaped. */
START_TEST(test_features_check_long_names)
{
    struct qcow2_feature_name names[3];
    struct qcow2_extensions known = {.features = names, .features_nr = 3};
    struct qcow2_header h = {.incompatible = UINT64_MAX};

    memset(names, 0x01, sizeof(names));
    for (uint8_t i = 0; i < 3; i++) {
        names[i].kind = QCOW2_FEATURE_INCOMPATIBLE;
        names[i].bit = (uint8_t)(5 + i);
        names[i].name[46] = '\0';
    }
    img_error_clear(&err);
    ck_assert_int_eq(qcow2_features_check(&h, &known, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "found unknown bit 5 (\\x01\\x01"));
    ck_assert_ptr_nonnull(strstr(err.text, "\\x01), 7 (\\x01"));
    ck_assert_ptr_nonnull(
        strstr(err.text, "\\x01) and 56 more, expected only bits 0 to 4"));
}
END_TEST

UNIT_SUITE("qcow2_extensions", test_none, test_backing,
           test_backing_name_limits, test_backing_name_inside_extensions,
           test_backing_format_limits, test_backing_format_hidden, test_lengths,
           test_unknown_kept, test_unknown_limit, test_bitmaps,
           test_bitmaps_limits, test_crypto, test_data_file, test_feature_names,
           test_features_check, test_features_check_long_names)
