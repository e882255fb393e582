/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A repair on a file whose Nth read, write, flush or resize fails: the error
 * is told, nothing that could be read is lost, and a second repair of what is
 * there comes to the end that the first would have come to.
 */
#include <errno.h>

#include "repair_fixture.h"

#define NR 8u
/* More than a repair of so small an image makes. */
#define CALLS_MAX 400u

static struct repair_fixture f;
static uint8_t before[NR * CLUSTER];

/* Everything at once: refcounts, a block, flags, data in a table, an entry. */
static void build(void)
{
    repair_build(&f, "DDzDD..D");
    put_be(f.bytes, TINY_REFTABLE_OFF, 8, TINY_L2_OFF);
    f.bytes[TINY_L1_OFF] = 0;
    put_be(f.bytes, TINY_L2_OFF + 8, 8, QCOW2_ENTRY_COPIED | TINY_L1_OFF);
    put_be(f.bytes, TINY_L2_OFF + 24, 8, QCOW2_ENTRY_COPIED | (1ull << 40));
    put_be(f.bytes, 72, 8, QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
    repair_open(&f);
    repair_show(f.file, before, NR);
    /* What could not be read becomes zeros. */
    memset(before + 3 * CLUSTER, 0, CLUSTER);
}

static void ck_readable(const char *what, uint64_t call)
{
    uint8_t now[NR * CLUSTER];

    repair_show(f.file, now, NR);
    for (size_t i = 0; i < NR; i++) {
        ck_assert_msg(i == 3 || memcmp(now + i * CLUSTER, before + i * CLUSTER,
                                       CLUSTER) == 0,
                      "%s %llu: cluster %zu is not what it was", what,
                      (unsigned long long)call, i);
    }
}

/* Let a call fail; false when there are not so many. */
static bool fail_once(const char *what, const struct img_fault *fault,
                      uint64_t call)
{
    struct img_file *faulty;
    int rc;

    build();
    unit_ok(img_file_with_faults(f.file, fault, &faulty, &f.err), &f.err);
    rc = repair_run_on(&f, faulty, QCOW2_REPAIR_ALL, false);
    img_file_unref(faulty);
    if (rc < 0) {
        ck_assert_msg(strstr(f.err.text, strerror(EIO)) != NULL, "%s %llu: %s",
                      what, (unsigned long long)call, f.err.text);
    }
    ck_readable(what, call);
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, false), &f.err);
    ck_assert_uint_eq(f.result.after.corruptions, 0);
    ck_assert_uint_eq(f.result.after.leaks, 0);
    ck_readable(what, call);
    return rc < 0;
}

static unsigned fail_all(const char *what, size_t field)
{
    unsigned failed = 0;

    for (uint64_t call = 1; call <= CALLS_MAX; call++) {
        struct img_fault fault = {.fail_errno = EIO};

        memcpy((uint8_t *)&fault + field, &call, sizeof(call));
        if (!fail_once(what, &fault, call)) {
            break;
        }
        failed++;
    }
    ck_assert_uint_lt(failed, CALLS_MAX);
    return failed;
}

START_TEST(test_repair_faults_reads)
{
    ck_assert_uint_gt(
        fail_all("read", offsetof(struct img_fault, fail_at_read)), 20);
}
END_TEST

START_TEST(test_repair_faults_writes)
{
    ck_assert_uint_gt(
        fail_all("write", offsetof(struct img_fault, fail_at_write)), 4);
}
END_TEST

START_TEST(test_repair_faults_flushes)
{
    ck_assert_uint_gt(
        fail_all("flush", offsetof(struct img_fault, fail_at_flush)), 3);
}
END_TEST

START_TEST(test_repair_faults_resizes)
{
    ck_assert_uint_eq(
        fail_all("resize", offsetof(struct img_fault, fail_at_resize)), 1);
}
END_TEST

START_TEST(test_repair_faults_memory)
{
    for (uint64_t memory = 1; memory < 300000; memory += 4096) {
        struct qcow2_repair_options options = {
            .mode = QCOW2_REPAIR_ALL,
            .max_memory = memory,
        };
        uint8_t *now;

        build();
        if (qcow2_repair(f.file, &options, &f.result, &f.err) == 0) {
            ck_assert_uint_gt(memory, 4096);
            ck_assert_uint_eq(f.result.after.corruptions, 0);
            return;
        }
        ck_assert_msg(f.err.code == IMG_LIMIT || f.err.code == IMG_MEMORY,
                      "%llu bytes: %s", (unsigned long long)memory, f.err.text);
        now = malloc(f.len);
        ck_assert_ptr_nonnull(now);
        ck_assert_uint_eq(img_file_len(f.file), f.len);
        unit_ok(img_file_read(f.file, now, f.len, 0, &f.err), &f.err);
        ck_assert_mem_eq(now, f.bytes, f.len);
        free(now);
    }
    ck_abort_msg("no memory is enough");
}
END_TEST

UNIT_SUITE("repair_faults", test_repair_faults_reads, test_repair_faults_writes,
           test_repair_faults_flushes, test_repair_faults_resizes,
           test_repair_faults_memory)
