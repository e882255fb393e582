/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at, and bending, the bytes of an image file in tests of edits. */
#ifndef TESTS_EDIT_FILE_H
#define TESTS_EDIT_FILE_H

#include <img/bytes.h>
#include <img/write.h>

#include "unit.h"

/* The whole file, to be compared; free with free(). */
static inline uint8_t *file_bytes(struct img_file *file, size_t *len)
{
    struct img_error err = {0};
    uint8_t *bytes = calloc(1, img_file_len(file) + 1);

    ck_assert_ptr_nonnull(bytes);
    *len = img_file_len(file);
    unit_ok(img_file_read(file, bytes, *len, 0, &err), &err);
    return bytes;
}

static inline void ck_file_is(struct img_file *file, const uint8_t *bytes,
                              size_t len)
{
    size_t now_len;
    uint8_t *now = file_bytes(file, &now_len);

    ck_assert_uint_eq(now_len, len);
    ck_assert_mem_eq(now, bytes, len);
    free(now);
}

static inline void put64(struct img_file *file, uint64_t off, uint64_t value)
{
    struct img_error err = {0};
    uint8_t buf[8];

    img_store_be64(buf, value);
    unit_ok(img_file_write(file, buf, sizeof(buf), off, &err), &err);
}

static inline uint64_t get64(struct img_file *file, uint64_t off)
{
    struct img_error err = {0};
    uint8_t buf[8];

    unit_ok(img_file_read(file, buf, sizeof(buf), off, &err), &err);
    return img_load_be64(buf);
}

/* Offsets in the header. */
#define OFF_L1 40u
#define OFF_REFTABLE 48u
#define OFF_INCOMPATIBLE 72u
#define OFF_AUTOCLEAR 88u

#endif
