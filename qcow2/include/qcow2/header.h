/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The qcow2 header (specification: "Header"), bytes to values. Pure: no I/O.
 */
#ifndef QCOW2_HEADER_H
#define QCOW2_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/error.h>
#include <qcow2/geometry.h>

struct qcow2_header {
    uint32_t version;
    uint64_t backing_name_off; /* 0: none */
    uint32_t backing_name_len;
    uint32_t cluster_bits;
    uint64_t virtual_len;
    uint32_t crypt_method;
    uint32_t l1_entries;
    uint64_t l1_off;
    uint64_t reftable_off;
    uint32_t reftable_clusters;
    uint32_t snapshots_nr;
    uint64_t snapshots_off;
    uint64_t incompatible, compatible, autoclear; /* 0 in version 2 */
    uint32_t refcount_order; /* width is 1 << order bits; 4 in version 2 */
    uint32_t header_len;     /* 72 in version 2 */
    uint32_t compression;    /* enum qcow2_compression */

    /* Derived. */
    uint32_t cluster_len;
    uint32_t l2_entry_len;   /* 8, or 16 with extended L2 */
    uint32_t l2_entries;     /* of one L2 table */
    uint64_t l2_covers_len;  /* guest bytes one L2 table maps */
    uint32_t subcluster_len; /* cluster_len without extended L2 */
    bool has_extended_l2;
    bool has_data_file;
    bool is_data_file_raw;
    /* Decoded for a check or a repair: see qcow2_header_decode_lenient. */
    bool is_lenient;
};

/*
 * Decode and check everything about the header that needs no file size. BUF
 * holds the first LEN bytes of the file (all of the first cluster if it has
 * so many; at least 512 bytes where the file does). Errors: IMG_FORMAT for a
 * wrong magic, IMG_UNSUPPORTED for a version other than 2 and 3, IMG_CORRUPT
 * for anything else, each naming the field, the value found and the range
 * expected, with the field's offset. An unknown incompatible bit is not
 * reported here: the names of unknown bits stand in an extension, see
 * qcow2_features_check.
 */
int qcow2_header_decode(const uint8_t *buf, size_t len,
                        struct qcow2_header *out, struct img_error *err);

/*
 * The same for a check, which is to say more of an image than that it is
 * broken: the tables may lie anywhere (but aligned and below 2^63), the
 * refcount table may have no clusters, and there may be snapshots beside an
 * external data file. What is decoded with such a header (snapshots, bitmaps)
 * may lie anywhere, too. Nothing may be read or written through such tables.
 */
int qcow2_header_decode_lenient(const uint8_t *buf, size_t len,
                                struct qcow2_header *out,
                                struct img_error *err);

/*
 * The checks against the length of the file: L1 table, refcount table and
 * snapshot table begin inside it (only the last cluster of a table may be
 * partly missing), the header itself is fully present. Of a lenient header
 * only the last.
 */
int qcow2_header_check_file(const struct qcow2_header *header,
                            uint64_t file_len, struct img_error *err);

/*
 * The length of the first cluster of an image whose first bytes are BUF (at
 * least 24), for the caller to know how much to load; 0 when it is no qcow2
 * header or cluster_bits is out of range.
 */
uint32_t qcow2_header_peek_cluster_len(const uint8_t *buf, size_t len);

/*
 * Fill in the derived fields from the stored ones, which must be in range.
 */
void qcow2_header_derive(struct qcow2_header *header);

/*
 * Values to bytes: header_len bytes at BUF (at least 72 in version 2, 104 in
 * version 3; what is beyond the fields known here is zeroed).
 */
void qcow2_header_encode(const struct qcow2_header *header, uint8_t *buf);

#endif
