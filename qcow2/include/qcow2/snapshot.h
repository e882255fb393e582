/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The snapshot table (specification: "Snapshots"), bytes to values. Pure.
 */
#ifndef QCOW2_SNAPSHOT_H
#define QCOW2_SNAPSHOT_H

#include <qcow2/header.h>

struct qcow2_snapshot {
    uint64_t l1_off;
    uint32_t l1_entries;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint64_t vm_state_len; /* the 64-bit field of the extra data if there */
    uint64_t virtual_len;  /* the header's where the extra data has none */
    uint64_t icount;       /* UINT64_MAX where the extra data has none */
    uint32_t extra_len;
    const uint8_t *extra; /* borrowed from the buffer, extra_len bytes */
    const char *id;       /* borrowed, not terminated */
    uint16_t id_len;
    const char *name; /* borrowed, not terminated */
    uint16_t name_len;
    uint64_t entry_len; /* bytes of the entry, rounded up to 8 */
};

/*
 * Decode the entry at the start of BUF (LEN bytes are left of the table as
 * far as it was loaded); TABLE_OFF is where BUF stands in the file, for
 * messages. IMG_CORRUPT: extra data over the limit or (version 3) under 16
 * bytes, lengths past LEN, an L1 table unaligned, too large or outside
 * FILE_LEN, a virtual size out of range. With a lenient header only what
 * keeps the entry from being read: extra data over the limit, lengths.
 */
int qcow2_snapshot_decode(const struct qcow2_header *header, const uint8_t *buf,
                          size_t len, uint64_t table_off, uint64_t file_len,
                          struct qcow2_snapshot *out, struct img_error *err);

/*
 * The length of the entry whose fixed 40 bytes are at BUF, extra data, id,
 * name and padding included: what must be loaded to decode it.
 */
uint64_t qcow2_snapshot_entry_len(const uint8_t *buf);
#define QCOW2_SNAPSHOT_FIXED_LEN 40u
/* Version 3: the extra data reaches at least to the virtual size. */
#define QCOW2_SNAPSHOT_MIN_V3_EXTRA_LEN 16u

/*
 * Values to bytes: entry_len bytes at BUF, with extra data of at least the
 * three fields of version 3 (EXTRA beyond them is kept). Sets entry_len and
 * extra_len first when BUF is NULL.
 */
void qcow2_snapshot_encode(struct qcow2_snapshot *snapshot, uint8_t *buf);

#endif
