/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The map of a qcow2 image: runs, kinds, places and broken entries. */
#include "qcow2_build.h"

#define FIRST_DATA 6u /* cluster */

static uint64_t data_entry(uint64_t cluster)
{
    return cluster * CLUSTER | COPIED;
}

START_TEST(test_empty_is_one_extent)
{
    struct build b;

    build_init(&b, 5);
    build_open(&b, NULL);
    struct img_extent e = build_map(&b, 0);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_UNALLOCATED);
    ck_assert_uint_eq(e.len, VIRTUAL_LEN);
    ck_assert(!e.has_host);
    e = build_map(&b, VIRTUAL_LEN - 512);
    ck_assert_uint_eq(e.len, 512);
    build_fini(&b);
}
END_TEST

START_TEST(test_runs)
{
    struct build b;

    build_init(&b, 16);
    build_l2(&b, 1, data_entry(FIRST_DATA));
    build_l2(&b, 2, data_entry(FIRST_DATA + 1));
    build_l2(&b, 3, data_entry(FIRST_DATA + 3)); /* elsewhere */
    build_l2(&b, 4, (FIRST_DATA + 4) * CLUSTER); /* shared, but goes on */
    build_l2(&b, 5, QCOW2_L2_ZERO);
    build_l2(&b, 6, QCOW2_L2_ZERO);
    build_l2(&b, 7, data_entry(12) | QCOW2_L2_ZERO);
    build_open(&b, NULL);

    struct img_extent e = build_map(&b, 0);
    ck_assert_uint_eq(e.len, CLUSTER);
    e = build_map(&b, CLUSTER + 100);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_DATA);
    ck_assert_uint_eq(e.len, 2 * CLUSTER - 100);
    ck_assert_uint_eq(e.host_off, FIRST_DATA * CLUSTER + 100);
    ck_assert_ptr_eq(e.file, b.image->file);
    e = build_map(&b, 3 * CLUSTER);
    ck_assert_uint_eq(e.len, 2 * CLUSTER);
    ck_assert_uint_eq(e.host_off, (FIRST_DATA + 3) * CLUSTER);
    e = build_map(&b, 5 * CLUSTER);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_ZERO);
    ck_assert_uint_eq(e.len, 2 * CLUSTER);
    ck_assert(!e.has_host);
    e = build_map(&b, 7 * CLUSTER);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_ZERO);
    ck_assert_uint_eq(e.len, CLUSTER);
    ck_assert(e.has_host);
    ck_assert_uint_eq(e.host_off, 12 * CLUSTER);
    e = build_map(&b, 8 * CLUSTER);
    ck_assert_uint_eq(e.len, VIRTUAL_LEN - 8 * CLUSTER);
    build_fini(&b);
}
END_TEST

START_TEST(test_run_over_tables)
{
    struct build b;

    /* The last cluster of one table and the first of the next. */
    build_init(&b, 10);
    build_put64(&b, L1_OFF + 8, 5 * CLUSTER | COPIED);
    build_l2(&b, 511, data_entry(7));
    build_put64(&b, 5 * CLUSTER, data_entry(8));
    build_open(&b, NULL);
    struct img_extent e = build_map(&b, L2_COVERS - CLUSTER);
    ck_assert_uint_eq(e.len, 2 * CLUSTER);
    ck_assert_uint_eq(e.host_off, 7 * CLUSTER);
    /* Asked for again in pieces. */
    unit_ok(img_image_map(b.image, L2_COVERS - 512, 1024, &e, &b.err), &b.err);
    ck_assert_uint_eq(e.len, 1024);
    ck_assert_uint_eq(e.host_off, 8 * CLUSTER - 512);
    build_fini(&b);
}
END_TEST

START_TEST(test_broken_l2_entry)
{
    struct img_extent e;
    struct build b;

    build_init(&b, 10);
    build_l2(&b, 0, data_entry(7));
    build_l2(&b, 1, data_entry(8) | 2);
    build_open(&b, NULL);
    e = build_map(&b, 0); /* what is good can be read */
    ck_assert_uint_eq(e.len, CLUSTER);
    unit_fails(img_image_map(b.image, CLUSTER, CLUSTER, &e, &b.err), &b.err,
               IMG_CORRUPT,
               "L2 entry for guest offset 4096: found 0x8000000000008002, "
               "expected bits 1 to 8 and 56 to 61 to be 0");
    ck_assert(b.err.has_off);
    ck_assert_uint_eq(b.err.off, L2_OFF + 8);
    build_fini(&b);
}
END_TEST

START_TEST(test_run_stops_at_end_of_file)
{
    struct img_extent e;
    struct build b;

    /* The second of two contiguous clusters begins past the end. */
    build_init(&b, 7);
    build_l2(&b, 0, data_entry(6));
    build_l2(&b, 1, data_entry(7));
    build_open(&b, NULL);
    e = build_map(&b, 0);
    ck_assert_uint_eq(e.len, CLUSTER);
    unit_fails(img_image_map(b.image, CLUSTER, 1, &e, &b.err), &b.err,
               IMG_CORRUPT,
               "L2 entry for guest offset 4096: found 0x8000000000007000, "
               "expected an offset inside the file");
    build_fini(&b);
}
END_TEST

START_TEST(test_broken_l1_entry)
{
    struct img_extent e;
    struct build b;

    build_init(&b, 5);
    build_put64(&b, L1_OFF + 16, 100 * CLUSTER);
    build_open(&b, NULL);
    e = build_map(&b, 0);
    ck_assert_uint_eq(e.len, 2 * L2_COVERS);
    unit_fails(img_image_map(b.image, 2 * L2_COVERS, 512, &e, &b.err), &b.err,
               IMG_CORRUPT,
               "L1 entry: found 0x0000000000064000, expected an offset inside "
               "the file");
    ck_assert_uint_eq(b.err.off, L1_OFF + 16);
    build_fini(&b);
}
END_TEST

START_TEST(test_compressed)
{
    struct build b;

    /* Offset bits 0 to 57, sectors from bit 58 on: 3 sectors, 100 bytes in. */
    build_init(&b, 7);
    build_l2(&b, 1, QCOW2_ENTRY_COMPRESSED | 2ull << 58 | (6 * CLUSTER + 100));
    build_l2(&b, 2, QCOW2_ENTRY_COMPRESSED | 7ull << 58 | (7 * CLUSTER - 50));
    build_open(&b, NULL);
    struct img_extent e = build_map(&b, CLUSTER + 512);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_COMPRESSED);
    ck_assert_uint_eq(e.len, CLUSTER - 512);
    ck_assert_uint_eq(e.unit_guest_off, CLUSTER);
    ck_assert_uint_eq(e.unit_len, CLUSTER);
    ck_assert_uint_eq(e.host_off, 6 * CLUSTER + 100);
    ck_assert_uint_eq(e.host_len, 3 * 512 - 100);
    e = build_map(&b, 2 * CLUSTER);
    ck_assert_uint_eq(e.host_len, 50); /* the file ends there */
    build_fini(&b);
}
END_TEST

START_TEST(test_snapshot_state)
{
    struct build b;

    build_init(&b, 12);
    build_snapshot(&b, 5, 6ull * CLUSTER, 1, VIRTUAL_LEN / 2);
    build_put64(&b, 6 * CLUSTER, 7 * CLUSTER);
    build_put64(&b, 7 * CLUSTER, 9 * CLUSTER);
    build_l2(&b, 0, data_entry(8));
    build_open(&b, "1");
    struct img_extent e = build_map(&b, 0);
    ck_assert_uint_eq(e.host_off, 9 * CLUSTER);
    ck_assert_uint_eq(e.len, CLUSTER);
    e = build_map(&b, CLUSTER); /* beyond the one L1 entry, too */
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_UNALLOCATED);
    ck_assert_uint_eq(e.len, VIRTUAL_LEN / 2 - CLUSTER);
    build_fini(&b);
}
END_TEST

/* Extended L2 needs clusters of 16 KiB: four of the builder's. */
START_TEST(test_subclusters)
{
    struct build b;
    const uint64_t big = 4 * CLUSTER;

    build_init(&b, 4 * 8);
    build_put32(&b, 20, 14);
    build_put64(&b, 72, QCOW2_INCOMPAT_EXTENDED_L2);
    build_put64(&b, 40, 3 * big);
    build_put64(&b, 48, big);
    build_put32(&b, 36, 1);
    build_put64(&b, 3 * big, (4 * big) | COPIED);
    build_put64(&b, 4 * big, (5 * big) | COPIED);
    /* Subclusters 0 and 1 data, 2 zero, the rest says nothing. */
    build_put64(&b, 4 * big + 8, 3ull | 4ull << 32);
    build_open(&b, NULL);
    struct img_extent e = build_map(&b, 10);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_DATA);
    ck_assert_uint_eq(e.len, 1024 - 10);
    ck_assert_uint_eq(e.host_off, 5 * big + 10);
    e = build_map(&b, 1024);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_ZERO);
    ck_assert_uint_eq(e.len, 512);
    ck_assert(e.has_host);
    e = build_map(&b, 1536);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_UNALLOCATED);
    ck_assert_uint_eq(e.len, big - 1536);
    ck_assert_uint_eq(e.host_off, 5 * big + 1536);
    e = build_map(&b, big);
    ck_assert_uint_eq(e.len, VIRTUAL_LEN - big);
    ck_assert(!e.has_host);
    build_fini(&b);
}
END_TEST

START_TEST(test_data_file)
{
    struct img_file *data;
    struct img_extent e;
    struct build b;
    const char bytes[3 * CLUSTER] = {0};

    build_init(&b, 5);
    build_put64(&b, 72, QCOW2_INCOMPAT_DATA_FILE);
    build_l2(&b, 0, COPIED); /* offset 0 of the data file */
    build_open(&b, NULL);
    ck_assert_int_eq(img_image_map(b.image, 0, 512, &e, &b.err), -1);
    unit_ok(img_file_from_memory("data", bytes, sizeof(bytes), &data, &b.err),
            &b.err);
    img_image_set_data_file(b.image, data);
    e = build_map(&b, 0);
    ck_assert_int_eq((int)e.kind, (int)IMG_EXTENT_DATA);
    ck_assert_uint_eq(e.len, CLUSTER);
    ck_assert(e.has_host);
    ck_assert_uint_eq(e.host_off, 0);
    ck_assert_ptr_eq(e.file, data);
    img_file_unref(data);
    build_fini(&b);
}
END_TEST

START_TEST(test_read_error)
{
    struct img_fault fault = {
        .fail_errno = 5, .fail_from_off = L2_OFF, .fail_len = 1};
    struct img_file *faulty;
    struct img_image *image;
    struct img_extent e;
    struct build b;

    build_init(&b, 5);
    build_file(&b);
    unit_ok(img_file_with_faults(b.file, &fault, &faulty, &b.err), &b.err);
    unit_ok(qcow2_open(faulty, &(struct qcow2_options){0}, &image, &b.err),
            &b.err);
    ck_assert_int_eq(img_image_map(image, 0, 512, &e, &b.err), -1);
    ck_assert_int_eq((int)b.err.code, (int)IMG_IO);
    unit_ok(img_image_map(image, L2_COVERS, 512, &e, &b.err), &b.err);
    img_image_free(image);
    img_file_unref(faulty);
    build_fini(&b);
}
END_TEST

START_TEST(test_usage)
{
    struct qcow2_usage usage;
    struct build b;

    build_init(&b, 10);
    build_l2(&b, 3, data_entry(7));
    build_l2(&b, 4, QCOW2_L2_ZERO);
    build_l2(&b, 9, QCOW2_ENTRY_COMPRESSED | (8 * CLUSTER));
    build_put64(&b, L1_OFF + 24, L2_OFF); /* the same table once more */
    build_open(&b, NULL);
    unit_ok(qcow2_image_usage(b.image, &usage, &b.err), &b.err);
    ck_assert_uint_eq(usage.data_clusters, 2);
    ck_assert_uint_eq(usage.zero_clusters, 2);
    ck_assert_uint_eq(usage.compressed_clusters, 2);
    ck_assert_uint_eq(usage.first_guest_off, 3 * CLUSTER);
    build_fini(&b);
}
END_TEST

UNIT_SUITE("qcow2_map", test_empty_is_one_extent, test_runs,
           test_run_over_tables, test_broken_l2_entry,
           test_run_stops_at_end_of_file, test_broken_l1_entry, test_compressed,
           test_snapshot_state, test_subclusters, test_data_file,
           test_read_error, test_usage)
