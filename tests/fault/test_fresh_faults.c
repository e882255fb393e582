/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing a new image fails at each write, flush and resize in turn, and when
 * there is no space: the failure is told, nothing can be done with the writer
 * any more, and what is in the file is no image.
 */
#include <errno.h>

#include <img/bytes.h>
#include <qcow2/fresh.h>

#include "unit.h"

#define CLUSTER_LEN 512u
#define VIRTUAL_LEN (256u << 10)

static struct img_error err;

/* Data (never written), compressed clusters, zeros and a bitmap. */
static int fill(struct qcow2_fresh *fresh)
{
    uint8_t bits[16] = {1};
    struct qcow2_fresh_bitmap bitmap = {.name = "b",
                                        .granularity = 2048,
                                        .bits = bits,
                                        .bits_len = sizeof(bits)};
    struct qcow2_place place;
    uint64_t host_off;

    for (uint64_t off = 0; off < 64 << 10; off += place.len) {
        if (qcow2_fresh_data(fresh, off, (64 << 10) - off, &place, &err) < 0) {
            return -1;
        }
    }
    for (uint64_t off = 64 << 10; off < 96 << 10; off += CLUSTER_LEN) {
        if (qcow2_fresh_compressed(fresh, off, 100, &host_off, &err) < 0) {
            return -1;
        }
    }
    if (qcow2_fresh_zero(fresh, 96 << 10, 64 << 10, &err) < 0) {
        return -1;
    }
    return qcow2_fresh_bitmap_add(fresh, &bitmap, &err);
}

static int write_image(struct img_file *file, bool has_backing)
{
    struct qcow2_create_options options;
    struct qcow2_fresh *fresh;
    int ret;

    qcow2_create_options_init(&options);
    options.cluster_len = CLUSTER_LEN;
    options.virtual_len = VIRTUAL_LEN;
    options.refcount_bits = 64;
    if (has_backing) {
        options.backing_name = "base";
    } else {
        options.prealloc = QCOW2_PREALLOC_FULL;
    }
    if (qcow2_fresh_new(file, NULL, &options, &fresh, &err) < 0) {
        return -1;
    }
    ret = fill(fresh);
    if (ret == 0) {
        ret = qcow2_fresh_finish(fresh, &err);
    }
    if (ret < 0) {
        struct img_error later;

        ck_assert_int_eq(qcow2_fresh_finish(fresh, &later), -1);
    }
    qcow2_fresh_free(fresh);
    return ret;
}

static bool is_image(struct img_file *file)
{
    uint8_t magic[4];

    unit_ok(img_file_read_padded(file, magic, sizeof(magic), 0, NULL, &err),
            &err);
    return img_load_be32(magic) == QCOW2_MAGIC;
}

/* An image is replaced, FAULT happens: was it written all the same? */
static bool try(const struct img_fault *fault, bool has_backing, bool *is_left)
{
    uint8_t old[4096] = {'Q', 'F', 'I', 0xfb};
    struct img_file *memory, *file;
    bool is_written;

    unit_ok(img_file_from_memory("new", old, sizeof(old), &memory, &err), &err);
    unit_ok(img_file_with_faults(memory, fault, &file, &err), &err);
    img_error_clear(&err);
    is_written = write_image(file, has_backing) == 0;
    if (!is_written) {
        ck_assert_int_eq(err.sys_errno, fault->fail_errno);
        ck_assert_ptr_nonnull(strstr(err.text, strerror(fault->fail_errno)));
    }
    *is_left = is_image(memory);
    img_file_unref(file);
    img_file_unref(memory);
    return is_written;
}

/* The number of calls of which each failed once. */
static uint64_t fail_each(struct img_fault *fault, uint64_t *at,
                          bool has_backing, uint64_t first)
{
    bool is_left;

    for (*at = first;; (*at)++) {
        if (try(fault, has_backing, &is_left)) {
            ck_assert(is_left);
            return *at - 1;
        }
        ck_assert_msg(!is_left, "an image after failure %ju", (uintmax_t)*at);
    }
}

/* The first write is the one that destroys the old image. */
START_TEST(test_writes)
{
    struct img_fault fault = {.fail_errno = EIO};

    ck_assert_uint_gt(fail_each(&fault, &fault.fail_at_write, true, 2), 9);
    ck_assert_uint_gt(fail_each(&fault, &fault.fail_at_write, false, 2), 9);
}
END_TEST

START_TEST(test_flushes)
{
    struct img_fault fault = {.fail_errno = EIO};
    bool is_left;

    /* Of the old image, of everything else, of the first sector. */
    for (fault.fail_at_flush = 1; fault.fail_at_flush <= 2;
         fault.fail_at_flush++) {
        ck_assert(!try(&fault, true, &is_left));
        ck_assert(!is_left);
    }
    ck_assert(!try(&fault, true, &is_left));
    fault.fail_at_flush++;
    ck_assert(try(&fault, true, &is_left));
    ck_assert(is_left);
}
END_TEST

START_TEST(test_resize)
{
    struct img_fault fault = {.fail_errno = EPERM, .fail_at_resize = 1};
    bool is_left;

    ck_assert(!try(&fault, true, &is_left));
    ck_assert(!is_left);
    fault.fail_at_resize = 2;
    ck_assert(try(&fault, true, &is_left));
}
END_TEST

START_TEST(test_no_space)
{
    struct img_fault fault = {.fail_errno = ENOSPC};
    bool is_left;

    for (fault.space_len = 512; fault.space_len < 1 << 20;
         fault.space_len += 512) {
        if (try(&fault, true, &is_left)) {
            break;
        }
        ck_assert(!is_left);
    }
    ck_assert_uint_gt(fault.space_len, 64 << 10);
    ck_assert(is_left);
}
END_TEST

/* What comes in small pieces is the same image. */
START_TEST(test_short_writes)
{
    struct img_fault fault = {.short_write = 100};
    bool is_left;

    ck_assert(try(&fault, true, &is_left));
    ck_assert(is_left);
}
END_TEST

UNIT_SUITE("fresh faults", test_writes, test_flushes, test_resize,
           test_no_space, test_short_writes)
