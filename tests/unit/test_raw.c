/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Raw images: size, holes, the tail behind the last whole sector, slices. */
#include <fcntl.h>
#include <unistd.h>

#include <img/format.h>

#include "unit.h"

static struct img_error err;

static struct img_image *open_raw(struct img_file *file)
{
    struct img_image *image = NULL;

    unit_ok(img_raw_open(file, &image, &err), &err);
    img_file_unref(file);
    return image;
}

static struct img_image *raw_of_zeros(size_t len)
{
    struct img_file *file = NULL;
    char *bytes = calloc(1, len + 1);

    unit_ok(img_file_from_memory("m", bytes, len, &file, &err), &err);
    free(bytes);
    return open_raw(file);
}

static void maps_to(struct img_image *image, uint64_t off, uint64_t len,
                    enum img_extent_kind kind, uint64_t run_len)
{
    struct img_extent extent;

    unit_ok(img_image_map(image, off, len, &extent, &err), &err);
    ck_assert_int_eq((int)extent.kind, (int)kind);
    ck_assert_uint_eq(extent.guest_off, off);
    ck_assert_uint_eq(extent.len, run_len);
    ck_assert(extent.has_host);
    ck_assert_uint_eq(extent.host_off, off);
    ck_assert_ptr_eq(extent.file, image->file);
}

START_TEST(sizes)
{
    static const struct {
        size_t len;
        uint64_t virtual_len;
    } cases[] = {{0, 0}, {1, 512}, {511, 512}, {512, 512}, {1000, 1024}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct img_image *image = raw_of_zeros(cases[i].len);
        ck_assert_uint_eq(image->virtual_len, cases[i].virtual_len);
        ck_assert_str_eq(image->format, "raw");
        ck_assert(image->is_readable);
        ck_assert_uint_eq(image->cluster_len, 0);
        struct img_json *json = NULL;
        unit_ok(img_image_describe(image, &json, &err), &err);
        ck_assert_ptr_null(json);
        img_image_free(image);
    }
}
END_TEST

START_TEST(tail_reads_as_zeros)
{
    struct img_image *image = raw_of_zeros(1000);

    maps_to(image, 0, 1024, IMG_EXTENT_DATA, 1000);
    maps_to(image, 999, 25, IMG_EXTENT_DATA, 1);
    maps_to(image, 1000, 24, IMG_EXTENT_ZERO, 24);
    maps_to(image, 1010, 5, IMG_EXTENT_ZERO, 5);
    img_image_free(image);
}
END_TEST

START_TEST(ranges_outside)
{
    struct img_image *image = raw_of_zeros(1000);
    struct img_extent extent;

    unit_fails(img_image_map(image, 1024, 1, &extent, &err), &err, IMG_USAGE,
               "1 bytes at guest offset 1024 are not inside the image's 1024 "
               "bytes");
    unit_fails(img_image_map(image, 512, UINT64_MAX, &extent, &err), &err,
               IMG_USAGE,
               "18446744073709551615 bytes at guest offset 512 are not inside "
               "the image's 1024 bytes");
    unit_fails(img_image_map(image, 0, 0, &extent, &err), &err, IMG_USAGE,
               "0 bytes at guest offset 0 are not inside the image's 1024 "
               "bytes");
    unit_fails(img_image_decompress(image, NULL, &extent, NULL, NULL, &err),
               &err, IMG_UNSUPPORTED, "format raw has no compressed clusters");
    img_image_free(image);
}
END_TEST

/* 1 MiB hole, 64 KiB data, hole to 2 MiB + 100 bytes. */
static struct img_file *sparse_file(void)
{
    char name[] = "/tmp/test_raw_XXXXXX";
    struct img_open_options options = {.lock = IMG_LOCK_NONE};
    struct img_file *file = NULL;
    static char data[65536];
    int fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    memset(data, 'x', sizeof(data));
    ck_assert_int_eq(pwrite(fd, data, sizeof(data), 1 << 20), sizeof(data));
    ck_assert_int_eq(ftruncate(fd, (2 << 20) + 100), 0);
    /* Some file systems have no holes: nothing to see there. */
    bool has_holes = lseek(fd, 0, SEEK_DATA) == 1 << 20;
    close(fd);
    if (has_holes) {
        unit_ok(img_file_open(name, &options, &file, &err), &err);
    }
    unlink(name);
    return file;
}

START_TEST(holes)
{
    struct img_file *file = sparse_file();

    if (file == NULL) {
        return;
    }
    struct img_image *image = open_raw(file);
    ck_assert_uint_eq(image->virtual_len, (2 << 20) + 512);
    maps_to(image, 0, image->virtual_len, IMG_EXTENT_ZERO, 1 << 20);
    maps_to(image, 0, 4096, IMG_EXTENT_ZERO, 4096);
    maps_to(image, 1 << 20, 1 << 20, IMG_EXTENT_DATA, 65536);
    uint64_t off = (1 << 20) + 65536;
    maps_to(image, off, image->virtual_len - off, IMG_EXTENT_ZERO,
            (2 << 20) + 100 - off);
    img_image_free(image);
}
END_TEST

START_TEST(slice_of_a_file)
{
    struct img_file *file = sparse_file();
    struct img_file *slice = NULL;

    if (file == NULL) {
        return;
    }
    unit_ok(img_file_slice(file, (1 << 20) - 4096, 8192, &slice, &err), &err);
    img_file_unref(file);
    struct img_image *image = open_raw(slice);
    ck_assert_uint_eq(image->virtual_len, 8192);
    maps_to(image, 0, 8192, IMG_EXTENT_ZERO, 4096);
    maps_to(image, 4096, 4096, IMG_EXTENT_DATA, 4096);
    img_image_free(image);
}
END_TEST

UNIT_SUITE("raw", sizes, tail_reads_as_zeros, ranges_outside, holes,
           slice_of_a_file)
