/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The survey of a stranger's qcow2 tables, and the references of images. */
#include <img/reference.h>

#include "qcow2_build.h"

#define FIRST_DATA 6u /* cluster */

static struct qcow2_survey survey_of(struct build *b)
{
    struct qcow2_survey survey;

    build_open(b, NULL);
    unit_ok(qcow2_image_survey(b->image, &survey, &b->err), &b->err);
    return survey;
}

START_TEST(test_counts)
{
    struct build b;

    build_init(&b, 9);
    build_l2(&b, 0, (FIRST_DATA * CLUSTER) | COPIED);
    build_l2(&b, 9, (7u * CLUSTER) | COPIED);
    build_l2(&b, 10, QCOW2_L2_ZERO);
    struct qcow2_survey s = survey_of(&b);
    ck_assert_uint_eq(s.l1_used, 1);
    ck_assert_uint_eq(s.tables, 1);
    ck_assert_uint_eq(s.mapped_clusters, 2);
    ck_assert(!s.is_broken && !s.is_cut_off && !s.has_overlap);
    ck_assert(!s.is_last_partial);
    build_fini(&b);
}
END_TEST

/* A table is visited once; what it maps counts as often as it is named. */
START_TEST(test_shared_table)
{
    struct build b;

    build_init(&b, 9);
    for (unsigned i = 0; i < 4; i++) {
        build_put64(&b, L1_OFF + i * 8, L2_OFF | COPIED);
    }
    build_l2(&b, 0, (FIRST_DATA * CLUSTER) | COPIED);
    struct qcow2_survey s = survey_of(&b);
    ck_assert_uint_eq(s.l1_used, 4);
    ck_assert_uint_eq(s.tables, 1);
    ck_assert_uint_eq(s.mapped_clusters, 4);
    build_fini(&b);
}
END_TEST

/* All findings of an image, not the first kind alone. */
START_TEST(test_findings)
{
    struct build b;

    build_init(&b, 9);
    build_l2(&b, 1, (FIRST_DATA * CLUSTER) | COPIED | 2);
    build_l2(&b, 2, (99u * CLUSTER) | COPIED);
    build_l2(&b, 3, L1_OFF | COPIED);
    build_put64(&b, L1_OFF + 8, (77u * CLUSTER) | COPIED);
    struct qcow2_survey s = survey_of(&b);
    ck_assert(s.is_broken);
    ck_assert_str_eq(s.broken.text,
                     "L2 entry for guest offset 4096: found 0x8000000000006002,"
                     " expected bits 1 to 8 and 56 to 61 to be 0");
    ck_assert_uint_eq(s.broken.off, L2_OFF + 8);
    ck_assert(s.is_cut_off);
    ck_assert_uint_eq(s.cut_off_entry, L2_OFF + 16);
    ck_assert_uint_eq(s.cut_off_at, 99u * CLUSTER);
    ck_assert(s.has_overlap);
    ck_assert_uint_eq(s.overlap_entry, L2_OFF + 24);
    ck_assert_uint_eq(s.tables, 2);
    build_fini(&b);
}
END_TEST

START_TEST(test_l1_entry_broken)
{
    struct build b;

    build_init(&b, 9);
    build_put64(&b, L1_OFF + 16, (FIRST_DATA * CLUSTER) | 1);
    struct qcow2_survey s = survey_of(&b);
    ck_assert(s.is_broken);
    ck_assert_uint_eq(s.broken.off, L1_OFF + 16);
    ck_assert_uint_eq(s.l1_used, 1);
    build_fini(&b);
}
END_TEST

/* Every kind has words of its own: ids are made of them. */
START_TEST(test_reference_kinds)
{
    struct img_references references = {0};
    struct img_error err;

    for (unsigned i = 0; i < IMG_REFERENCES_NR; i++) {
        enum img_reference_kind kind = (enum img_reference_kind)i;

        ck_assert_str_ne(img_reference_word(kind), "");
        ck_assert_str_ne(img_reference_text(kind), "");
        for (unsigned other = 0; other < i; other++) {
            ck_assert_str_ne(
                img_reference_word(kind),
                img_reference_word((enum img_reference_kind)other));
        }
        unit_ok(img_references_add(&references, kind, "first", &err), &err);
        unit_ok(img_references_add(&references, kind, "second", &err), &err);
        ck_assert_uint_eq(references.nr[kind], 2);
        ck_assert_str_eq(references.name[kind], "first");
    }
    img_references_fini(&references);
}
END_TEST

UNIT_SUITE("survey", test_counts, test_shared_table, test_findings,
           test_l1_entry_broken, test_reference_kinds)
