/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading ahead: the order, the bytes, the end, a read that fails. */
#include <errno.h>
#include <sys/syscall.h>

#include <img/reader.h>

#include "deny.h"
#include "scratch.h"

#define CONTENT_LEN ((1u << 20) + 1234)
#define PIECES 300u
#define PIECE_MAX 8192u

static struct img_error err;
static const enum img_engine_kind kinds[] = {IMG_ENGINE_SYNC, IMG_ENGINE_URING};

/* An order: the Nth piece, also past the end of the file. */
static struct img_piece piece_at(unsigned n)
{
    return (struct img_piece){
        .off = (uint64_t)n * 2654435761u % (CONTENT_LEN + PIECE_MAX),
        .len = 1 + n * 97 % PIECE_MAX,
    };
}

/* What is made of a piece: its bytes added up, and its number from before. */
struct made {
    unsigned n;
    uint64_t sum;
};

static bool next_piece(void *opaque, struct img_piece *piece)
{
    unsigned *n = opaque;

    if (*n == PIECES) {
        return false;
    }

    struct img_piece at = piece_at(*n);
    piece->off = at.off;
    piece->len = at.len;
    ((struct made *)piece->result)->n = (*n)++;
    return true;
}

static uint64_t sum_of(const uint8_t *bytes, size_t len)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += bytes[i];
    }
    return sum;
}

static void add_up(void *opaque, const struct img_piece *piece)
{
    (void)opaque;
    ((struct made *)piece->result)->sum = sum_of(piece->bytes, piece->len);
}

/* How a reader is used. */
struct setting {
    enum img_engine_kind kind;
    unsigned depth, threads;
};

/* *ASKED: how many pieces were asked for so far. */
static struct img_reader *new_reader(struct img_file *file,
                                     const struct setting *setting,
                                     unsigned *asked)
{
    const struct img_reader_options options = {
        .file = file,
        .engine = setting->kind,
        .depth = setting->depth,
        .max_len = PIECE_MAX,
        .result_len = sizeof(struct made),
        .next = next_piece,
        .work = add_up,
        .opaque = asked,
        .threads = setting->threads,
    };
    struct img_reader *reader = NULL;

    *asked = 0;
    unit_ok(img_reader_new(&options, &reader, &err), &err);
    return reader;
}

static void read_all(struct img_file *file, const uint8_t *content,
                     const struct setting *setting)
{
    unsigned asked = 0;
    struct img_reader *reader = new_reader(file, setting, &asked);
    const struct img_piece *piece;

    for (unsigned n = 0; n < PIECES; n++) {
        struct img_piece expected = piece_at(n);
        uint8_t bytes[PIECE_MAX] = {0};

        if (expected.off < CONTENT_LEN) {
            size_t left = CONTENT_LEN - (size_t)expected.off;
            memcpy(bytes, content + expected.off,
                   left < expected.len ? left : expected.len);
        }
        unit_ok(img_reader_get(reader, &piece, &err), &err);
        ck_assert_ptr_nonnull(piece);
        ck_assert_uint_eq(piece->off, expected.off);
        ck_assert_uint_eq(piece->len, expected.len);
        ck_assert_mem_eq(piece->bytes, bytes, expected.len);
        ck_assert_uint_le(asked, n + setting->depth);
        const struct made *made = piece->result;
        ck_assert_uint_eq(made->n, n);
        ck_assert_uint_eq(made->sum, sum_of(bytes, expected.len));
    }
    for (int i = 0; i < 2; i++) {
        unit_ok(img_reader_get(reader, &piece, &err), &err);
        ck_assert_ptr_null(piece);
    }
    img_reader_free(reader);
}

START_TEST(test_order)
{
    uint8_t *content = malloc(CONTENT_LEN);
    struct scratch scratch;
    struct img_file *file;

    scratch_open(&scratch);
    scratch_fill(content, CONTENT_LEN, 1);
    file = scratch_open_file(
        scratch_write(&scratch, "content", content, CONTENT_LEN, 0));
    for (size_t k = 0; k < 2; k++) {
        for (unsigned threads = 0; threads < 4; threads++) {
            read_all(file, content, &(struct setting){kinds[k], 1, threads});
            read_all(file, content, &(struct setting){kinds[k], 16, threads});
        }
    }
    img_file_unref(file);
    free(content);
    scratch_close(&scratch);
}
END_TEST

/* The pieces before the one that fails arrive, it is told by its offset. */
static void read_until_failure(struct img_file *file, unsigned threads)
{
    const struct setting setting = {IMG_ENGINE_SYNC, 8, threads};
    struct img_fault fault = {.fail_at_read = 40, .fail_errno = EIO};
    const struct img_piece *piece;
    struct img_file *faulty;
    struct img_reader *reader;
    unsigned asked = 0, n = 0;
    char text[64];

    unit_ok(img_file_with_faults(file, &fault, &faulty, &err), &err);
    reader = new_reader(faulty, &setting, &asked);
    while (img_reader_get(reader, &piece, &err) == 0) {
        ck_assert_ptr_nonnull(piece);
        n++;
    }
    (void)snprintf(text, sizeof(text),
                   "cannot read %zu bytes: Input/output error",
                   piece_at(n).len);
    ck_assert_str_eq(err.text, text);
    ck_assert_int_eq((int)err.code, (int)IMG_IO);
    ck_assert_uint_eq(err.off, piece_at(n).off);
    ck_assert_str_eq(err.path, "content");
    ck_assert_uint_ge(n, 30);
    /* With pieces still under way. */
    img_reader_free(reader);
    img_file_unref(faulty);
}

START_TEST(test_failed_read)
{
    uint8_t *content = malloc(CONTENT_LEN);
    struct img_file *file;

    scratch_fill(content, CONTENT_LEN, 2);
    unit_ok(img_file_from_memory("content", content, CONTENT_LEN, &file, &err),
            &err);
    for (unsigned threads = 0; threads < 4; threads++) {
        read_until_failure(file, threads);
    }
    img_file_unref(file);
    free(content);
}
END_TEST

/* Given up with pieces in every state; and where no thread can be had. */
START_TEST(test_given_up)
{
    uint8_t *content = malloc(CONTENT_LEN);
    const struct img_piece *piece;
    struct img_file *file;

    scratch_fill(content, CONTENT_LEN, 3);
    unit_ok(img_file_from_memory("content", content, CONTENT_LEN, &file, &err),
            &err);
    for (unsigned gets = 0; gets < 50; gets++) {
        const struct setting setting = {IMG_ENGINE_SYNC, 16, 3};
        unsigned asked = 0;
        struct img_reader *reader = new_reader(file, &setting, &asked);

        for (unsigned i = 0; i < gets; i++) {
            unit_ok(img_reader_get(reader, &piece, &err), &err);
        }
        img_reader_free(reader);
    }
    deny_call(SYS_clone3, DENY_ANY, EAGAIN);
    read_all(file, content, &(struct setting){IMG_ENGINE_SYNC, 16, 3});
    img_file_unref(file);
    free(content);
}
END_TEST

UNIT_SUITE("reader", test_order, test_failed_read, test_given_up)
