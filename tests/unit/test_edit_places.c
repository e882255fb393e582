/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the in-place writer puts things, and what it leaves alone. */
#include "edit_file.h"
#include "edit_fixture.h"

/* An image for tests of single behaviours. */
static const struct fixture_kind plain = {
    "plain", 3, 4096, 16, .has_backing = true, .sectors = 2048};

START_TEST(test_nothing_without_commit)
{
    struct fixture f;
    struct qcow2_place place;
    size_t len;

    fixture_init(&f, &plain, 5);
    uint8_t *bytes = file_bytes(f.file, &len);
    fixture_open(&f);
    unit_ok(qcow2_edit_discard(f.edit, 0, 64 * 4096, &f.err), &f.err);
    unit_ok(qcow2_edit_zero(f.edit, 4096ull * 100, 4096, true, &f.err), &f.err);
    unit_ok(qcow2_edit_place(f.edit, 0, 4096, &place, &f.err), &f.err);
    fixture_close(&f);
    ck_file_is(f.file, bytes, len);
    free(bytes);
    fixture_fini(&f);
}
END_TEST

/* What was written for a commit that never came takes no space. */
START_TEST(test_cut_without_commit)
{
    struct fixture f;
    size_t len;

    fixture_init(&f, &plain, 5);
    fixture_open(&f);
    unit_ok(qcow2_edit_make_empty(f.edit, &f.err), &f.err);
    memset(f.now, BELOW, f.kind->sectors);
    fixture_write(&f, 0, 50 * 4096, 7);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    uint8_t *bytes = file_bytes(f.file, &len);
    uint8_t *now = malloc(f.kind->sectors);
    ck_assert_ptr_nonnull(now);
    memcpy(now, f.now, f.kind->sectors);
    fixture_write(&f, 100 * 4096, 100 * 4096, 9);
    ck_assert_uint_ge(img_file_len(f.file), len + 100 * 4096);
    fixture_close(&f);
    ck_file_is(f.file, bytes, len);
    memcpy(f.now, now, f.kind->sectors);
    fixture_check(&f);
    free(now);
    free(bytes);
    fixture_fini(&f);
}
END_TEST

/* Data in a place of its own is overwritten there, and nothing else. */
START_TEST(test_in_place)
{
    struct fixture f;
    struct qcow2_place first;
    struct qcow2_place again;
    uint64_t span_off;
    uint64_t span_len;
    size_t len;

    fixture_init(&f, &plain, 6);
    fixture_open(&f);
    fixture_write(&f, 0, 3 * 4096, 9);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    uint8_t *bytes = file_bytes(f.file, &len);
    unit_ok(qcow2_edit_place(f.edit, 0, 3 * 4096, &first, &f.err), &f.err);
    unit_ok(qcow2_edit_span(f.edit, 5000, 10, &span_off, &span_len, &f.err),
            &f.err);
    ck_assert_uint_eq(span_off, 5000);
    ck_assert_uint_eq(span_len, 10);
    unit_ok(qcow2_edit_place(f.edit, 5000, 10, &again, &f.err), &f.err);
    ck_assert_uint_eq(again.host_off, first.host_off + 5000);
    ck_assert_uint_eq(again.len, 10);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    ck_file_is(f.file, bytes, len);
    free(bytes);
    fixture_fini(&f);
}
END_TEST

/* What has no place is written whole, up to the end of the disk. */
START_TEST(test_span)
{
    static const struct fixture_kind odd = {
        "odd", 3, 4096, 16, .has_backing = true, .sectors = 2045};
    struct fixture f;
    uint64_t span_off;
    uint64_t span_len;

    fixture_init(&f, &odd, 7);
    fixture_open(&f);
    unit_ok(qcow2_edit_make_empty(f.edit, &f.err), &f.err);
    unit_ok(qcow2_edit_span(f.edit, 5000, 10, &span_off, &span_len, &f.err),
            &f.err);
    ck_assert_uint_eq(span_off, 4096);
    ck_assert_uint_eq(span_len, 4096);
    unit_ok(qcow2_edit_span(f.edit, 4096, 8193, &span_off, &span_len, &f.err),
            &f.err);
    ck_assert_uint_eq(span_off, 4096);
    ck_assert_uint_eq(span_len, 3 * 4096);
    unit_ok(
        qcow2_edit_span(f.edit, 2044 * SECTOR, 1, &span_off, &span_len, &f.err),
        &f.err);
    ck_assert_uint_eq(span_off, 2040 * SECTOR);
    ck_assert_uint_eq(span_len, 5 * SECTOR);
    fixture_fini(&f);
}
END_TEST

/* A cluster keeps its place as zeros, and takes data there again. */
START_TEST(test_zero_keeps_place)
{
    struct fixture f;
    struct qcow2_place first;
    struct qcow2_place again;

    fixture_init(&f, &plain, 8);
    fixture_open(&f);
    fixture_write(&f, 0, 4096, 9);
    unit_ok(qcow2_edit_place(f.edit, 0, 4096, &first, &f.err), &f.err);
    fixture_zero(&f, 0, 4096, true);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    fixture_check(&f);
    unit_ok(qcow2_edit_place(f.edit, 0, 4096, &again, &f.err), &f.err);
    ck_assert_uint_eq(again.host_off, first.host_off);
    fixture_fini(&f);
}
END_TEST

/* A cluster that was given up is another's in the next edit, not in this. */
START_TEST(test_not_reused_before_close)
{
    struct fixture f;
    struct qcow2_place first;
    struct qcow2_place place;
    uint64_t guest_off = 0;

    fixture_init(&f, &plain, 9);
    fixture_open(&f);
    unit_ok(qcow2_edit_make_empty(f.edit, &f.err), &f.err);
    unit_ok(qcow2_edit_place(f.edit, 0, 4096, &first, &f.err), &f.err);
    memset(f.now, BELOW, f.kind->sectors);
    fixture_store(&f, 0, 4096);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    fixture_discard(&f, 0, 4096);
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    for (uint64_t i = 0; i < 20; i++) {
        unit_ok(qcow2_edit_place(f.edit, i * 4096, 4096, &place, &f.err),
                &f.err);
        ck_assert_uint_ne(place.host_off, first.host_off);
    }
    fixture_close(&f);
    fixture_open(&f);
    do {
        unit_ok(qcow2_edit_place(f.edit, guest_off, 4096, &place, &f.err),
                &f.err);
        ck_assert_uint_le(place.host_off, first.host_off);
        guest_off += 4096;
    } while (place.host_off != first.host_off);
    fixture_fini(&f);
}
END_TEST

/* Neighbours in the guest are neighbours in the file. */
START_TEST(test_places_are_contiguous)
{
    static const struct fixture_kind wide = {
        "wide", 3, 65536, 16, .has_backing = true, .sectors = 32768};
    struct fixture f;
    struct qcow2_place place;

    fixture_init(&f, &wide, 10);
    fixture_open(&f);
    unit_ok(qcow2_edit_make_empty(f.edit, &f.err), &f.err);
    unit_ok(qcow2_edit_place(f.edit, 1 << 20, 8 << 20, &place, &f.err), &f.err);
    ck_assert_uint_eq(place.len, 8 << 20);
    fixture_fini(&f);
}
END_TEST

/* Unknown autoclear bits go before the first change, and not earlier. */
START_TEST(test_autoclear)
{
    struct fixture f;
    struct qcow2_place place;

    fixture_init(&f, &plain, 11);
    put64(f.file, OFF_AUTOCLEAR, 0xf0);
    fixture_open(&f);
    ck_assert_uint_eq(get64(f.file, OFF_AUTOCLEAR), 0xf0);
    unit_ok(qcow2_edit_place(f.edit, 0, 4096, &place, &f.err), &f.err);
    ck_assert_uint_eq(get64(f.file, OFF_AUTOCLEAR), 0);
    ck_assert_uint_eq(qcow2_edit_header(f.edit)->autoclear, 0);
    fixture_fini(&f);
}
END_TEST

START_TEST(test_cancel)
{
    struct fixture f;
    volatile int cancel = 0;
    size_t len;

    fixture_init(&f, &plain, 12);
    uint8_t *bytes = file_bytes(f.file, &len);
    f.options.cancel = &cancel;
    fixture_open(&f);
    unit_ok(qcow2_edit_discard(f.edit, 0, 4096, &f.err), &f.err);
    cancel = 1;
    unit_fails(qcow2_edit_commit(f.edit, &f.err), &f.err, IMG_CANCELLED,
               "cancelled");
    unit_fails(qcow2_edit_discard(f.edit, 0, 4096, &f.err), &f.err,
               IMG_CANCELLED, "cancelled");
    fixture_close(&f);
    ck_file_is(f.file, bytes, len);
    free(bytes);
    fixture_fini(&f);
}
END_TEST

UNIT_SUITE("edit places", test_nothing_without_commit, test_cut_without_commit,
           test_in_place, test_span, test_zero_keeps_place,
           test_not_reused_before_close, test_places_are_contiguous,
           test_autoclear, test_cancel)
