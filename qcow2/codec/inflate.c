/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inflating one compressed cluster (specification: "Compressed Clusters
 * Descriptor"; "Header", compression_type).
 *
 * Room: qcow2/codec, pure; the one home of libdeflate, zlib and libzstd.
 *
 * What counts as a good cluster follows QEMU 7.2. zlib: raw deflate into a
 * buffer of exactly one cluster; full is good, whatever comes after. Because
 * the whole output is one buffer, matches may reach back farther than the
 * 4096 bytes of the window the encoder is told to use. zstd: frames, skippable
 * ones too, until the cluster is full, the last one complete.
 *
 * libdeflate is asked first: it is the faster one, and accepts every complete
 * stream of the right length that zlib accepts. (It also takes the length and
 * distance codes that deflate reserves, which zlib refuses; no encoder makes
 * them, and cluster data has no checksum that a damaged one could break
 * instead.) zlib decides where libdeflate says no.
 *
 * zstd frames that tell their content size are decoded one-shot, straight into
 * the cluster, which takes no window memory. The others are streamed, as QEMU
 * does with all: only there is a block refused that is larger than the window
 * and 128 KiB let it be. No window needs to be larger than a cluster for that:
 * whatever a frame declares, memory is that of 4 MiB at most.
 */
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <img/bytes.h>
#include <img/memory.h>
#include <qcow2/inflate.h>

/* The window that qcow2 writers use and QEMU opens its decoder with. */
#define DEFLATE_WINDOW_BITS (-12)

/* zstd frame format: magic, then a descriptor, then the window. */
#define ZSTD_DESCRIPTOR_OFF 4u
#define ZSTD_WINDOW_OFF 5u
/* Descriptor: bits that say a content size is there, or no window is. */
#define ZSTD_DESCRIPTOR_HAS_SIZE 0xe0u
#define ZSTD_WINDOW_MIN_LOG 10u
/* QEMU streams with libzstd's default limit: 128 MiB. */
#define ZSTD_WINDOW_MAX (1ull << 27)
/* A window of twice the largest cluster bounds nothing in it. */
#define ZSTD_STREAM_LOG 22u
#define ZSTD_STREAM_MAX (1ull << ZSTD_STREAM_LOG)
#define ZSTD_HEAD_LEN (ZSTD_WINDOW_OFF + 1)

struct img_inflater {
    struct libdeflate_decompressor *deflate;
    ZSTD_DCtx *zstd;
    z_stream zlib;
    bool has_zlib;
};

int qcow2_inflater_new(struct img_inflater **out, struct img_error *err)
{
    struct img_inflater *inflater = img_calloc(1, sizeof(*inflater), err);

    if (inflater == NULL) {
        return -1;
    }
    inflater->deflate = libdeflate_alloc_decompressor();
    inflater->zstd = ZSTD_createDCtx();
    inflater->has_zlib =
        inflateInit2(&inflater->zlib, DEFLATE_WINDOW_BITS) == Z_OK;
    if (inflater->deflate == NULL || inflater->zstd == NULL ||
        !inflater->has_zlib) {
        qcow2_inflater_free(inflater);
        return img_fail_memory(err);
    }
    *out = inflater;
    return 0;
}

void qcow2_inflater_free(struct img_inflater *inflater)
{
    if (inflater == NULL) {
        return;
    }
    if (inflater->has_zlib) {
        inflateEnd(&inflater->zlib);
    }
    ZSTD_freeDCtx(inflater->zstd);
    libdeflate_free_decompressor(inflater->deflate);
    free(inflater);
}

/* zlib has the last word on streams that libdeflate refuses. */
static int inflate_slowly(z_stream *zlib, const void *in, size_t in_len,
                          void *out, size_t out_len, struct img_error *err)
{
    int ret;

    if (inflateReset(zlib) != Z_OK) {
        return img_fail(err, IMG_CORRUPT, "zlib cannot be reset");
    }
    zlib->next_in = (z_const Bytef *)(uintptr_t)in;
    zlib->avail_in = (uInt)in_len;
    zlib->next_out = out;
    zlib->avail_out = (uInt)out_len;
    ret = inflate(zlib, Z_FINISH);
    if (ret == Z_MEM_ERROR) {
        return img_fail_memory(err);
    }
    if (zlib->avail_out == 0 && (ret == Z_STREAM_END || ret == Z_BUF_ERROR)) {
        return 0;
    }
    return img_fail(err, IMG_CORRUPT,
                    "compressed cluster (zlib): found %s after %zu bytes,"
                    " expected %zu bytes",
                    ret == Z_STREAM_END  ? "the end"
                    : ret == Z_BUF_ERROR ? "no more input"
                                         : "damaged data",
                    out_len - zlib->avail_out, out_len);
}

static int inflate_zlib(struct img_inflater *inflater, const void *in,
                        size_t in_len, void *out, size_t out_len,
                        struct img_error *err)
{
    if (libdeflate_deflate_decompress(inflater->deflate, in, in_len, out,
                                      out_len, NULL) == LIBDEFLATE_SUCCESS) {
        return 0;
    }
    return inflate_slowly(&inflater->zlib, in, in_len, out, out_len, err);
}

/*
 * The window that a streaming decoder needs for the frame; 0 for one that
 * tells its content size: it is decoded in one go there, too.
 */
static uint64_t frame_window(const uint8_t *frame, size_t frame_len)
{
    uint32_t log;
    uint64_t base;

    if (frame_len <= ZSTD_WINDOW_OFF ||
        img_load_le32(frame) != ZSTD_MAGICNUMBER ||
        (frame[ZSTD_DESCRIPTOR_OFF] & ZSTD_DESCRIPTOR_HAS_SIZE) != 0) {
        return 0;
    }
    log = ZSTD_WINDOW_MIN_LOG + (frame[ZSTD_WINDOW_OFF] >> 3);
    base = 1ull << log;
    return base + base / 8 * (frame[ZSTD_WINDOW_OFF] & 7);
}

static int fail_zstd(struct img_error *err, const char *found, size_t done,
                     size_t out_len)
{
    return img_fail(err, IMG_CORRUPT,
                    "compressed cluster (zstd): found %s after %zu bytes,"
                    " expected %zu bytes",
                    found, done, out_len);
}

/* Feed FRAME on. Returns 0 at its end, an error, or how much is missing. */
static size_t feed(ZSTD_DCtx *zstd, ZSTD_outBuffer *room, const uint8_t *frame,
                   size_t frame_len)
{
    ZSTD_inBuffer in = {frame, frame_len, 0};
    size_t ret, in_pos, out_pos;

    do {
        in_pos = in.pos;
        out_pos = room->pos;
        ret = ZSTD_decompressStream(zstd, room, &in);
    } while (!ZSTD_isError(ret) && ret != 0 &&
             (in.pos > in_pos || room->pos > out_pos));
    return ret;
}

/*
 * One frame as QEMU decodes it, of a window that frame_window found: a larger
 * one than bounds anything is made smaller in the copy of the frame's head.
 */
static size_t stream_frame(ZSTD_DCtx *zstd, const uint8_t *frame,
                           size_t frame_len, uint64_t window,
                           ZSTD_outBuffer room)
{
    uint8_t head[ZSTD_HEAD_LEN];
    size_t ret;

    memcpy(head, frame, sizeof(head));
    if (window > ZSTD_STREAM_MAX) {
        head[ZSTD_WINDOW_OFF] = (ZSTD_STREAM_LOG - ZSTD_WINDOW_MIN_LOG) << 3;
    }
    ZSTD_DCtx_reset(zstd, ZSTD_reset_session_only);
    ret = feed(zstd, &room, head, sizeof(head));
    if (!ZSTD_isError(ret)) {
        ret = feed(zstd, &room, frame + sizeof(head), frame_len - sizeof(head));
    }
    if (ZSTD_isError(ret)) {
        return ret;
    }
    /* An end that was not reached is what too little room is elsewhere. */
    return ret == 0 ? room.pos : (size_t)-ZSTD_error_dstSize_tooSmall;
}

static size_t decode_frame(ZSTD_DCtx *zstd, const uint8_t *frame,
                           size_t frame_len, uint8_t *out, size_t room)
{
    uint64_t window = frame_window(frame, frame_len);

    return window > 0 ? stream_frame(zstd, frame, frame_len, window,
                                     (ZSTD_outBuffer){out, room, 0})
                      : ZSTD_decompressDCtx(zstd, out, room, frame, frame_len);
}

static int inflate_zstd(ZSTD_DCtx *zstd, const uint8_t *in, size_t in_len,
                        uint8_t *out, size_t out_len, struct img_error *err)
{
    size_t in_done = 0, out_done = 0;

    /* Each frame is at least a few bytes long, so this ends. */
    while (out_done < out_len) {
        const uint8_t *frame = in + in_done;
        size_t frame_len, got;

        if (in_done == in_len) {
            return fail_zstd(err, "no more input", out_done, out_len);
        }
        frame_len = ZSTD_findFrameCompressedSize(frame, in_len - in_done);
        if (ZSTD_isError(frame_len)) {
            return fail_zstd(err, ZSTD_getErrorName(frame_len), out_done,
                             out_len);
        }
        if (frame_window(frame, frame_len) > ZSTD_WINDOW_MAX) {
            return fail_zstd(err, "a window over 128 MiB", out_done, out_len);
        }
        got = decode_frame(zstd, frame, frame_len, out + out_done,
                           out_len - out_done);
        if (ZSTD_isError(got)) {
            return fail_zstd(err, ZSTD_getErrorName(got), out_done, out_len);
        }
        in_done += frame_len;
        out_done += got;
    }
    return 0;
}

int qcow2_inflate(struct img_inflater *inflater,
                  enum qcow2_compression compression, const void *in,
                  size_t in_len, void *out, size_t out_len,
                  struct img_error *err)
{
    switch (compression) {
    case QCOW2_COMPRESSION_ZLIB:
        return inflate_zlib(inflater, in, in_len, out, out_len, err);
    case QCOW2_COMPRESSION_ZSTD:
        return inflate_zstd(inflater->zstd, in, in_len, out, out_len, err);
    }
    return img_fail(err, IMG_UNSUPPORTED,
                    "compression_type: found %d, expected 0 or 1",
                    (int)compression);
}
