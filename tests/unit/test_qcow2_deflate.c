/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deflating clusters: what comes out inflates to what went in, needs no more
 * window than QEMU's decoder has, and is told to be too large when it is.
 */
#include <zlib.h>
#include <zstd.h>

#include <qcow2/deflate.h>
#include <qcow2/inflate.h>

#include "random.h"
#include "unit.h"

#define CLUSTER_MAX (2u << 20)

static uint8_t plain[CLUSTER_MAX], packed[CLUSTER_MAX], out[CLUSTER_MAX];
static struct img_error err;
static struct random random_state = {7};

static const enum qcow2_effort efforts[] = {
    QCOW2_EFFORT_DEFAULT, QCOW2_EFFORT_FAST, QCOW2_EFFORT_BEST};
static const enum qcow2_compression compressions[] = {QCOW2_COMPRESSION_ZLIB,
                                                      QCOW2_COMPRESSION_ZSTD};

/* Words from afar and from near, and noise between them. */
static void fill_plain(size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t piece = 1 + random_below(&random_state, 300);
        size_t reach = at < 40000 ? at : 40000;
        size_t back = reach == 0 ? 0 : 1 + random_below(&random_state, reach);

        piece = piece < len - at ? piece : len - at;
        if (back == 0 || random_below(&random_state, 4) == 0) {
            random_bytes(&random_state, plain + at, piece);
        } else {
            for (size_t i = 0; i < piece; i++) {
                plain[at + i] = plain[at + i - back];
            }
        }
        at += piece;
    }
}

static size_t deflate_with(enum qcow2_compression compression,
                           enum qcow2_effort effort, size_t len, size_t room)
{
    struct qcow2_deflater *deflater;
    size_t got = 1;

    unit_ok(qcow2_deflater_new(compression, effort, &deflater, &err), &err);
    unit_ok(qcow2_deflate(deflater, plain, len, packed, room, &got, &err),
            &err);
    qcow2_deflater_free(deflater);
    return got;
}

/*
 * As a decoder that has but 4 KiB of what it gave out: one byte at a time, so
 * that matches can only be taken from zlib's window.
 */
static void check_window(size_t packed_len, size_t len)
{
    z_stream z = {.next_in = packed, .avail_in = (uInt)packed_len};
    int ret = Z_OK;

    ck_assert_int_eq(inflateInit2(&z, -12), Z_OK);
    for (z.next_out = out; ret == Z_OK && z.total_out < len;) {
        z.avail_out = 1;
        ret = inflate(&z, Z_SYNC_FLUSH);
    }
    if (ret == Z_OK) { /* the end is all that is left */
        z.avail_out = 0;
        ret = inflate(&z, Z_FINISH);
    }
    ck_assert_msg(ret == Z_STREAM_END, "%s", z.msg ? z.msg : "no end");
    ck_assert_uint_eq(z.total_out, len);
    ck_assert_mem_eq(out, plain, len);
    inflateEnd(&z);
}

START_TEST(test_round_trip)
{
    struct img_inflater *inflater;

    unit_ok(qcow2_inflater_new(&inflater, &err), &err);
    for (uint32_t bits = 9; bits <= 21; bits++) {
        size_t len = (size_t)1 << bits;

        fill_plain(len);
        for (size_t i = 0; i < 6; i++) {
            enum qcow2_compression compression = compressions[i / 3];
            size_t got =
                deflate_with(compression, efforts[i % 3], len, len - 1);

            if (got == 0) {
                ck_assert_uint_lt(len, 4096);
                continue;
            }
            memset(out, 0xee, len);
            unit_ok(qcow2_inflate(inflater, compression, packed, got, out, len,
                                  &err),
                    &err);
            ck_assert_mem_eq(out, plain, len);
            if (compression == QCOW2_COMPRESSION_ZLIB) {
                check_window(got, len);
            } else {
                ck_assert_uint_eq(ZSTD_findFrameCompressedSize(packed, got),
                                  got);
            }
        }
    }
    qcow2_inflater_free(inflater);
}
END_TEST

/* One deflater for many clusters: each stream stands for itself. */
START_TEST(test_reuse)
{
    for (size_t i = 0; i < 6; i++) {
        enum qcow2_effort effort = efforts[i % 3];
        struct qcow2_deflater *deflater;
        uint8_t first[65536];
        size_t len, again;

        fill_plain(65536);
        unit_ok(
            qcow2_deflater_new(compressions[i / 3], effort, &deflater, &err),
            &err);
        unit_ok(qcow2_deflate(deflater, plain, 65536, first, 65535, &len, &err),
                &err);
        ck_assert_uint_gt(len, 0);
        unit_ok(
            qcow2_deflate(deflater, plain, 65536, packed, 100, &again, &err),
            &err);
        ck_assert_uint_eq(again, 0);
        unit_ok(
            qcow2_deflate(deflater, plain, 65536, packed, 65535, &again, &err),
            &err);
        ck_assert_uint_eq(again, len);
        ck_assert_mem_eq(packed, first, len);
        qcow2_deflater_free(deflater);
    }
}
END_TEST

START_TEST(test_noise_does_not_fit)
{
    for (size_t i = 0; i < sizeof(plain); i += 8) {
        uint64_t word = random_u64(&random_state);

        memcpy(plain + i, &word, 8);
    }
    for (uint32_t bits = 9; bits <= 21; bits++) {
        size_t len = (size_t)1 << bits;

        for (size_t i = 0; i < 6; i++) {
            packed[len - 1] = 0xaa;
            ck_assert_uint_eq(
                deflate_with(compressions[i / 3], efforts[i % 3], len, len - 1),
                0);
            ck_assert_uint_eq(packed[len - 1], 0xaa);
        }
    }
}
END_TEST

/* zlib and zstd use all the room they are given; more effort is no loss. */
START_TEST(test_exact_room)
{
    fill_plain(65536);
    for (size_t i = 0; i < 2; i++) {
        size_t len =
            deflate_with(compressions[i], QCOW2_EFFORT_DEFAULT, 65536, 65535);
        size_t best =
            deflate_with(compressions[i], QCOW2_EFFORT_BEST, 65536, 65535);

        ck_assert_uint_gt(best, 0);
        ck_assert_uint_le(best, len);
        ck_assert_uint_eq(
            deflate_with(compressions[i], QCOW2_EFFORT_DEFAULT, 65536, len - 1),
            0);
    }
}
END_TEST

START_TEST(test_unknown)
{
    struct qcow2_deflater *deflater;

    unit_fails(qcow2_deflater_new((enum qcow2_compression)2,
                                  QCOW2_EFFORT_DEFAULT, &deflater, &err),
               &err, IMG_UNSUPPORTED,
               "compression_type: found 2, expected 0 or 1");
}
END_TEST

UNIT_SUITE("qcow2 deflate", test_round_trip, test_reuse,
           test_noise_does_not_fit, test_exact_room, test_unknown)
