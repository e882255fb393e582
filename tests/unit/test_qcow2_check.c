/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The counting check: counts, messages and bounds. */
#include <errno.h>

#include <qcow2/check.h>

#include "qcow2_build.h"

/* What was reported last, and how often something was. */
struct heard {
    int calls;
    struct qcow2_problem last;
    char message[512];
};

static void hear(void *opaque, const struct qcow2_problem *problem)
{
    struct heard *heard = opaque;

    heard->calls++;
    heard->last = *problem;
    strncpy(heard->message, problem->message, sizeof(heard->message) - 1);
}

static struct qcow2_check_result run(struct build *b, struct heard *heard)
{
    struct qcow2_check_options options = {.problem = hear, .opaque = heard};
    struct qcow2_check_result result;

    memset(heard, 0, sizeof(*heard));
    unit_ok(qcow2_check(b->image, &options, &result, &b->err), &b->err);
    return result;
}

/* Exactly one problem, of this kind and text. */
static void one_problem(struct build *b, enum qcow2_problem_kind kind,
                        uint64_t off, const char *message)
{
    struct qcow2_check_result result;
    struct heard heard;

    build_open(b, NULL);
    result = run(b, &heard);
    ck_assert_str_eq(heard.message, message);
    ck_assert_int_eq(heard.calls, 1);
    ck_assert_int_eq((int)heard.last.kind, (int)kind);
    ck_assert_uint_eq(heard.last.off, off);
    ck_assert_uint_eq(result.corruptions, kind == QCOW2_PROBLEM_CORRUPTION);
    ck_assert_uint_eq(result.leaks, kind == QCOW2_PROBLEM_LEAK);
    ck_assert_uint_eq(result.check_errors, 0);
    build_fini(b);
}

START_TEST(test_clean)
{
    struct heard heard;
    struct build b;

    build_init(&b, 8);
    build_l2(&b, 0, 5 * CLUSTER | COPIED);
    build_l2(&b, 1, 6 * CLUSTER | COPIED);
    build_l2(&b, 9, 7 * CLUSTER | COPIED);
    build_open(&b, NULL);
    struct qcow2_check_result result = run(&b, &heard);
    ck_assert_int_eq(heard.calls, 0);
    ck_assert_uint_eq(result.corruptions + result.leaks, 0);
    ck_assert_uint_eq(result.total_clusters, VIRTUAL_LEN / CLUSTER);
    ck_assert_uint_eq(result.allocated_clusters, 3);
    ck_assert_uint_eq(result.fragmented_clusters, 0);
    ck_assert_uint_eq(result.image_end_off, 8 * CLUSTER);
    build_fini(&b);
}
END_TEST

START_TEST(test_leak)
{
    struct build b;

    build_init(&b, 6);
    one_problem((&b), QCOW2_PROBLEM_LEAK, 5 * CLUSTER,
                "cluster at 20480: found refcount 1, expected 0");
}
END_TEST

START_TEST(test_refcount_too_small)
{
    struct build b;

    build_init(&b, 6);
    build_l2(&b, 3, 5 * CLUSTER);
    build_refcount(&b, 5, 0);
    one_problem(&b, QCOW2_PROBLEM_CORRUPTION, 5 * CLUSTER,
                "cluster at 20480: found refcount 0, expected 1 (data of "
                "guest offset 12288)");
}
END_TEST

START_TEST(test_copied)
{
    struct build b;

    build_init(&b, 6);
    build_l2(&b, 3, 5 * CLUSTER);
    one_problem(&b, QCOW2_PROBLEM_CORRUPTION, L2_OFF + 24,
                "L2 entry at 16408: bit 63 is 0, expected 1 from the refcount "
                "of the cluster at 20480 (data of guest offset 12288)");

    build_init(&b, 5);
    build_put64(&b, L1_OFF, L2_OFF);
    one_problem(&b, QCOW2_PROBLEM_CORRUPTION, L1_OFF,
                "L1 entry at 12288: bit 63 is 0, expected 1 from the refcount "
                "of the L2 table at 16384");
}
END_TEST

START_TEST(test_past_end)
{
    struct build b;

    build_init(&b, 5);
    build_l2(&b, 0, 6 * CLUSTER);
    one_problem(&b, QCOW2_PROBLEM_CORRUPTION, 6 * CLUSTER,
                "reference to 4096 bytes at 24576: the file ends at 20480");
}
END_TEST

START_TEST(test_owners)
{
    struct heard heard;
    struct build b;

    build_init(&b, 9);
    build_snapshot(&b, 5, 6ull * CLUSTER, 1, VIRTUAL_LEN);
    build_put64(&b, 6 * CLUSTER, 7 * CLUSTER);
    build_put64(&b, 7 * CLUSTER, 8 * CLUSTER);
    build_refcount(&b, 8, 0);
    build_open(&b, NULL);
    run(&b, &heard);
    ck_assert_str_eq(heard.message, "cluster at 32768: found refcount 0, "
                                    "expected 1 (data of a snapshot)");
    build_fini(&b);
}
END_TEST

/* 2^17 L1 entries name one table whose 512 entries name one cluster. */
START_TEST(test_amplification)
{
    const uint32_t entries = 1u << 17;
    struct heard heard;
    struct build b;

    build_init(&b, 6 + entries * 8 / CLUSTER);
    build_put32(&b, 36, entries);
    build_put64(&b, 40, 6ull * CLUSTER);
    for (uint32_t i = 0; i < entries; i++) {
        build_put64(&b, 6ull * CLUSTER + i * 8ull, L2_OFF);
    }
    for (uint32_t i = 0; i < 512; i++) {
        build_l2(&b, i, 5ull * CLUSTER);
    }
    build_open(&b, NULL);
    struct qcow2_check_result result = run(&b, &heard);
    ck_assert_uint_eq(result.allocated_clusters, entries * 512ull);
    ck_assert_uint_eq(result.fragmented_clusters, entries * 511ull);
    /*
     * 16-bit counters overflow for table and data; each reference lacks
     * COPIED beside a refcount of 1; both refcounts are too small. The
     * cluster of the first L1 table leaks.
     */
    ck_assert_uint_eq(result.corruptions, (entries - 65535ull) +
                                              (entries * 512ull - 65535) +
                                              entries + entries * 512ull + 2);
    ck_assert_uint_eq(result.leaks, 1);
    build_fini(&b);
}
END_TEST

START_TEST(test_limits)
{
    struct qcow2_check_options options = {.max_memory = 4096};
    struct qcow2_check_result result;
    volatile int cancel = 1;
    struct build b;

    build_init(&b, 6);
    build_open(&b, NULL);
    unit_fails(qcow2_check(b.image, &options, &result, &b.err), &b.err,
               IMG_LIMIT, "the check needs more memory than it was given");
    options = (struct qcow2_check_options){.cancel = &cancel};
    unit_fails(qcow2_check(b.image, &options, &result, &b.err), &b.err,
               IMG_CANCELLED, "the check was cancelled");
    build_fini(&b);
}
END_TEST

START_TEST(test_max_problems)
{
    struct heard heard = {0};
    struct qcow2_check_options options = {
        .problem = hear, .opaque = &heard, .max_problems = 2};
    struct qcow2_check_result result;
    struct build b;

    build_init(&b, 12);
    build_open(&b, NULL);
    unit_ok(qcow2_check(b.image, &options, &result, &b.err), &b.err);
    ck_assert_uint_eq(result.leaks, 7);
    ck_assert_int_eq(heard.calls, 2);
    build_fini(&b);
}
END_TEST

/* Opened for a check: what was found last, and how many corruptions. */
static uint64_t lenient(struct build *b, struct heard *heard)
{
    const struct qcow2_options how = {.is_for_check = true};

    build_file(b);
    ck_assert_int_eq(
        qcow2_open(b->file, &(struct qcow2_options){0}, &b->image, &b->err),
        -1);
    unit_ok(qcow2_open(b->file, &how, &b->image, &b->err), &b->err);
    return run(b, heard).corruptions;
}

START_TEST(test_tables_outside)
{
    struct heard heard;
    struct build b;

    /* No refcount at all: five clusters, and two COPIED bits without one. */
    build_init(&b, 6);
    build_l2(&b, 0, 5 * CLUSTER | COPIED);
    build_put32(&b, 56, 0);
    ck_assert_uint_eq(lenient(&b, &heard), 2 + 4);
    ck_assert_str_eq(heard.last.id, "refcount-too-small");
    build_fini(&b);

    build_init(&b, 5);
    build_put64(&b, 40, 1ull << 40);
    ck_assert_uint_eq(lenient(&b, &heard), 1);
    build_fini(&b);

    build_init(&b, 9);
    build_snapshot(&b, 5, 1ull << 40, 1, VIRTUAL_LEN);
    ck_assert_uint_eq(lenient(&b, &heard), 1);
    build_fini(&b);

    build_init(&b, 6);
    build_snapshot(&b, 5, 512, 1, VIRTUAL_LEN);
    ck_assert_uint_eq(lenient(&b, &heard), 1);
    ck_assert_str_eq(heard.message,
                     "snapshot 0 (id '1'): found its L1 table at 512, "
                     "expected a multiple of the cluster size 4096");
    ck_assert_str_eq(heard.last.owner, "snapshot-table");
    ck_assert_uint_eq(heard.last.off, 5 * CLUSTER);
    build_fini(&b);

    build_init(&b, 6);
    build_snapshot(&b, 5, CLUSTER, (4u << 20) + 1, VIRTUAL_LEN);
    ck_assert_uint_eq(lenient(&b, &heard), 1);
    ck_assert_str_eq(heard.last.id, "snapshot-l1-too-large");
    build_fini(&b);

    build_init(&b, 6);
    build_snapshot(&b, 5, 0, 0, VIRTUAL_LEN);
    build_put32(&b, 5ull * CLUSTER + 12, 2 << 16); /* an id of two bytes */
    build_put32(&b, 5ull * CLUSTER + 36, 15);
    build_put32(&b, 5ull * CLUSTER + 40 + 15, 0x371b0000);
    ck_assert_uint_eq(lenient(&b, &heard), 1);
    ck_assert_str_eq(heard.message,
                     "snapshot 0 (id '7\\x1b'): found 15 bytes of extra data, "
                     "expected at least 16");
    build_fini(&b);
}
END_TEST

/* What QEMU's check lets pass is counted on top. */
START_TEST(test_beyond_qemu)
{
    struct qcow2_check_result result;
    struct heard heard;
    struct build b;

    build_init(&b, 5);
    build_put32(&b, 4, 2);
    build_l2(&b, 7, QCOW2_L2_ZERO);
    build_open(&b, NULL);
    result = run(&b, &heard);
    ck_assert_uint_eq(result.corruptions, 1);
    ck_assert_uint_eq(result.beyond_qemu, 1);
    ck_assert_str_eq(heard.last.id, "zero-bit-in-version-2");
    ck_assert_str_eq(heard.last.owner, "l2-table");
    ck_assert_uint_eq(heard.last.guest_off, 7 * CLUSTER);
    build_fini(&b);

    build_init(&b, 5);
    build_l2(&b, 7, COPIED);
    build_open(&b, NULL);
    ck_assert_uint_eq(run(&b, &heard).beyond_qemu, 1);
    ck_assert_str_eq(heard.last.id, "copied-without-offset");
    build_fini(&b);

    /* Nothing but what keeps the image from being opened. */
    build_init(&b, 6);
    build_snapshot(&b, 5, 0, 0, UINT64_MAX);
    ck_assert_uint_eq(lenient(&b, &heard), 1);
    ck_assert_str_eq(heard.last.id, "cannot-be-opened");
    build_fini(&b);
}
END_TEST

/* Runs of clusters that are counted together, and where they break off. */
START_TEST(test_runs)
{
    struct qcow2_check_result result;
    struct heard heard;
    struct build b;

    build_init(&b, 305);
    for (uint32_t i = 0; i < 300; i++) {
        build_l2(&b, i, (5ull + i) * CLUSTER | COPIED);
    }
    build_open(&b, NULL);
    result = run(&b, &heard);
    ck_assert_int_eq(heard.calls, 0);
    ck_assert_uint_eq(result.allocated_clusters, 300);
    ck_assert_uint_eq(result.fragmented_clusters, 0);
    ck_assert_uint_eq(result.image_end_off, 305 * CLUSTER);
    build_fini(&b);

    /* A gap, a refcount of 2 within, and a run that leaves the file. */
    build_init(&b, 305);
    for (uint32_t i = 0; i < 300; i++) {
        build_l2(&b, i, (i < 100 ? 5ull + i : 15ull + i) * CLUSTER | COPIED);
    }
    build_refcount(&b, 50, 2);
    build_open(&b, NULL);
    result = run(&b, &heard);
    ck_assert_uint_eq(result.allocated_clusters, 300);
    ck_assert_uint_eq(result.fragmented_clusters, 1);
    /* COPIED beside the 2, ten clusters outside that have no refcount. */
    ck_assert_uint_eq(result.corruptions, 1 + 10 + 10);
    ck_assert_uint_eq(result.leaks, 1 + 10);
    build_fini(&b);
}
END_TEST

/* In a full image: what was found, of which the last is heard. */
static struct qcow2_check_result full(uint32_t odd, uint16_t refcount,
                                      uint64_t entry, struct heard *heard)
{
    struct qcow2_check_result result;
    struct build b;

    build_init(&b, 305);
    for (uint32_t i = 0; i < 300; i++) {
        build_l2(&b, i, (5ull + i) * CLUSTER | COPIED);
    }
    build_refcount(&b, 5 + odd, refcount);
    build_l2(&b, odd, entry * CLUSTER | COPIED);
    build_open(&b, NULL);
    result = run(&b, heard);
    build_fini(&b);
    ck_assert_uint_eq(result.allocated_clusters, 300);
    return result;
}

/* What breaks a run is found wherever it stands. */
START_TEST(test_runs_break_anywhere)
{
    struct qcow2_check_result result;
    struct heard heard;

    for (uint32_t odd = 0; odd < 299; odd++) {
        uint64_t own = 5 + odd;

        result = full(odd, 2, own, &heard);
        ck_assert_uint_eq(result.corruptions, 1);
        ck_assert_uint_eq(result.leaks, 1);
        ck_assert_uint_eq(result.fragmented_clusters, 0);
        ck_assert_uint_eq(heard.last.off, own * CLUSTER);

        /* The neighbour's cluster has two owners, its own one none. */
        result = full(odd, 1, own + 1, &heard);
        ck_assert_uint_eq(result.corruptions, 1);
        ck_assert_uint_eq(result.leaks, 1);
        ck_assert_uint_eq(result.fragmented_clusters, odd > 0 ? 2 : 1);
        ck_assert_str_eq(heard.last.id, "refcount-too-small");
        ck_assert_uint_eq(heard.last.off, (own + 1) * CLUSTER);
    }
}
END_TEST

/* Open and check B's file, whose Nth read fails; true when none failed. */
static bool survives_fault(struct build *b, uint64_t n)
{
    struct img_fault fault = {.fail_at_read = n, .fail_errno = EIO};
    struct qcow2_check_options options = {0};
    struct qcow2_check_result result;
    struct img_file *faulty;
    struct img_image *image = NULL;

    unit_ok(img_file_with_faults(b->file, &fault, &faulty, &b->err), &b->err);
    img_error_clear(&b->err);
    bool is_good =
        qcow2_open(faulty, &(struct qcow2_options){0}, &image, &b->err) == 0 &&
        qcow2_check(image, &options, &result, &b->err) == 0;
    if (!is_good) {
        ck_assert_int_eq((int)b->err.code, (int)IMG_IO);
        ck_assert_str_eq(b->err.path, "test.qcow2");
    }
    img_image_free(image);
    img_file_unref(faulty);
    return is_good;
}

START_TEST(test_each_read_fails)
{
    struct build b;
    uint64_t n = 1;

    build_init(&b, 9);
    build_snapshot(&b, 5, 6ull * CLUSTER, 1, VIRTUAL_LEN);
    build_put64(&b, 6 * CLUSTER, 7 * CLUSTER);
    build_put64(&b, 7 * CLUSTER, 8 * CLUSTER);
    build_file(&b);
    while (!survives_fault(&b, n)) {
        n++;
    }
    /*
     * Twice the first cluster, snapshot table, refcount table, two L1 and
     * two L2 tables, the refcount block for COPIED and for the comparison.
     */
    ck_assert_uint_eq(n - 1, 10);
    build_fini(&b);
}
END_TEST

UNIT_SUITE("qcow2_check", test_clean, test_leak, test_refcount_too_small,
           test_copied, test_past_end, test_owners, test_amplification,
           test_limits, test_max_problems, test_tables_outside,
           test_beyond_qemu, test_runs, test_runs_break_anywhere,
           test_each_read_fails)
