/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the in-place writer refuses, and how it says so. */
#include "edit_file.h"
#include "edit_fixture.h"
#include "scratch.h"

/* An image for tests of single behaviours. */
static const struct fixture_kind plain = {
    "plain", 3, 4096, 16, .has_backing = true, .sectors = 2048};

START_TEST(test_version_2_has_no_zeros)
{
    struct fixture f;

    fixture_init(&f, &fixture_kinds[3], 13);
    fixture_open(&f);
    unit_fails(qcow2_edit_zero(f.edit, 0, 4096, false, &f.err), &f.err,
               IMG_UNSUPPORTED,
               "version 2 has no clusters that read as zeros over a backing "
               "file");
    fixture_fini(&f);
}
END_TEST

START_TEST(test_usage)
{
    struct fixture f;
    struct qcow2_place place;
    uint64_t ignored;

    fixture_init(&f, &plain, 14);
    fixture_open(&f);
    unit_ok(qcow2_edit_make_empty(f.edit, &f.err), &f.err);
    unit_fails(qcow2_edit_span(f.edit, 1 << 20, 1, &ignored, &ignored, &f.err),
               &f.err, IMG_USAGE,
               "found 1 guest bytes from 1048576 on, expected a range of the "
               "disk's 1048576 bytes");
    unit_fails(qcow2_edit_zero(f.edit, 0, 0, false, &f.err), &f.err, IMG_USAGE,
               "found 0 guest bytes from 0 on, expected a range of the disk's "
               "1048576 bytes");
    unit_fails(qcow2_edit_discard(f.edit, 512, 4096, &f.err), &f.err, IMG_USAGE,
               "found guest bytes 512 to 4608, expected multiples of 4096");
    unit_fails(qcow2_edit_place(f.edit, 4096, 100, &place, &f.err), &f.err,
               IMG_USAGE,
               "guest bytes 4096 to 4196 are to be placed, expected whole "
               "units of 4096 bytes");
    unit_fails(qcow2_edit_commit(f.edit, &f.err), &f.err, IMG_USAGE,
               "an earlier change of the image failed, nothing more can be "
               "done to it before it is opened again");
    fixture_fini(&f);
}
END_TEST

static void ck_open_fails(struct fixture *f, enum img_code code,
                          const char *text)
{
    img_file_ref(f->file);
    unit_fails(
        qcow2_edit_open(f->file, f->data_file, &f->options, &f->edit, &f->err),
        &f->err, code, text);
    ck_assert_str_eq(f->err.path, "test.qcow2");
    img_file_unref(f->file);
}

START_TEST(test_open_refused)
{
    struct fixture f;
    uint64_t l1_off;
    uint64_t table_off;
    char text[128];

    fixture_init(&f, &plain, 15);
    put64(f.file, OFF_INCOMPATIBLE, QCOW2_INCOMPAT_CORRUPT);
    ck_open_fails(&f, IMG_CORRUPT,
                  "is marked corrupt, nothing is written to it; repair it "
                  "first: qemu-img check -r all test.qcow2");
    put64(f.file, OFF_INCOMPATIBLE, QCOW2_INCOMPAT_DIRTY);
    ck_open_fails(&f, IMG_UNSUPPORTED,
                  "was not closed cleanly, its refcounts may be wrong; repair "
                  "it first: qemu-img check -r all test.qcow2");
    put64(f.file, OFF_INCOMPATIBLE, 0x100);
    ck_open_fails(&f, IMG_UNSUPPORTED,
                  "incompatible_features: found unknown bit 8, expected only "
                  "bits 0 to 4");
    put64(f.file, OFF_INCOMPATIBLE, 0);
    l1_off = get64(f.file, OFF_L1);
    table_off = get64(f.file, OFF_REFTABLE);
    put64(f.file, OFF_L1, table_off);
    snprintf(text, sizeof(text),
             "the refcount table overlaps the L1 table: found both from %llu "
             "to %llu",
             (unsigned long long)table_off,
             (unsigned long long)table_off + 4096);
    ck_open_fails(&f, IMG_CORRUPT, text);
    put64(f.file, OFF_L1, l1_off);
    f.data_file = img_file_ref(f.file);
    ck_open_fails(&f, IMG_USAGE, "has no external data file, one was given");
    img_file_unref(f.data_file);
    f.data_file = NULL;
    fixture_fini(&f);
    fixture_init(&f, &fixture_kinds[9], 15);
    img_file_unref(f.data_file);
    f.data_file = NULL;
    ck_open_fails(&f, IMG_USAGE,
                  "has its data in an external data file, none was given");
    fixture_fini(&f);
}
END_TEST

START_TEST(test_not_writable)
{
    struct img_open_options options = {.lock = IMG_LOCK_READER};
    struct scratch scratch;
    struct fixture f;
    size_t len;

    fixture_init(&f, &plain, 15);
    uint8_t *bytes = file_bytes(f.file, &len);
    scratch_open(&scratch);
    img_file_unref(f.file);
    unit_ok(img_file_open(scratch_write(&scratch, "a.qcow2", bytes, len, 0),
                          &options, &f.file, &f.err),
            &f.err);
    unit_fails(qcow2_edit_open(f.file, NULL, &f.options, &f.edit, &f.err),
               &f.err, IMG_USAGE, "is not open for writing");
    fixture_fini(&f);
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

/* A cluster of metadata whose refcount is wrongly 0 is not handed out. */
START_TEST(test_metadata_counts_as_free)
{
    struct fixture f;
    struct qcow2_place place;
    uint8_t none[2] = {0};

    fixture_init(&f, &plain, 16);
    uint64_t l1_cluster = get64(f.file, OFF_L1) / 4096;
    uint64_t block = get64(f.file, get64(f.file, OFF_REFTABLE));
    unit_ok(img_file_write(f.file, none, 2, block + l1_cluster * 2, &f.err),
            &f.err);
    fixture_open(&f);
    for (uint64_t off = 0; off < (1 << 20); off += 4096) {
        if (f.now[off / SECTOR] == BELOW) {
            unit_fails(
                qcow2_edit_place(f.edit, off, 4096, &place, &f.err), &f.err,
                IMG_CORRUPT,
                "refcount: found 0 for a cluster that holds metadata, expected "
                "at least 1");
            break;
        }
    }
    ck_assert_uint_eq(f.err.off, l1_cluster * 4096);
    ck_assert_uint_eq(get64(f.file, OFF_INCOMPATIBLE), QCOW2_INCOMPAT_CORRUPT);
    fixture_fini(&f);
}
END_TEST

/* Metadata is only written where that metadata is known to lie. */
START_TEST(test_write_over_other_metadata)
{
    struct fixture f;
    uint8_t zeros[512] = {0};

    fixture_init(&f, &plain, 17);
    fixture_open(&f);
    unit_fails(qcow2_edit_write(f.edit, QCOW2_PART_L2, zeros, sizeof(zeros),
                                f.edit->header.l1_off, &f.err),
               &f.err, IMG_CORRUPT,
               "refused to write an L2 table: found the L1 table there");
    ck_assert_uint_eq(get64(f.file, OFF_INCOMPATIBLE), QCOW2_INCOMPAT_CORRUPT);
    fixture_fini(&f);
}
END_TEST

/* Guest cluster 0 of the open fixture is said to lie at HOST_OFF. */
static void point_at(struct fixture *f, uint64_t host_off)
{
    put64(f->file, f->edit->l1[0] & QCOW2_ENTRY_OFFSET_MASK,
          host_off | QCOW2_ENTRY_COPIED);
    fixture_close(f);
    fixture_open(f);
}

static int touch_it(struct fixture *f, bool is_discard)
{
    struct qcow2_place place;

    return is_discard ? qcow2_edit_discard(f->edit, 0, 4096, &f->err)
                      : qcow2_edit_place(f->edit, 0, 4096, &place, &f->err);
}

/* Metadata that an entry takes for the guest's is neither written over nor
   given up. */
START_TEST(test_guest_data_in_metadata)
{
    static const char *const names[] = {"the L1 table", "an L2 table",
                                        "the refcount table",
                                        "a refcount block"};
    struct fixture f;
    char text[128];
    size_t len;

    for (int i = 0; i < 8; i++) {
        fixture_init(&f, &plain, 17);
        fixture_open(&f);
        const uint64_t places[] = {
            f.edit->header.l1_off, f.edit->l1[0] & QCOW2_ENTRY_OFFSET_MASK,
            f.edit->header.reftable_off, f.edit->reftable[0]};
        point_at(&f, places[i % 4]);
        uint8_t *bytes = file_bytes(f.file, &len);
        snprintf(text, sizeof(text),
                 "refused to touch a cluster of guest data: found %s there",
                 names[i % 4]);
        unit_fails(touch_it(&f, i >= 4), &f.err, IMG_CORRUPT, text);
        fixture_close(&f);
        ck_assert_uint_eq(get64(f.file, OFF_INCOMPATIBLE),
                          QCOW2_INCOMPAT_CORRUPT);
        put64(f.file, OFF_INCOMPATIBLE, 0);
        ck_file_is(f.file, bytes, len);
        free(bytes);
        fixture_fini(&f);
    }
}
END_TEST

/* Refcounts of L2 tables and of data that say that nobody uses them. */
START_TEST(test_refcount_too_low)
{
    struct fixture f;
    struct qcow2_place place;
    struct qcow2_l2_entry entry;
    struct qcow2_table *table;

    fixture_init(&f, &plain, 18);
    fixture_open(&f);
    fixture_write(&f, 0, 4096, 1);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    unit_ok(qcow2_edit_l2_get(f.edit, 0, &table, &f.err), &f.err);
    unit_ok(qcow2_edit_entry_get(f.edit, table, 0, &entry, &f.err), &f.err);
    unit_ok(qcow2_edit_release(f.edit, entry.host_off, 4096, &f.err), &f.err);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    unit_fails(qcow2_edit_place(f.edit, 0, 4096, &place, &f.err), &f.err,
               IMG_CORRUPT,
               "refcount: found 0 for a data cluster, expected at least 1");
    fixture_fini(&f);

    fixture_init(&f, &plain, 18);
    fixture_open(&f);
    unit_ok(qcow2_edit_release(f.edit, f.edit->l1[0] & QCOW2_ENTRY_OFFSET_MASK,
                               4096, &f.err),
            &f.err);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    unit_fails(qcow2_edit_place(f.edit, 0, 4096, &place, &f.err), &f.err,
               IMG_CORRUPT,
               "refcount: found 0 for an L2 table, expected at least 1");
    fixture_fini(&f);
}
END_TEST

START_TEST(test_refcount_overflow)
{
    struct fixture f;

    fixture_init(&f, &fixture_kinds[2], 19);
    fixture_open(&f);
    unit_fails(qcow2_edit_refcount_raise(f.edit, 0, 1, &f.err), &f.err,
               IMG_LIMIT,
               "refcount: found 1 already, the most that 1 bits can hold");
    fixture_fini(&f);
}
END_TEST

START_TEST(test_reftable_limit)
{
    struct fixture f;

    fixture_init(&f, &plain, 21);
    fixture_open(&f);
    unit_fails(qcow2_edit_reftable_grow(f.edit, (1 << 20) + 1, &f.err), &f.err,
               IMG_LIMIT,
               "the refcount table would need 1048577 entries, expected at "
               "most 1048576: the file cannot grow any more");
    fixture_fini(&f);
}
END_TEST

/* Only the first sector may change with the header. */
START_TEST(test_first_store)
{
    struct fixture f;

    fixture_init(&f, &plain, 23);
    fixture_open(&f);
    uint8_t *cluster = calloc(1, 4096);
    ck_assert_ptr_nonnull(cluster);
    memcpy(cluster, f.edit->first, 4096);
    cluster[600] = 1;
    unit_fails(qcow2_edit_first_store(f.edit, cluster, &f.err), &f.err,
               IMG_USAGE, "the first cluster differs beyond its first sector");
    unit_fails(qcow2_edit_first_prepare(f.edit, cluster, 500, 20, &f.err),
               &f.err, IMG_USAGE,
               "found bytes 500 to 520, expected them in the first cluster "
               "beyond its first sector");
    unit_ok(qcow2_edit_first_prepare(f.edit, cluster, 600, 1, &f.err), &f.err);
    unit_ok(qcow2_edit_first_store(f.edit, cluster, &f.err), &f.err);
    fixture_check(&f);
    free(cluster);
    fixture_fini(&f);
}
END_TEST

UNIT_SUITE("edit refused", test_version_2_has_no_zeros, test_usage,
           test_open_refused, test_not_writable, test_metadata_counts_as_free,
           test_write_over_other_metadata, test_guest_data_in_metadata,
           test_refcount_too_low, test_refcount_overflow, test_reftable_limit,
           test_first_store)
