/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Putting back what an undo record keeps: see record.h. Room: qcow2/repair.
 *
 * All sectors are looked at before the first is written: each must be as it was
 * before the repair, or as the repair left it at one of its steps. So a repair
 * that was cut short can be undone, and an undo that was cut short done again;
 * an image in which those places were changed since is refused.
 */
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/write.h>
#include <qcow2/inflate.h>

#include "record.h"
#include "repair_impl.h"

struct undo {
    struct img_file *file, *record; /* borrowed */
    uint64_t old_len, new_len, nr;
    uint64_t restored_len;
};

/* What makes no sense of the record. */
static int bad_record(struct img_error *err, struct img_file *record,
                      enum img_code code, const char *what)
{
    img_fail(err, code, "undo record: %s", what);
    img_error_set_path(err, img_file_path(record));
    return -1;
}

static int head_load(struct undo *undo, struct img_error *err)
{
    uint8_t head[RECORD_HEAD_LEN];
    uint64_t sectors_len;
    struct img_stamp stamp;
    size_t got = 0;

    if (img_file_read_padded(undo->record, head, sizeof(head), 0, &got, err) ||
        img_file_stamp(undo->file, &stamp, err)) {
        return -1;
    }
    if (got < sizeof(head) || img_load_be64(head) != RECORD_MAGIC) {
        return bad_record(err, undo->record, IMG_FORMAT,
                          "found something else, expected one of a repair");
    }
    if (qcow2_crc32(head, RECORD_OFF_CRC) !=
        img_load_be32(head + RECORD_OFF_CRC)) {
        return bad_record(err, undo->record, IMG_CORRUPT,
                          "its checksum is wrong");
    }
    if (img_load_be32(head + RECORD_OFF_VERSION) != RECORD_VERSION) {
        return bad_record(err, undo->record, IMG_UNSUPPORTED,
                          "found another version, expected 1");
    }
    undo->old_len = img_load_be64(head + RECORD_OFF_OLD_LEN);
    undo->new_len = img_load_be64(head + RECORD_OFF_NEW_LEN);
    undo->nr = img_load_be64(head + RECORD_OFF_NR);
    if (!img_mul(undo->nr, RECORD_SECTOR_LEN, &sectors_len) ||
        sectors_len + RECORD_HEAD_LEN != img_file_len(undo->record)) {
        return bad_record(err, undo->record, IMG_CORRUPT,
                          "it is not as long as it says");
    }
    if (stamp.ino != img_load_be64(head + RECORD_OFF_INODE)) {
        return bad_record(err, undo->record, IMG_CHANGED,
                          "it is one of another file");
    }
    return 0;
}

static int changed(const struct undo *undo, uint64_t off, struct img_error *err)
{
    img_fail_at(err, IMG_CHANGED, off,
                "found other bytes than the repair left, expected an image "
                "that was not used since");
    img_error_set_path(err, img_file_path(undo->file));
    return -1;
}

/* The sector that P records: as it is now, in NOW, and where. */
static int sector_load(struct undo *undo, const uint8_t *p, uint8_t *now,
                       uint64_t *off, size_t *len, struct img_error *err)
{
    *off = img_load_be64(p + SECTOR_OFF_OFF);
    *len = img_load_be32(p + SECTOR_OFF_LEN);
    if (qcow2_crc32(p, SECTOR_OFF_CRC) != img_load_be32(p + SECTOR_OFF_CRC) ||
        *len > QCOW2_SECTOR_LEN || !img_range_fits(*off, *len, undo->old_len)) {
        return bad_record(err, undo->record, IMG_CORRUPT,
                          "its checksum is wrong");
    }
    return img_file_read_padded(undo->file, now, QCOW2_SECTOR_LEN, *off, NULL,
                                err);
}

static bool is_expected(const uint8_t *p, const uint8_t *now, uint64_t off)
{
    const uint8_t *was = p + SECTOR_OFF_BYTES;
    uint32_t crc;

    if (off == 0) {
        return memcmp(was, now, HEADER_CHANGES_START) == 0 &&
               memcmp(was + HEADER_CHANGES_END, now + HEADER_CHANGES_END,
                      QCOW2_SECTOR_LEN - HEADER_CHANGES_END) == 0;
    }
    crc = qcow2_crc32(now, QCOW2_SECTOR_LEN);
    return memcmp(was, now, QCOW2_SECTOR_LEN) == 0 ||
           crc == img_load_be32(p + SECTOR_OFF_CRC_AFTER) ||
           crc == img_load_be32(p + SECTOR_OFF_CRC_BETWEEN);
}

static int sector_see(struct undo *undo, const uint8_t *p, bool writes,
                      struct img_error *err)
{
    uint8_t now[QCOW2_SECTOR_LEN];
    uint64_t off;
    size_t len;

    if (sector_load(undo, p, now, &off, &len, err)) {
        return -1;
    }
    if (!is_expected(p, now, off)) {
        return changed(undo, off, err);
    }
    if (memcmp(p + SECTOR_OFF_BYTES, now, len) == 0) {
        return 0;
    }
    undo->restored_len += writes ? 0 : len;
    return writes
               ? img_file_write(undo->file, p + SECTOR_OFF_BYTES, len, off, err)
               : 0;
}

static int sectors_see(struct undo *undo, bool writes, struct img_error *err)
{
    uint8_t p[RECORD_SECTOR_LEN];

    for (uint64_t i = 0; i < undo->nr; i++) {
        if (img_file_read(undo->record, p, sizeof(p),
                          RECORD_HEAD_LEN + i * RECORD_SECTOR_LEN, err) ||
            sector_see(undo, p, writes, err)) {
            return -1;
        }
    }
    return 0;
}

int qcow2_repair_undo(struct img_file *file, struct img_file *record,
                      bool dry_run, uint64_t *restored_len,
                      struct img_error *err)
{
    struct undo undo = {.file = file, .record = record};
    uint64_t len = img_file_len(file);

    *restored_len = 0;
    if (head_load(&undo, err)) {
        return -1;
    }
    if (len < undo.old_len || len > undo.new_len) {
        img_fail(err, IMG_CHANGED,
                 "found a file of %llu bytes, expected the %llu that the "
                 "repair left",
                 (unsigned long long)len, (unsigned long long)undo.new_len);
        img_error_set_path(err, img_file_path(file));
        return -1;
    }
    if (sectors_see(&undo, false, err)) {
        return -1;
    }
    *restored_len = undo.restored_len;
    if (dry_run) {
        return 0;
    }
    if (sectors_see(&undo, true, err) || img_file_flush(file, err) ||
        (len != undo.old_len && (img_file_resize(file, undo.old_len, err) ||
                                 img_file_flush(file, err)))) {
        return -1;
    }
    return 0;
}
