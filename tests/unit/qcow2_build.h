/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small qcow2 image in memory, to be bent by tests.
 *
 * Clusters of 4 KiB: 0 header, 1 refcount table, 2 refcount block, 3 L1 table
 * (4 entries of 2 MiB each), 4 the L2 table of the first entry, 5 and up are
 * free for the test. All refcounts are 1. Virtual size 8 MiB.
 */
#ifndef TESTS_QCOW2_BUILD_H
#define TESTS_QCOW2_BUILD_H

#include <img/bytes.h>
#include <qcow2/entry.h>
#include <qcow2/image.h>

#include "unit.h"

#define CLUSTER 4096u
#define L1_OFF (3u * CLUSTER)
#define L2_OFF (4u * CLUSTER)
#define BLOCK_OFF (2u * CLUSTER)
#define VIRTUAL_LEN (8u << 20)
#define L2_COVERS (2u << 20)
#define COPIED QCOW2_ENTRY_COPIED

struct build {
    uint8_t *bytes;
    size_t len;
    struct img_file *file;
    struct img_image *image;
    struct img_error err;
};

static inline void build_put64(struct build *b, uint64_t off, uint64_t value)
{
    ck_assert_uint_le(off + 8, b->len);
    img_store_be64(b->bytes + off, value);
}

static inline void build_put32(struct build *b, uint64_t off, uint32_t value)
{
    ck_assert_uint_le(off + 4, b->len);
    img_store_be32(b->bytes + off, value);
}

static inline void build_refcount(struct build *b, uint64_t cluster,
                                  uint16_t value)
{
    img_store_be16(b->bytes + BLOCK_OFF + cluster * 2, value);
}

/* Entry IDX of the first L2 table. */
static inline void build_l2(struct build *b, uint64_t idx, uint64_t value)
{
    build_put64(b, L2_OFF + idx * 8, value);
}

/* An image of CLUSTERS clusters (at least 5). */
static inline void build_init(struct build *b, size_t clusters)
{
    memset(b, 0, sizeof(*b));
    b->len = clusters * CLUSTER;
    b->bytes = calloc(1, b->len);
    ck_assert_ptr_nonnull(b->bytes);
    build_put32(b, 0, QCOW2_MAGIC);
    build_put32(b, 4, 3);
    build_put32(b, 20, 12);
    build_put64(b, 24, VIRTUAL_LEN);
    build_put32(b, 36, 4);
    build_put64(b, 40, L1_OFF);
    build_put64(b, 48, CLUSTER);
    build_put32(b, 56, 1);
    build_put32(b, 96, 4);
    build_put32(b, 100, 104);
    build_put64(b, CLUSTER, BLOCK_OFF);
    build_put64(b, L1_OFF, L2_OFF | COPIED);
    for (size_t i = 0; i < clusters; i++) {
        build_refcount(b, i, 1);
    }
}

static inline void build_file(struct build *b)
{
    unit_ok(
        img_file_from_memory("test.qcow2", b->bytes, b->len, &b->file, &b->err),
        &b->err);
}

static inline void build_open(struct build *b, const char *snapshot)
{
    build_file(b);
    unit_ok(qcow2_open(b->file, &(struct qcow2_options){.snapshot = snapshot},
                       &b->image, &b->err),
            &b->err);
}

static inline void build_fini(struct build *b)
{
    img_image_free(b->image);
    img_file_unref(b->file);
    free(b->bytes);
}

/* The extent at OFF, as far as the image goes. */
static inline struct img_extent build_map(struct build *b, uint64_t off)
{
    struct img_extent extent;

    unit_ok(img_image_map(b->image, off, b->image->virtual_len - off, &extent,
                          &b->err),
            &b->err);
    ck_assert_uint_eq(extent.guest_off, off);
    return extent;
}

/*
 * A snapshot table with one entry in cluster AT: id "1", name "before", L1
 * table of ENTRIES at L1, virtual size SIZE.
 */
static inline void build_snapshot(struct build *b, uint64_t at, uint64_t l1,
                                  uint32_t entries, uint64_t size)
{
    uint64_t off = at * CLUSTER;

    build_put32(b, 60, 1);
    build_put64(b, 64, off);
    build_put64(b, off, l1);
    build_put32(b, off + 8, entries);
    img_store_be16(b->bytes + off + 12, 1);
    img_store_be16(b->bytes + off + 14, 6);
    build_put32(b, off + 36, 16);
    build_put64(b, off + 48, size);
    memcpy(b->bytes + off + 56, "1before", 7);
}

#endif
