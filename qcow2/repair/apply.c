/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing what was worked out, in the order of the in-place writer.
 *
 * Room: qcow2/repair. Whatever a crash leaves of it: no entry is stable before
 * what it leads to, nothing is overwritten that something else is read from
 * (move.c has seen to that), and refcounts only shrink when nothing relies on
 * them any more.
 */
#include "repair_impl.h"

#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define WRITE_LEN (256u << 10)

enum {
    OFF_REFTABLE = 48,
    REFTABLE_LEN = 12, /* and the clusters */
    OFF_INCOMPATIBLE = 72,
    OFF_AUTOCLEAR = 88,
};

/* Pages that lie in a row from page I on, of one class and at most so many as
   are written at once. */
static size_t run_of(const struct qcow2_plan *plan, size_t i)
{
    const struct qcow2_page *page = &plan->pages[i];
    size_t nr = 1;

    while (i + nr < plan->nr && nr < WRITE_LEN / plan->page_len &&
           page[nr].class == page->class &&
           page[nr].off == page->off + nr * plan->page_len) {
        nr++;
    }
    return nr;
}

static int run_write(struct qcow2_repair *r, const struct qcow2_plan *plan,
                     size_t i, size_t nr, bool raises, uint8_t *bytes,
                     struct img_error *err)
{
    uint64_t off = plan->pages[i].off;
    uint64_t len =
        img_min((uint64_t)nr * plan->page_len, img_file_len(r->staged) - off);
    uint8_t *was = bytes + WRITE_LEN;

    if (img_file_read(r->staged, bytes, len, off, err)) {
        return -1;
    }
    if (raises) {
        if (img_file_read_padded(r->file, was, len, off, NULL, err)) {
            return -1;
        }
        qcow2_refcounts_raise(&r->header, was, bytes, (uint32_t)len);
        if (memcmp(was, bytes, len) == 0) {
            return 0;
        }
    }
    return img_file_write(r->file, bytes, len, off, err);
}

/* All pages of CLASS; *DONE: there were some. */
static int class_write(struct qcow2_repair *r, const struct qcow2_plan *plan,
                       enum qcow2_page_class class, bool raises, bool *done,
                       struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    uint8_t *bytes = img_calloc(2, WRITE_LEN, err);

    if (!bytes) {
        return -1;
    }
    for (size_t i = 0, nr; i < plan->nr; i += nr) {
        nr = run_of(plan, i);
        if (plan->pages[i].class != class) {
            continue;
        }
        if (run_write(r, plan, i, nr, raises, bytes, err)) {
            return -1;
        }
        *done = true;
    }
    return 0;
}

static int class_store(struct qcow2_repair *r, const struct qcow2_plan *plan,
                       enum qcow2_page_class class, struct img_error *err)
{
    bool done = false;

    if (class_write(r, plan, class, false, &done, err)) {
        return -1;
    }
    return done ? img_file_flush(r->file, err) : 0;
}

/* Bytes [START, END) of the first sector become those of the staged one. */
static int header_part_store(struct qcow2_repair *r, size_t start, size_t end,
                             struct img_error *err)
{
    uint8_t was[QCOW2_SECTOR_LEN], now[QCOW2_SECTOR_LEN];
    size_t got = 0;

    if (img_file_read_padded(r->file, was, sizeof(was), 0, &got, err) ||
        img_file_read_padded(r->staged, now, sizeof(now), 0, NULL, err)) {
        return -1;
    }
    if (memcmp(was + start, now + start, end - start) == 0) {
        return 0;
    }
    memcpy(was + start, now + start, end - start);
    return img_file_write(r->file, was, got, 0, err) ||
                   img_file_flush(r->file, err)
               ? -1
               : 0;
}

/* Features that nobody here knows are no longer vouched for. */
static int autoclear_store(struct qcow2_repair *r, struct img_error *err)
{
    uint64_t unknown = r->header.autoclear & ~(QCOW2_AUTOCLEAR_BITMAPS |
                                               QCOW2_AUTOCLEAR_DATA_FILE_RAW);

    return unknown == 0
               ? 0
               : header_part_store(r, OFF_AUTOCLEAR, OFF_AUTOCLEAR + 8, err);
}

static int space_take(struct qcow2_repair *r, struct img_error *err)
{
    uint64_t len = img_file_len(r->staged);

    return len > img_file_len(r->file) ? img_file_resize(r->file, len, err) : 0;
}

static int fresh_store(struct qcow2_repair *r, const struct qcow2_plan *plan,
                       struct img_error *err)
{
    bool done = false;

    if (space_take(r, err) ||
        class_write(r, plan, QCOW2_PAGE_FRESH, false, &done, err) ||
        class_write(r, plan, QCOW2_PAGE_REFBLOCK, true, &done, err)) {
        return -1;
    }
    return done ? img_file_flush(r->file, err) : 0;
}

int qcow2_repair_apply(struct qcow2_repair *r, const struct qcow2_plan *plan,
                       struct img_error *err)
{
    return autoclear_store(r, err) || fresh_store(r, plan, err) ||
                   class_store(r, plan, QCOW2_PAGE_REFTABLE, err) ||
                   header_part_store(r, OFF_REFTABLE,
                                     OFF_REFTABLE + REFTABLE_LEN, err) ||
                   class_store(r, plan, QCOW2_PAGE_ENTRIES, err) ||
                   class_store(r, plan, QCOW2_PAGE_L1, err) ||
                   header_part_store(r, 0, QCOW2_SECTOR_LEN, err) ||
                   class_store(r, plan, QCOW2_PAGE_REFBLOCK, err)
               ? -1
               : 0;
}

int qcow2_repair_mark_clean(struct qcow2_repair *r, struct img_error *err)
{
    uint8_t sector[QCOW2_SECTOR_LEN];
    uint64_t bits;
    size_t got = 0;

    if (img_file_read_padded(r->file, sector, sizeof(sector), 0, &got, err)) {
        return -1;
    }
    bits = img_load_be64(sector + OFF_INCOMPATIBLE);
    img_store_be64(sector + OFF_INCOMPATIBLE,
                   bits & ~(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT));
    return img_file_write(r->file, sector, got, 0, err) ||
                   img_file_flush(r->file, err)
               ? -1
               : 0;
}
