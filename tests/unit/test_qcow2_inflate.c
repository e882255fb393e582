/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inflating clusters: streams as QEMU makes them, the odd ones that it reads,
 * and those that it refuses.
 */
#include <zlib.h>
#include <zstd.h>

#include <qcow2/inflate.h>

#include "qcow2_bytes.h"
#include "unit.h"

#define CLUSTER 65536u

static uint8_t plain[CLUSTER + 1];
static uint8_t packed[CLUSTER * 2];
static uint8_t out[CLUSTER];
static struct img_inflater *inflater;
static struct img_error err;

/* Noise, every 20,000 bytes the same: matches reach back that far. */
static void fill_plain(void)
{
    uint32_t state = 1;

    for (size_t i = 0; i < sizeof(plain); i++) {
        state = state * 1664525 + 1013904223;
        plain[i] = i < 20000 ? (uint8_t)(state >> 24) : plain[i - 20000];
    }
}

/* Something compressible within a window of 4 KiB. */
static void fill_text(void)
{
    static const char text[] = "the quick brown fox ";

    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)text[(i + i / 4096) % 20];
    }
}

static size_t deflate_raw(size_t len, int window_bits)
{
    z_stream z = {0};

    ck_assert_int_eq(
        deflateInit2(&z, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY),
        Z_OK);
    z.next_in = plain;
    z.avail_in = (uInt)len;
    z.next_out = packed;
    z.avail_out = sizeof(packed);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return sizeof(packed) - z.avail_out;
}

static int inflate_to(enum qcow2_compression compression, size_t in_len,
                      size_t out_len)
{
    memset(out, 0xee, sizeof(out));
    return qcow2_inflate(inflater, compression, packed, in_len, out, out_len,
                         &err);
}

static void setup(void)
{
    unit_ok(qcow2_inflater_new(&inflater, &err), &err);
    memset(packed, 0, sizeof(packed));
    fill_text();
}

static void finish(void)
{
    qcow2_inflater_free(inflater);
}

#define ZLIB_TEXT "compressed cluster (zlib): "
#define ZSTD_TEXT "compressed cluster (zstd): "

START_TEST(test_zlib_good)
{
    size_t len;

    setup();
    len = deflate_raw(CLUSTER, -12);
    ck_assert_uint_lt(len, CLUSTER);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZLIB, len, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);
    /* Sectors round the stored length up; what follows is another's. */
    memset(packed + len, 0xa5, 511);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZLIB, len + 511, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);
    /* Stored blocks only. */
    fill_plain();
    len = deflate_raw(4096, -12);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZLIB, len, 4096), &err);
    ck_assert_mem_eq(out, plain, 4096);
    finish();
}
END_TEST

/* Distances beyond the 4 KiB window: fine, as the output is one buffer. */
START_TEST(test_zlib_far_matches)
{
    size_t len;

    setup();
    fill_plain();
    len = deflate_raw(CLUSTER, -15);
    ck_assert_uint_lt(len, 30000); /* the matches were found */
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZLIB, len, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);
    /* The same where zlib decides, as the end of the stream is missing. */
    len = deflate_raw(CLUSTER + 1, -15);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZLIB, len, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);
    finish();
}
END_TEST

/* Full is good: the stream need not end there. */
START_TEST(test_zlib_without_end)
{
    size_t len;

    setup();
    len = deflate_raw(CLUSTER + 1, -12); /* one byte more than a cluster */
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZLIB, len, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);

    /* A stored block, and then garbage in the place of the next one. */
    fill_plain();
    packed[0] = 0;
    packed[1] = 0x00;
    packed[2] = 0x10;
    packed[3] = 0xff;
    packed[4] = 0xef;
    memcpy(packed + 5, plain, 4096);
    memset(packed + 5 + 4096, 0xff, 64);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZLIB, 5 + 4096, 4096), &err);
    ck_assert_mem_eq(out, plain, 4096);
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZLIB, 5 + 4096 + 64, 4096), &err,
               IMG_CORRUPT,
               ZLIB_TEXT "found damaged data after 4096 bytes, expected 4096"
                         " bytes");
    finish();
}
END_TEST

START_TEST(test_zlib_refused)
{
    size_t len;

    setup();
    len = deflate_raw(CLUSTER - 1, -12);
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZLIB, len, CLUSTER), &err,
               IMG_CORRUPT,
               ZLIB_TEXT "found the end after 65535 bytes, expected 65536"
                         " bytes");
    fill_plain();
    len = deflate_raw(4096, -12);
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZLIB, 1005, 4096), &err,
               IMG_CORRUPT,
               ZLIB_TEXT "found no more input after 1000 bytes, expected 4096"
                         " bytes");
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZLIB, 0, 4096), &err, IMG_CORRUPT,
               ZLIB_TEXT "found no more input after 0 bytes, expected 4096"
                         " bytes");
    packed[0] |= 6; /* block type 3 */
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZLIB, len, 4096), &err, IMG_CORRUPT,
               ZLIB_TEXT "found damaged data after 0 bytes, expected 4096"
                         " bytes");
    /* The inflater is as good as new afterwards. */
    len = deflate_raw(4096, -12);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZLIB, len, 4096), &err);
    finish();
}
END_TEST

/* A match that reaches back before the cluster. */
START_TEST(test_zlib_distance_too_far)
{
    setup();
    /* Fixed codes: match of length 3 at distance 1, first thing. */
    packed[0] = 0x03;
    packed[1] = 0x02;
    memset(packed + 2, 0, 16);
    ck_assert_int_eq(inflate_to(QCOW2_COMPRESSION_ZLIB, 18, 4096), -1);
    ck_assert_int_eq(err.code, IMG_CORRUPT);
    ck_assert_str_eq(err.text,
                     ZLIB_TEXT "found damaged data after 0 bytes, expected"
                               " 4096 bytes");
    finish();
}
END_TEST

static size_t zstd_frame(uint8_t *to, const uint8_t *from, size_t len)
{
    size_t ret = ZSTD_compress(to, sizeof(packed) / 2, from, len, 3);

    ck_assert(!ZSTD_isError(ret));
    return ret;
}

/* As a streaming encoder writes it: no content size, any window. */
static size_t zstd_stream(size_t len, int window_log)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_outBuffer o = {packed, sizeof(packed), 0};
    ZSTD_inBuffer first = {plain, len / 2, 0};
    ZSTD_inBuffer rest = {plain + len / 2, len - len / 2, 0};

    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
    ck_assert(!ZSTD_isError(ZSTD_compressStream2(c, &o, &first, ZSTD_e_flush)));
    ck_assert_uint_eq(ZSTD_compressStream2(c, &o, &rest, ZSTD_e_end), 0);
    ZSTD_freeCCtx(c);
    return o.pos;
}

START_TEST(test_zstd_good)
{
    size_t len;

    setup();
    len = zstd_frame(packed, plain, CLUSTER);
    memset(packed + len, 0xa5, 511);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZSTD, len + 511, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);

    len = zstd_stream(CLUSTER, 27);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZSTD, len, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);
    finish();
}
END_TEST

START_TEST(test_zstd_frames)
{
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 3,  0,
                                        0,    0,    'x',  'y',  'z'};
    size_t len;

    setup();
    len = zstd_frame(packed, plain, 1000);
    memcpy(packed + len, skippable, sizeof(skippable));
    len += sizeof(skippable);
    len += zstd_frame(packed + len, plain, 0); /* an empty frame */
    len += zstd_frame(packed + len, plain + 1000, CLUSTER - 1000);
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZSTD, len, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);
    finish();
}
END_TEST

START_TEST(test_zstd_refused)
{
    size_t len;

    setup();
    len = zstd_frame(packed, plain, CLUSTER - 1);
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZSTD, len, CLUSTER), &err,
               IMG_CORRUPT,
               ZSTD_TEXT "found no more input after 65535 bytes, expected"
                         " 65536 bytes");
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZSTD, len - 1, CLUSTER - 1), &err,
               IMG_CORRUPT,
               ZSTD_TEXT "found Src size is incorrect after 0 bytes, expected"
                         " 65535 bytes");
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZSTD, len, CLUSTER - 2), &err,
               IMG_CORRUPT,
               ZSTD_TEXT "found Destination buffer is too small after 0 bytes,"
                         " expected 65534 bytes");
    packed[0] ^= 1;
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZSTD, len, CLUSTER - 1), &err,
               IMG_CORRUPT,
               ZSTD_TEXT "found Unknown frame descriptor after 0 bytes,"
                         " expected 65535 bytes");
    finish();
}
END_TEST

/* What QEMU's streaming decoder refuses for its window, and what not. */
START_TEST(test_zstd_window)
{
    size_t len;

    setup();
    len = zstd_stream(CLUSTER, 20);
    ck_assert_uint_eq(packed[4] & 0xe0, 0); /* no size, window follows */
    packed[5] = (27 - 10) << 3;
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZSTD, len, CLUSTER), &err);
    ck_assert_mem_eq(out, plain, CLUSTER);
    packed[5] = (27 - 10) << 3 | 1;
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZSTD, len, CLUSTER), &err,
               IMG_CORRUPT,
               ZSTD_TEXT "found a window over 128 MiB after 0 bytes, expected"
                         " 65536 bytes");
    finish();
}
END_TEST

/* A block of 64 KiB in a window of 8 KiB; one that is small enough. */
START_TEST(test_zstd_block_beyond_window)
{
    static const uint8_t frame[] = {
        0x28,           0xb5, 0x2f, 0xfd, /* magic */
        0x00,                             /* no content size */
        (13 - 10) << 3,                   /* window: 8 KiB */
        0x03,           0x00, 0x08, /* the last block, one byte 65536 times */
        0x55,
    };

    setup();
    memcpy(packed, frame, sizeof(frame));
    unit_fails(inflate_to(QCOW2_COMPRESSION_ZSTD, sizeof(frame), CLUSTER), &err,
               IMG_CORRUPT,
               ZSTD_TEXT "found Data corruption detected after 0 bytes,"
                         " expected 65536 bytes");
    packed[5] = (16 - 10) << 3;
    unit_ok(inflate_to(QCOW2_COMPRESSION_ZSTD, sizeof(frame), CLUSTER), &err);
    memset(plain, 0x55, CLUSTER);
    ck_assert_mem_eq(out, plain, CLUSTER);
    finish();
}
END_TEST

/* No window lets a block be larger than 128 KiB. */
START_TEST(test_zstd_block_too_large)
{
    static const uint8_t frame[] = {
        0x28,           0xb5, 0x2f, 0xfd, /* magic */
        0x00,                             /* no content size */
        (25 - 10) << 3,                   /* window: 32 MiB */
        0x03,           0x00, 0x10, /* the last block, one byte 131072 times */
        0x55,
    };
    uint8_t *room = calloc(1, 4 * CLUSTER);

    ck_assert_ptr_nonnull(room);
    setup();
    memcpy(packed, frame, sizeof(frame));
    unit_ok(qcow2_inflate(inflater, QCOW2_COMPRESSION_ZSTD, packed,
                          sizeof(frame), room, 2 * CLUSTER, &err),
            &err);
    ck_assert(room[0] == 0x55 && memcmp(room, room + 1, 2 * CLUSTER - 1) == 0);
    packed[8] = 0x20;
    unit_fails(qcow2_inflate(inflater, QCOW2_COMPRESSION_ZSTD, packed,
                             sizeof(frame), room, 4 * CLUSTER, &err),
               &err, IMG_CORRUPT,
               ZSTD_TEXT "found Data corruption detected after 0 bytes,"
                         " expected 262144 bytes");
    finish();
    free(room);
}
END_TEST

START_TEST(test_free_null)
{
    qcow2_inflater_free(NULL);
}
END_TEST

UNIT_SUITE("qcow2_inflate", test_zlib_good, test_zlib_far_matches,
           test_zlib_without_end, test_zlib_refused, test_zlib_distance_too_far,
           test_zstd_good, test_zstd_frames, test_zstd_refused,
           test_zstd_window, test_zstd_block_beyond_window,
           test_zstd_block_too_large, test_free_null)
