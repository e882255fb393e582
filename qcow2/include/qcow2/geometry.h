/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2's named limits and bit layouts, each with its reason. Section names
 * are those of QEMU's docs/interop/qcow2.txt.
 */
#ifndef QCOW2_GEOMETRY_H
#define QCOW2_GEOMETRY_H

#include <stdint.h>

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

#define QCOW2_V2_HEADER_LEN 72u
#define QCOW2_V3_HEADER_LEN 104u

/* Header, cluster_bits: 512 bytes to 2 MiB, as QEMU accepts. */
#define QCOW2_MIN_CLUSTER_BITS 9u
#define QCOW2_MAX_CLUSTER_BITS 21u
/* Extended L2: 32 subclusters of at least 512 bytes. */
#define QCOW2_MIN_SUBCLUSTER_CLUSTER_BITS 14u
#define QCOW2_SUBCLUSTERS 32u

/* Header, size: the last sector still ends below 2^63. */
#define QCOW2_MAX_VIRTUAL_LEN (((uint64_t)1 << 63) - 512)
/* Header, refcount_order: 1 to 64 bits; version 2 always has 16. */
#define QCOW2_MAX_REFCOUNT_ORDER 6u
#define QCOW2_V2_REFCOUNT_ORDER 4u

/* QEMU's bounds on tables that are held in memory whole. */
#define QCOW2_MAX_L1_LEN (32u << 20)
#define QCOW2_MAX_REFTABLE_LEN (8u << 20)
#define QCOW2_MAX_SNAPSHOTS 65536u
#define QCOW2_MAX_SNAPSHOT_TABLE_LEN (64u << 20)
#define QCOW2_MAX_SNAPSHOT_EXTRA_LEN 1024u
#define QCOW2_MAX_BACKING_NAME_LEN 1023u
#define QCOW2_MAX_BACKING_FORMAT_LEN 15u
#define QCOW2_MAX_BITMAPS 65535u
#define QCOW2_MAX_BITMAP_DIRECTORY_LEN 67107840u /* 65535 KiB */
#define QCOW2_MAX_BITMAP_TABLE_ENTRIES (1u << 27)
#define QCOW2_MAX_BITMAP_PHYSICAL_LEN (512u << 20)
#define QCOW2_MAX_BITMAP_NAME_LEN 1023u
#define QCOW2_MIN_BITMAP_GRANULARITY_BITS 9u
#define QCOW2_MAX_BITMAP_GRANULARITY_BITS 31u
/* A LUKS header with eight slots is about 2 MiB. */
#define QCOW2_MAX_CRYPTO_HEADER_LEN (16u << 20)
/* More unknown header extensions than that help nobody. */
#define QCOW2_MAX_UNKNOWN_EXTENSIONS 1024u
#define QCOW2_MAX_FEATURE_NAMES 1024u

/* Header, incompatible_features. */
#define QCOW2_INCOMPAT_DIRTY (1ull << 0)
#define QCOW2_INCOMPAT_CORRUPT (1ull << 1)
#define QCOW2_INCOMPAT_DATA_FILE (1ull << 2)
#define QCOW2_INCOMPAT_COMPRESSION (1ull << 3)
#define QCOW2_INCOMPAT_EXTENDED_L2 (1ull << 4)
#define QCOW2_INCOMPAT_KNOWN 0x1full
/* compatible_features. */
#define QCOW2_COMPAT_LAZY_REFCOUNTS (1ull << 0)
/* autoclear_features. */
#define QCOW2_AUTOCLEAR_BITMAPS (1ull << 0)
#define QCOW2_AUTOCLEAR_DATA_FILE_RAW (1ull << 1)

enum qcow2_crypt_method {
    QCOW2_CRYPT_NONE = 0,
    QCOW2_CRYPT_AES = 1,
    QCOW2_CRYPT_LUKS = 2,
};

enum qcow2_compression {
    QCOW2_COMPRESSION_ZLIB = 0,
    QCOW2_COMPRESSION_ZSTD = 1,
};

/* Header extension types. */
#define QCOW2_EXT_END 0x00000000u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURE_NAMES 0x6803f857u
#define QCOW2_EXT_BITMAPS 0x23852875u
#define QCOW2_EXT_CRYPTO 0x0537be77u
#define QCOW2_EXT_DATA_FILE 0x44415441u

#endif
