/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bitmaps while an image is written: in use before anything can change, marked
 * and free again when it has; with each write failing no bitmap is ever left
 * that claims to know what it does not.
 */
#include "../../qcow2/edit/bitmaps.h"
#include "edit_fixture.h"

#define CLUSTER_LEN 512u
#define SECTORS 9000u
#define GRANULARITY_BITS 9u

static const struct fixture_kind kind = {
    "bitmaps", 3, CLUSTER_LEN, 16, .sectors = SECTORS,
};

/* Three bitmaps, enabled, disabled, inconsistent, of which all bits are 0. */
static const uint32_t flags_of[] = {
    QCOW2_BITMAP_FLAG_AUTO,
    0,
    QCOW2_BITMAP_FLAG_AUTO | QCOW2_BITMAP_FLAG_IN_USE,
};
#define BITMAPS 3u

static void add_bitmaps(struct fixture *f)
{
    uint64_t entries = img_div_up(SECTORS, CLUSTER_LEN * 8);
    uint8_t directory[256] = {0};
    struct qcow2_header header;
    uint64_t len = 0, off, table_off;
    uint8_t *first;

    fixture_open(f);
    for (size_t i = 0; i < BITMAPS; i++) {
        const uint8_t zeros[CLUSTER_LEN] = {0};
        struct qcow2_bitmap bitmap = {
            .table_entries = (uint32_t)entries,
            .flags = flags_of[i],
            .type = 1,
            .granularity_bits = GRANULARITY_BITS,
            .name = i == 0   ? "a"
                    : i == 1 ? "b"
                             : "c",
            .name_len = 1,
        };
        unit_ok(qcow2_edit_alloc(f->edit, 1, QCOW2_PART_BITMAP_TABLE,
                                 &table_off, &f->err),
                &f->err);
        unit_ok(qcow2_edit_write(f->edit, QCOW2_PART_BITMAP_TABLE, zeros,
                                 sizeof(zeros), table_off, &f->err),
                &f->err);
        bitmap.table_off = table_off;
        qcow2_bitmap_encode(&bitmap, NULL);
        qcow2_bitmap_encode(&bitmap, directory + len);
        len += bitmap.entry_len;
    }
    unit_ok(qcow2_edit_alloc(f->edit, 1, QCOW2_PART_BITMAP_DIRECTORY, &off,
                             &f->err),
            &f->err);
    unit_ok(qcow2_edit_write(f->edit, QCOW2_PART_BITMAP_DIRECTORY, directory,
                             sizeof(directory), off, &f->err),
            &f->err);
    unit_ok(qcow2_edit_commit(f->edit, &f->err), &f->err);
    header = *qcow2_edit_header(f->edit);
    header.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
    first = malloc(CLUSTER_LEN);
    ck_assert_ptr_nonnull(first);
    unit_ok(img_file_read(f->file, first, CLUSTER_LEN, 0, &f->err), &f->err);
    struct qcow2_extensions x = *qcow2_edit_extensions(f->edit);
    x.has_bitmaps = true;
    x.bitmaps_nr = BITMAPS;
    x.bitmap_directory_off = off;
    x.bitmap_directory_len = len;
    unit_ok(qcow2_first_cluster_encode(&header, &x, false, first, CLUSTER_LEN,
                                       &f->err),
            &f->err);
    unit_ok(qcow2_edit_first_store(f->edit, first, &f->err), &f->err);
    fixture_close(f);
    free(first);
    image_check(f->file, NULL, false, "bitmaps");
}

/* Bit I of bitmap IDX. */
static bool bit_of(struct qcow2_edit *edit, struct edit_bitmaps *b,
                   uint32_t idx, uint64_t i)
{
    uint64_t per_cluster = (uint64_t)CLUSTER_LEN * 8;
    uint8_t bytes[CLUSTER_LEN] = {0};
    struct img_error err = {0};
    uint64_t off;
    bool ones;

    unit_ok(qcow2_edit_bitmap_load_table(edit, &b->items[idx], &err), &err);
    unit_ok(qcow2_edit_bitmap_entry(edit, &b->items[idx], i / per_cluster, &off,
                                    &ones, &err),
            &err);
    if (off != 0) {
        unit_ok(img_file_read(edit->file, bytes, sizeof(bytes), off, &err),
                &err);
    }
    return ones || (bytes[i % per_cluster / 8] >> (i % 8) & 1) != 0;
}

static uint32_t flags_at(struct img_file *file, uint32_t idx)
{
    struct img_error err = {0};
    const struct qcow2_bitmap_info *infos;
    struct img_image *image;
    uint32_t flags;
    size_t nr;

    unit_ok(qcow2_open(file, &(struct qcow2_options){0}, &image, &err), &err);
    unit_ok(qcow2_image_bitmaps(image, &infos, &nr, &err), &err);
    ck_assert_uint_eq(nr, BITMAPS);
    flags = infos[idx].flags;
    img_image_free(image);
    return flags;
}

/* Sectors that changed are marked in A, unless it says that it cannot tell;
   the others are as they were. */
static void check_bitmaps(struct img_file *file, const uint8_t *before,
                          bool is_done)
{
    struct qcow2_edit_options options = {0};
    struct img_error err = {0};
    struct edit_bitmaps b;
    struct qcow2_edit *edit;
    uint8_t *now = calloc(1, SECTORS);
    uint32_t flags = flags_at(file, 0);

    ck_assert_ptr_nonnull(now);
    disk_read(file, NULL, NULL, SECTORS, now);
    ck_assert_uint_eq(flags_at(file, 1), flags_of[1]);
    ck_assert_uint_eq(flags_at(file, 2), flags_of[2]);
    ck_assert(!is_done || flags == flags_of[0]);
    unit_ok(qcow2_edit_open(file, NULL, &options, &edit, &err), &err);
    unit_ok(qcow2_edit_bitmaps_load(edit, &b, &err), &err);
    for (uint64_t i = 0; i < SECTORS; i++) {
        if (now[i] != before[i] && flags == flags_of[0]) {
            ck_assert_msg(bit_of(edit, &b, 0, i), "sector %llu is not marked",
                          (unsigned long long)i);
        }
    }
    ck_assert(!bit_of(edit, &b, 1, 100) && !bit_of(edit, &b, 2, 100));
    ck_assert(!bit_of(edit, &b, 0, SECTORS / 2));
    qcow2_edit_bitmaps_release(&b);
    qcow2_edit_free(edit);
    free(now);
}

/* Writes at both ends; -1 when one failed. */
static int write_some(struct qcow2_edit *edit, struct img_error *err)
{
    const uint64_t ranges[][2] = {{0, 3 * SECTOR},
                                  {100 * SECTOR, 70 * SECTOR},
                                  {(SECTORS - 40) * SECTOR, 40 * SECTOR}};
    uint8_t *bytes = malloc(100 * SECTOR);
    int result = 0;

    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 0x5a, 100 * SECTOR);
    for (size_t i = 0; i < 3 && result == 0; i++) {
        uint64_t off = ranges[i][0], end = off + ranges[i][1];

        while (off < end && result == 0) {
            struct qcow2_place place;

            result = qcow2_edit_place(edit, off, end - off, &place, err);
            if (result == 0) {
                result = img_file_write(place.file, bytes, place.len,
                                        place.host_off, err);
                off += place.len;
            }
        }
        if (result == 0 && i == 1) {
            result = qcow2_edit_commit(edit, err);
        }
    }
    free(bytes);
    return result == 0 ? qcow2_edit_commit(edit, err) : -1;
}

START_TEST(test_every_write_fails)
{
    struct fixture f;
    size_t len;
    uint8_t *bytes;
    bool is_done = false;

    fixture_init(&f, &kind, 3);
    add_bitmaps(&f);
    disk_read(f.file, NULL, NULL, SECTORS, f.now);
    len = img_file_len(f.file);
    bytes = malloc(len);
    ck_assert_ptr_nonnull(bytes);
    unit_ok(img_file_read(f.file, bytes, len, 0, &f.err), &f.err);
    for (uint64_t at = 1; !is_done; at++) {
        const struct img_fault fault = {.fail_at_write = at};
        struct img_file *memory, *file;
        struct qcow2_edit *edit;

        ck_assert_uint_le(at, 1000);
        unit_ok(img_file_from_memory("test.qcow2", bytes, len, &memory, &f.err),
                &f.err);
        unit_ok(img_file_with_faults(memory, &fault, &file, &f.err), &f.err);
        unit_ok(qcow2_edit_open(file, NULL, &f.options, &edit, &f.err), &f.err);
        is_done = write_some(edit, &f.err) == 0;
        qcow2_edit_free(edit);
        image_check(memory, NULL, !is_done, "bitmaps");
        check_bitmaps(memory, f.now, is_done);
        img_file_unref(file);
        img_file_unref(memory);
    }
    free(bytes);
    fixture_fini(&f);
}
END_TEST

/* So many separate ranges that they have to be made fewer. */
START_TEST(test_many_ranges)
{
    struct edit_bitmaps b;
    struct fixture f;

    fixture_init(&f, &kind, 4);
    add_bitmaps(&f);
    fixture_open(&f);
    for (uint64_t i = 0; i < 100000; i++) {
        uint64_t sector = i * 7919 % (SECTORS / 2) * 2;

        unit_ok(
            qcow2_edit_bitmaps_mark(f.edit, sector * SECTOR, SECTOR, &f.err),
            &f.err);
    }
    ck_assert_uint_eq(flags_at(f.file, 0),
                      QCOW2_BITMAP_FLAG_AUTO | QCOW2_BITMAP_FLAG_IN_USE);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    ck_assert_uint_eq(flags_at(f.file, 0), QCOW2_BITMAP_FLAG_AUTO);
    unit_ok(qcow2_edit_bitmaps_load(f.edit, &b, &f.err), &f.err);
    for (uint64_t i = 0; i < SECTORS; i += 2) {
        ck_assert(bit_of(f.edit, &b, 0, i));
    }
    qcow2_edit_bitmaps_release(&b);
    fixture_close(&f);
    image_check(f.file, NULL, false, "bitmaps");
    fixture_fini(&f);
}
END_TEST

/* What shows the guest the same leaves bitmaps alone. */
START_TEST(test_content_kept)
{
    struct fixture f;

    fixture_init(&f, &kind, 5);
    add_bitmaps(&f);
    f.options.is_content_kept = true;
    fixture_open(&f);
    unit_ok(write_some(f.edit, &f.err), &f.err);
    fixture_close(&f);
    ck_assert_uint_eq(flags_at(f.file, 0), QCOW2_BITMAP_FLAG_AUTO);
    f.options.is_content_kept = false;
    fixture_open(&f);
    struct edit_bitmaps b;
    unit_ok(qcow2_edit_bitmaps_load(f.edit, &b, &f.err), &f.err);
    ck_assert(!bit_of(f.edit, &b, 0, 0));
    qcow2_edit_bitmaps_release(&b);
    fixture_fini(&f);
}
END_TEST

START_TEST(test_inconsistent_cannot_follow)
{
    struct fixture f;

    fixture_init(&f, &kind, 6);
    add_bitmaps(&f);
    fixture_open(&f);
    unit_fails(qcow2_edit_resize(f.edit, SECTORS * SECTOR * 2ull,
                                 QCOW2_PREALLOC_OFF, &f.err),
               &f.err, IMG_UNSUPPORTED,
               "bitmap 'c' is inconsistent (in use when the image was last"
               " closed): it cannot follow another size, expected it to be"
               " removed first (qemu-img bitmap --remove)");
    fixture_fini(&f);
}
END_TEST

UNIT_SUITE("edit_bitmaps", test_every_write_fails, test_many_ranges,
           test_content_kept, test_inconsistent_cannot_follow)
