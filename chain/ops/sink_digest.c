/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The digest's sink: see sink_digest.h.
 *
 * Blocks come as their digests, which the mover's threads have computed. Runs
 * of zeros come as such: for blocks the digest of a block of zeros is known,
 * and one piece of memory holds it many times over.
 */
#include "sink_digest.h"

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define ZEROS_LEN CHAIN_DIGEST_BLOCK_LEN
/* The guest's address range is walked in this unit when it is not blocks. */
#define FLAT_GRANULE 512u

_Static_assert(CHAIN_DIGEST_LEN == IMG_SHA256_LEN, "one digest");

static int check_wanted(const struct chain_digest_sink *sink,
                        struct img_error *err)
{
    if (sink->cancel && *sink->cancel) {
        return img_fail(err, IMG_CANCELLED, "cancelled");
    }
    return 0;
}

/* The digest of LEN zeros, less than a block. */
static void add_short_zeros(struct chain_digest_sink *sink, uint64_t len)
{
    static const uint8_t zeros[CHAIN_DIGEST_BLOCK_LEN];
    uint8_t digest[IMG_SHA256_LEN];

    img_sha256_of(zeros, (size_t)len, digest);
    img_sha256_update(sink->hash, digest, sizeof(digest));
}

static int digest_zero(struct chain_sink *base, uint64_t off, uint64_t len,
                       bool *as_data, struct img_error *err)
{
    struct chain_digest_sink *sink = (struct chain_digest_sink *)base;
    bool is_flat = sink->kind == CHAIN_DIGEST_FLAT;
    uint64_t left =
        is_flat ? len : len / CHAIN_DIGEST_BLOCK_LEN * IMG_SHA256_LEN;

    (void)off;
    *as_data = false;
    sink->len += len;
    while (left > 0) {
        size_t n = (size_t)img_min(left, ZEROS_LEN);

        if (check_wanted(sink, err) != 0) {
            return -1;
        }
        img_sha256_update(sink->hash, sink->zeros, n);
        left -= n;
    }
    if (!is_flat && len % CHAIN_DIGEST_BLOCK_LEN != 0) {
        add_short_zeros(sink, len % CHAIN_DIGEST_BLOCK_LEN);
    }
    return 0;
}

static int digest_take(struct chain_sink *base, uint64_t off, uint64_t len,
                       const void *bytes, size_t bytes_len,
                       struct img_error *err)
{
    struct chain_digest_sink *sink = (struct chain_digest_sink *)base;

    (void)off;
    sink->len += len;
    img_sha256_update(sink->hash, bytes, bytes_len);
    return check_wanted(sink, err);
}

static const struct chain_sink_ops digest_ops = {
    .zero = digest_zero,
    .take = digest_take,
};

int chain_digest_sink_init(struct chain_digest_sink *sink,
                           enum chain_digest_kind kind,
                           const volatile int *cancel, struct img_error *err)
{
    bool is_flat = kind == CHAIN_DIGEST_FLAT;

    *sink = (struct chain_digest_sink){
        .sink = {.ops = &digest_ops,
                 .granule = is_flat ? FLAT_GRANULE : CHAIN_DIGEST_BLOCK_LEN,
                 .unit_len = is_flat ? 0 : CHAIN_DIGEST_BLOCK_LEN},
        .kind = kind,
        .cancel = cancel,
        .zeros = img_calloc(1, ZEROS_LEN, err),
    };
    if (!sink->zeros || img_sha256_new(&sink->hash, err) != 0) {
        chain_digest_sink_fini(sink);
        return -1;
    }
    if (!is_flat) {
        uint8_t digest[IMG_SHA256_LEN];

        img_sha256_of(sink->zeros, CHAIN_DIGEST_BLOCK_LEN, digest);
        for (size_t i = 0; i < ZEROS_LEN; i += sizeof(digest)) {
            memcpy(sink->zeros + i, digest, sizeof(digest));
        }
    }
    return 0;
}

void chain_digest_sink_fini(struct chain_digest_sink *sink)
{
    img_sha256_free(sink->hash);
    free(sink->zeros);
    *sink = (struct chain_digest_sink){0};
}

void chain_digest_sink_final(struct chain_digest_sink *sink,
                             uint8_t out[CHAIN_DIGEST_LEN])
{
    if (sink->kind == CHAIN_DIGEST_BLOCKS) {
        uint8_t len[8];

        img_store_le64(len, sink->len);
        img_sha256_update(sink->hash, len, sizeof(len));
    }
    img_sha256_final(sink->hash, out);
}
