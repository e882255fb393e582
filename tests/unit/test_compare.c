/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Comparing two views: exact results, whatever the engine and the timing. */
#include <errno.h>

#include "compare_support.h"
#include "deny.h"

#define MIB (1u << 20)

struct setting {
    int engine;
    unsigned threads;
    uint64_t budget_len;
};

static const struct setting settings[] = {
    {IMG_ENGINE_AUTO, 1, 0},
    {IMG_ENGINE_AUTO, 2, 0},
    {IMG_ENGINE_SYNC, 1, 0},
    {IMG_ENGINE_SYNC, 2, 65536},
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static struct chain_compare_options options_of(const struct setting *setting)
{
    return (struct chain_compare_options){
        .engine = setting->engine,
        .threads = setting->threads,
        .budget_len = setting->budget_len,
    };
}

static struct chain_compare_result
compare(struct side *a, struct side *b,
        const struct chain_compare_options *options)
{
    struct chain_compare_result result;
    struct img_error err = {0};

    unit_ok(chain_compare(a->view, b->view, options, &result, &err), &err);
    return result;
}

static void check_identical(struct side *a, struct side *b,
                            const struct chain_compare_options *options)
{
    struct chain_compare_result result = compare(a, b, options);

    ck_assert_msg(result.verdict == CHAIN_IDENTICAL, "verdict %d: %s: %s",
                  (int)result.verdict, result.why.path, result.why.text);
    ck_assert(!result.has_difference);
    ck_assert_uint_eq(proof_sum(&result.proof), result.len);
}

/* The bytes LEN long with one changed at each of some places. */
static const uint64_t places[] = {
    0,      1,      7,      8,      511,         512,     4095,   4096,
    16383,  16384,  65535,  65536,  131071,      131072,  262143, 262144,
    262145, 524287, 524288, 786432, 2 * MIB - 1, 2 * MIB, 3000001};

START_TEST(test_one_byte)
{
    size_t len = 3 * MIB;
    uint8_t *bytes = malloc(len);
    static struct ranges ranges;
    struct scratch scratch;
    struct side a, b;

    scratch_open(&scratch);
    scratch_fill(bytes, len, 1);
    const char *one = scratch_write(&scratch, "a", bytes, len, 0);
    const char *two = scratch_write(&scratch, "b", bytes, len, 0);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint8_t other = (uint8_t)(bytes[places[i]] ^ 0x10);
        scratch_write(&scratch, "b", &other, 1, (off_t)places[i]);
        side_open(&a, one, "raw");
        side_open(&b, two, "raw");
        for (size_t k = 0; k < SETTINGS; k++) {
            struct chain_compare_options options = options_of(&settings[k]);
            struct chain_compare_result result = compare(&a, &b, &options);
            ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
            ck_assert_uint_eq(result.first_difference, places[i]);
            options.all = true;
            options.difference = ranges_add;
            options.opaque = &ranges;
            ranges.nr = 0;
            result = compare(&b, &a, &options);
            ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
            ck_assert_uint_eq(result.first_difference, places[i]);
            ck_assert_uint_eq(ranges.nr, 1);
            ck_assert_uint_eq(ranges.off[0], places[i]);
            ck_assert_uint_eq(ranges.len[0], 1);
            ck_assert_uint_eq(result.proof.read_len, len);
        }
        side_close(&a);
        side_close(&b);
        scratch_write(&scratch, "b", bytes + places[i], 1, (off_t)places[i]);
        while (scratch.nr > 2) {
            free(scratch.paths[--scratch.nr]);
        }
    }
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

START_TEST(test_separate_files)
{
    uint8_t *bytes = malloc(MIB);
    struct scratch scratch;
    struct side a, b;

    scratch_open(&scratch);
    scratch_fill(bytes, MIB, 2);
    /* Data, a hole, data. */
    scratch_write(&scratch, "a", bytes, MIB, 0);
    const char *one = scratch_write(&scratch, "a", bytes, MIB, 5 * MIB);
    scratch_write(&scratch, "b", bytes, MIB, 0);
    const char *two = scratch_write(&scratch, "b", bytes, MIB, 5 * MIB);
    side_open(&a, one, "raw");
    side_open(&b, two, "raw");
    for (size_t k = 0; k < SETTINGS; k++) {
        struct chain_compare_options options = options_of(&settings[k]);
        struct chain_compare_result result = compare(&a, &b, &options);
        ck_assert_int_eq(result.verdict, CHAIN_IDENTICAL);
        ck_assert_uint_eq(result.len, 6 * MIB);
        ck_assert_uint_eq(proof_sum(&result.proof), 6 * MIB);
        ck_assert_uint_ge(result.proof.read_len, 2 * MIB);
        ck_assert_uint_eq(result.proof.same_file_len, 0);
    }
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

START_TEST(test_same_file)
{
    uint8_t *bytes = malloc(MIB);
    struct chain_compare_options options = {0};
    struct scratch scratch;
    struct side a, b;

    scratch_open(&scratch);
    scratch_fill(bytes, MIB, 3);
    const char *path = scratch_write(&scratch, "a", bytes, MIB, 0);
    const char *link = scratch_path(&scratch, "b");
    ck_assert_int_eq(symlink(path, link), 0);
    side_open(&a, path, "raw");
    side_open(&b, link, "raw");
    struct chain_compare_result result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_IDENTICAL);
    ck_assert_uint_eq(result.proof.same_file_len, MIB);
    ck_assert_uint_eq(result.proof.read_len, 0);
    options.no_identity = true;
    options.no_shared = true;
    result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_IDENTICAL);
    ck_assert_uint_eq(result.proof.read_len, MIB);
    ck_assert_uint_eq(result.proof.same_file_len, 0);
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

START_TEST(test_zeros)
{
    uint8_t *bytes = calloc(1, MIB);
    struct scratch scratch;
    struct side a, b;

    scratch_open(&scratch);
    const char *written = scratch_write(&scratch, "a", bytes, MIB, 0);
    const char *hole = scratch_path(&scratch, "b");
    scratch_write(&scratch, "b", bytes, 0, 0);
    ck_assert_int_eq(truncate(hole, MIB), 0);
    side_open(&a, written, "raw");
    side_open(&b, hole, "raw");
    for (size_t k = 0; k < SETTINGS; k++) {
        struct chain_compare_options options = options_of(&settings[k]);
        check_identical(&a, &b, &options);
        check_identical(&b, &a, &options);
        check_identical(&b, &b, &options);
    }
    side_close(&a);
    bytes[700001] = 1;
    scratch_write(&scratch, "a", bytes, MIB, 0);
    side_open(&a, written, "raw");
    for (size_t k = 0; k < SETTINGS; k++) {
        struct chain_compare_options options = options_of(&settings[k]);
        struct chain_compare_result result = compare(&b, &a, &options);
        ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
        ck_assert_uint_eq(result.first_difference, 700001);
    }
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

START_TEST(test_sizes)
{
    uint8_t *bytes = calloc(1, MIB);
    struct chain_compare_options options = {0};
    struct scratch scratch;
    struct side a, b;

    scratch_open(&scratch);
    scratch_fill(bytes, 4096, 4);
    const char *small = scratch_write(&scratch, "a", bytes, 4096, 0);
    const char *large = scratch_write(&scratch, "b", bytes, MIB, 0);
    side_open(&a, small, "raw");
    side_open(&b, large, "raw");
    check_identical(&a, &b, &options);
    options.strict_size = true;
    struct chain_compare_result result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
    ck_assert(result.is_size_different);
    ck_assert(!result.has_difference);
    options.all = true;
    result = compare(&b, &a, &options);
    ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
    ck_assert(!result.has_difference);
    ck_assert_uint_eq(proof_sum(&result.proof), MIB);
    side_close(&b);

    bytes[5000] = 9;
    scratch_write(&scratch, "b", bytes, MIB, 0);
    side_open(&b, large, "raw");
    options = (struct chain_compare_options){0};
    result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
    ck_assert_uint_eq(result.first_difference, 5000);
    options.limit_len = 5000;
    result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_IDENTICAL);
    ck_assert_uint_eq(result.len, 5000);
    options.limit_len = 5001;
    result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

/* What must be found, from the bytes themselves. */
static void model(const uint8_t *a, const uint8_t *b, size_t len,
                  struct ranges *out)
{
    out->nr = 0;
    for (size_t i = 0; i < len;) {
        if (a[i] == b[i]) {
            i++;
            continue;
        }
        size_t begin = i;
        while (i < len && a[i] != b[i]) {
            i++;
        }
        ranges_add(out, begin, i - begin);
    }
}

/* BYTES as qcow2, cluster by cluster in an order of its own; clusters of
   zeros are left out, some become compressed. */
static const char *build_qcow2(struct scratch *scratch, const char *name,
                               const uint8_t *bytes, size_t len, uint32_t bits,
                               bool compress)
{
    struct builder builder;
    uint64_t nr = len >> bits;
    uint8_t *zeros = calloc(1, 1u << bits);

    builder_init(&builder, bits, len);
    for (uint64_t i = 0; i < nr; i++) {
        /* 7 is prime to every power of two. */
        uint64_t cluster = i * 7 % nr;
        const uint8_t *data = bytes + (cluster << bits);
        if (memcmp(data, zeros, 1u << bits) == 0) {
            if (cluster % 2) {
                builder_set(&builder, cluster, 1);
            }
        } else if (compress && cluster % 3) {
            builder_compressed(&builder, cluster, data);
        } else {
            builder_data(&builder, cluster, data);
        }
    }
    free(zeros);
    return builder_save(&builder, scratch, name);
}

static void scatter(uint8_t *bytes, size_t len, uint32_t seed)
{
    uint64_t x = seed;

    for (unsigned i = 0; i < 40; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        size_t off = (size_t)(x >> 20) % len;
        size_t run = 1 + (size_t)(x >> 50) % 3000;
        for (size_t k = off; k < off + run && k < len; k += 1 + i % 3) {
            bytes[k] = (uint8_t)(bytes[k] + 1);
        }
    }
}

START_TEST(test_against_model)
{
    static const uint32_t cluster_bits[] = {9, 12, 16, 21};
    uint32_t bits = cluster_bits[_i];
    size_t len = 4 * MIB;
    uint8_t *x = calloc(1, len), *y = malloc(len);
    static struct ranges want, got;
    struct scratch scratch;
    struct side sides[3];

    scratch_open(&scratch);
    scratch_fill(x, len / 2, 5);
    scratch_fill(x + 3 * MIB, 100000, 6);
    memcpy(y, x, len);
    side_open(&sides[0], build_qcow2(&scratch, "a", x, len, bits, true),
              "qcow2");
    side_open(&sides[1], build_qcow2(&scratch, "e", y, len, 14, false),
              "qcow2");
    scatter(y, len, 77);
    side_open(&sides[2], scratch_write(&scratch, "b", y, len, 0), "raw");
    model(x, y, len, &want);
    ck_assert_uint_gt(want.nr, 100);
    for (size_t k = 0; k < SETTINGS; k++) {
        struct chain_compare_options options = options_of(&settings[k]);
        check_identical(&sides[0], &sides[1], &options);
        struct chain_compare_result result =
            compare(&sides[0], &sides[2], &options);
        ck_assert_uint_eq(result.first_difference, want.off[0]);
        options.all = true;
        options.difference = ranges_add;
        options.opaque = &got;
        got.nr = 0;
        result = compare(&sides[2], &sides[0], &options);
        ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
        ck_assert_uint_eq(proof_sum(&result.proof), len);
        ck_assert_uint_eq(got.nr, want.nr);
        ck_assert_mem_eq(got.off, want.off, got.nr * sizeof(got.off[0]));
        ck_assert_mem_eq(got.len, want.len, got.nr * sizeof(got.len[0]));
    }
    for (unsigned i = 0; i < 3; i++) {
        side_close(&sides[i]);
    }
    scratch_close(&scratch);
    free(x);
    free(y);
}
END_TEST

START_TEST(test_same_twice)
{
    size_t len = 4 * MIB;
    uint8_t *bytes = malloc(len);
    struct chain_compare_options options = {.threads = 2};
    struct chain_compare_result first = {0};
    struct scratch scratch;
    struct side a, b;

    scratch_open(&scratch);
    scratch_fill(bytes, len, 8);
    const char *one = scratch_write(&scratch, "a", bytes, len, 0);
    /* Many differences: whichever a thread meets first, the lowest wins. */
    for (size_t i = 1500000; i < len; i += 1000) {
        bytes[i] ^= 1;
    }
    const char *two = scratch_write(&scratch, "b", bytes, len, 0);
    side_open(&a, one, "raw");
    side_open(&b, two, "raw");
    for (unsigned i = 0; i < 30; i++) {
        struct chain_compare_result result = compare(&a, &b, &options);
        ck_assert_uint_eq(result.first_difference, 1500000);
        if (i == 0) {
            first = result;
        }
        ck_assert_mem_eq(&result.proof, &first.proof, sizeof(first.proof));
    }
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

/* What a progress callback does to the comparison it is called from. */
struct meddler {
    volatile int cancel;
    const char *touch;
    uint64_t last, total;
    unsigned calls;
};

static void meddle(void *opaque, uint64_t done, uint64_t total)
{
    struct meddler *meddler = opaque;

    ck_assert_uint_ge(done, meddler->last);
    ck_assert_uint_le(done, total);
    meddler->last = done;
    meddler->total = total;
    if (meddler->calls++ > 0) {
        return;
    }
    if (meddler->touch) {
        ck_assert_int_eq(utimensat(AT_FDCWD, meddler->touch, NULL, 0), 0);
    } else {
        meddler->cancel = 1;
    }
}

START_TEST(test_progress)
{
    size_t len = 96 * MIB;
    struct chain_compare_options options = {.threads = 2};
    struct chain_compare_result result;
    struct meddler meddler = {0};
    struct img_error err = {0};
    struct scratch scratch;
    struct side a, b;
    uint8_t *bytes = malloc(len);

    scratch_open(&scratch);
    scratch_fill(bytes, len, 9);
    const char *one = scratch_write(&scratch, "a", bytes, len, 0);
    const char *two = scratch_write(&scratch, "b", bytes, len, 0);
    side_open(&a, one, "raw");
    side_open(&b, two, "raw");
    options.progress = meddle;
    options.opaque = &meddler;
    options.cancel = &meddler.cancel;
    unit_fails(chain_compare(a.view, b.view, &options, &result, &err), &err,
               IMG_CANCELLED, "cancelled");

    /* The same again, with a file that changes meanwhile. */
    meddler = (struct meddler){.touch = two};
    result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_UNPROVEN);
    ck_assert_int_eq(result.why.code, IMG_CHANGED);
    ck_assert_str_eq(result.why.path, two);
    ck_assert_uint_eq(meddler.last, len);
    ck_assert_uint_eq(meddler.total, len);
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

START_TEST(test_damaged_unit)
{
    uint8_t data[4096];
    struct chain_compare_options options = {0};
    struct builder builder;
    struct scratch scratch;
    struct side a, b;

    scratch_open(&scratch);
    scratch_fill(data, sizeof(data), 10);
    builder_init(&builder, 12, 8 * sizeof(data));
    builder_data(&builder, 0, data);
    builder_compressed(&builder, 2, data);
    /* The stored block's length no longer matches its complement. */
    builder.bytes[builder.len - 2 * sizeof(data) + 1] ^= 0xff;
    const char *bad = builder_save(&builder, &scratch, "bad");
    scratch_write(&scratch, "b", data, sizeof(data), 0);
    const char *raw = scratch_path(&scratch, "b");
    ck_assert_int_eq(truncate(raw, 8 * sizeof(data)), 0);
    side_open(&a, bad, "qcow2");
    side_open(&b, raw, "raw");
    struct chain_compare_result result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_UNPROVEN);
    ck_assert_int_eq(result.why.code, IMG_CORRUPT);
    ck_assert_str_eq(result.why.path, bad);
    side_close(&b);

    /* A difference is one, whatever else could not be read. */
    data[17] ^= 1;
    scratch_write(&scratch, "b", data, sizeof(data), 0);
    side_open(&b, raw, "raw");
    for (unsigned i = 0; i < 2; i++) {
        options.all = i == 1;
        result = compare(&a, &b, &options);
        ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
        ck_assert_uint_eq(result.first_difference, 17);
        ck_assert_int_eq(result.why.code, IMG_CORRUPT);
    }
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
}
END_TEST

/* More pieces than the queue holds, and no thread to be had for them. */
START_TEST(test_no_threads)
{
    size_t len = 64 * MIB;
    uint8_t *bytes = malloc(len);
    struct chain_compare_options options = {.threads = 4, .budget_len = 1};
    struct scratch scratch;
    struct side a, b;

    scratch_open(&scratch);
    scratch_fill(bytes, len, 11);
    const char *one = scratch_write(&scratch, "a", bytes, len, 0);
    bytes[len - 1] ^= 1;
    const char *two = scratch_write(&scratch, "b", bytes, len, 0);
    side_open(&a, one, "raw");
    side_open(&b, two, "raw");
    deny_call(SYS_clone3, DENY_ANY, EAGAIN);
    struct chain_compare_result result = compare(&a, &b, &options);
    ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
    ck_assert_uint_eq(result.first_difference, len - 1);
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
    free(bytes);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("compare");

    tcase_add_test(tcase, test_one_byte);
    tcase_add_test(tcase, test_separate_files);
    tcase_add_test(tcase, test_same_file);
    tcase_add_test(tcase, test_zeros);
    tcase_add_test(tcase, test_sizes);
    tcase_add_loop_test(tcase, test_against_model, 0, 4);
    tcase_add_test(tcase, test_same_twice);
    tcase_add_test(tcase, test_progress);
    tcase_add_test(tcase, test_damaged_unit);
    tcase_add_test(tcase, test_no_threads);
    return unit_run("compare", tcase);
}
