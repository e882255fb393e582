/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Encoders against decoders: what is encoded decodes to the same values, over
 * random values of every kind.
 */
#include <stdio.h>

#include <img/checked.h>
#include <qcow2/entry.h>
#include <qcow2/extensions.h>
#include <qcow2/refcount.h>

#include "qcow2_bytes.h"
#include "random.h"
#include "unit.h"

#define ROUNDS 4000u
/* Offsets below 2^56, as all of the format's are. */
#define OFF_BITS 56

static struct random random_state = {1};
static struct img_error err;
static uint8_t first[2u << 20];

/* A random offset of a cluster, not 0. */
static uint64_t any_cluster(const struct qcow2_header *h)
{
    return (1 + random_below(&random_state,
                             (1ull << (OFF_BITS - h->cluster_bits)) - 1))
           << h->cluster_bits;
}

/* Features that do not contradict each other. */
static void any_features(struct qcow2_header *h)
{
    h->incompatible = random_below(&random_state, 0x20);
    h->compatible = random_below(&random_state, 2);
    h->autoclear = random_below(&random_state, 4);
    if (!(h->incompatible & QCOW2_INCOMPAT_DATA_FILE)) {
        h->autoclear &= ~QCOW2_AUTOCLEAR_DATA_FILE_RAW;
    }
    h->compression = (h->incompatible & QCOW2_INCOMPAT_COMPRESSION) != 0;
    h->refcount_order = (uint32_t)random_below(&random_state, 7);
    h->header_len = 104 + 8 * (uint32_t)random_below(&random_state, 20);
    if (h->compression && h->header_len == 104) {
        h->header_len = 112;
    }
}

static struct qcow2_header any_header(uint32_t version)
{
    struct qcow2_header h = {
        .version = version, .refcount_order = 4, .header_len = 72};
    uint32_t min_bits = 9;

    if (version == 3) {
        any_features(&h);
        min_bits = h.incompatible & QCOW2_INCOMPAT_EXTENDED_L2 ? 14 : 9;
    }
    h.cluster_bits =
        min_bits + (uint32_t)random_below(&random_state, 22 - min_bits);
    h.crypt_method = (uint32_t)random_below(&random_state, 2);
    h.l1_entries = 1 + (uint32_t)random_below(&random_state, 4u << 20);
    qcow2_header_derive(&h);
    h.virtual_len =
        random_below(&random_state, img_min(h.l1_entries * h.l2_covers_len,
                                            QCOW2_MAX_VIRTUAL_LEN));
    h.l1_off = any_cluster(&h);
    h.reftable_off = any_cluster(&h);
    h.reftable_clusters =
        1 + (uint32_t)random_below(&random_state,
                                   QCOW2_MAX_REFTABLE_LEN >> h.cluster_bits);
    if (!h.has_data_file) {
        h.snapshots_nr = (uint32_t)random_below(&random_state, 65537);
        h.snapshots_off = any_cluster(&h);
    }
    return h;
}

static void assert_same_header(const struct qcow2_header *a,
                               const struct qcow2_header *b)
{
    uint8_t one[512], two[512];

    ck_assert_uint_eq(a->header_len, b->header_len);
    qcow2_header_encode(a, one);
    qcow2_header_encode(b, two);
    ck_assert_mem_eq(one, two, a->header_len);
    ck_assert_uint_eq(a->cluster_len, b->cluster_len);
    ck_assert_uint_eq(a->l2_entry_len, b->l2_entry_len);
    ck_assert_uint_eq(a->l2_entries, b->l2_entries);
    ck_assert_uint_eq(a->l2_covers_len, b->l2_covers_len);
    ck_assert_uint_eq(a->subcluster_len, b->subcluster_len);
    ck_assert_int_eq(a->has_extended_l2, b->has_extended_l2);
    ck_assert_int_eq(a->has_data_file, b->has_data_file);
    ck_assert_int_eq(a->is_data_file_raw, b->is_data_file_raw);
}

START_TEST(test_header)
{
    uint8_t untouched[512];

    memset(untouched, 0xee, sizeof(untouched));
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct qcow2_header h = any_header(2 + i % 2), got;
        uint8_t buf[512];

        memset(buf, 0xee, sizeof(buf));
        qcow2_header_encode(&h, buf);
        ck_assert_mem_eq(buf + h.header_len, untouched,
                         sizeof(buf) - h.header_len);
        unit_ok(qcow2_header_decode(buf, sizeof(buf), &got, &err), &err);
        assert_same_header(&h, &got);
        ck_assert_uint_eq(got.virtual_len, h.virtual_len);
        ck_assert_uint_eq(got.incompatible, h.incompatible);
        ck_assert_uint_eq(got.compression, h.compression);
    }
}
END_TEST

/* A name of 1 to MAX bytes, never NUL, in fresh memory. */
static char *any_name(size_t max)
{
    size_t len = 1 + random_below(&random_state, max);
    char *name = calloc(1, len + 1);

    ck_assert_ptr_nonnull(name);
    random_bytes(&random_state, name, len);
    return name;
}

static void any_unknown(struct qcow2_extensions *x)
{
    x->unknown_nr = random_below(&random_state, 3);
    x->unknown = calloc(x->unknown_nr + 1, sizeof(*x->unknown));
    ck_assert_ptr_nonnull(x->unknown);
    for (size_t i = 0; i < x->unknown_nr; i++) {
        struct qcow2_unknown_extension *u = &x->unknown[i];

        u->type = 0x10000000 + (uint32_t)random_below(&random_state, 1000);
        u->data = (uint8_t *)any_name(30);
        u->len = (uint32_t)strlen((char *)u->data);
    }
}

static void any_extensions(struct qcow2_header *h, struct qcow2_extensions *x)
{
    *x = (struct qcow2_extensions){0};
    if (random_bool(&random_state)) {
        x->backing_name = any_name(120);
        x->backing_format = random_bool(&random_state) ? any_name(15) : NULL;
    }
    if (h->has_data_file && random_bool(&random_state)) {
        x->data_file_name = any_name(40);
    }
    if (random_below(&random_state, 3) == 0) {
        h->crypt_method = QCOW2_CRYPT_LUKS;
        x->has_crypto = true;
        x->crypto_off = any_cluster(h);
        x->crypto_len = 1 + random_below(&random_state, 1 << 20);
    }
    if (random_bool(&random_state)) {
        x->has_bitmaps = true;
        x->bitmaps_nr = 1 + (uint32_t)random_below(&random_state, 65535);
        x->bitmap_directory_off = any_cluster(h);
        x->bitmap_directory_len = 1 + random_below(&random_state, 1 << 20);
    }
    any_unknown(x);
}

static void assert_same_text(const char *a, const char *b)
{
    ck_assert_int_eq(a == NULL, b == NULL);
    if (a != NULL) {
        ck_assert_str_eq(a, b);
    }
}

static void assert_same_extensions(const struct qcow2_extensions *a,
                                   const struct qcow2_extensions *b)
{
    assert_same_text(a->backing_name, b->backing_name);
    assert_same_text(a->backing_format, b->backing_format);
    assert_same_text(a->data_file_name, b->data_file_name);
    ck_assert_int_eq(a->has_crypto, b->has_crypto);
    ck_assert_uint_eq(a->crypto_off, b->crypto_off);
    ck_assert_uint_eq(a->crypto_len, b->crypto_len);
    ck_assert_int_eq(a->has_bitmaps, b->has_bitmaps);
    ck_assert_uint_eq(a->bitmaps_nr, b->bitmaps_nr);
    ck_assert_uint_eq(a->bitmap_directory_off, b->bitmap_directory_off);
    ck_assert_uint_eq(a->bitmap_directory_len, b->bitmap_directory_len);
    ck_assert_uint_eq(a->unknown_nr, b->unknown_nr);
    for (size_t i = 0; i < a->unknown_nr; i++) {
        ck_assert_uint_eq(a->unknown[i].type, b->unknown[i].type);
        ck_assert_uint_eq(a->unknown[i].len, b->unknown[i].len);
        ck_assert_mem_eq(a->unknown[i].data, b->unknown[i].data,
                         a->unknown[i].len);
    }
}

START_TEST(test_first_cluster)
{
    unsigned fitting = 0;

    for (uint32_t i = 0; i < ROUNDS / 4; i++) {
        struct qcow2_header h = any_header(2 + i % 2), got;
        struct qcow2_extensions x, y;
        bool with_names = random_bool(&random_state);

        any_extensions(&h, &x);
        if (qcow2_first_cluster_encode(&h, &x, with_names, first, h.cluster_len,
                                       &err) < 0) {
            ck_assert_int_eq(err.code, IMG_LIMIT);
            ck_assert_uint_eq(h.cluster_len, 512);
            qcow2_extensions_fini(&x);
            continue;
        }
        unit_ok(qcow2_header_decode(first, h.cluster_len, &got, &err), &err);
        unit_ok(qcow2_extensions_decode(&got, first, h.cluster_len, &y, &err),
                &err);
        assert_same_header(&h, &got);
        assert_same_extensions(&x, &y);
        ck_assert(!y.is_backing_format_hidden);
        ck_assert_uint_eq(
            y.features_nr,
            with_names && h.version == 3 && h.cluster_len >= 8192 ? 8 : 0);
        fitting++;
        qcow2_extensions_fini(&x);
        qcow2_extensions_fini(&y);
    }
    ck_assert_uint_gt(fitting, ROUNDS / 8);
}
END_TEST

/* What is there stays, under its name; what is known gets the known one. */
START_TEST(test_feature_names)
{
    struct qcow2_header h = any_header(3);
    struct qcow2_feature_name names[] = {
        {QCOW2_FEATURE_INCOMPATIBLE, 3, "an old name"},
        {QCOW2_FEATURE_INCOMPATIBLE, 60, "from the future"},
    };
    struct qcow2_extensions x = {.features = names, .features_nr = 2}, y;
    struct qcow2_extensions none = {.backing_name = NULL};

    h.cluster_bits = 16;
    h.crypt_method = 0;
    qcow2_header_derive(&h);
    unit_ok(qcow2_first_cluster_encode(&h, &x, true, first, 65536, &err), &err);
    unit_ok(qcow2_extensions_decode(&h, first, 65536, &y, &err), &err);
    ck_assert_uint_eq(y.features_nr, 9);
    ck_assert_str_eq(y.features[3].name, "compression type");
    ck_assert_str_eq(y.features[8].name, "from the future");
    qcow2_extensions_fini(&y);
    unit_ok(qcow2_first_cluster_encode(&h, &x, false, first, 65536, &err),
            &err);
    unit_ok(qcow2_extensions_decode(&h, first, 65536, &y, &err), &err);
    ck_assert_uint_eq(y.features_nr, 2);
    ck_assert_str_eq(y.features[0].name, "an old name");
    qcow2_extensions_fini(&y);
    unit_ok(qcow2_first_cluster_encode(&h, &none, false, first, 65536, &err),
            &err);
    unit_ok(qcow2_extensions_decode(&h, first, 65536, &y, &err), &err);
    ck_assert_uint_eq(y.features_nr, 0);
    qcow2_extensions_fini(&y);
}
END_TEST

/* The names go where 392 bytes are left, and not where 391 are. */
START_TEST(test_feature_names_do_not_fit)
{
    static uint8_t data[8192];
    struct qcow2_header h = sample_decoded(3, 13, 0);
    uint32_t room = 8192 - 112 - 8 - 8 - 392;
    struct qcow2_unknown_extension unknown = {
        .type = 0x11111111, .len = room, .data = data};
    struct qcow2_extensions y, x = {.unknown = &unknown, .unknown_nr = 1};

    for (uint32_t i = 0; i < 2; i++) {
        unknown.len = room + i;
        unit_ok(qcow2_first_cluster_encode(&h, &x, true, first, 8192, &err),
                &err);
        unit_ok(qcow2_extensions_decode(&h, first, 8192, &y, &err), &err);
        ck_assert_uint_eq(y.features_nr, i == 0 ? 8 : 0);
        ck_assert_uint_eq(y.unknown_nr, 1);
        ck_assert_uint_eq(y.unknown[0].len, room + i);
        qcow2_extensions_fini(&y);
    }
}
END_TEST

/* The fullest cluster of 512 bytes, and one byte more. */
START_TEST(test_first_cluster_full)
{
    struct qcow2_header h = sample_decoded(3, 9, 0);
    char name[1100];
    char format[] = "qcow2";
    struct qcow2_extensions x = {.backing_name = name,
                                 .backing_format = format};

    memset(name, 'n', sizeof(name));
    name[512 - 112 - 16 - 8] = '\0';
    unit_ok(qcow2_first_cluster_encode(&h, &x, true, first, 512, &err), &err);
    ck_assert_uint_eq(h.backing_name_off, 112 + 16 + 8);
    ck_assert_uint_eq(h.backing_name_off + h.backing_name_len, 512);
    name[512 - 112 - 16 - 8] = 'n';
    name[512 - 112 - 16 - 8 + 1] = '\0';
    unit_fails(qcow2_first_cluster_encode(&h, &x, true, first, 512, &err), &err,
               IMG_LIMIT,
               "header extensions: found more than the 23 bytes that there is"
               " room for in the first cluster");
    name[401] = '\0';
    memset(name, 'n', 401);
    unit_fails(qcow2_first_cluster_encode(&h, &x, true, first, 512, &err), &err,
               IMG_LIMIT,
               "backing file name: found 401 bytes, expected it to have room in"
               " the first cluster of 512 bytes");
    memset(name, 'n', 1024);
    name[1024] = '\0';
    unit_fails(qcow2_first_cluster_encode(&h, &x, true, first, 4096, &err),
               &err, IMG_LIMIT,
               "backing file name: found 1024 bytes, expected at most 1023");
    name[1] = '\0';
    x.backing_format = name + 2;
    name[18] = '\0';
    unit_fails(qcow2_first_cluster_encode(&h, &x, true, first, 4096, &err),
               &err, IMG_LIMIT,
               "backing format: found 16 bytes, expected at most 15");
}
END_TEST

START_TEST(test_l1)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct qcow2_header h = any_header(3);
        struct qcow2_l1_entry e = {.l2_off = any_cluster(&h),
                                   .is_copied = random_bool(&random_state)};
        struct qcow2_l1_entry got;

        unit_ok(
            qcow2_l1_decode(&h, qcow2_l1_encode(&e), IMG_OFF_MAX, &got, &err),
            &err);
        ck_assert_uint_eq(got.l2_off, e.l2_off);
        ck_assert_int_eq(got.is_copied, e.is_copied);
    }
    ck_assert_uint_eq(qcow2_l1_encode(&(struct qcow2_l1_entry){0}), 0);
}
END_TEST

static void any_compressed(const struct qcow2_header *h,
                           struct qcow2_l2_entry *e)
{
    uint32_t off_bits = (uint32_t)img_min(OFF_BITS, 62 - (h->cluster_bits - 8));

    e->kind = QCOW2_CLUSTER_COMPRESSED;
    e->has_host = true;
    e->host_off = random_below(&random_state, 1ull << off_bits);
    /* What is stored ends with a sector, so that decoding gives it back. */
    e->host_len =
        (uint32_t)(512 - e->host_off % 512 +
                   512 * random_below(&random_state, h->cluster_len / 512));
}

static struct qcow2_l2_entry any_entry(const struct qcow2_header *h)
{
    struct qcow2_l2_entry e = {.kind = QCOW2_CLUSTER_UNALLOCATED};

    e.kind = (enum qcow2_cluster_kind)random_below(&random_state,
                                                   h->has_extended_l2 ? 5 : 4);
    if (e.kind == QCOW2_CLUSTER_ZERO && h->version < 3) {
        e.kind = QCOW2_CLUSTER_DATA;
    }
    if (e.kind == QCOW2_CLUSTER_COMPRESSED) {
        any_compressed(h, &e);
        return e;
    }
    e.has_host = e.kind == QCOW2_CLUSTER_DATA ||
                 ((e.kind == QCOW2_CLUSTER_ZERO || h->has_extended_l2) &&
                  random_bool(&random_state));
    if (e.kind == QCOW2_CLUSTER_MIXED) {
        do {
            e.zero = (uint32_t)random_u64(&random_state);
            e.alloc =
                e.has_host ? (uint32_t)random_u64(&random_state) & ~e.zero : 0;
        } while (e.zero == 0 || e.zero == UINT32_MAX);
    }
    if (e.has_host) {
        e.host_off = any_cluster(h);
        e.is_copied = random_bool(&random_state);
    }
    return e;
}

START_TEST(test_l2)
{
    unsigned met[5] = {0};

    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct qcow2_header h = any_header(2 + i % 2);
        struct qcow2_l2_entry e, got;
        uint64_t entry, bitmap;

        h.incompatible &= ~QCOW2_INCOMPAT_DATA_FILE;
        qcow2_header_derive(&h);
        e = any_entry(&h);
        entry = qcow2_l2_encode(&h, &e, &bitmap);
        unit_ok(qcow2_l2_decode(&h, entry, bitmap, 0, IMG_OFF_MAX, &got, &err),
                &err);
        met[e.kind]++;
        ck_assert_int_eq(got.kind, e.kind);
        ck_assert_int_eq(got.is_copied, e.is_copied);
        ck_assert_int_eq(got.has_host, e.has_host);
        ck_assert_uint_eq(got.host_off, e.host_off);
        ck_assert_uint_eq(got.host_len, e.host_len);
        if (e.kind == QCOW2_CLUSTER_MIXED) {
            ck_assert_uint_eq(got.alloc, e.alloc);
            ck_assert_uint_eq(got.zero, e.zero);
        }
        ck_assert_uint_eq(h.has_extended_l2 ? 0 : bitmap, 0);
    }
    for (int i = 0; i < 5; i++) {
        ck_assert_uint_gt(met[i], 100);
    }
}
END_TEST

/* Every byte of compressed data lies in the sectors that the entry counts. */
START_TEST(test_l2_compressed_sectors)
{
    for (uint32_t bits = 9; bits <= 21; bits++) {
        struct qcow2_header h = sample_decoded(3, bits, 0);

        for (int i = 0; i < 2000; i++) {
            struct qcow2_l2_entry got,
                e = {
                    .kind = QCOW2_CLUSTER_COMPRESSED,
                    .has_host = true,
                    .host_off = random_below(&random_state, 1ull << 40),
                    .host_len = 1 + (uint32_t)random_below(&random_state,
                                                           (1u << bits) - 1),
                };
            uint64_t bitmap, entry = qcow2_l2_encode(&h, &e, &bitmap);

            unit_ok(
                qcow2_l2_decode(&h, entry, bitmap, 0, IMG_OFF_MAX, &got, &err),
                &err);
            ck_assert_uint_eq(got.host_off, e.host_off);
            ck_assert_uint_ge(got.host_len, e.host_len);
            ck_assert_uint_lt(got.host_len, e.host_len + 512);
            ck_assert_uint_eq((got.host_off + got.host_len) % 512, 0);
        }
    }
}
END_TEST

/* With a data file host offset 0 is a place: the COPIED bit says so. */
START_TEST(test_l2_data_file)
{
    struct qcow2_header h = sample_decoded(3, 16, QCOW2_INCOMPAT_DATA_FILE);
    struct qcow2_l2_entry got,
        e = {.kind = QCOW2_CLUSTER_DATA, .has_host = true, .is_copied = true};
    uint64_t bitmap;

    unit_ok(qcow2_l2_decode(&h, qcow2_l2_encode(&h, &e, &bitmap), 0, 0,
                            IMG_OFF_MAX, &got, &err),
            &err);
    ck_assert_int_eq(got.kind, QCOW2_CLUSTER_DATA);
    ck_assert(got.has_host);
}
END_TEST

START_TEST(test_refcounts)
{
    static uint64_t want[512 * 8];
    static uint8_t block[512];

    for (uint32_t order = 0; order <= 6; order++) {
        struct qcow2_header h = sample_decoded(3, 9, 0);
        uint64_t nr, max;

        h.refcount_order = order;
        nr = qcow2_refcount_block_entries(&h);
        max = qcow2_refcount_max(&h);
        ck_assert_uint_eq(max, order == 6 ? UINT64_MAX
                                          : (1ull << (1u << order)) - 1);
        memset(want, 0, sizeof(want));
        memset(block, 0, sizeof(block));
        for (uint32_t i = 0; i < ROUNDS; i++) {
            uint64_t idx = random_below(&random_state, nr);

            want[idx] = random_u64(&random_state) & max;
            qcow2_refcount_set(&h, block, idx, want[idx]);
        }
        for (uint64_t idx = 0; idx < nr; idx++) {
            ck_assert_uint_eq(qcow2_refcount_get(&h, block, idx), want[idx]);
        }
    }
}
END_TEST

UNIT_SUITE("qcow2 encoders", test_header, test_first_cluster,
           test_feature_names, test_feature_names_do_not_fit,
           test_first_cluster_full, test_l1, test_l2,
           test_l2_compressed_sectors, test_l2_data_file, test_refcounts)
