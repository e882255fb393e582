/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that write down what is done to them, and what a disk may hold when
 * the power goes: everything that was flushed, and of what was written since
 * any subset, each write whole or torn between sectors.
 */
#ifndef TESTS_RECORDER_H
#define TESTS_RECORDER_H

#include <img/checked.h>

/* A wrapper is a part of the room that files are made in. */
#include "../../libimg/io/file_impl.h"
#include "unit.h"

#define RECORD_SECTOR 512u
#define RECORD_FILES 2u

enum record_kind { RECORD_WRITE, RECORD_RESIZE, RECORD_FLUSH };

struct record {
    enum record_kind kind;
    unsigned file;
    unsigned step; /* of the test: which command was under way */
    uint64_t off, len;
    uint8_t *bytes;
};

struct record_log {
    struct record *at;
    size_t nr, room;
    unsigned step;
};

struct recorder {
    struct img_file file;
    struct record_log *log; /* borrowed */
    unsigned number;
};

static inline struct recorder *as_recorder(struct img_file *file)
{
    return (struct recorder *)file;
}

static inline struct record *record_add(struct recorder *r,
                                        enum record_kind kind, uint64_t off,
                                        uint64_t len)
{
    struct record_log *log = r->log;

    if (log->nr == log->room) {
        log->room = log->room ? log->room * 2 : 256;
        log->at = realloc(log->at, log->room * sizeof(*log->at));
        ck_assert_ptr_nonnull(log->at);
    }
    log->at[log->nr] = (struct record){
        .kind = kind,
        .file = r->number,
        .step = log->step,
        .off = off,
        .len = len,
    };
    return &log->at[log->nr++];
}

static inline void record_bytes(struct recorder *r, const void *buf,
                                uint64_t off, uint64_t len)
{
    struct record *record = record_add(r, RECORD_WRITE, off, len);

    record->bytes = calloc(1, len);
    ck_assert_ptr_nonnull(record->bytes);
    if (buf) {
        memcpy(record->bytes, buf, len);
    }
}

static inline ssize_t recorder_pread(struct img_file *file, void *buf,
                                     size_t len, uint64_t off)
{
    return file->inner->ops->pread(file->inner, buf, len, off);
}

static inline int recorder_hole(struct img_file *file, uint64_t off,
                                uint64_t len, bool *is_hole, uint64_t *run_len,
                                struct img_error *err)
{
    return img_file_next_hole(file->inner, off, len, is_hole, run_len, err);
}

static inline ssize_t recorder_pwrite(struct img_file *file, const void *buf,
                                      size_t len, uint64_t off)
{
    record_bytes(as_recorder(file), buf, off, len);
    return file->inner->ops->pwrite(file->inner, buf, len, off);
}

static inline int recorder_zero(struct img_file *file, uint64_t off,
                                uint64_t len, enum img_zero_mode mode)
{
    record_bytes(as_recorder(file), NULL, off, len);
    return file->inner->ops->zero(file->inner, off, len, mode);
}

static inline void recorder_discard(struct img_file *file, uint64_t off,
                                    uint64_t len)
{
    /* What was discarded may read as anything. */
    record_bytes(as_recorder(file), NULL, off, len);
    struct record_log *log = as_recorder(file)->log;
    memset(log->at[log->nr - 1].bytes, 0xdd, len);
    file->inner->ops->discard(file->inner, off, len);
}

static inline int recorder_resize(struct img_file *file, uint64_t len)
{
    record_add(as_recorder(file), RECORD_RESIZE, 0, len);
    return file->inner->ops->resize(file->inner, len);
}

static inline int recorder_flush(struct img_file *file)
{
    record_add(as_recorder(file), RECORD_FLUSH, 0, 0);
    return file->inner->ops->flush(file->inner);
}

static inline void recorder_free(struct img_file *file)
{
    img_file_fini(file);
    free(file);
}

static const struct img_file_ops recorder_ops = {
    .pread = recorder_pread,
    .hole = recorder_hole,
    .pwrite = recorder_pwrite,
    .zero = recorder_zero,
    .discard = recorder_discard,
    .resize = recorder_resize,
    .flush = recorder_flush,
    .free = recorder_free,
};

/* INNER (own reference), written down in LOG as file NUMBER. */
static inline struct img_file *
recorder_new(struct img_file *inner, struct record_log *log, unsigned number)
{
    struct recorder *r = calloc(1, sizeof(*r));
    struct img_error err = {0};

    ck_assert_ptr_nonnull(r);
    unit_ok(img_file_init_wrapper(&r->file, &recorder_ops, inner, &err), &err);
    r->log = log;
    r->number = number;
    return &r->file;
}

static inline void record_log_fini(struct record_log *log)
{
    for (size_t i = 0; i < log->nr; i++) {
        free(log->at[i].bytes);
    }
    free(log->at);
    *log = (struct record_log){0};
}

/* ---- What a disk holds. */

struct disk {
    uint8_t *bytes;
    uint64_t len, room;
};

static inline void disk_resize(struct disk *disk, uint64_t len)
{
    if (len > disk->room) {
        uint64_t room = len * 2;

        disk->bytes = realloc(disk->bytes, room);
        ck_assert_ptr_nonnull(disk->bytes);
        disk->room = room;
    }
    if (len > disk->len) {
        memset(disk->bytes + disk->len, 0, len - disk->len);
    }
    disk->len = len;
}

static inline void disk_copy(struct disk *to, const struct disk *from)
{
    disk_resize(to, from->len);
    if (from->len > 0) {
        memcpy(to->bytes, from->bytes, from->len);
    }
}

/* Do RECORD; of a write only the sectors whose turn it is in *KEEP, a state
   of chance; NULL: all. */
static inline void disk_apply(struct disk *disk, const struct record *record,
                              uint64_t *keep)
{
    if (record->kind == RECORD_RESIZE) {
        disk_resize(disk, record->len);
        return;
    }
    for (uint64_t at = 0, n; record->kind == RECORD_WRITE && at < record->len;
         at += n) {
        uint64_t off = record->off + at;

        n = img_min(record->len - at, RECORD_SECTOR - off % RECORD_SECTOR);
        if (keep) {
            *keep = *keep * 6364136223846793005ull + 1442695040888963407ull;
        }
        if (keep && (*keep >> 40) % 2 == 0) {
            continue;
        }
        if (disk->len < off + n) {
            disk_resize(disk, off + n);
        }
        memcpy(disk->bytes + off, record->bytes + at, n);
    }
}

#endif
