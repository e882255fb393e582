/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file that comes through a pipe: what is kept of it, and what is not. */
#include <errno.h>
#include <img/file.h>
#include <pthread.h>
#include <unistd.h>

#include "unit.h"

#define TOTAL ((uint64_t)IMG_STREAM_HEAD_LEN + (3u << 20) + 12345u)

static struct img_error err;

struct source {
    int fd;
    uint64_t len;
    size_t step; /* bytes a write */
};

static uint8_t byte_at(uint64_t off)
{
    return (uint8_t)(off * 31 + (off >> 12));
}

static void *feed(void *opaque)
{
    const struct source *source = opaque;
    uint8_t bytes[70000];

    for (uint64_t off = 0; off < source->len;) {
        size_t nr = source->step;
        if (nr > source->len - off) {
            nr = (size_t)(source->len - off);
        }
        for (size_t i = 0; i < nr; i++) {
            bytes[i] = byte_at(off + i);
        }
        if (write(source->fd, bytes, nr) != (ssize_t)nr) {
            break;
        }
        off += nr;
    }
    close(source->fd);
    return NULL;
}

/* What img_file_from_stream makes of LEN bytes that come STEP at a time. */
static int stream(uint64_t len, size_t step, uint64_t max_len,
                  struct img_file **out)
{
    int fds[2];
    pthread_t thread;

    ck_assert_int_eq(pipe(fds), 0);
    struct source source = {fds[1], len, step};
    ck_assert_int_eq(pthread_create(&thread, NULL, feed, &source), 0);
    int rc = img_file_from_stream(fds[0], "pipe", max_len, NULL, out, &err);
    close(fds[0]);
    pthread_join(thread, NULL);
    return rc;
}

static void expect_bytes(struct img_file *file, uint64_t off, size_t len)
{
    uint8_t buf[4096];

    ck_assert_uint_le(len, sizeof(buf));
    unit_ok(img_file_read(file, buf, len, off, &err), &err);
    for (size_t i = 0; i < len; i++) {
        ck_assert_uint_eq(buf[i], byte_at(off + i));
    }
}

START_TEST(test_ends_are_kept)
{
    static const size_t steps[] = {1000, 65536, 70000};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct img_file *file = NULL;

        unit_ok(stream(TOTAL, steps[i], 0, &file), &err);
        ck_assert_uint_eq(img_file_len(file), TOTAL);
        ck_assert_int_eq((int)img_file_kind(file), (int)IMG_FILE_STREAM);
        expect_bytes(file, 0, 4096);
        expect_bytes(file, IMG_STREAM_HEAD_LEN - 4096, 4096);
        expect_bytes(file, TOTAL - IMG_STREAM_TAIL_LEN, 4096);
        expect_bytes(file, TOTAL - 512, 512);
        img_file_unref(file);
    }
}
END_TEST

START_TEST(test_middle_is_not)
{
    struct img_file *file = NULL;
    uint8_t buf[16];

    unit_ok(stream(TOTAL, 65536, 0, &file), &err);
    ck_assert_int_eq(
        img_file_read(file, buf, sizeof(buf), IMG_STREAM_HEAD_LEN - 8, &err),
        -1);
    ck_assert_int_eq((int)err.code, (int)IMG_IO);
    ck_assert_int_eq(err.sys_errno, ESPIPE);
    ck_assert_uint_eq(err.off, IMG_STREAM_HEAD_LEN);
    ck_assert_int_eq(
        img_file_read(file, buf, 1, TOTAL - IMG_STREAM_TAIL_LEN - 1, &err), -1);
    ck_assert_int_eq(err.sys_errno, ESPIPE);
    unit_fails(img_file_read(file, buf, 16, TOTAL - 8, &err), &err, IMG_CORRUPT,
               "the file ends too early: found 8 bytes, expected 16");
    img_file_unref(file);
}
END_TEST

/* Shorter than what is kept: all of it can be read. */
START_TEST(test_small)
{
    static const uint64_t lens[] = {0, 1, 511, 70000, 200000};

    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct img_file *file = NULL;

        unit_ok(stream(lens[i], 777, 0, &file), &err);
        ck_assert_uint_eq(img_file_len(file), lens[i]);
        for (uint64_t off = 0; off < lens[i]; off += 4096) {
            expect_bytes(file, off,
                         lens[i] - off < 4096 ? (size_t)(lens[i] - off) : 4096);
        }
        img_file_unref(file);
    }
}
END_TEST

START_TEST(test_limit)
{
    struct img_file *file = NULL;

    unit_ok(stream(100000, 1000, 100000, &file), &err);
    img_file_unref(file);
    unit_fails(stream(100001, 1000, 100000, &file), &err, IMG_LIMIT,
               "the stream is longer than the 100000 bytes that are allowed");
    ck_assert_str_eq(err.path, "pipe");
}
END_TEST

UNIT_SUITE("stream", test_ends_are_kept, test_middle_is_not, test_small,
           test_limit)
