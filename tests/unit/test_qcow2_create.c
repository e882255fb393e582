/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of new images: from text, what goes together, the header. */
#include <stdio.h>

#include <qcow2/create.h>

#include "unit.h"

static struct img_error err;
static struct qcow2_create_options options;

static void set(const char *name, const char *value)
{
    unit_ok(qcow2_create_options_set(&options, name, value, &err), &err);
}

#define set_fails(name, value, text)                                           \
    unit_fails(qcow2_create_options_set(&options, name, value, &err), &err,    \
               IMG_USAGE, text)

#define check_fails(text)                                                      \
    unit_fails(qcow2_create_options_check(&options, &err), &err, IMG_USAGE,    \
               text)

static void check_passes(void)
{
    unit_ok(qcow2_create_options_check(&options, &err), &err);
}

START_TEST(test_defaults)
{
    struct qcow2_header h;

    qcow2_create_options_init(&options);
    check_passes();
    qcow2_create_header(&options, &h);
    ck_assert_uint_eq(h.version, 3);
    ck_assert_uint_eq(h.cluster_len, 65536);
    ck_assert_uint_eq(h.refcount_order, 4);
    ck_assert_uint_eq(h.header_len, 112);
    ck_assert_uint_eq(h.l2_entries, 8192);
    ck_assert_uint_eq(h.incompatible | h.compatible | h.autoclear, 0);
    ck_assert_int_eq(qcow2_create_prealloc(&options), QCOW2_PREALLOC_OFF);
}
END_TEST

START_TEST(test_set)
{
    struct qcow2_header h;

    qcow2_create_options_init(&options);
    set("size", "10000");
    ck_assert_uint_eq(options.virtual_len, 10240);
    set("size", "1.5G");
    ck_assert_uint_eq(options.virtual_len, 3ull << 29);
    set("cluster_size", "2M");
    set("refcount_bits", "1");
    set("lazy_refcounts", "on");
    set("extended_l2", "true");
    set("compression_type", "zstd");
    set("preallocation", "full");
    set("data_file", "name");
    set("data_file_raw", "yes");
    check_passes();
    qcow2_create_header(&options, &h);
    ck_assert_uint_eq(h.cluster_bits, 21);
    ck_assert_uint_eq(h.refcount_order, 0);
    ck_assert_uint_eq(h.incompatible, QCOW2_INCOMPAT_DATA_FILE |
                                          QCOW2_INCOMPAT_COMPRESSION |
                                          QCOW2_INCOMPAT_EXTENDED_L2);
    ck_assert_uint_eq(h.compatible, QCOW2_COMPAT_LAZY_REFCOUNTS);
    ck_assert_uint_eq(h.autoclear, QCOW2_AUTOCLEAR_DATA_FILE_RAW);
    ck_assert(h.has_extended_l2 && h.has_data_file && h.is_data_file_raw);
    ck_assert_uint_eq(h.subcluster_len, 65536);
    ck_assert_int_eq(qcow2_create_prealloc(&options), QCOW2_PREALLOC_FULL);
    set("preallocation", "off");
    ck_assert_int_eq(qcow2_create_prealloc(&options), QCOW2_PREALLOC_METADATA);
    set("data_file_raw", "n");
    ck_assert_int_eq(qcow2_create_prealloc(&options), QCOW2_PREALLOC_OFF);
}
END_TEST

START_TEST(test_set_version)
{
    static const struct {
        const char *text;
        uint32_t version;
    } cases[] = {{"0.10", 2}, {"v2", 2}, {"1.1", 3}, {"v3", 3}};

    for (size_t i = 0; i < 4; i++) {
        qcow2_create_options_init(&options);
        set("compat", cases[i].text);
        ck_assert_uint_eq(options.version, cases[i].version);
    }
    set("compat", "v2");
    struct qcow2_header h;
    qcow2_create_header(&options, &h);
    ck_assert_uint_eq(h.header_len, 72);
}
END_TEST

START_TEST(test_set_refused)
{
    qcow2_create_options_init(&options);
    set_fails("compat", "0.9",
              "compat: found \"0.9\", expected 0.10 (v2) or 1.1 (v3)");
    set_fails("lazy_refcounts", "maybe",
              "lazy_refcounts: found \"maybe\", expected on or off");
    set_fails("cluster_size", "64q",
              "cluster_size: found \"64q\", expected a number below 2^32");
    set_fails("cluster_size", "4G",
              "cluster_size: found \"4G\", expected a number below 2^32");
    set_fails("size", "8E",
              "size: found \"8E\", expected bytes, or a number and one of k, M,"
              " G, T, P, E, below 2^63");
    set_fails("compression_type", "lz4",
              "compression_type: found \"lz4\", expected zlib or zstd");
    set_fails("preallocation", "on",
              "preallocation: found \"on\", expected off, metadata, falloc or"
              " full");
    set_fails("backing_file", "", "backing_file: found \"\", expected a name");
    set_fails("clustersize\n", "64k",
              "option: found \"clustersize\\x0a\", expected backing_file,"
              " backing_fmt, cluster_size, compat, compression_type, data_file,"
              " data_file_raw, extended_l2, lazy_refcounts, preallocation,"
              " refcount_bits or size");
    unit_fails(
        qcow2_create_options_set(&options, "encrypt.format", "luks", &err),
        &err, IMG_UNSUPPORTED,
        "option: found \"encrypt.format\", expected none: encrypted images"
        " cannot be made");
}
END_TEST

START_TEST(test_cluster)
{
    for (uint32_t bits = 9; bits <= 21; bits++) {
        qcow2_create_options_init(&options);
        options.cluster_len = 1u << bits;
        check_passes();
    }
    options.cluster_len = 256;
    check_fails("cluster_size: found 256, expected a power of two from 512 to"
                " 2097152");
    options.cluster_len = 3072;
    check_fails("cluster_size: found 3072, expected a power of two from 512 to"
                " 2097152");
    options.cluster_len = 4u << 20;
    check_fails("cluster_size: found 4194304, expected a power of two from 512"
                " to 2097152");
    options.cluster_len = 16384;
    options.extended_l2 = true;
    check_passes();
    options.cluster_len = 8192;
    check_fails("cluster_size: found 8192, expected a power of two from 16384"
                " to 2097152 with extended_l2=on");
}
END_TEST

START_TEST(test_version)
{
    static const struct {
        const char *name, *value, *text;
    } cases[] = {
        {"extended_l2", "on", "extended_l2=on"},
        {"lazy_refcounts", "on", "lazy_refcounts=on"},
        {"refcount_bits", "8", "refcount_bits other than 16"},
        {"data_file", "d", "data_file"},
        {"compression_type", "zstd", "compression_type other than zlib"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[200];

        qcow2_create_options_init(&options);
        set("compat", "0.10");
        check_passes();
        set(cases[i].name, cases[i].value);
        snprintf(text, sizeof(text), "compat: found 0.10 with %s, expected 1.1",
                 cases[i].text);
        check_fails(text);
    }
    options.version = 4;
    check_fails("version: found 4, expected 2 or 3");
}
END_TEST

START_TEST(test_files)
{
    qcow2_create_options_init(&options);
    set("backing_fmt", "raw");
    check_fails("backing_fmt: found one without a backing file, expected none");
    set("backing_file", "base");
    check_passes();
    set("preallocation", "metadata");
    check_fails("preallocation: found metadata with a backing file, expected"
                " off, or extended_l2=on");
    set("extended_l2", "on");
    check_passes();
    set("data_file", "d");
    check_passes();
    set("data_file_raw", "on");
    check_fails("data_file_raw: found on with a backing file, expected off:"
                " raw data cannot leave anything to it");
    qcow2_create_options_init(&options);
    set("data_file_raw", "on");
    check_fails("data_file_raw: found on without data_file, expected off");
}
END_TEST

START_TEST(test_texts)
{
    static char name[1025];

    qcow2_create_options_init(&options);
    memset(name, 'n', 1024);
    set("backing_file", name);
    check_fails("backing_file: found 1024 bytes, expected 1 to 1023");
    set("backing_file", name + 1);
    check_passes();
    set("backing_fmt", "1234567890123456");
    check_fails("backing_fmt: found 16 bytes, expected 1 to 15");
}
END_TEST

START_TEST(test_refcount_bits)
{
    qcow2_create_options_init(&options);
    for (uint32_t bits = 0; bits <= 129; bits++) {
        options.refcount_bits = bits;
        if (bits > 0 && bits <= 64 && (bits & (bits - 1)) == 0) {
            check_passes();
        } else {
            char text[100];

            snprintf(text, sizeof(text),
                     "refcount_bits: found %u, expected a power of two from 1"
                     " to 64",
                     bits);
            check_fails(text);
        }
    }
}
END_TEST

/* As long as the L1 table may be, and a sector longer. */
START_TEST(test_size)
{
    qcow2_create_options_init(&options);
    options.virtual_len = 513;
    check_fails("size: found 513, expected a multiple of 512 below 2^63");
    options.virtual_len = 0;
    check_passes();
    options.virtual_len = 2ull << 50;
    check_passes();
    options.virtual_len += 512;
    check_fails("size: found 2251799813685760, expected at most"
                " 2251799813685248 with cluster_size 65536");
    options.extended_l2 = true;
    options.virtual_len = 1ull << 50;
    check_passes();
    options.virtual_len += 512;
    check_fails("size: found 1125899906843136, expected at most"
                " 1125899906842624 with cluster_size 65536 and extended_l2=on");
    qcow2_create_options_init(&options);
    options.cluster_len = 512;
    options.virtual_len = 128ull << 30;
    check_passes();
    options.virtual_len += 512;
    check_fails("size: found 137438953984, expected at most 137438953472 with"
                " cluster_size 512");
}
END_TEST

UNIT_SUITE("qcow2 create options", test_defaults, test_set, test_set_version,
           test_set_refused, test_cluster, test_version, test_files, test_texts,
           test_refcount_bits, test_size)
