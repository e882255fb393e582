/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A check with threads: whatever is wrong with an image, and whatever goes
 * wrong on the way, the same is found and told in the same order.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>

#include <img/bytes.h>
#include <qcow2/check.h>
#include <qcow2/entry.h>
#include <qcow2/image.h>

#include "deny.h"
#include "random.h"
#include "unit.h"

#define COPIED QCOW2_ENTRY_COPIED
#define ROUNDS 20u
#define REFTABLE_LEN 8192u /* bytes, of one or more clusters */

/*
 * header, refcount table, refcount blocks, L1 table, L2 tables, data; many
 * tables and many blocks, each with few entries.
 */
struct sample {
    uint32_t bits, tables, data;
    uint8_t *bytes;
    uint64_t len, l2_off, data_off, blocks_off;
    struct img_file *file;
    struct img_image *image;
    struct img_error err;
};

/* All that a check told, and how it ended. */
struct heard {
    uint64_t hash, calls, cancel_after;
    volatile int cancel;
    struct qcow2_check_result result;
    int rc;
    struct img_error err;
};

static void put_entry(struct sample *s, uint64_t i, uint64_t value)
{
    img_store_be64(s->bytes + s->l2_off + i * 8, value);
}

static void put_refcount(struct sample *s, uint64_t cluster, uint16_t value)
{
    img_store_be16(s->bytes + s->blocks_off + cluster * 2, value);
}

static void sample_init(struct sample *s, uint32_t bits, uint32_t tables,
                        uint32_t data)
{
    uint64_t len = 1ull << bits;
    uint64_t reftable = (REFTABLE_LEN + len - 1) / len;
    uint64_t l1 = (tables * 8ull + len - 1) / len;
    uint64_t blocks = (1 + reftable + l1 + tables + data) / (len / 2) + 2;
    uint64_t total = 1 + reftable + blocks + l1 + tables + data;

    memset(s, 0, sizeof(*s));
    s->bits = bits;
    s->tables = tables;
    s->data = data;
    s->len = total * len;
    s->blocks_off = (1 + reftable) * len;
    uint64_t l1_off = s->blocks_off + blocks * len;
    s->l2_off = l1_off + l1 * len;
    s->data_off = s->l2_off + tables * len;
    s->bytes = calloc(1, s->len);
    ck_assert_ptr_nonnull(s->bytes);
    img_store_be32(s->bytes, QCOW2_MAGIC);
    img_store_be32(s->bytes + 4, 3);
    img_store_be32(s->bytes + 20, bits);
    img_store_be64(s->bytes + 24, tables * (len / 8) * len);
    img_store_be32(s->bytes + 36, tables);
    img_store_be64(s->bytes + 40, l1_off);
    img_store_be64(s->bytes + 48, len);
    img_store_be32(s->bytes + 56, (uint32_t)reftable);
    img_store_be32(s->bytes + 96, 4);
    img_store_be32(s->bytes + 100, 104);
    for (uint64_t i = 0; i < blocks; i++) {
        img_store_be64(s->bytes + len + i * 8, s->blocks_off + i * len);
    }
    for (uint64_t i = 0; i < tables; i++) {
        img_store_be64(s->bytes + l1_off + i * 8,
                       (s->l2_off + i * len) | COPIED);
    }
    for (uint64_t i = 0; i < total; i++) {
        put_refcount(s, i, 1);
    }
}

/* Data clusters in runs of random length at random places of the tables. */
static void sample_fill(struct sample *s, struct random *rng)
{
    uint64_t len = 1ull << s->bits;
    uint64_t entries = s->tables * (len / 8);
    uint64_t place = 0;

    for (uint32_t i = 0; i < s->data;) {
        uint64_t left = (entries - place) / (s->data - i);
        uint64_t run = 1 + random_below(rng, 20);

        place += left > 1 ? random_below(rng, left) : 0;
        for (; run > 0 && i < s->data; run--) {
            put_entry(s, place++, (s->data_off + i++ * len) | COPIED);
        }
    }
}

/* NR things that are wrong, or unusual. */
static void sample_damage(struct sample *s, struct random *rng, unsigned nr)
{
    uint64_t len = 1ull << s->bits;
    uint32_t entries = (uint32_t)(s->tables * (len / 8));

    while (nr-- > 0) {
        uint64_t i = random_below(rng, entries);
        uint64_t cluster = s->data_off + random_below(rng, s->data) * len;

        switch (random_below(rng, 10)) {
        case 0: /* a cluster of somebody else */
            put_entry(s, i, cluster | COPIED);
            break;
        case 1:
            put_entry(s, i, cluster);
            break;
        case 2: /* behind the end, by little or by much */
            put_entry(s, i, (s->len + random_below(rng, 3) * len) | COPIED);
            break;
        case 3:
            put_entry(s, i, (cluster + 512) | COPIED | 2);
            break;
        case 4:
            put_entry(s, i, QCOW2_ENTRY_COMPRESSED | cluster);
            break;
        case 5:
            put_entry(s, i, QCOW2_L2_ZERO | cluster | COPIED);
            break;
        case 6:
            put_entry(s, i, 0);
            break;
        case 7:
            put_entry(s, i, COPIED);
            break;
        case 8:
            put_refcount(s, cluster >> s->bits, (uint16_t)random_below(rng, 4));
            break;
        default: /* a refcount block that is nowhere, or twice there */
            if (random_below(rng, 8) == 0) {
                uint64_t off = s->blocks_off + random_below(rng, 4) * len;

                img_store_be64(s->bytes + len + random_below(rng, 6) * 8,
                               off + (random_below(rng, 2) ? 0 : 512));
            }
            break;
        }
    }
}

static void sample_open(struct sample *s)
{
    unit_ok(
        img_file_from_memory("test.qcow2", s->bytes, s->len, &s->file, &s->err),
        &s->err);
    unit_ok(qcow2_open(s->file, &(struct qcow2_options){.is_for_check = true},
                       &s->image, &s->err),
            &s->err);
}

static void sample_fini(struct sample *s)
{
    img_image_free(s->image);
    img_file_unref(s->file);
    free(s->bytes);
}

static void mix(uint64_t *hash, uint64_t value)
{
    *hash = (*hash ^ value) * 1099511628211ull;
}

static void mix_text(uint64_t *hash, const char *text)
{
    while (*text) {
        mix(hash, (unsigned char)*text++);
    }
}

static void hear(void *opaque, const struct qcow2_problem *problem)
{
    struct heard *heard = opaque;

    mix(&heard->hash, (uint64_t)problem->kind);
    mix(&heard->hash, problem->off);
    mix(&heard->hash, problem->has_guest_off ? problem->guest_off : 0);
    mix_text(&heard->hash, problem->id);
    mix_text(&heard->hash, problem->owner ? problem->owner : "-");
    mix_text(&heard->hash, problem->message);
    heard->calls++;
    if (heard->calls == heard->cancel_after) {
        heard->cancel = 1;
    }
}

static void check(struct sample *s, unsigned threads,
                  enum img_engine_kind engine, uint64_t max_memory,
                  struct heard *heard)
{
    const struct qcow2_check_options options = {
        .problem = hear,
        .opaque = heard,
        .max_memory = max_memory,
        .engine = engine,
        .threads = threads,
        .cancel = &heard->cancel,
    };

    img_error_clear(&heard->err);
    heard->rc = qcow2_check(s->image, &options, &heard->result, &heard->err);
}

/* Every number of threads ends as one does. */
static void compare(struct sample *s, uint64_t max_memory,
                    uint64_t cancel_after)
{
    static const enum img_engine_kind kinds[] = {IMG_ENGINE_SYNC,
                                                 IMG_ENGINE_AUTO};
    static const unsigned threads[] = {1, 2, 5};
    struct heard first = {.cancel_after = cancel_after};

    check(s, 1, IMG_ENGINE_SYNC, max_memory, &first);
    for (size_t t = 0; t < 3; t++) {
        struct heard heard = {.cancel_after = cancel_after};

        check(s, threads[t], kinds[t % 2], max_memory, &heard);
        ck_assert_int_eq(heard.rc, first.rc);
        ck_assert_int_eq((int)heard.err.code, (int)first.err.code);
        ck_assert_str_eq(heard.err.text, first.err.text);
        ck_assert_uint_eq(heard.calls, first.calls);
        ck_assert_uint_eq(heard.hash, first.hash);
        if (first.rc == 0) {
            ck_assert_mem_eq(&heard.result, &first.result,
                             sizeof(first.result));
        }
    }
}

START_TEST(test_damaged)
{
    struct random random = {(uint64_t)_i + 1};

    for (unsigned round = 0; round < ROUNDS; round++) {
        struct sample s;

        if (_i == 0) {
            sample_init(&s, 9, 1500, 3000);
        } else {
            sample_init(&s, 12, 40, 600);
        }
        sample_fill(&s, &random);
        sample_damage(&s, &random, round * 5);
        sample_open(&s);
        compare(&s, 0, 0);
        sample_fini(&s);
    }
}
END_TEST

/* More than are collected before their owners are looked for: between two
   refcount blocks the check goes over all tables again. */
START_TEST(test_many_wrong)
{
    struct random random = {6};
    struct sample s;

    sample_init(&s, 9, 1200, 70000);
    sample_fill(&s, &random);
    for (uint64_t i = 0; i < s.data; i++) {
        put_refcount(&s, (s.data_off >> s.bits) + i, i % 16 == 0 ? 1 : 0);
    }
    sample_open(&s);
    compare(&s, 0, 0);
    sample_fini(&s);
}
END_TEST

/* The budget runs out at the same place, cancelling comes at the same one. */
START_TEST(test_cut_short)
{
    struct random random = {3};
    struct heard whole = {0};
    struct sample s;

    sample_init(&s, 9, 600, 3000);
    sample_fill(&s, &random);
    sample_damage(&s, &random, 60);
    sample_open(&s);
    check(&s, 1, IMG_ENGINE_SYNC, 0, &whole);
    ck_assert_int_eq(whole.rc, 0);
    ck_assert_uint_gt(whole.calls, 20);
    for (uint64_t memory = 4096; memory < 40000; memory += 1000) {
        compare(&s, memory, 0);
    }
    for (uint64_t n = 1; n <= whole.calls; n += 6) {
        compare(&s, 0, n);
    }
    sample_fini(&s);
}
END_TEST

/* Each read in turn: an error that names the file, or the check read again
   what a thread could not read ahead; and nothing waits. */
START_TEST(test_each_read_fails)
{
    struct random random = {4};
    struct sample s;
    unsigned failed_nr = 0;

    sample_init(&s, 9, 600, 3000);
    sample_fill(&s, &random);
    sample_open(&s);
    for (unsigned n = 1; n < 60; n++) {
        struct img_fault fault = {.fail_at_read = n, .fail_errno = EIO};
        struct heard heard = {0};
        struct sample faulty = {0};

        unit_ok(img_file_with_faults(s.file, &fault, &faulty.file, &s.err),
                &s.err);
        if (qcow2_open(faulty.file, &(struct qcow2_options){0}, &faulty.image,
                       &heard.err) == 0) {
            check(&faulty, 3, IMG_ENGINE_SYNC, 0, &heard);
        }
        if (heard.err.code != IMG_OK) {
            failed_nr++;
            ck_assert_int_eq((int)heard.err.code, (int)IMG_IO);
            ck_assert_str_eq(heard.err.path, "test.qcow2");
        }
        img_image_free(faulty.image);
        img_file_unref(faulty.file);
    }
    ck_assert_uint_ge(failed_nr, 6);
    sample_fini(&s);
}
END_TEST

/* No thread can be had: the calling one does the work. */
START_TEST(test_no_threads)
{
    struct random random = {5};
    struct sample s;

    sample_init(&s, 9, 600, 3000);
    sample_fill(&s, &random);
    sample_damage(&s, &random, 40);
    sample_open(&s);
    deny_call(SYS_clone3, DENY_ANY, EAGAIN);
    compare(&s, 0, 0);
    sample_fini(&s);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("check threads");

    tcase_add_loop_test(tcase, test_damaged, 0, 2);
    tcase_add_test(tcase, test_many_wrong);
    tcase_add_test(tcase, test_cut_short);
    tcase_add_test(tcase, test_each_read_fails);
    tcase_add_test(tcase, test_no_threads);
    return unit_run("check threads", tcase);
}
