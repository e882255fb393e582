/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent bitmaps (specification: "Bitmaps"), bytes to values. Pure.
 */
#ifndef QCOW2_BITMAP_H
#define QCOW2_BITMAP_H

#include <qcow2/header.h>

#define QCOW2_BITMAP_FIXED_LEN 24u
#define QCOW2_BITMAP_FLAG_IN_USE 1u
#define QCOW2_BITMAP_FLAG_AUTO 2u

struct qcow2_bitmap {
    uint64_t table_off;
    uint32_t table_entries;
    uint32_t flags;
    uint8_t type;
    uint8_t granularity_bits;
    const char *name; /* borrowed, not terminated */
    uint16_t name_len;
    uint64_t entry_len; /* rounded up to 8 */
};

/*
 * Decode the directory entry at BUF; LEN bytes are left of the directory.
 * IMG_CORRUPT for each limit of the specification and of QEMU (table empty,
 * unaligned, outside FILE_LEN or too large, unknown flags or type, extra
 * data, granularity out of range, empty or long name, too few bits for the
 * disk unless in use).
 */
int qcow2_bitmap_decode(const struct qcow2_header *header, const uint8_t *buf,
                        size_t len, uint64_t directory_off, uint64_t file_len,
                        struct qcow2_bitmap *out, struct img_error *err);

/*
 * One entry of a bitmap table. *out is the offset of the bitmap's cluster, 0
 * when the entry says all zeros (bit 0 clear) or all ones (bit 0 set).
 */
int qcow2_bitmap_entry_decode(const struct qcow2_header *header, uint64_t entry,
                              uint64_t file_len, uint64_t *out,
                              struct img_error *err);

/* Values to bytes: a directory entry of entry_len bytes (set first when BUF is
   NULL), padding zeroed. */
void qcow2_bitmap_encode(struct qcow2_bitmap *bitmap, uint8_t *buf);

#endif
