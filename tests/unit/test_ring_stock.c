/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings that are made ahead: they come from the stock, go back to it, and can
   do nothing but read. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <img/engine.h>
#include <img/memory.h>
#include <img/write.h>

#include "deny.h"
#include "scratch.h"

#define DEPTH 8u

static struct scratch scratch;
static struct img_error err;

static struct img_ring_stock *new_stock(unsigned nr)
{
    struct img_ring_stock *stock = NULL;

    unit_ok(img_ring_stock_new(nr, DEPTH, &stock, &err), &err);
    return stock;
}

static struct img_file *new_file(bool writable)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE,
                                       .writable = writable};
    struct img_file *file = NULL;

    unit_ok(img_file_open(scratch_write(&scratch, "a", "hello", 5, 0), &options,
                          &file, &err),
            &err);
    return file;
}

/* Do one request; its result. */
static int request(struct img_engine *engine, enum img_request_op op,
                   struct img_file *file, char buf[5])
{
    struct img_request one = {.file = file, .op = op, .buf = buf, .len = 5};
    struct img_request *done = NULL;

    unit_ok(img_engine_submit(engine, &one, &err), &err);
    unit_ok(img_engine_wait(engine, &done, &err), &err);
    ck_assert_ptr_eq(done, &one);
    return one.result;
}

START_TEST(test_rings_go_round)
{
    struct img_ring_stock *stock = new_stock(2);
    struct img_engine *engines[2] = {NULL, NULL};
    struct img_engine *third = NULL;
    struct img_file *file;
    char buf[5];

    scratch_open(&scratch);
    file = new_file(false);
    ck_assert_uint_eq(img_ring_stock_nr(stock), 2);
    ck_assert_int_ge(img_ring_stock_fd(stock, 0), 0);
    ck_assert_int_ge(img_ring_stock_fd(stock, 1), 0);
    ck_assert_int_ne(img_ring_stock_fd(stock, 0), img_ring_stock_fd(stock, 1));
    ck_assert_int_eq(img_ring_stock_fd(stock, 2), -1);
    /* None can be made from here on. */
    deny_call(SYS_io_uring_setup, DENY_ANY, EPERM);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            unit_ok(img_engine_new_from(stock, IMG_ENGINE_URING, DEPTH,
                                        &engines[i], &err),
                    &err);
            memset(buf, 0, sizeof(buf));
            ck_assert_int_eq(request(engines[i], IMG_REQUEST_READ, file, buf),
                             0);
            ck_assert_mem_eq(buf, "hello", 5);
        }
        ck_assert_uint_eq(img_ring_stock_nr(stock), 0);
        unit_fails(
            img_engine_new_from(stock, IMG_ENGINE_URING, DEPTH, &third, &err),
            &err, IMG_UNSUPPORTED,
            "cannot use io_uring: Operation not permitted");
        unit_ok(
            img_engine_new_from(stock, IMG_ENGINE_AUTO, DEPTH, &third, &err),
            &err);
        ck_assert_int_eq((int)img_engine_kind(third), IMG_ENGINE_SYNC);
        img_engine_free(third);
        img_engine_free(engines[0]);
        img_engine_free(engines[1]);
        ck_assert_uint_eq(img_ring_stock_nr(stock), 2);
    }
    img_file_unref(file);
    img_ring_stock_free(stock);
    scratch_close(&scratch);
}
END_TEST

/* One that is too small for an engine stays where it is. */
START_TEST(test_deeper_engine)
{
    struct img_ring_stock *stock = new_stock(1);
    struct img_engine *engine = NULL;

    unit_ok(
        img_engine_new_from(stock, IMG_ENGINE_URING, DEPTH + 1, &engine, &err),
        &err);
    ck_assert_uint_eq(img_ring_stock_nr(stock), 1);
    img_engine_free(engine);
    ck_assert_uint_eq(img_ring_stock_nr(stock), 1);
    img_ring_stock_free(stock);
}
END_TEST

START_TEST(test_cannot_write)
{
    struct img_ring_stock *stock = new_stock(1);
    struct img_engine *engine = NULL;
    struct img_file *file;
    char buf[5] = "later", found[5];

    scratch_open(&scratch);
    file = new_file(true);

    unit_ok(img_engine_new_from(stock, IMG_ENGINE_URING, DEPTH, &engine, &err),
            &err);
    ck_assert_int_eq(request(engine, IMG_REQUEST_WRITE, file, buf), -EACCES);
    ck_assert_int_eq(request(engine, IMG_REQUEST_READ, file, found), 0);
    ck_assert_mem_eq(found, "hello", 5);
    img_engine_free(engine);
    img_file_unref(file);
    img_ring_stock_free(stock);
    scratch_close(&scratch);
}
END_TEST

/* Where rings cannot be restricted, or made at all, there are none. */
START_TEST(test_no_ring_without_restrictions)
{
    struct img_ring_stock *stock;

    deny_call(SYS_io_uring_register, IORING_REGISTER_RESTRICTIONS, EINVAL);
    stock = new_stock(2);
    ck_assert_uint_eq(img_ring_stock_nr(stock), 0);
    img_ring_stock_free(stock);
    deny_call(SYS_io_uring_setup, DENY_ANY, ENOSYS);
    stock = new_stock(2);
    ck_assert_uint_eq(img_ring_stock_nr(stock), 0);
    img_ring_stock_free(stock);
    img_ring_stock_free(NULL);
}
END_TEST

UNIT_SUITE("ring stock", test_rings_go_round, test_deeper_engine,
           test_cannot_write, test_no_ring_without_restrictions)
