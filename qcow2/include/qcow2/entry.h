/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L1 and L2 table entries (specification: "Cluster mapping", "Extended L2
 * Entries", "Compressed Clusters Descriptor"). Pure: no I/O.
 */
#ifndef QCOW2_ENTRY_H
#define QCOW2_ENTRY_H

#include <qcow2/header.h>

#define QCOW2_ENTRY_COPIED (1ull << 63)
#define QCOW2_ENTRY_COMPRESSED (1ull << 62)
#define QCOW2_L2_ZERO 1ull
/* Bits 9 to 55: a host offset. */
#define QCOW2_ENTRY_OFFSET_MASK 0x00fffffffffffe00ull

struct qcow2_l1_entry {
    uint64_t l2_off; /* 0: no L2 table, everything unallocated */
    bool is_copied;
};

/*
 * IMG_CORRUPT: reserved bits, COPIED without an offset, or an offset that is
 * unaligned or outside FILE_LEN. ENTRY is the value in host byte order.
 */
int qcow2_l1_decode(const struct qcow2_header *header, uint64_t entry,
                    uint64_t file_len, struct qcow2_l1_entry *out,
                    struct img_error *err);

enum qcow2_cluster_kind {
    QCOW2_CLUSTER_UNALLOCATED,
    QCOW2_CLUSTER_ZERO, /* plain or preallocated (host_off != 0) */
    QCOW2_CLUSTER_DATA,
    QCOW2_CLUSTER_COMPRESSED,
    QCOW2_CLUSTER_MIXED, /* extended L2: see the subclusters */
};

struct qcow2_l2_entry {
    enum qcow2_cluster_kind kind;
    bool is_copied;
    bool has_host;     /* host_off is meaningful (0 may be, with data file) */
    uint64_t host_off; /* data or preallocated cluster; compressed: bytes,
                          not aligned */
    uint32_t host_len; /* compressed only: stored bytes at most */
    uint32_t alloc;    /* extended L2: bit i: subcluster i allocated */
    uint32_t zero;     /* extended L2: bit i: subcluster i reads as zero */
};

/*
 * Decode the entry for GUEST_OFF's cluster. ENTRY is the value of the first
 * eight bytes in host order; BITMAP that of the second eight (0 without
 * extended L2). HOST_LEN_LIMIT is the length of the file the clusters lie in
 * (image or external data file).
 * IMG_CORRUPT: reserved bits, zero bit in version 2, unaligned or outside
 * offset (a cluster may pass the end by less than its length; compressed
 * data must begin inside), COPIED on a compressed cluster, COPIED without an
 * offset where there is no data file, compressed with data file, a compressed
 * cluster with a bitmap, a subcluster both allocated and zero, subclusters
 * allocated without a host cluster, an offset in a data file other than that
 * of GUEST_OFF's cluster. Bit 0 is unused, and ignored, with extended L2.
 * The entry's own place is not known here: errors have no offset.
 */
int qcow2_l2_decode(const struct qcow2_header *header, uint64_t entry,
                    uint64_t bitmap, uint64_t guest_off,
                    uint64_t host_len_limit, struct qcow2_l2_entry *out,
                    struct img_error *err);

/*
 * How the subclusters from IDX on look: the kind of subcluster IDX and how
 * many follow with the same kind (at least 1). Only for MIXED, or any entry
 * of an image with extended L2.
 */
enum qcow2_cluster_kind
qcow2_l2_subcluster_run(const struct qcow2_l2_entry *entry, uint32_t idx,
                        uint32_t *run);

/* Values to the stored words, in host byte order; *bitmap is set too. The
   entry must be one that qcow2_l2_decode accepts. */
uint64_t qcow2_l1_encode(const struct qcow2_l1_entry *entry);
uint64_t qcow2_l2_encode(const struct qcow2_header *header,
                         const struct qcow2_l2_entry *entry, uint64_t *bitmap);

#endif
