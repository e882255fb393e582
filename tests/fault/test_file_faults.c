/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads that fail or stop short, at every call, through files and engines. */
#include <errno.h>
#include <stdio.h>

#include <img/engine.h>
#include <img/memory.h>

#include "unit.h"

#define LEN 1000u

static struct img_error err;
static uint8_t bytes[LEN];

static struct img_file *new_faulty(struct img_fault fault)
{
    struct img_file *memory, *faulty;
    uint64_t base;

    for (size_t i = 0; i < LEN; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256 + 1);
    }
    unit_ok(img_file_from_memory("image", bytes, LEN, &memory, &err), &err);
    unit_ok(img_file_with_faults(memory, &fault, &faulty, &err), &err);
    img_file_unref(memory);
    ck_assert_int_eq(img_file_fd(faulty, &base), -1);
    ck_assert_uint_eq(img_file_len(faulty), LEN);
    ck_assert_str_eq(img_file_path(faulty), "image");
    return faulty;
}

START_TEST(test_short_reads)
{
    static const size_t limits[] = {1, 2, 3, 999, 1000, 1001};
    uint8_t buf[LEN + 10];
    size_t got;

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct img_file *file =
            new_faulty((struct img_fault){.short_read = limits[i]});
        unit_ok(img_file_read(file, buf, LEN, 0, &err), &err);
        ck_assert_mem_eq(buf, bytes, LEN);
        memset(buf, 0xaa, sizeof(buf));
        unit_ok(img_file_read_padded(file, buf, LEN, 10, &got, &err), &err);
        ck_assert_uint_eq(got, LEN - 10);
        ck_assert_mem_eq(buf, bytes + 10, LEN - 10);
        ck_assert_mem_eq(buf + LEN - 10, "\0\0\0\0\0\0\0\0\0\0", 10);
        unit_fails(img_file_read(file, buf, LEN, 10, &err), &err, IMG_CORRUPT,
                   "the file ends too early: found 990 bytes, expected 1000");
        img_file_unref(file);
    }
}
END_TEST

/* 10 calls of 100 bytes: a fault at any of them is seen, none is after. */
START_TEST(test_every_call_can_fail)
{
    static const uint8_t zeros[LEN];
    uint8_t buf[LEN];
    char text[128];

    for (uint64_t n = 1; n <= 11; n++) {
        struct img_file *file = new_faulty(
            (struct img_fault){.fail_at_read = n, .short_read = 100});
        memset(buf, 0, sizeof(buf));
        if (n <= 10) {
            snprintf(text, sizeof(text),
                     "cannot read %u bytes: Input/output error",
                     (unsigned)(LEN - (n - 1) * 100));
            unit_fails(img_file_read(file, buf, LEN, 0, &err), &err, IMG_IO,
                       text);
            ck_assert_int_eq(err.sys_errno, EIO);
            ck_assert(err.has_off && err.off == (n - 1) * 100);
            ck_assert_str_eq(err.path, "image");
            ck_assert_mem_eq(buf, bytes, (n - 1) * 100);
            ck_assert_mem_eq(buf + (n - 1) * 100, zeros, LEN - (n - 1) * 100);
        }
        /* that one call only; the 11th would be the next read's first */
        unit_ok(img_file_read(file, buf, LEN, 0, &err), &err);
        ck_assert_mem_eq(buf, bytes, LEN);
        img_file_unref(file);
    }
}
END_TEST

START_TEST(test_codes)
{
    static const struct {
        int sys_errno;
        enum img_code code;
        const char *text;
    } cases[] = {
        {ENXIO, IMG_IO, "cannot read 10 bytes: No such device or address"},
        {ESTALE, IMG_IO, "cannot read 10 bytes: Stale file handle"},
        {EACCES, IMG_IO, "cannot read 10 bytes: Permission denied"},
        {ENOMEM, IMG_MEMORY, "cannot read 10 bytes: Cannot allocate memory"},
    };
    uint8_t buf[LEN];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct img_file *file = new_faulty((struct img_fault){
            .fail_at_read = 1, .fail_errno = cases[i].sys_errno});
        unit_fails(img_file_read_padded(file, buf, 10, 5, NULL, &err), &err,
                   cases[i].code, cases[i].text);
        ck_assert_int_eq(err.sys_errno, cases[i].sys_errno);
        img_file_unref(file);
    }
}
END_TEST

START_TEST(test_interrupted_calls_go_on)
{
    uint8_t buf[LEN];

    for (uint64_t n = 1; n <= 10; n++) {
        struct img_file *file = new_faulty((struct img_fault){
            .fail_at_read = n, .fail_errno = EINTR, .short_read = 100});
        unit_ok(img_file_read(file, buf, LEN, 0, &err), &err);
        ck_assert_mem_eq(buf, bytes, LEN);
        img_file_unref(file);
    }
}
END_TEST

START_TEST(test_bad_range)
{
    static const struct {
        uint64_t off;
        size_t len;
        bool fails;
    } reads[] = {
        {0, 300, false},   {0, 301, true},   {300, 1, true},  {349, 1, true},
        {350, 100, false}, {349, 100, true}, {299, 1, false}, {310, 10, true},
        {0, 1000, true},   {990, 10, false},
    };
    uint8_t buf[LEN];
    struct img_file *file = new_faulty((struct img_fault){
        .fail_from_off = 300, .fail_len = 50, .fail_errno = EIO});

    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        int rc = img_file_read(file, buf, reads[i].len, reads[i].off, &err);
        ck_assert_msg((rc == -1) == reads[i].fails, "read %zu", i);
        if (rc) {
            ck_assert_int_eq((int)err.code, IMG_IO);
        } else {
            ck_assert_mem_eq(buf, bytes + reads[i].off, reads[i].len);
        }
    }
    img_file_unref(file);
}
END_TEST

/* The same faults come out of both engines as results. */
START_TEST(test_engines)
{
    static const enum img_engine_kind kinds[] = {IMG_ENGINE_SYNC,
                                                 IMG_ENGINE_URING};
    uint8_t buf[LEN];

    for (size_t i = 0; i < 2; i++) {
        struct img_engine *engine;
        unit_ok(img_engine_new(kinds[i], 2, &engine, &err), &err);
        for (uint64_t n = 1; n <= 11; n++) {
            struct img_file *file = new_faulty((struct img_fault){
                .fail_at_read = n, .fail_errno = ENXIO, .short_read = 100});
            struct img_request request = {.file = file, .buf = buf, .len = LEN};
            struct img_request *done;
            unit_ok(img_engine_submit(engine, &request, &err), &err);
            unit_ok(img_engine_wait(engine, &done, &err), &err);
            ck_assert_ptr_eq(done, &request);
            ck_assert_int_eq(done->result, n <= 10 ? -ENXIO : 0);
            img_file_unref(file);
        }
        img_engine_free(engine);
    }
}
END_TEST

UNIT_SUITE("file faults", test_short_reads, test_every_call_can_fail,
           test_codes, test_interrupted_calls_go_on, test_bad_range,
           test_engines)
