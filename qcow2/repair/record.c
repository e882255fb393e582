/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeping an undo record: see record.h. Room: qcow2/repair.
 *
 * It is whole and stable, under its name, before the image is changed.
 */
#include "record.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/newfile.h>
#include <qcow2/inflate.h>

#include "repair_impl.h"

#define BATCH 64u /* sectors that are written at once */

struct recorder {
    struct qcow2_repair *r;
    struct img_file *file; /* borrowed */
    uint8_t *batch;        /* BATCH sectors */
    uint64_t nr;
};

static int batch_write(struct recorder *recorder, struct img_error *err)
{
    uint64_t in_batch = (recorder->nr - 1) % BATCH + 1;
    uint64_t first = recorder->nr - in_batch;

    return img_file_write(recorder->file, recorder->batch,
                          in_batch * RECORD_SECTOR_LEN,
                          RECORD_HEAD_LEN + first * RECORD_SECTOR_LEN, err);
}

/* The sector at OFF, of a page of CLASS, if it changes or IS_WANTED anyway. */
static int sector_keep(struct recorder *recorder, uint64_t off,
                       enum qcow2_page_class class, bool is_wanted,
                       struct img_error *err)
{
    struct qcow2_repair *r = recorder->r;
    uint8_t *p = recorder->batch + recorder->nr % BATCH * RECORD_SECTOR_LEN;
    uint8_t *was = p + SECTOR_OFF_BYTES;
    uint8_t now[QCOW2_SECTOR_LEN];
    size_t got = 0;

    if (off >= r->old_len) {
        return 0; /* it goes when the file is cut */
    }
    memset(p, 0, RECORD_SECTOR_LEN);
    if (img_file_read_padded(r->file, was, QCOW2_SECTOR_LEN, off, &got, err) ||
        img_file_read_padded(r->staged, now, sizeof(now), off, NULL, err)) {
        return -1;
    }
    if (!is_wanted && memcmp(was, now, sizeof(now)) == 0) {
        return 0;
    }
    img_store_be64(p + SECTOR_OFF_OFF, off);
    img_store_be32(p + SECTOR_OFF_LEN, (uint32_t)got);
    img_store_be32(p + SECTOR_OFF_CRC_AFTER, qcow2_crc32(now, sizeof(now)));
    if (class == QCOW2_PAGE_REFBLOCK) {
        qcow2_refcounts_raise(&r->header, was, now, sizeof(now));
    }
    img_store_be32(p + SECTOR_OFF_CRC_BETWEEN, qcow2_crc32(now, sizeof(now)));
    img_store_be32(p + SECTOR_OFF_CRC, qcow2_crc32(p, SECTOR_OFF_CRC));
    recorder->nr++;
    return recorder->nr % BATCH == 0 ? batch_write(recorder, err) : 0;
}

static int sectors_keep(struct recorder *recorder,
                        const struct qcow2_plan *plan, struct img_error *err)
{
    if (sector_keep(recorder, 0, QCOW2_PAGE_HEADER, true, err)) {
        return -1;
    }
    for (size_t i = 0; i < plan->nr; i++) {
        const struct qcow2_page *page = &plan->pages[i];

        for (uint32_t at = page->off == 0 ? QCOW2_SECTOR_LEN : 0;
             at < plan->page_len; at += QCOW2_SECTOR_LEN) {
            if (sector_keep(recorder, page->off + at, page->class, false,
                            err)) {
                return -1;
            }
        }
    }
    return recorder->nr % BATCH != 0 ? batch_write(recorder, err) : 0;
}

static int head_write(struct recorder *recorder, struct img_error *err)
{
    struct qcow2_repair *r = recorder->r;
    uint8_t head[RECORD_HEAD_LEN] = {0};
    struct img_stamp stamp;

    if (img_file_stamp(r->file, &stamp, err)) {
        return -1;
    }
    img_store_be64(head, RECORD_MAGIC);
    img_store_be32(head + RECORD_OFF_VERSION, RECORD_VERSION);
    img_store_be64(head + RECORD_OFF_INODE, stamp.ino);
    img_store_be64(head + RECORD_OFF_OLD_LEN, r->old_len);
    img_store_be64(head + RECORD_OFF_NEW_LEN,
                   img_max(r->old_len, img_file_len(r->staged)));
    img_store_be64(head + RECORD_OFF_NR, recorder->nr);
    img_store_be32(head + RECORD_OFF_CRC, qcow2_crc32(head, RECORD_OFF_CRC));
    return img_file_write(recorder->file, head, sizeof(head), 0, err);
}

int qcow2_record_store(struct qcow2_repair *r, const struct qcow2_plan *plan,
                       struct img_error *err)
{
    const struct img_newfile_options options = {.roots = r->options->roots};
    IMG_AUTO(img_newfile_free_ptr) struct img_newfile *newfile = NULL;
    IMG_AUTO(img_free_ptr)
    uint8_t *batch = img_calloc(BATCH, RECORD_SECTOR_LEN, err);
    struct recorder recorder = {.r = r, .batch = batch};

    if (!batch ||
        img_newfile_new(r->options->undo_path, &options, &newfile, err)) {
        return -1;
    }
    recorder.file = img_newfile_file(newfile);
    return sectors_keep(&recorder, plan, err) || head_write(&recorder, err) ||
                   img_newfile_publish(newfile, err)
               ? -1
               : 0;
}
