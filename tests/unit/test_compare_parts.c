/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Comparing a part of two views: from an offset on, and with parts left out. */
#include "compare_support.h"

#define LEN (3u << 20)
#define BLOCK_LEN 24576u /* what is skipped or not, as one */
#define BLOCKS (LEN / BLOCK_LEN)

static struct scratch scratch;
static struct side a, b;
static uint8_t *bytes[2];
static bool is_skipped[BLOCKS];
static struct ranges ranges;

/* Two files of data and holes that differ here and there. */
static void begin(uint32_t seed)
{
    static const char *const names[] = {"a", "b"};

    scratch_open(&scratch);
    for (unsigned side = 0; side < 2; side++) {
        bytes[side] = malloc(LEN);
        ck_assert_ptr_nonnull(bytes[side]);
        scratch_fill(bytes[side], LEN, 7);
    }
    srandom(seed);
    for (unsigned i = 0; i < 40; i++) {
        bytes[1][(size_t)random() % LEN] ^= 0x10;
        size_t hole = (size_t)random() % (LEN / 4096) * 4096;
        memset(bytes[random() % 2] + hole, 0, 4096);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        is_skipped[i] = random() % 3 == 0;
    }
    side_open(&a, scratch_write(&scratch, names[0], bytes[0], LEN, 0), "raw");
    side_open(&b, scratch_write(&scratch, names[1], bytes[1], LEN, 0), "raw");
    ranges.nr = 0;
}

static void end(void)
{
    side_close(&a);
    side_close(&b);
    scratch_close(&scratch);
    free(bytes[0]);
    free(bytes[1]);
}

static bool skip(void *opaque, uint64_t off, uint64_t *len)
{
    uint64_t block = off / BLOCK_LEN, next = block + 1;

    ck_assert_ptr_eq(opaque, &ranges);
    ck_assert_uint_le(off + *len, LEN);
    while (next < BLOCKS && is_skipped[next] == is_skipped[block]) {
        next++;
    }
    if (next * BLOCK_LEN - off < *len) {
        *len = next * BLOCK_LEN - off;
    }
    return is_skipped[block];
}

/* What must have been found between FIRST and LAST. */
static void expect_ranges(uint64_t first, uint64_t last, bool skips)
{
    size_t idx = 0;
    uint64_t off = first;

    while (off < last) {
        uint64_t start = off;
        while (off < last && bytes[0][off] != bytes[1][off] &&
               !(skips && is_skipped[off / BLOCK_LEN])) {
            off++;
        }
        if (off > start) {
            ck_assert_uint_lt(idx, ranges.nr);
            ck_assert_uint_eq(ranges.off[idx], start);
            ck_assert_uint_eq(ranges.len[idx++], off - start);
        } else {
            off++;
        }
    }
    ck_assert_uint_eq(idx, ranges.nr);
}

static void check(uint64_t start_off, uint64_t limit_len, bool skips)
{
    const struct chain_compare_options options = {
        .all = true,
        .start_off = start_off,
        .limit_len = limit_len,
        .skip = skips ? skip : NULL,
        .difference = ranges_add,
        .opaque = &ranges,
        .threads = 2,
    };
    struct chain_compare_result result;
    struct img_error err = {0};
    uint64_t last = limit_len == 0 || limit_len > LEN - start_off
                        ? LEN
                        : start_off + limit_len;
    uint64_t wanted = 0;

    ranges.nr = 0;
    unit_ok(chain_compare(a.view, b.view, &options, &result, &err), &err);
    expect_ranges(start_off, last, skips);
    ck_assert_int_eq(result.verdict,
                     ranges.nr > 0 ? CHAIN_DIFFERENT : CHAIN_IDENTICAL);
    ck_assert(ranges.nr == 0 || result.first_difference == ranges.off[0]);
    for (uint64_t off = start_off; off < last; off++) {
        wanted += !(skips && is_skipped[off / BLOCK_LEN]);
    }
    ck_assert_uint_eq(result.len, last - start_off);
    ck_assert_uint_eq(proof_sum(&result.proof), wanted);
}

START_TEST(test_from_an_offset)
{
    begin(1);
    check(0, 0, false);
    check(1u << 20, 0, false);
    check(4096, 8192, false);
    check(1u << 20, 1u << 20, false);
    check((1u << 20) + 512, 4u << 20, false);
    check(LEN - 512, 0, false);
    check(LEN, 0, false);
    end();
}
END_TEST

START_TEST(test_with_parts_left_out)
{
    begin((uint32_t)_i + 2);
    check(0, 0, true);
    check(512, 0, true);
    check(1u << 20, 1u << 20, true);
    end();
}
END_TEST

START_TEST(test_nothing_is_of_interest)
{
    begin(9);
    memset(is_skipped, true, sizeof(is_skipped));
    check(0, 0, true);
    ck_assert_uint_eq(ranges.nr, 0);
    end();
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("compare_parts");

    tcase_add_test(tcase, test_from_an_offset);
    tcase_add_loop_test(tcase, test_with_parts_left_out, 0, 8);
    tcase_add_test(tcase, test_nothing_is_of_interest);
    return unit_run("compare_parts", tcase);
}
