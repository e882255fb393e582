/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The in-place writer: random commands against a model. */
#include "edit_fixture.h"

START_TEST(test_random)
{
    const struct fixture_kind *kind = &fixture_kinds[_i];

    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture f;

        fixture_init(&f, kind, seed);
        for (int session = 0; session < 3; session++) {
            fixture_open(&f);
            for (int i = 0; i < 25; i++) {
                fixture_command(&f);
            }
            unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
            fixture_check(&f);
            fixture_close(&f);
        }
        fixture_check(&f);
        fixture_fini(&f);
    }
}
END_TEST

START_TEST(test_make_empty)
{
    struct fixture f;
    uint64_t len;

    fixture_init(&f, &fixture_kinds[_i], 77);
    fixture_open(&f);
    fixture_command(&f);
    unit_ok(qcow2_edit_make_empty(f.edit, &f.err), &f.err);
    memset(f.now, fixture_below(&f), f.kind->sectors);
    fixture_check(&f);
    len = img_file_len(f.file);
    if (!f.kind->has_snapshot) {
        /* Header, refcounts and the L1 table, and what lies before them. */
        ck_assert_uint_le(len, 16ull * f.kind->cluster_len);
    }
    /* It can be filled again at once. */
    for (int i = 0; i < 20; i++) {
        fixture_command(&f);
    }
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    fixture_check(&f);
    fixture_fini(&f);
}
END_TEST

/* The refcount table grows with the file, in one batch and in several. */
START_TEST(test_reftable_grows)
{
    static const struct fixture_kind narrow = {
        "narrow", 3, 512, 64, .has_backing = true, .sectors = 12000};
    struct fixture f;
    uint64_t old;

    fixture_init(&f, &narrow, 20);
    fixture_open(&f);
    old = f.edit->header.reftable_clusters;
    for (uint64_t i = 0; i < 12000; i += 1500) {
        fixture_write(&f, i * SECTOR, 1500 * SECTOR, (uint8_t)(1 + i / 1500));
        if (_i == 0) {
            unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
        }
    }
    unit_ok(qcow2_edit_commit(f.edit, &f.err), &f.err);
    ck_assert_uint_gt(f.edit->header.reftable_clusters, old);
    fixture_check(&f);
    fixture_fini(&f);
}
END_TEST

/* A longer L1 table, whose clusters lie side by side. */
START_TEST(test_l1_grows)
{
    struct fixture f;

    fixture_init(&f, &fixture_kinds[1], 22);
    fixture_open(&f);
    fixture_command(&f);
    unit_ok(
        qcow2_edit_l1_replace(f.edit, 5000, f.edit->header.virtual_len, &f.err),
        &f.err);
    ck_assert_uint_eq(f.edit->header.l1_entries, 5000);
    fixture_check(&f);
    f.edit->l1[4999] = 1;
    unit_fails(
        qcow2_edit_l1_replace(f.edit, 11, f.edit->header.virtual_len, &f.err),
        &f.err, IMG_USAGE,
        "L1 entry 4999 is in use, expected it to be 0 beyond the new "
        "end");
    f.edit->l1[4999] = 0;
    unit_ok(
        qcow2_edit_l1_replace(f.edit, 11, f.edit->header.virtual_len, &f.err),
        &f.err);
    fixture_check(&f);
    fixture_fini(&f);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("edit");

    tcase_add_loop_test(tcase, test_random, 0, FIXTURE_KINDS);
    tcase_add_loop_test(tcase, test_make_empty, 0, FIXTURE_KINDS);
    tcase_add_loop_test(tcase, test_reftable_grows, 0, 2);
    tcase_add_test(tcase, test_l1_grows);
    return unit_run("edit", tcase);
}
