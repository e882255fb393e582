/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Staged files: what is written is seen, and the file below stays as it is. */
#include <img/staged.h>

#include <img/checked.h>

#include "random.h"
#include "unit.h"

#define FILE_LEN 10000u
#define ROOM 40000u

static struct img_error err;

static struct img_file *below_new(uint8_t *bytes)
{
    struct img_file *file;

    for (size_t i = 0; i < FILE_LEN; i++) {
        bytes[i] = (uint8_t)(i * 7 + 1);
    }
    unit_ok(img_file_from_memory("below", bytes, FILE_LEN, &file, &err), &err);
    return file;
}

static struct img_file *stage(struct img_file *below, uint32_t page_len,
                              uint64_t memory)
{
    struct img_file *file;

    unit_ok(img_file_staged(below, page_len, memory, &file, &err), &err);
    return file;
}

static void ck_bytes(struct img_file *file, const uint8_t *model, size_t len)
{
    static uint8_t found[ROOM];

    ck_assert_uint_eq(img_file_len(file), len);
    unit_ok(img_file_read(file, found, len, 0, &err), &err);
    ck_assert_mem_eq(found, model, len);
}

/* Against a plain array: writes, zeros and lengths by chance. */
START_TEST(test_staged_model)
{
    static uint8_t was[FILE_LEN], model[ROOM];
    uint8_t piece[3000];
    struct random random = {.state = 1};

    for (uint32_t page_len = 512; page_len <= 4096; page_len *= 2) {
        struct img_file *below = below_new(was);
        struct img_file *file = stage(below, page_len, 1 << 20);
        size_t len = FILE_LEN;

        memset(model, 0, sizeof(model));
        memcpy(model, was, FILE_LEN);
        for (int i = 0; i < 200; i++) {
            uint64_t off = random_below(&random, ROOM - sizeof(piece));
            size_t some = 1 + random_below(&random, sizeof(piece));

            if (i % 10 == 9) {
                unit_ok(img_file_resize(file, off, &err), &err);
                if (off < len) {
                    memset(model + off, 0, len - off);
                }
                len = off;
                continue;
            }
            memset(piece, i, sizeof(piece));
            if (i % 10 == 5) {
                memset(piece, 0, sizeof(piece));
                unit_ok(img_file_zero(file, off, some, IMG_ZERO_KEEP, &err),
                        &err);
            } else {
                unit_ok(img_file_write(file, piece, some, off, &err), &err);
            }
            memcpy(model + off, piece, some);
            len = img_max(len, off + some);
            ck_bytes(file, model, len);
        }
        ck_bytes(below, was, FILE_LEN);
        img_file_unref(file);
        img_file_unref(below);
    }
}
END_TEST

START_TEST(test_staged_pages)
{
    static uint8_t was[FILE_LEN];
    struct img_file *below = below_new(was);
    struct img_file *file = stage(below, 512, 1 << 20);
    uint64_t *pages;
    size_t nr;

    unit_ok(img_staged_pages(file, &pages, &nr, &err), &err);
    ck_assert_uint_eq(nr, 0);
    ck_assert_ptr_null(pages);
    unit_ok(img_file_write(file, "xy", 2, 5119, &err), &err);
    unit_ok(img_file_write(file, "z", 1, 0, &err), &err);
    unit_ok(img_staged_pages(file, &pages, &nr, &err), &err);
    ck_assert_uint_eq(nr, 3);
    ck_assert_uint_eq(pages[0], 0);
    ck_assert_uint_eq(pages[1], 4608);
    ck_assert_uint_eq(pages[2], 5120);
    free(pages);
    img_file_unref(file);
    img_file_unref(below);
}
END_TEST

/* What was cut off does not come back with the length. */
START_TEST(test_staged_cut)
{
    static uint8_t was[FILE_LEN], model[FILE_LEN];
    struct img_file *below = below_new(was);
    struct img_file *file = stage(below, 4096, 1 << 20);

    unit_ok(img_file_resize(file, 100, &err), &err);
    unit_ok(img_file_resize(file, FILE_LEN, &err), &err);
    memcpy(model, was, 100);
    ck_bytes(file, model, FILE_LEN);
    img_file_unref(file);
    img_file_unref(below);
}
END_TEST

START_TEST(test_staged_memory)
{
    static uint8_t was[FILE_LEN];
    struct img_file *below = below_new(was);
    struct img_file *file = stage(below, 4096, 9000);

    unit_ok(img_file_write(file, "x", 1, 0, &err), &err);
    unit_ok(img_file_write(file, "x", 1, 4096, &err), &err);
    ck_assert(!img_staged_is_full(file));
    unit_fails(img_file_write(file, "x", 1, 8192, &err), &err, IMG_MEMORY,
               "cannot write 1 bytes: Cannot allocate memory");
    ck_assert(img_staged_is_full(file));
    unit_ok(img_file_write(file, "y", 1, 4097, &err), &err);
    img_file_unref(file);
    img_file_unref(below);
}
END_TEST

UNIT_SUITE("staged", test_staged_model, test_staged_pages, test_staged_cut,
           test_staged_memory)
