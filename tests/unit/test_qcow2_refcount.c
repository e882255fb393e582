/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Refcounts of all widths, and refcount table entries. */
#include <img/checked.h>
#include <qcow2/refcount.h>

#include "qcow2_bytes.h"
#include "unit.h"

static struct img_error err;

START_TEST(test_block_entries)
{
    for (uint32_t bits = 9; bits <= 21; bits++) {
        for (uint32_t order = 0; order <= 6; order++) {
            struct qcow2_header h = sample_decoded(3, bits, 0);

            h.refcount_order = order;
            ck_assert_uint_eq(qcow2_refcount_block_entries(&h),
                              ((8ull << bits) / (1ull << order)));
        }
    }
}
END_TEST

START_TEST(test_get)
{
    static const uint8_t block[16] = {0x8e, 0x01, 0xb2, 0xc3, 0xd4, 0xe5,
                                      0xf6, 0x07, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xfe};
    static const uint64_t first[7][4] = {
        {0, 1, 1, 1}, /* 0x8e, least significant bit first */
        {2, 3, 0, 2},
        {0xe, 8, 1, 0},
        {0x8e, 0x01, 0xb2, 0xc3},
        {0x8e01, 0xb2c3, 0xd4e5, 0xf607},
        {0x8e01b2c3, 0xd4e5f607, 0xffffffff, 0xfffffffe},
        {0x8e01b2c3d4e5f607, 0xfffffffffffffffe},
    };
    struct qcow2_header h = sample_decoded(3, 9, 0);

    for (uint32_t order = 0; order <= 6; order++) {
        h.refcount_order = order;
        for (uint64_t i = 0; i < (order == 6 ? 2 : 4); i++) {
            ck_assert_uint_eq(qcow2_refcount_get(&h, block, i),
                              first[order][i]);
        }
    }
    /* The last entry of the last byte. */
    h.refcount_order = 0;
    ck_assert_uint_eq(qcow2_refcount_get(&h, block, 7), 1);
    ck_assert_uint_eq(qcow2_refcount_get(&h, block, 15 * 8), 0);
    ck_assert_uint_eq(qcow2_refcount_get(&h, block, 15 * 8 + 7), 1);
}
END_TEST

START_TEST(test_reftable)
{
    struct qcow2_header h = sample_decoded(3, 16, 0);
    uint64_t off = 7;

    unit_ok(qcow2_reftable_decode(&h, 0, 0x50001, &off, &err), &err);
    ck_assert_uint_eq(off, 0);
    unit_ok(qcow2_reftable_decode(&h, 0x50000, 0x50001, &off, &err), &err);
    ck_assert_uint_eq(off, 0x50000);
    unit_fails(qcow2_reftable_decode(&h, 0x50000, 0x50000, &off, &err), &err,
               IMG_CORRUPT,
               "refcount table entry: found 0x0000000000050000, expected an"
               " offset inside the file");
    unit_fails(
        qcow2_reftable_decode(&h, 1ull << 63, IMG_OFF_MAX, &off, &err), &err,
        IMG_CORRUPT,
        "refcount table entry: found 0x8000000000000000, expected an offset"
        " inside the file");
    unit_fails(qcow2_reftable_decode(&h, 0x10200, 0x50001, &off, &err), &err,
               IMG_CORRUPT,
               "refcount table entry: found 0x0000000000010200, expected the"
               " offset of a cluster");
    for (unsigned bit = 0; bit <= 8; bit++) {
        ck_assert_int_eq(
            qcow2_reftable_decode(&h, 0x10000 | 1u << bit, 0x50001, &off, &err),
            -1);
        ck_assert_ptr_nonnull(
            strstr(err.text, ", expected bits 0 to 8 to be 0"));
    }
}
END_TEST

UNIT_SUITE("qcow2_refcount", test_block_entries, test_get, test_reftable)
