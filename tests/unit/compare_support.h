/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Views over files of a test's own, and images made byte by byte. */
#ifndef TESTS_COMPARE_SUPPORT_H
#define TESTS_COMPARE_SUPPORT_H

#include <chain/compare.h>
#include <chain/view.h>
#include <img/bytes.h>
#include <img/engine.h>
#include <img/image.h>

#include "scratch.h"

/* One side: a chain and a view of it. */
struct side {
    struct chain *chain;
    struct chain_view *view;
};

static inline void side_open(struct side *side, const char *path,
                             const char *format)
{
    struct chain_options options;
    struct img_error err = {0};

    chain_options_init(&options);
    options.format = format;
    unit_ok(chain_open(path, &options, &side->chain, &err), &err);
    unit_ok(chain_view_new(side->chain, 0, &side->view, &err), &err);
}

static inline void side_close(struct side *side)
{
    chain_view_free(side->view);
    chain_free(side->chain);
}

/* Differing ranges as they are reported. */
#define RANGES_MAX 65536u
struct ranges {
    size_t nr;
    uint64_t off[RANGES_MAX], len[RANGES_MAX];
};

static inline void ranges_add(void *opaque, uint64_t off, uint64_t len)
{
    struct ranges *ranges = opaque;

    ck_assert_uint_lt(ranges->nr, RANGES_MAX);
    ck_assert_uint_gt(len, 0);
    if (ranges->nr > 0) {
        /* Ascending, and neighbours come as one. */
        ck_assert_uint_gt(off, ranges->off[ranges->nr - 1] +
                                   ranges->len[ranges->nr - 1]);
    }
    ranges->off[ranges->nr] = off;
    ranges->len[ranges->nr++] = len;
}

static inline uint64_t proof_sum(const struct chain_proof *proof)
{
    return proof->same_file_len + proof->both_zero_len +
           proof->shared_extents_len + proof->read_len;
}

/*
 * A qcow2 image put together in memory: version 3, one cluster after the
 * other as they are added. Refcounts are not kept: nothing here looks.
 */
struct builder {
    uint32_t bits;
    uint32_t cluster_len;
    uint64_t virtual_len;
    uint8_t *bytes;
    size_t len;
    uint64_t l1_off;
};

static inline uint64_t builder_allocate(struct builder *builder)
{
    uint64_t off = builder->len;

    builder->len += builder->cluster_len;
    builder->bytes = realloc(builder->bytes, builder->len);
    ck_assert_ptr_nonnull(builder->bytes);
    memset(builder->bytes + off, 0, builder->cluster_len);
    return off;
}

static inline void builder_init(struct builder *builder, uint32_t bits,
                                uint64_t virtual_len)
{
    memset(builder, 0, sizeof(*builder));
    builder->bits = bits;
    builder->cluster_len = 1u << bits;
    builder->virtual_len = virtual_len;
    uint64_t l2_covers =
        (uint64_t)builder->cluster_len * (builder->cluster_len / 8);
    uint64_t l1_entries = (virtual_len + l2_covers - 1) / l2_covers;
    builder_allocate(builder); /* header */
    uint64_t reftable = builder_allocate(builder);
    builder->l1_off = builder->len;
    for (uint64_t n = 0; n < l1_entries * 8; n += builder->cluster_len) {
        builder_allocate(builder);
    }
    uint8_t *h = builder->bytes;
    img_store_be32(h, 0x514649fb);
    img_store_be32(h + 4, 3);
    img_store_be32(h + 20, bits);
    img_store_be64(h + 24, virtual_len);
    img_store_be32(h + 36, (uint32_t)l1_entries);
    img_store_be64(h + 40, builder->l1_off);
    img_store_be64(h + 48, reftable);
    img_store_be32(h + 56, 1);
    img_store_be32(h + 96, 4);
    img_store_be32(h + 100, 104);
}

static inline void builder_set(struct builder *builder, uint64_t cluster,
                               uint64_t entry)
{
    uint64_t per_table = builder->cluster_len / 8;
    uint64_t l1 = builder->l1_off + cluster / per_table * 8;
    uint64_t table = img_load_be64(builder->bytes + l1) & ~(1ull << 63);

    if (table == 0) {
        table = builder_allocate(builder);
        img_store_be64(builder->bytes + l1, table | 1ull << 63);
    }
    img_store_be64(builder->bytes + table + cluster % per_table * 8, entry);
}

/* Guest cluster CLUSTER holds DATA (a cluster long). */
static inline void builder_data(struct builder *builder, uint64_t cluster,
                                const uint8_t *data)
{
    uint64_t off = builder_allocate(builder);

    memcpy(builder->bytes + off, data, builder->cluster_len);
    builder_set(builder, cluster, off | 1ull << 63);
}

/* The same as a compressed cluster: deflate's stored blocks. */
static inline void builder_compressed(struct builder *builder, uint64_t cluster,
                                      const uint8_t *data)
{
    uint32_t left = builder->cluster_len;
    uint64_t off = builder_allocate(builder);
    uint64_t at = off;

    builder_allocate(builder); /* headers of blocks need a little more */
    while (left > 0) {
        uint32_t n = left < 32768 ? left : 32768;
        builder->bytes[at++] = left == n;
        builder->bytes[at++] = (uint8_t)n;
        builder->bytes[at++] = (uint8_t)(n >> 8);
        builder->bytes[at++] = (uint8_t)~n;
        builder->bytes[at++] = (uint8_t)(~n >> 8);
        memcpy(builder->bytes + at, data + builder->cluster_len - left, n);
        at += n;
        left -= n;
    }
    uint64_t sectors = (at - off + 511) / 512 - 1;
    builder_set(builder, cluster,
                1ull << 62 | sectors << (62 - (builder->bits - 8)) | off);
}

static inline const char *
builder_save(struct builder *builder, struct scratch *scratch, const char *name)
{
    const char *path =
        scratch_write(scratch, name, builder->bytes, builder->len, 0);

    free(builder->bytes);
    builder->bytes = NULL;
    return path;
}

#endif
