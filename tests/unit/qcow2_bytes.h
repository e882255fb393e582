/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Good qcow2 headers to break: what the decoders' tests start from. Laid out
 * as qemu-img lays out an empty image of 1 MiB.
 */
#ifndef TESTS_QCOW2_BYTES_H
#define TESTS_QCOW2_BYTES_H

#include <img/bytes.h>
#include <qcow2/header.h>

#define SAMPLE_CLUSTER_LEN 65536u
#define SAMPLE_FILE_LEN 196616u

/* Write VALUE into WIDTH bytes (1, 2, 4 or 8), big-endian. */
static inline void put_be(uint8_t *buf, size_t off, size_t width,
                          uint64_t value)
{
    for (size_t i = 0; i < width; i++) {
        buf[off + i] = (uint8_t)(value >> (8 * (width - 1 - i)));
    }
}

/* BUF has SAMPLE_CLUSTER_LEN bytes. */
static inline void sample_header(uint8_t *buf, uint32_t version)
{
    memset(buf, 0, SAMPLE_CLUSTER_LEN);
    put_be(buf, 0, 4, QCOW2_MAGIC);
    put_be(buf, 4, 4, version);
    put_be(buf, 20, 4, 16);      /* cluster_bits */
    put_be(buf, 24, 8, 1 << 20); /* size */
    put_be(buf, 36, 4, 1);       /* l1_size */
    put_be(buf, 40, 8, 0x30000); /* l1_table_offset */
    put_be(buf, 48, 8, 0x10000); /* refcount_table_offset */
    put_be(buf, 56, 4, 1);       /* refcount_table_clusters */
    if (version >= 3) {
        put_be(buf, 96, 4, 4);    /* refcount_order */
        put_be(buf, 100, 4, 112); /* header_length */
    }
}

/* A decoded header with the given geometry, for decoders below the header. */
static inline struct qcow2_header
sample_decoded(uint32_t version, uint32_t cluster_bits, uint64_t incompatible)
{
    bool has_extended_l2 = (incompatible & QCOW2_INCOMPAT_EXTENDED_L2) != 0;
    struct qcow2_header h = {
        .version = version,
        .cluster_bits = cluster_bits,
        .cluster_len = 1u << cluster_bits,
        .virtual_len = 1 << 20,
        .refcount_order = 4,
        .header_len = version >= 3 ? 112 : 72,
        .incompatible = incompatible,
        .has_extended_l2 = has_extended_l2,
        .has_data_file = (incompatible & QCOW2_INCOMPAT_DATA_FILE) != 0,
    };

    return h;
}

#endif
