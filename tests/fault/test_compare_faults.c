/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing images whose reads fail: never "identical", whichever read it is
 * and whichever side, and the file is named.
 */
#include "compare_support.h"

#include <errno.h>
#include <inttypes.h>

#define LEN (1u << 20)
#define CLUSTER (1u << 16)

static const unsigned thread_counts[] = {1, 2};

/* From now on reads of the top layer's file go wrong as FAULT says. */
static void inject(struct side *side, const struct img_fault *fault)
{
    struct img_image *image = chain_layer_image(chain_layer_at(side->chain, 0));
    struct img_file *inner = image->file;
    struct img_error err = {0};

    unit_ok(img_file_with_faults(inner, fault, &image->file, &err), &err);
    img_file_unref(inner);
}

static const char *build(struct scratch *scratch, const char *name,
                         const uint8_t *bytes, bool compressed)
{
    struct builder builder;

    builder_init(&builder, 16, LEN);
    for (uint64_t i = 0; i < LEN / CLUSTER; i++) {
        if (compressed) {
            builder_compressed(&builder, i, bytes + i * CLUSTER);
        } else {
            builder_data(&builder, i, bytes + i * CLUSTER);
        }
    }
    return builder_save(&builder, scratch, name);
}

struct fixture {
    struct scratch scratch;
    uint8_t bytes[LEN];
    const char *paths[2];
    const char *formats[2];
};

static struct fixture fx;

/* Loop index: bit 0 the side that fails, bit 1 which pair of images. */
static void fixture_open(int variant)
{
    scratch_open(&fx.scratch);
    scratch_fill(fx.bytes, LEN, 21);
    bool is_qcow2 = (variant & 2) != 0;
    fx.paths[0] = is_qcow2 ? build(&fx.scratch, "a", fx.bytes, true)
                           : scratch_write(&fx.scratch, "a", fx.bytes, LEN, 0);
    fx.paths[1] = is_qcow2 ? build(&fx.scratch, "b", fx.bytes, false)
                           : scratch_write(&fx.scratch, "b", fx.bytes, LEN, 0);
    fx.formats[0] = fx.formats[1] = is_qcow2 ? "qcow2" : "raw";
}

/* Compare with FAULT on side BAD. False when it never struck. */
static struct chain_compare_result compare_with(const struct img_fault *fault,
                                                unsigned bad, unsigned threads)
{
    struct chain_compare_options options = {.threads = threads,
                                            .budget_len = 1};
    struct chain_compare_result result;
    struct img_error err = {0};
    struct side sides[2];

    for (unsigned i = 0; i < 2; i++) {
        side_open(&sides[i], fx.paths[i], fx.formats[i]);
    }
    inject(&sides[bad], fault);
    unit_ok(
        chain_compare(sides[0].view, sides[1].view, &options, &result, &err),
        &err);
    side_close(&sides[0]);
    side_close(&sides[1]);
    return result;
}

START_TEST(test_each_read)
{
    unsigned bad = (unsigned)_i & 1;

    fixture_open(_i);
    for (size_t t = 0; t < 2; t++) {
        unsigned struck = 0, missed = 0;
        /* Some reads are for hints that an image can do without. */
        for (uint64_t n = 1; missed < 8; n++) {
            struct img_fault fault = {.fail_at_read = n, .fail_errno = EIO};
            struct chain_compare_result result =
                compare_with(&fault, bad, thread_counts[t]);
            if (result.verdict == CHAIN_IDENTICAL) {
                missed++;
                continue;
            }
            ck_assert_int_eq(result.verdict, CHAIN_UNPROVEN);
            ck_assert_int_eq(result.why.code, IMG_IO);
            ck_assert_int_eq(result.why.sys_errno, EIO);
            ck_assert_str_eq(result.why.path, fx.paths[bad]);
            ck_assert(!result.has_difference);
            struck++;
        }
        /* Every piece of the image was read, and each read failed once. */
        ck_assert_uint_ge(struck, LEN / CLUSTER);
    }
    scratch_close(&fx.scratch);
}
END_TEST

START_TEST(test_each_place)
{
    unsigned bad = (unsigned)_i & 1;

    fixture_open(_i & 1);
    for (uint64_t off = 0; off < LEN; off += 37 * 512) {
        struct img_fault fault = {
            .fail_from_off = off, .fail_len = 1, .fail_errno = EIO};
        struct chain_compare_result result = compare_with(&fault, bad, 2);
        ck_assert_int_eq(result.verdict, CHAIN_UNPROVEN);
        ck_assert_str_eq(result.why.path, fx.paths[bad]);
        ck_assert(result.why.has_off);
        ck_assert_uint_le(result.why.off, off);
        char want[64];
        snprintf(want, sizeof(want),
                 "cannot read %" PRIu64 " bytes: Input/output error",
                 (uint64_t)65536);
        ck_assert_str_eq(result.why.text, want);
        /* The rest is proved, and no more than that. */
        ck_assert_uint_eq(proof_sum(&result.proof), LEN - 65536);
    }
    scratch_close(&fx.scratch);
}
END_TEST

START_TEST(test_difference_besides)
{
    unsigned bad = (unsigned)_i & 1;

    fixture_open(_i & 1);
    uint8_t other = (uint8_t)(fx.bytes[900000] ^ 1);
    scratch_write(&fx.scratch, "b", &other, 1, 900000);
    struct img_fault fault = {
        .fail_from_off = 100000, .fail_len = 1, .fail_errno = EIO};
    struct chain_compare_result result = compare_with(&fault, bad, 2);
    ck_assert_int_eq(result.verdict, CHAIN_DIFFERENT);
    ck_assert_uint_eq(result.first_difference, 900000);
    /* Yet it need not be the first: the doubt is told. */
    ck_assert_int_eq(result.why.code, IMG_IO);
    scratch_close(&fx.scratch);
}
END_TEST

START_TEST(test_short_reads)
{
    fixture_open(_i);
    struct img_fault fault = {.short_read = 777};
    struct chain_compare_result result =
        compare_with(&fault, (unsigned)_i & 1, 2);
    ck_assert_int_eq(result.verdict, CHAIN_IDENTICAL);
    ck_assert_uint_eq(proof_sum(&result.proof), LEN);
    scratch_close(&fx.scratch);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("compare faults");

    tcase_add_loop_test(tcase, test_each_read, 0, 4);
    tcase_add_loop_test(tcase, test_each_place, 0, 2);
    tcase_add_loop_test(tcase, test_difference_besides, 0, 2);
    tcase_add_loop_test(tcase, test_short_reads, 0, 4);
    return unit_run("compare faults", tcase);
}
