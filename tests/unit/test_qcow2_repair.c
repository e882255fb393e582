/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Repair: one thing wrong at a time, what is told and what comes out. */
#include "repair_fixture.h"

#define NR 8u

static struct repair_fixture f;

/* Each cluster is what it was, but for those that WANT says: '0' zeros. */
static void ck_shown(const uint8_t *before, const char *want)
{
    static const uint8_t zeros[CLUSTER];
    uint8_t now[NR * CLUSTER];

    repair_show(f.file, now, NR);
    for (size_t i = 0; i < NR; i++) {
        size_t at = i * CLUSTER;

        ck_assert_msg(memcmp(now + at, want[i] == '0' ? zeros : before + at,
                             CLUSTER) == 0,
                      "cluster %zu is not as expected", i);
    }
}

/*
 * Repair what was broken of "DDzDD..D" (whose contents BEFORE has): clean
 * afterwards, and as WANT says.
 */
static void ck_repair(const uint8_t *before, const char *want)
{
    uint8_t *after = malloc(REPAIR_ROOM * 2);
    size_t len;

    ck_assert_ptr_nonnull(after);
    repair_open(&f);
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, true), &f.err);
    ck_assert_uint_eq(img_file_len(f.file), f.len);
    unit_ok(img_file_read(f.file, after, f.len, 0, &f.err), &f.err);
    ck_assert_mem_eq(after, f.bytes, f.len);
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, false), &f.err);
    ck_assert_uint_eq(f.result.after.corruptions, 0);
    ck_assert_uint_eq(f.result.after.leaks, 0);
    ck_assert_uint_eq(f.result.after.check_errors, 0);
    ck_shown(before, want);
    /* Once more: nothing to do. */
    len = img_file_len(f.file);
    ck_assert_uint_le(len, REPAIR_ROOM * 2);
    unit_ok(img_file_read(f.file, after, len, 0, &f.err), &f.err);
    char last[512];
    unsigned lost = f.lost;
    memcpy(last, f.last, sizeof(last));
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, false), &f.err);
    ck_assert_uint_eq(f.steps, 0);
    ck_assert_uint_eq(f.result.written_len, 0);
    f.lost = lost;
    memcpy(f.last, last, sizeof(last));
    free(after);
}

static void build(uint8_t *before)
{
    repair_build(&f, "DDzDD..D");
    repair_open(&f);
    repair_show(f.file, before, NR);
}

static uint8_t before[NR * CLUSTER];
#define COUNT(i) (TINY_BLOCK_OFF + 2 * (size_t)(i))
#define ENTRY(i) (TINY_L2_OFF + 8 * (size_t)(i))
#define AS_WAS "........"

START_TEST(test_repair_clean)
{
    build(before);
    ck_repair(before, AS_WAS);
    ck_assert_uint_eq(f.lost, 0);
}
END_TEST

START_TEST(test_repair_refcounts)
{
    build(before);
    put_be(f.bytes, COUNT(5), 2, 0);
    put_be(f.bytes, COUNT(6), 2, 7);
    put_be(f.bytes, COUNT(30), 2, 1);
    ck_repair(before, AS_WAS);
    ck_assert_uint_eq(f.lost, 0);
}
END_TEST

START_TEST(test_repair_flags)
{
    build(before);
    f.bytes[TINY_L1_OFF] = 0;
    f.bytes[ENTRY(0)] = 0;
    ck_repair(before, AS_WAS);
    ck_assert_uint_eq(f.lost, 0);
}
END_TEST

START_TEST(test_repair_entries)
{
    build(before);
    put_be(f.bytes, ENTRY(0), 8, QCOW2_ENTRY_COPIED | (1ull << 40));
    put_be(f.bytes, ENTRY(3), 8, QCOW2_ENTRY_COPIED | (5 * CLUSTER) | 2);
    put_be(f.bytes, ENTRY(4), 8, QCOW2_ENTRY_COMPRESSED | (1ull << 40));
    uint8_t as_fifth[NR * CLUSTER];
    memcpy(as_fifth, before, sizeof(before));
    /* Entry 3 leads to what entry 0 led to, reserved bit or not. */
    memcpy(as_fifth + 3 * CLUSTER, before, CLUSTER);
    ck_repair(as_fifth, "0...0...");
    ck_assert_uint_eq(f.lost, 2);
}
END_TEST

START_TEST(test_repair_l1_outside)
{
    build(before);
    put_be(f.bytes, TINY_L1_OFF, 8, QCOW2_ENTRY_COPIED | (1ull << 40));
    ck_repair(before, "00000000");
    ck_assert_uint_eq(f.lost, 1);
}
END_TEST

START_TEST(test_repair_l1_reserved)
{
    build(before);
    f.bytes[TINY_L1_OFF + 7] = 1;
    ck_repair(before, AS_WAS);
    ck_assert_uint_eq(f.lost, 0);
}
END_TEST

START_TEST(test_repair_shared_data)
{
    build(before);
    memcpy(f.bytes + ENTRY(1), f.bytes + ENTRY(0), 8);
    memcpy(before + CLUSTER, before, CLUSTER);
    ck_repair(before, AS_WAS);
    ck_assert_uint_eq(f.lost, 0);
}
END_TEST

/* Data that lies in each table: what is read there stays what it was. */
START_TEST(test_repair_data_in_tables)
{
    const uint64_t tables[] = {TINY_REFTABLE_OFF, TINY_BLOCK_OFF, TINY_L1_OFF,
                               TINY_L2_OFF};

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        build(before);
        put_be(f.bytes, ENTRY(1), 8, QCOW2_ENTRY_COPIED | tables[i]);
        memcpy(before + CLUSTER, f.bytes + tables[i], CLUSTER);
        ck_repair(before, AS_WAS);
        ck_assert_uint_eq(f.lost, 0);
    }
}
END_TEST

START_TEST(test_repair_rebuild)
{
    const uint64_t offs[] = {0,           100,         1ull << 50,
                             7 * CLUSTER, TINY_L1_OFF, TINY_L2_OFF};

    for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
        build(before);
        put_be(f.bytes, 48, 8, offs[i]);
        ck_repair(before, AS_WAS);
        ck_assert_uint_eq(f.lost, 0);
    }
}
END_TEST

START_TEST(test_repair_reftable_entries)
{
    const uint64_t entries[] = {
        0, 1, TINY_BLOCK_OFF | 1, 1ull << 50, TINY_L2_OFF, 5 * CLUSTER, 100};

    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        build(before);
        put_be(f.bytes, TINY_REFTABLE_OFF, 8, entries[i]);
        ck_repair(before, AS_WAS);
        ck_assert_uint_eq(f.lost, 0);
    }
}
END_TEST

START_TEST(test_repair_one_bit)
{
    /* Refcounts of one bit cannot count what two entries share. */
    build(before);
    put_be(f.bytes, 96, 4, 0);
    memset(f.bytes + TINY_BLOCK_OFF, 0, CLUSTER);
    memset(f.bytes + TINY_BLOCK_OFF, 0xff, 1);
    memcpy(f.bytes + ENTRY(1), f.bytes + ENTRY(0), 8);
    memcpy(before + CLUSTER, before, CLUSTER);
    ck_repair(before, AS_WAS);
    ck_assert_uint_eq(f.lost, 0);
}
END_TEST

START_TEST(test_repair_cut)
{
    build(before);
    f.len -= CLUSTER;
    ck_repair(before, ".......0");
    ck_assert_uint_eq(f.lost, 1);
}
END_TEST

START_TEST(test_repair_leaks_only)
{
    build(before);
    put_be(f.bytes, COUNT(5), 2, 0);
    put_be(f.bytes, COUNT(30), 2, 1);
    /* Leaks are looked for in the file only. */
    f.len = 31 * CLUSTER;
    repair_open(&f);
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_LEAKS, false), &f.err);
    ck_assert_uint_eq(f.result.leaks_fixed, 1);
    ck_assert_uint_eq(f.result.after.leaks, 0);
    ck_assert_uint_eq(f.result.after.corruptions, f.result.before.corruptions);
    ck_assert_uint_gt(f.result.after.corruptions, 0);
}
END_TEST

/* The guest sees the L2 table as its data, and bit 63 would have to be set
   there: that is for -r all, which moves the table. */
START_TEST(test_repair_leaks_in_table)
{
    uint8_t after[REPAIR_ROOM];

    build(before);
    put_be(f.bytes, ENTRY(5), 8, TINY_L2_OFF);
    put_be(f.bytes, TINY_L1_OFF, 8, TINY_L2_OFF);
    put_be(f.bytes, COUNT(4), 2, 2);
    put_be(f.bytes, ENTRY(0), 8, 5 * CLUSTER);
    put_be(f.bytes, COUNT(5), 2, 2);
    repair_open(&f);
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_LEAKS, false), &f.err);
    ck_assert_uint_eq(f.result.after.corruptions, 0);
    ck_assert_uint_eq(f.result.after.leaks, 1);
    ck_assert_str_eq(f.last, "nothing is freed: something else lies in a table "
                             "(-r all)");
    unit_ok(img_file_read(f.file, after, f.len, 0, &f.err), &f.err);
    ck_assert_mem_eq(after, f.bytes, f.len);
    repair_show(f.file, before, NR);
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, false), &f.err);
    ck_assert_uint_eq(f.result.after.leaks, 0);
    ck_shown(before, AS_WAS);
}
END_TEST

START_TEST(test_repair_refused)
{
    build(before);
    put_be(f.bytes, 40, 8, 1ull << 50);
    repair_open(&f);
    unit_fails(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, false), &f.err,
               IMG_CORRUPT,
               "l1_table_offset: found a table from 1125899906842624 to "
               "1125899906842632, expected it inside the file's 5120 bytes");
    build(before);
    f.bytes[0] = 'x';
    repair_open(&f);
    unit_fails(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, false), &f.err,
               IMG_FORMAT, "no qcow2 header that could be repaired");
}
END_TEST

START_TEST(test_repair_lost_is_told)
{
    build(before);
    put_be(f.bytes, ENTRY(4), 8, QCOW2_ENTRY_COPIED | (1ull << 40));
    put_be(f.bytes, COUNT(8), 2, 0);
    repair_open(&f);
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, false), &f.err);
    ck_assert_uint_eq(f.steps, 1);
    ck_assert_uint_eq(f.lost, 1);
    ck_assert_int_eq((int)f.last_kind, (int)QCOW2_REPAIR_ENTRY);
    ck_assert_uint_eq(f.last_off, ENTRY(4));
    ck_assert_uint_eq(f.last_guest_off, 4 * CLUSTER);
    ck_assert_uint_eq(f.last_guest_len, CLUSTER);
    ck_assert_str_eq(f.last,
                     "L2 entry 0x8000010000000000 has data past the end of the "
                     "file: what cannot be read becomes zeros");
    ck_assert_uint_eq(f.result.lost_guest_len, CLUSTER);
}
END_TEST

/* Its place in the table and its id say which one it was. */
START_TEST(test_repair_snapshot_given_up)
{
    size_t off;

    build(before);
    off = f.len;
    put_be(f.bytes, 60, 4, 2);
    put_be(f.bytes, 64, 8, off);
    for (size_t i = 0; i < 2; i++) {
        /* No extra data; an L1 table of no entries, or where none can be. */
        put_be(f.bytes, off + i * 48, 8, i * 100);
        put_be(f.bytes, off + i * 48 + 12, 4, 2u << 16 | 1);
        memcpy(f.bytes + off + i * 48 + 40,
               i == 0 ? "7\x1b"
                        "n"
                      : "8\x1b"
                        "n",
               3);
    }
    f.len += CLUSTER;
    repair_open(&f);
    unit_ok(repair_run_on(&f, f.file, QCOW2_REPAIR_ALL, false), &f.err);
    ck_assert_uint_eq(f.result.after.corruptions, 0);
    ck_assert_uint_eq(f.lost, 1);
    ck_assert_str_eq(f.first,
                     "snapshot 1 (id '8\\x1b') is given up: snapshot L1 table "
                     "offset: found 100, expected a multiple of the cluster "
                     "size 512, not 0");
}
END_TEST

UNIT_SUITE("qcow2_repair", test_repair_clean, test_repair_refcounts,
           test_repair_flags, test_repair_entries, test_repair_l1_outside,
           test_repair_l1_reserved, test_repair_shared_data,
           test_repair_data_in_tables, test_repair_rebuild,
           test_repair_reftable_entries, test_repair_one_bit, test_repair_cut,
           test_repair_leaks_only, test_repair_leaks_in_table,
           test_repair_refused, test_repair_lost_is_told,
           test_repair_snapshot_given_up)
