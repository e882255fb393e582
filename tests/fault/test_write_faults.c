/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes, flushes and resizes that fail or stop short, at every call,
 * through files and engines.
 */
#include <errno.h>
#include <stdio.h>

#include <img/engine.h>
#include <img/write.h>

#include "unit.h"

#define LEN 1000u
#define PIECE 100u

static struct img_error err;
static uint8_t bytes[LEN];
static struct img_file *memory;

/* An empty file; what arrives in it shows in memory. */
static struct img_file *new_faulty(struct img_fault fault)
{
    struct img_file *faulty;

    for (size_t i = 0; i < LEN; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256 + 1);
    }
    unit_ok(img_file_from_memory("image", "", 0, &memory, &err), &err);
    unit_ok(img_file_with_faults(memory, &fault, &faulty, &err), &err);
    ck_assert(img_file_is_writable(faulty));
    return faulty;
}

static void drop(struct img_file *faulty)
{
    img_file_unref(faulty);
    img_file_unref(memory);
}

/* The first LEN_THERE bytes arrived, and no more. */
static void check_arrived(struct img_file *faulty, uint64_t len_there)
{
    uint8_t got[LEN];
    size_t real;

    ck_assert_uint_eq(img_file_len(faulty), len_there);
    ck_assert_uint_eq(img_file_len(memory), len_there);
    unit_ok(img_file_read_padded(faulty, got, LEN, 0, &real, &err), &err);
    ck_assert_uint_eq(real, len_there);
    ck_assert(memcmp(got, bytes, real) == 0);
}

START_TEST(test_short_writes_go_on)
{
    static const size_t limits[] = {1, 7, 999, 1000, 1001};

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct img_file *file =
            new_faulty((struct img_fault){.short_write = limits[i]});
        unit_ok(img_file_write(file, bytes, LEN, 0, &err), &err);
        check_arrived(file, LEN);
        drop(file);
    }
}
END_TEST

/* 10 calls: a fault at any of them is told with its place. */
START_TEST(test_every_call_can_fail)
{
    for (uint64_t n = 1; n <= 11; n++) {
        struct img_file *file = new_faulty(
            (struct img_fault){.fail_at_write = n, .short_write = PIECE});
        char text[128];
        if (n > 10) {
            unit_ok(img_file_write(file, bytes, LEN, 0, &err), &err);
        } else {
            snprintf(text, sizeof(text),
                     "cannot write %u bytes: Input/output error",
                     LEN - (unsigned)(n - 1) * PIECE);
            unit_fails(img_file_write(file, bytes, LEN, 0, &err), &err, IMG_IO,
                       text);
            ck_assert_str_eq(err.path, "image");
            ck_assert(err.has_off);
            ck_assert_uint_eq(err.off, (n - 1) * PIECE);
        }
        check_arrived(file, n > 10 ? LEN : (n - 1) * PIECE);
        drop(file);
    }
}
END_TEST

START_TEST(test_interrupted_calls_go_on)
{
    for (uint64_t n = 1; n <= 10; n++) {
        struct img_file *file = new_faulty((struct img_fault){
            .fail_at_write = n, .fail_errno = EINTR, .short_write = PIECE});
        unit_ok(img_file_write(file, bytes, LEN, 0, &err), &err);
        check_arrived(file, LEN);
        drop(file);
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
        {EIO, IMG_IO, "Input/output error"},
        {ENOSPC, IMG_SYSTEM, "No space left on device"},
        {EDQUOT, IMG_SYSTEM, "Disk quota exceeded"},
        {EFBIG, IMG_SYSTEM, "File too large"},
        {ENXIO, IMG_IO, "No such device or address"},
        {EPERM, IMG_DENIED, "Operation not permitted"},
        {EROFS, IMG_DENIED, "Read-only file system"},
        {ENOMEM, IMG_MEMORY, "Cannot allocate memory"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct img_file *file =
            new_faulty((struct img_fault){.fail_at_write = 1,
                                          .fail_at_flush = 1,
                                          .fail_at_resize = 1,
                                          .fail_errno = cases[i].sys_errno});
        char text[128];
        snprintf(text, sizeof(text), "cannot write 1000 bytes: %s",
                 cases[i].text);
        unit_fails(img_file_write(file, bytes, LEN, 0, &err), &err,
                   cases[i].code, text);
        ck_assert_int_eq(err.sys_errno, cases[i].sys_errno);
        snprintf(text, sizeof(text), "cannot flush what was written: %s",
                 cases[i].text);
        unit_fails(img_file_flush(file, &err), &err, cases[i].code, text);
        ck_assert_int_eq(err.sys_errno, cases[i].sys_errno);
        ck_assert_str_eq(err.path, "image");
        snprintf(text, sizeof(text), "cannot change the length to 5 bytes: %s",
                 cases[i].text);
        unit_fails(img_file_resize(file, 5, &err), &err, cases[i].code, text);
        ck_assert_str_eq(err.path, "image");
        check_arrived(file, 0);
        /* only once */
        unit_ok(img_file_write(file, bytes, LEN, 0, &err), &err);
        unit_ok(img_file_flush(file, &err), &err);
        unit_ok(img_file_resize(file, 5, &err), &err);
        check_arrived(file, 5);
        drop(file);
    }
}
END_TEST

START_TEST(test_zero_and_reserve)
{
    struct img_file *file = new_faulty(
        (struct img_fault){.fail_at_write = 2, .fail_errno = ENOSPC});

    unit_ok(img_file_write(file, bytes, LEN, 0, &err), &err);
    unit_fails(img_file_zero(file, 100, 50, IMG_ZERO_KEEP, &err), &err,
               IMG_SYSTEM, "cannot zero 50 bytes: No space left on device");
    ck_assert_uint_eq(err.off, 100);
    check_arrived(file, LEN);
    drop(file);
    file = new_faulty((struct img_fault){.fail_at_write = 2});
    unit_ok(img_file_write(file, bytes, LEN, 0, &err), &err);
    unit_fails(img_file_reserve(file, 900, 500, false, &err), &err, IMG_IO,
               "cannot reserve 500 bytes: Input/output error");
    ck_assert_uint_eq(err.off, 900);
    check_arrived(file, LEN);
    drop(file);
}
END_TEST

/* The file system is full after 250 bytes. */
START_TEST(test_space)
{
    struct img_file *file = new_faulty((struct img_fault){.space_len = 250});

    unit_fails(img_file_write(file, bytes, LEN, 0, &err), &err, IMG_SYSTEM,
               "cannot write 750 bytes: No space left on device");
    ck_assert_uint_eq(err.off, 250);
    ck_assert_int_eq(err.sys_errno, ENOSPC);
    check_arrived(file, 250);
    unit_fails(img_file_reserve(file, 200, 51, false, &err), &err, IMG_SYSTEM,
               "cannot reserve 51 bytes: No space left on device");
    unit_fails(img_file_zero(file, 200, 51, IMG_ZERO_KEEP, &err), &err,
               IMG_SYSTEM, "cannot zero 51 bytes: No space left on device");
    check_arrived(file, 250);
    unit_ok(img_file_reserve(file, 200, 50, false, &err), &err);
    unit_ok(img_file_write(file, bytes, 250, 0, &err), &err);
    check_arrived(file, 250);
    unit_ok(img_file_zero(file, 250, 750, IMG_ZERO_UNMAP, &err), &err);
    ck_assert_uint_eq(img_file_len(file), LEN);
    drop(file);
}
END_TEST

/* The same faults come out of both engines as results. */
START_TEST(test_engines)
{
    static const enum img_engine_kind kinds[] = {IMG_ENGINE_SYNC,
                                                 IMG_ENGINE_URING};
    static const int errnos[] = {ENOSPC, EIO, EINTR};

    for (size_t i = 0; i < 6; i++) {
        struct img_engine *engine;
        int sys_errno = errnos[i % 3];
        int want = sys_errno == EINTR ? 0 : -sys_errno;
        unit_ok(img_engine_new(kinds[i / 3], 2, &engine, &err), &err);
        for (uint64_t n = 1; n <= 11; n++) {
            struct img_file *file =
                new_faulty((struct img_fault){.fail_at_write = n,
                                              .fail_errno = sys_errno,
                                              .short_write = PIECE});
            struct img_request request = {.file = file,
                                          .op = IMG_REQUEST_WRITE,
                                          .buf = bytes,
                                          .len = LEN};
            struct img_request *done;
            unit_ok(img_engine_submit(engine, &request, &err), &err);
            unit_ok(img_engine_wait(engine, &done, &err), &err);
            ck_assert_ptr_eq(done, &request);
            ck_assert_int_eq(done->result, n <= 10 ? want : 0);
            check_arrived(file, n <= 10 && want != 0 ? (n - 1) * PIECE : LEN);
            drop(file);
        }
        img_engine_free(engine);
    }
}
END_TEST

UNIT_SUITE("write faults", test_short_writes_go_on, test_every_call_can_fail,
           test_interrupted_calls_go_on, test_codes, test_zero_and_reserve,
           test_space, test_engines)
