/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images in memory to be edited, a model of what their guest sees, and random
 * commands that change both.
 *
 * The model has one byte for each sector of the disk: every byte of a sector
 * is the same. What the image does not own reads as BELOW, as if a backing
 * file had it.
 */
#ifndef TESTS_EDIT_FIXTURE_H
#define TESTS_EDIT_FIXTURE_H

#include <stdio.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/check.h>
#include <qcow2/deflate.h>
#include <qcow2/edit.h>
#include <qcow2/inflate.h>

/* Snapshots are made with the room's own functions. */
#include "../../qcow2/edit/edit_impl.h"
#include "unit.h"

#define SECTOR QCOW2_SECTOR_LEN
#define BELOW 0xbbu

/* ---- Chance that is the same everywhere. */

static inline uint64_t chance(uint64_t *state, uint64_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (*state >> 11) % below;
}

/* ---- What the guest sees. */

static inline uint8_t sector_byte(const uint8_t *bytes, uint64_t at,
                                  const char *what)
{
    /* Not an assertion each: check writes all of them down. */
    if (memcmp(bytes, bytes + 1, SECTOR - 1) != 0) {
        ck_abort_msg("%s: sector %llu is torn", what, (unsigned long long)at);
    }
    return bytes[0];
}

/* The bytes of EXTENT, as the image stores them. */
static inline void extent_read(struct img_image *image,
                               const struct img_extent *extent, uint8_t *out)
{
    const struct qcow2_header *header = qcow2_image_header(image);
    int below = header->is_data_file_raw ? 0 : (int)BELOW;
    struct img_error err = {0};

    if (extent->kind == IMG_EXTENT_DATA) {
        unit_ok(img_file_read_padded(extent->file, out, extent->len,
                                     extent->host_off, NULL, &err),
                &err);
        return;
    }
    if (extent->kind != IMG_EXTENT_COMPRESSED) {
        memset(out, extent->kind == IMG_EXTENT_ZERO ? 0 : below, extent->len);
        return;
    }
    struct img_inflater *inflater;
    uint8_t *in = calloc(1, extent->host_len);
    uint8_t *unit = calloc(1, extent->unit_len);

    ck_assert(in && unit);
    unit_ok(qcow2_inflater_new(&inflater, &err), &err);
    unit_ok(img_file_read_padded(extent->file, in, extent->host_len,
                                 extent->host_off, NULL, &err),
            &err);
    unit_ok(img_image_decompress(image, inflater, extent, in, unit, &err),
            &err);
    memcpy(out, unit + (extent->guest_off - extent->unit_guest_off),
           extent->len);
    qcow2_inflater_free(inflater);
    free(in);
    free(unit);
}

/* One byte for each of SECTORS sectors. */
static inline void disk_read(struct img_file *file, struct img_file *data_file,
                             const char *snapshot, uint64_t sectors,
                             uint8_t *out)
{
    struct img_error err = {0};
    struct img_image *image;
    uint8_t *bytes = calloc(sectors, SECTOR);
    struct img_extent extent;

    ck_assert_ptr_nonnull(bytes);
    unit_ok(qcow2_open(file, &(struct qcow2_options){.snapshot = snapshot},
                       &image, &err),
            &err);
    if (data_file) {
        img_image_set_data_file(image, data_file);
    }
    ck_assert_uint_eq(image->virtual_len, sectors * SECTOR);
    for (uint64_t off = 0; off < image->virtual_len; off += extent.len) {
        unit_ok(
            img_image_map(image, off, image->virtual_len - off, &extent, &err),
            &err);
        extent_read(image, &extent, bytes + off);
    }
    for (uint64_t i = 0; i < sectors; i++) {
        out[i] = sector_byte(bytes + i * SECTOR, i, "the guest's disk");
    }
    img_image_free(image);
    free(bytes);
}

static inline void problem_show(void *opaque,
                                const struct qcow2_problem *problem)
{
    (void)opaque;
    fprintf(stderr, "  %s\n", problem->message);
}

/* No corruption; no leak either unless LEAKS. */
static inline void image_check(struct img_file *file,
                               struct img_file *data_file, bool leaks,
                               const char *what)
{
    struct img_error err = {0};
    struct img_image *image;
    struct qcow2_check_result result;

    unit_ok(qcow2_open(file, &(struct qcow2_options){0}, &image, &err), &err);
    if (data_file) {
        img_image_set_data_file(image, data_file);
    }
    ck_assert(!image->is_corrupt && !image->is_dirty);
    unit_ok(qcow2_check(image, &(struct qcow2_check_options){0}, &result, &err),
            &err);
    if (result.corruptions > 0 || (result.leaks > 0 && !leaks)) {
        (void)qcow2_check(
            image, &(struct qcow2_check_options){.problem = problem_show},
            &result, &err);
        ck_abort_msg("%s: %llu corruptions, %llu leaks", what,
                     (unsigned long long)result.corruptions,
                     (unsigned long long)result.leaks);
    }
    ck_assert_uint_eq(result.check_errors, 0);
    img_image_free(image);
}

/* ---- Images. */

struct fixture_kind {
    const char *name;
    uint32_t version, cluster_len, refcount_bits;
    bool extended_l2;
    bool has_data_file, is_raw;
    bool has_backing;
    bool has_snapshot;
    bool has_compressed;
    uint64_t sectors;
};

struct fixture {
    const struct fixture_kind *kind;
    uint32_t granule;
    uint64_t rng;
    struct img_file *file, *data_file;
    uint8_t *now;    /* the model */
    uint8_t *before; /* as the snapshot has it */
    struct qcow2_edit *edit;
    struct qcow2_edit_options options;
    struct img_error err;
};

static inline struct qcow2_create_options
fixture_options(const struct fixture_kind *kind)
{
    struct qcow2_create_options options;

    qcow2_create_options_init(&options);
    options.version = kind->version;
    options.cluster_len = kind->cluster_len;
    options.refcount_bits = kind->refcount_bits;
    options.extended_l2 = kind->extended_l2;
    options.virtual_len = kind->sectors * SECTOR;
    if (kind->has_backing) {
        options.backing_name = "below";
        options.backing_format = "raw";
    }
    if (kind->has_data_file) {
        options.data_file_name = "data";
        options.data_file_raw = kind->is_raw;
    }
    return options;
}

/* What a range becomes that the image gives up. */
static inline uint8_t fixture_below(const struct fixture *f)
{
    return f->kind->is_raw ? 0 : BELOW;
}

static inline void fixture_data(struct fixture *f, struct qcow2_fresh *fresh,
                                uint64_t off, uint64_t len, uint8_t byte)
{
    uint8_t *bytes = malloc(len);

    ck_assert_ptr_nonnull(bytes);
    memset(bytes, byte, len);
    for (uint64_t end = off + len; off < end;) {
        struct qcow2_place place;

        unit_ok(qcow2_fresh_data(fresh, off, end - off, &place, &f->err),
                &f->err);
        unit_ok(img_file_write(place.file, bytes, place.len, place.host_off,
                               &f->err),
                &f->err);
        off += place.len;
    }
    free(bytes);
}

/* A whole cluster, deflated; false: it does not get smaller. */
static inline bool fixture_compressed(struct fixture *f,
                                      struct qcow2_fresh *fresh, uint64_t off,
                                      uint8_t byte)
{
    uint32_t len = f->kind->cluster_len;
    struct qcow2_deflater *deflater;
    uint8_t *in = malloc(len);
    uint8_t *out = malloc(len);
    uint64_t host_off;
    size_t out_len;

    ck_assert(in && out);
    memset(in, byte, len);
    unit_ok(qcow2_deflater_new(QCOW2_COMPRESSION_ZLIB, QCOW2_EFFORT_DEFAULT,
                               &deflater, &f->err),
            &f->err);
    unit_ok(qcow2_deflate(deflater, in, len, out, len - 1, &out_len, &f->err),
            &f->err);
    if (out_len > 0) {
        unit_ok(qcow2_fresh_compressed(fresh, off, (uint32_t)out_len, &host_off,
                                       &f->err),
                &f->err);
        unit_ok(img_file_write(f->file, out, out_len, host_off, &f->err),
                &f->err);
    }
    qcow2_deflater_free(deflater);
    free(in);
    free(out);
    return out_len > 0;
}

/* Of each granule something, or nothing. */
static inline void fixture_fill(struct fixture *f, struct qcow2_fresh *fresh)
{
    uint64_t len = f->kind->sectors * SECTOR;
    uint32_t cluster_len = f->kind->cluster_len;

    for (uint64_t off = 0, n; off < len; off += n) {
        uint8_t byte = (uint8_t)(1 + chance(&f->rng, 100));
        uint64_t what = chance(&f->rng, 8);
        bool is_cluster = off % cluster_len == 0 && len - off >= cluster_len;

        n = img_min(len - off, f->granule);
        if (what < 2 && f->kind->has_compressed && is_cluster &&
            fixture_compressed(f, fresh, off, byte)) {
            n = cluster_len;
        } else if (what < 4) {
            fixture_data(f, fresh, off, n, byte);
        } else if (what == 4 && f->kind->version >= 3) {
            unit_ok(qcow2_fresh_zero(fresh, off, n, &f->err), &f->err);
            byte = 0;
        } else {
            byte = fixture_below(f);
        }
        memset(f->now + off / SECTOR, byte, n / SECTOR);
    }
}

/* An L2 table and all that it refers to have one more owner. */
static inline void share_table(struct fixture *f, struct qcow2_edit *edit,
                               uint32_t idx)
{
    struct qcow2_l2_entry entry;
    struct qcow2_table *table;

    unit_ok(qcow2_edit_l2_own(edit, idx, &table, &f->err), &f->err);
    unit_ok(qcow2_edit_refcount_raise(
                edit, qcow2_edit_cluster_of(edit, table->off), 1, &f->err),
            &f->err);
    for (uint32_t i = 0; i < edit->header.l2_entries; i++) {
        unit_ok(qcow2_edit_entry_get(edit, table, i, &entry, &f->err), &f->err);
        if (!entry.has_host) {
            continue;
        }
        uint64_t first = qcow2_edit_cluster_of(edit, entry.host_off);
        uint64_t nr = 1;
        if (entry.kind == QCOW2_CLUSTER_COMPRESSED) {
            nr += qcow2_edit_cluster_of(edit,
                                        entry.host_off + entry.host_len - 1) -
                  first;
        }
        unit_ok(qcow2_edit_refcount_raise(edit, first, nr, &f->err), &f->err);
        entry.is_copied = false;
        qcow2_edit_entry_set(edit, table, i, &entry);
    }
    qcow2_edit_l1_set(edit, idx, table->off);
}

/* The snapshot's L1 table and the snapshot table. */
static inline void snapshot_write(struct fixture *f, struct qcow2_edit *edit)
{
    uint32_t cluster_len = edit->header.cluster_len;
    uint64_t l1_len = (uint64_t)edit->header.l1_entries * 8;
    struct qcow2_snapshot snapshot = {
        .l1_entries = edit->header.l1_entries,
        .virtual_len = edit->virtual_len,
        .icount = UINT64_MAX,
        .id = "1",
        .id_len = 1,
        .name = "before",
        .name_len = 6,
    };
    struct qcow2_header header = edit->header;
    uint8_t *l1 = calloc(1, l1_len);
    uint8_t buf[256] = {0};

    ck_assert_ptr_nonnull(l1);
    unit_ok(qcow2_edit_alloc(edit, img_div_up(l1_len, cluster_len),
                             QCOW2_PART_SNAPSHOT_L1, &snapshot.l1_off, &f->err),
            &f->err);
    unit_ok(qcow2_edit_alloc(edit, 1, QCOW2_PART_SNAPSHOT_TABLE,
                             &header.snapshots_off, &f->err),
            &f->err);
    for (uint32_t i = 0; i < edit->header.l1_entries; i++) {
        img_store_be64(l1 + (size_t)i * 8, edit->l1[i]);
    }
    qcow2_snapshot_encode(&snapshot, NULL);
    qcow2_snapshot_encode(&snapshot, buf);
    unit_ok(qcow2_edit_write(edit, QCOW2_PART_SNAPSHOT_L1, l1, l1_len,
                             snapshot.l1_off, &f->err),
            &f->err);
    unit_ok(qcow2_edit_write(edit, QCOW2_PART_SNAPSHOT_TABLE, buf, sizeof(buf),
                             header.snapshots_off, &f->err),
            &f->err);
    unit_ok(qcow2_edit_commit(edit, &f->err), &f->err);
    header.snapshots_nr = 1;
    unit_ok(qcow2_edit_header_store(edit, &header, &f->err), &f->err);
    free(l1);
}

static inline void fixture_snapshot(struct fixture *f)
{
    struct qcow2_edit *edit;

    unit_ok(qcow2_edit_open(f->file, NULL, &f->options, &edit, &f->err),
            &f->err);
    for (uint32_t i = 0; i < edit->header.l1_entries; i++) {
        if (edit->l1[i] != 0) {
            share_table(f, edit, i);
        }
    }
    snapshot_write(f, edit);
    qcow2_edit_free(edit);
    memcpy(f->before, f->now, f->kind->sectors);
}

static inline void fixture_init(struct fixture *f,
                                const struct fixture_kind *kind, uint64_t seed)
{
    struct qcow2_create_options options = fixture_options(kind);
    struct qcow2_fresh *fresh;

    memset(f, 0, sizeof(*f));
    f->kind = kind;
    f->rng = seed * 0x9e3779b97f4a7c15ull + 1;
    f->now = calloc(1, kind->sectors);
    f->before = calloc(1, kind->sectors);
    ck_assert(f->now && f->before);
    unit_ok(img_file_from_memory("test.qcow2", "", 0, &f->file, &f->err),
            &f->err);
    if (kind->has_data_file) {
        unit_ok(img_file_from_memory("data", "", 0, &f->data_file, &f->err),
                &f->err);
    }
    unit_ok(qcow2_fresh_new(f->file, f->data_file, &options, &fresh, &f->err),
            &f->err);
    f->granule = qcow2_fresh_granule(fresh);
    fixture_fill(f, fresh);
    unit_ok(qcow2_fresh_finish(fresh, &f->err), &f->err);
    qcow2_fresh_free(fresh);
    if (kind->has_snapshot) {
        fixture_snapshot(f);
    }
    image_check(f->file, f->data_file, false, kind->name);
}

static inline void fixture_open(struct fixture *f)
{
    unit_ok(
        qcow2_edit_open(f->file, f->data_file, &f->options, &f->edit, &f->err),
        &f->err);
    ck_assert_uint_eq(qcow2_edit_granule(f->edit), f->granule);
}

static inline void fixture_close(struct fixture *f)
{
    qcow2_edit_free(f->edit);
    f->edit = NULL;
}

static inline void fixture_fini(struct fixture *f)
{
    fixture_close(f);
    img_file_unref(f->file);
    img_file_unref(f->data_file);
    free(f->now);
    free(f->before);
}

/* The image shows what the model has, and is clean. */
static inline void fixture_check(struct fixture *f)
{
    uint64_t sectors = f->kind->sectors;
    uint8_t *found = calloc(1, sectors);

    ck_assert_ptr_nonnull(found);
    image_check(f->file, f->data_file, false, f->kind->name);
    disk_read(f->file, f->data_file, NULL, sectors, found);
    for (uint64_t i = 0; i < sectors; i++) {
        if (found[i] != f->now[i]) {
            ck_abort_msg("%s: sector %llu is 0x%02x, expected 0x%02x",
                         f->kind->name, (unsigned long long)i, found[i],
                         f->now[i]);
        }
    }
    if (f->kind->has_snapshot) {
        disk_read(f->file, f->data_file, "1", sectors, found);
        ck_assert_mem_eq(found, f->before, sectors);
    }
    free(found);
}

/* ---- Commands. */

/* Bytes of the model, written wherever they belong. */
static inline void fixture_store(struct fixture *f, uint64_t off, uint64_t len)
{
    uint8_t *bytes = malloc(len);

    ck_assert_ptr_nonnull(bytes);
    for (uint64_t i = 0; i < len; i += SECTOR) {
        memset(bytes + i, f->now[(off + i) / SECTOR], SECTOR);
    }
    for (uint64_t at = 0; at < len;) {
        struct qcow2_place place;

        unit_ok(qcow2_edit_place(f->edit, off + at, len - at, &place, &f->err),
                &f->err);
        ck_assert_uint_gt(place.len, 0);
        unit_ok(img_file_write(place.file, bytes + at, place.len,
                               place.host_off, &f->err),
                &f->err);
        at += place.len;
    }
    free(bytes);
}

static inline void fixture_write(struct fixture *f, uint64_t off, uint64_t len,
                                 uint8_t byte)
{
    uint64_t span_off;
    uint64_t span_len;

    unit_ok(qcow2_edit_span(f->edit, off, len, &span_off, &span_len, &f->err),
            &f->err);
    ck_assert(span_off <= off && span_off + span_len >= off + len);
    ck_assert_uint_le(span_off + span_len, f->kind->sectors * SECTOR);
    memset(f->now + off / SECTOR, byte, len / SECTOR);
    fixture_store(f, span_off, span_len);
}

static inline void fixture_zero(struct fixture *f, uint64_t off, uint64_t len,
                                bool keep)
{
    if (qcow2_edit_zero(f->edit, off, len, keep, &f->err)) {
        ck_assert_int_eq((int)f->err.code, IMG_UNSUPPORTED);
        fixture_write(f, off, len, 0);
        return;
    }
    /* Without a backing file BELOW stands for zeros. */
    for (uint64_t i = off / SECTOR; i < (off + len) / SECTOR; i++) {
        f->now[i] = 0;
    }
}

static inline void fixture_discard(struct fixture *f, uint64_t off,
                                   uint64_t len)
{
    unit_ok(qcow2_edit_discard(f->edit, off, len, &f->err), &f->err);
    memset(f->now + off / SECTOR, fixture_below(f), len / SECTOR);
}

/* A range of whole units, often a short one. */
static inline void fixture_range(struct fixture *f, uint32_t unit,
                                 uint64_t *off, uint64_t *len)
{
    uint64_t disk = f->kind->sectors * SECTOR;
    uint64_t units = img_div_up(disk, unit);
    uint64_t first = chance(&f->rng, units);
    uint64_t nr = 1 + chance(&f->rng, chance(&f->rng, 3) ? 5 : units);

    *off = first * unit;
    *len = img_min(nr * unit, disk - *off);
}

/* One of write, zero, discard, and now and then a commit. */
static inline void fixture_command(struct fixture *f)
{
    uint64_t what = chance(&f->rng, 10);
    bool keep = chance(&f->rng, 2);
    uint64_t off;
    uint64_t len;

    fixture_range(f,
                  what < 5   ? SECTOR
                  : what < 7 ? f->granule
                             : f->kind->cluster_len,
                  &off, &len);
    if (what < 5) {
        fixture_write(f, off, len, (uint8_t)(1 + chance(&f->rng, 100)));
    } else if (what < 7) {
        fixture_zero(f, off, len, keep);
    } else if (what < 9) {
        fixture_discard(f, off, len);
    } else {
        unit_ok(qcow2_edit_commit(f->edit, &f->err), &f->err);
    }
}

/* Every sort of image, each feature with some others. */
static const struct fixture_kind fixture_kinds[] = {
    {"plain", 3, 65536, 16, .has_backing = true, .sectors = 2051},
    {"small clusters", 3, 512, 64, .has_backing = true, .sectors = 701},
    {"one bit", 3, 512, 1, .has_backing = true, .sectors = 800},
    {"version 2", 2, 4096, 16, .has_backing = true, .sectors = 1001},
    {"compressed", 3, 1024, 8, .has_backing = true, .has_compressed = true,
     .sectors = 402},
    {"snapshot", 3, 1024, 4, .has_backing = true, .has_snapshot = true,
     .sectors = 513},
    {"snapshot of compressed", 2, 2048, 16, .has_backing = true,
     .has_snapshot = true, .has_compressed = true, .sectors = 600},
    {"subclusters", 3, 16384, 32, .extended_l2 = true, .has_backing = true,
     .sectors = 1999},
    {"subclusters, all", 3, 16384, 16, .extended_l2 = true, .has_backing = true,
     .has_snapshot = true, .has_compressed = true, .sectors = 1411},
    {"data file", 3, 4096, 16, .has_data_file = true, .has_backing = true,
     .sectors = 902},
    {"raw data file", 3, 8192, 16, .has_data_file = true, .is_raw = true,
     .sectors = 902},
    {"two bits", 3, 512, 2, .has_backing = true, .has_snapshot = true,
     .sectors = 390},
};
#define FIXTURE_KINDS (sizeof(fixture_kinds) / sizeof(fixture_kinds[0]))

#endif
