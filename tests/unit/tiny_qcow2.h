/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small, whole qcow2 images for tests of chains: 512-byte clusters, one L2
 * table, every guest cluster as one letter says. qemu-img check finds them
 * clean.
 */
#ifndef TESTS_TINY_QCOW2_H
#define TESTS_TINY_QCOW2_H

#include <stdio.h>
#include <string.h>

#include <qcow2/entry.h>

#include "qcow2_bytes.h"
#include "unit.h"

#define TINY_CLUSTER_LEN 512u
#define TINY_MAX_CLUSTERS 64u /* guest clusters: what one L2 table maps */
/* Header, refcount table, refcount block, L1 table, L2 table, data. */
#define TINY_DATA_OFF (5u * TINY_CLUSTER_LEN)

struct tiny_qcow2 {
    /*
     * One letter per guest cluster:
     *   .  unallocated          z  reads as zeros
     *   D  data, in the next host cluster; each byte is FILL plus the
     *      number of the guest cluster
     *   J  the same, but one host cluster is left out before it
     *   a  reads as zeros, in the next host cluster
     */
    const char *clusters;
    uint8_t fill;
    const char *backing;   /* NULL: none */
    const char *format;    /* of the backing file; NULL: not recorded */
    const char *data_file; /* NULL: none. Raw: data lies at the guest's
                              offsets, J may not be used */
};

/* Header, backing format, data file name, backing name. */
static inline void tiny_header(const struct tiny_qcow2 *tiny, uint8_t *buf)
{
    size_t at = 104;

    put_be(buf, 0, 4, QCOW2_MAGIC);
    put_be(buf, 4, 4, 3);
    put_be(buf, 20, 4, 9);
    put_be(buf, 24, 8, strlen(tiny->clusters) * TINY_CLUSTER_LEN);
    put_be(buf, 36, 4, 1);
    put_be(buf, 40, 8, 3 * TINY_CLUSTER_LEN);
    put_be(buf, 48, 8, TINY_CLUSTER_LEN);
    put_be(buf, 56, 4, 1);
    put_be(buf, 72, 8, tiny->data_file ? QCOW2_INCOMPAT_DATA_FILE : 0);
    put_be(buf, 88, 8, tiny->data_file ? QCOW2_AUTOCLEAR_DATA_FILE_RAW : 0);
    put_be(buf, 96, 4, 4);
    put_be(buf, 100, 4, 104);
    const char *texts[] = {tiny->format, tiny->data_file};
    const uint32_t types[] = {QCOW2_EXT_BACKING_FORMAT, QCOW2_EXT_DATA_FILE};
    for (size_t i = 0; i < 2; i++) {
        size_t len = texts[i] ? strlen(texts[i]) : 0;
        if (len > 0) {
            put_be(buf, at, 4, types[i]);
            put_be(buf, at + 4, 4, len);
            memcpy(buf + at + 8, texts[i], len);
            at += 8 + (len + 7) / 8 * 8;
        }
    }
    at += 8; /* the end mark is zeros */
    if (tiny->backing) {
        size_t len = strlen(tiny->backing);
        ck_assert_uint_le(at + len, TINY_CLUSTER_LEN);
        put_be(buf, 8, 8, at);
        put_be(buf, 16, 4, len);
        memcpy(buf + at, tiny->backing, len);
    }
}

/* Map and data; the length of the file. */
static inline size_t tiny_clusters(const struct tiny_qcow2 *tiny, uint8_t *buf)
{
    size_t host_off = TINY_DATA_OFF;

    put_be(buf, (size_t)3 * TINY_CLUSTER_LEN, 8,
           QCOW2_ENTRY_COPIED | 4 * TINY_CLUSTER_LEN);
    for (size_t i = 0; tiny->clusters[i] != '\0'; i++) {
        char kind = tiny->clusters[i];
        uint64_t entry = kind == 'z' || kind == 'a' ? QCOW2_L2_ZERO : 0;
        if (kind == 'J') {
            host_off += TINY_CLUSTER_LEN;
        }
        if (kind == 'D' || kind == 'J' || kind == 'a') {
            if (kind != 'a' && !tiny->data_file) {
                memset(buf + host_off, tiny->fill + (int)i, TINY_CLUSTER_LEN);
            }
            entry |= QCOW2_ENTRY_COPIED |
                     (tiny->data_file ? i * TINY_CLUSTER_LEN : host_off);
            /* Refcount of the cluster: 16 bits each in the third cluster. */
            if (!tiny->data_file) {
                put_be(buf,
                       2 * TINY_CLUSTER_LEN + 2 * (host_off / TINY_CLUSTER_LEN),
                       2, 1);
                host_off += TINY_CLUSTER_LEN;
            }
        }
        put_be(buf, 4 * TINY_CLUSTER_LEN + 8 * i, 8, entry);
    }
    return host_off;
}

static inline void tiny_qcow2_write(const char *path,
                                    const struct tiny_qcow2 *tiny)
{
    uint8_t buf[(2 * TINY_MAX_CLUSTERS + 5) * TINY_CLUSTER_LEN] = {0};
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_le(strlen(tiny->clusters), TINY_MAX_CLUSTERS);
    tiny_header(tiny, buf);
    put_be(buf, TINY_CLUSTER_LEN, 8, 2 * TINY_CLUSTER_LEN);
    for (size_t i = 0; i < 5; i++) {
        put_be(buf, 2 * TINY_CLUSTER_LEN + 2 * i, 2, 1);
    }
    size_t len = tiny_clusters(tiny, buf);
    ck_assert_uint_eq(fwrite(buf, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

/* NR clusters of raw data: each byte is FILL plus the cluster's number. */
static inline void tiny_raw_write(const char *path, size_t nr, uint8_t fill)
{
    uint8_t cluster[TINY_CLUSTER_LEN];
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < nr; i++) {
        memset(cluster, fill + (int)i, sizeof(cluster));
        ck_assert_uint_eq(fwrite(cluster, 1, sizeof(cluster), file),
                          sizeof(cluster));
    }
    ck_assert_int_eq(fclose(file), 0);
}

#endif
