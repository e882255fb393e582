/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Undo records of a repair; private to qcow2/repair. In big-endian words:
 *
 *    0  magic, 8 bytes          24  length of the image before
 *    8  version of the record   32  and after
 *   12  reserved, 0             40  number of sectors that follow
 *   16  inode of the image      48  reserved, 0
 *                               56  CRC-32 of these 56 bytes
 *
 * then for each sector that the repair changes, and always the first one:
 *
 *    0  offset in the image     12  CRC-32 of the sector afterwards
 *    8  how many bytes of it    16  and on the way, where that is different
 *       the image had           20  reserved, 0
 *   24  the sector as it was   536  CRC-32 of these 536 bytes
 *
 * Of the first sector what a repair changes is put back, whatever it says now.
 */
#ifndef QCOW2_REPAIR_RECORD_H
#define QCOW2_REPAIR_RECORD_H

#include <stdint.h>

#define RECORD_MAGIC 0x696d67726570720aull /* "imgrepr\n" */
#define RECORD_VERSION 1u
#define RECORD_HEAD_LEN 60u
#define RECORD_SECTOR_LEN 540u

enum {
    RECORD_OFF_VERSION = 8,
    RECORD_OFF_INODE = 16,
    RECORD_OFF_OLD_LEN = 24,
    RECORD_OFF_NEW_LEN = 32,
    RECORD_OFF_NR = 40,
    RECORD_OFF_CRC = 56,
};

enum {
    SECTOR_OFF_OFF = 0,
    SECTOR_OFF_LEN = 8,
    SECTOR_OFF_CRC_AFTER = 12,
    SECTOR_OFF_CRC_BETWEEN = 16,
    SECTOR_OFF_BYTES = 24,
    SECTOR_OFF_CRC = 536,
};

/* What a repair changes of the first sector: L1 table, refcount table,
   snapshots; features. */
#define HEADER_CHANGES_START 40u
#define HEADER_CHANGES_END 96u

#endif
