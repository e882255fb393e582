/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Encoders against decoders: entries of the snapshot table and of the bitmap
 * directory.
 */
#include <img/checked.h>
#include <qcow2/bitmap.h>
#include <qcow2/snapshot.h>

#include "qcow2_bytes.h"
#include "random.h"
#include "unit.h"

#define ROUNDS 4000u

static struct random random_state = {2};
static struct img_error err;

/* A random offset of a cluster, not 0. */
static uint64_t any_cluster(const struct qcow2_header *h)
{
    return (1 +
            random_below(&random_state, (1ull << (56 - h->cluster_bits)) - 1))
           << h->cluster_bits;
}

static void snapshot_round(uint32_t extra_len)
{
    struct qcow2_header h = sample_decoded(3, 16, 0);
    uint8_t extra[64], buf[512];
    char id[20], name[40];
    struct qcow2_snapshot got,
        s = {
            .l1_off = any_cluster(&h),
            .l1_entries = 1 + (uint32_t)random_below(&random_state, 1000),
            .date_sec = (uint32_t)random_u64(&random_state),
            .date_nsec = (uint32_t)random_u64(&random_state),
            .vm_clock_nsec = random_u64(&random_state),
            .vm_state_len =
                random_u64(&random_state) >> random_below(&random_state, 64),
            .virtual_len = random_below(&random_state, QCOW2_MAX_VIRTUAL_LEN),
            .icount = random_u64(&random_state),
            .extra_len = extra_len,
            .extra = extra,
            .id = id,
            .id_len = (uint16_t)random_below(&random_state, sizeof(id)),
            .name = name,
            .name_len = (uint16_t)random_below(&random_state, sizeof(name)),
        };

    random_bytes(&random_state, extra, sizeof(extra));
    random_bytes(&random_state, id, sizeof(id));
    random_bytes(&random_state, name, sizeof(name));
    qcow2_snapshot_encode(&s, NULL);
    ck_assert_uint_eq(s.extra_len, extra_len > 24 ? extra_len : 24);
    ck_assert_uint_le(s.entry_len, sizeof(buf));
    memset(buf, 0xee, sizeof(buf));
    qcow2_snapshot_encode(&s, buf);
    ck_assert_uint_eq(buf[s.entry_len], 0xee);
    ck_assert_uint_eq(img_load_be32(buf + 32),
                      s.vm_state_len > UINT32_MAX ? 0 : s.vm_state_len);
    unit_ok(
        qcow2_snapshot_decode(&h, buf, s.entry_len, 0, IMG_OFF_MAX, &got, &err),
        &err);
    ck_assert_uint_eq(got.entry_len, s.entry_len);
    ck_assert_uint_eq(got.l1_off, s.l1_off);
    ck_assert_uint_eq(got.l1_entries, s.l1_entries);
    ck_assert_uint_eq(got.date_sec, s.date_sec);
    ck_assert_uint_eq(got.date_nsec, s.date_nsec);
    ck_assert_uint_eq(got.vm_clock_nsec, s.vm_clock_nsec);
    ck_assert_uint_eq(got.vm_state_len, s.vm_state_len);
    ck_assert_uint_eq(got.virtual_len, s.virtual_len);
    ck_assert_uint_eq(got.icount, s.icount);
    ck_assert_uint_eq(got.id_len, s.id_len);
    ck_assert_mem_eq(got.id, id, s.id_len);
    ck_assert_uint_eq(got.name_len, s.name_len);
    ck_assert_mem_eq(got.name, name, s.name_len);
    if (extra_len > 24) {
        ck_assert_mem_eq(got.extra + 24, extra + 24, extra_len - 24);
    }
}

START_TEST(test_snapshot)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        snapshot_round(i % 65);
    }
}
END_TEST

START_TEST(test_bitmap)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct qcow2_header h = sample_decoded(3, 16, 0);
        char name[1023];
        uint8_t buf[1100];
        struct qcow2_bitmap got,
            b = {
                .table_off = any_cluster(&h),
                .table_entries =
                    1 + (uint32_t)random_below(&random_state, 8192),
                .flags = (uint32_t)random_below(&random_state, 4),
                .type = 1,
                .granularity_bits =
                    (uint8_t)(9 + random_below(&random_state, 23)),
                .name = name,
                .name_len = (uint16_t)(1 + random_below(&random_state, 1023)),
            };

        random_bytes(&random_state, name, sizeof(name));
        qcow2_bitmap_encode(&b, NULL);
        memset(buf, 0xee, sizeof(buf));
        qcow2_bitmap_encode(&b, buf);
        ck_assert_uint_eq(buf[b.entry_len], 0xee);
        unit_ok(qcow2_bitmap_decode(&h, buf, b.entry_len, 0, IMG_OFF_MAX, &got,
                                    &err),
                &err);
        ck_assert_uint_eq(got.table_off, b.table_off);
        ck_assert_uint_eq(got.table_entries, b.table_entries);
        ck_assert_uint_eq(got.flags, b.flags);
        ck_assert_uint_eq(got.type, b.type);
        ck_assert_uint_eq(got.granularity_bits, b.granularity_bits);
        ck_assert_uint_eq(got.entry_len, b.entry_len);
        ck_assert_uint_eq(got.name_len, b.name_len);
        ck_assert_mem_eq(got.name, name, b.name_len);
    }
}
END_TEST

UNIT_SUITE("qcow2 table encoders", test_snapshot, test_bitmap)
