/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading, slices, identity, stamps, holes, direct I/O, sharing. */
#include <errno.h>
#include <pthread.h>

#include <img/memory.h>

#include "scratch.h"

static struct scratch scratch;
static struct img_error err;

START_TEST(test_read_exact_and_padded)
{
    char buf[8];
    size_t got = 99;
    struct img_file *file;

    scratch_open(&scratch);
    file = scratch_open_file(scratch_write(&scratch, "a", "hello", 5, 0));
    unit_ok(img_file_read(file, buf, 3, 2, &err), &err);
    ck_assert_mem_eq(buf, "llo", 3);
    unit_ok(img_file_read(file, buf, 0, 5, &err), &err);
    unit_fails(img_file_read(file, buf, 3, 3, &err), &err, IMG_CORRUPT,
               "the file ends too early: found 2 bytes, expected 3");
    ck_assert(err.has_off && err.off == 3);
    ck_assert_str_eq(err.path, img_file_path(file));

    memset(buf, 0xaa, sizeof(buf));
    unit_ok(img_file_read_padded(file, buf, 8, 1, &got, &err), &err);
    ck_assert_uint_eq(got, 4);
    ck_assert_mem_eq(buf, "ello\0\0\0\0", 8);
    memset(buf, 0xaa, sizeof(buf));
    unit_ok(img_file_read_padded(file, buf, 8, 5, NULL, &err), &err);
    ck_assert_mem_eq(buf, "\0\0\0\0\0\0\0\0", 8);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_read_at_the_end_of_offsets)
{
    static const uint64_t offs[] = {INT64_MAX - 3, INT64_MAX,
                                    (uint64_t)INT64_MAX + 1, UINT64_MAX - 2,
                                    UINT64_MAX};
    char buf[8];
    size_t got;
    struct img_file *file;

    scratch_open(&scratch);
    file = scratch_open_file(scratch_write(&scratch, "a", "hello", 5, 0));
    for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
        memset(buf, 0xaa, sizeof(buf));
        unit_ok(img_file_read_padded(file, buf, 8, offs[i], &got, &err), &err);
        ck_assert_uint_eq(got, 0);
        ck_assert_mem_eq(buf, "\0\0\0\0\0\0\0\0", 8);
        unit_fails(img_file_read(file, buf, 8, offs[i], &err), &err,
                   IMG_CORRUPT,
                   "the file ends too early: found 0 bytes, expected 8");
    }
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_read_error)
{
    char buf[8];
    struct img_file *file = scratch_open_file("/proc/self/mem");

    unit_fails(img_file_read(file, buf, 8, 0, &err), &err, IMG_IO,
               "cannot read 8 bytes: Input/output error");
    ck_assert_int_eq(err.sys_errno, EIO);
    ck_assert(err.has_off && err.off == 0);
    ck_assert_str_eq(err.path, "/proc/self/mem");
    img_file_unref(file);
}
END_TEST

START_TEST(test_memory)
{
    struct img_file *a, *b;
    struct img_stamp before, after;
    char bytes[] = "hello";
    char buf[8];
    uint64_t base;

    unit_ok(img_file_from_memory("m", bytes, 5, &a, &err), &err);
    unit_ok(img_file_from_memory("m", bytes, 5, &b, &err), &err);
    bytes[0] = 'j';
    unit_ok(img_file_read(a, buf, 5, 0, &err), &err);
    ck_assert_mem_eq(buf, "hello", 5);
    unit_fails(img_file_read(a, buf, 8, 0, &err), &err, IMG_CORRUPT,
               "the file ends too early: found 5 bytes, expected 8");
    ck_assert_int_eq(img_file_fd(a, &base), -1);
    ck_assert_int_eq((int)img_file_kind(a), IMG_FILE_MEMORY);
    ck_assert(img_file_is_same(a, a) && !img_file_is_same(a, b));
    unit_ok(img_file_stamp(a, &before, &err), &err);
    unit_ok(img_file_stamp(a, &after, &err), &err);
    ck_assert(img_stamp_is_equal(&before, &after));
    unit_ok(img_file_stamp(b, &after, &err), &err);
    ck_assert(!img_stamp_is_equal(&before, &after));
    img_file_unref(a);
    img_file_unref(b);
    unit_ok(img_file_from_memory("empty", NULL, 0, &a, &err), &err);
    ck_assert_uint_eq(img_file_len(a), 0);
    img_file_unref(a);
}
END_TEST

START_TEST(test_slice)
{
    struct img_file *file, *slice, *nested;
    char buf[8];
    uint64_t base;
    size_t got;

    scratch_open(&scratch);
    file = scratch_open_file(scratch_write(&scratch, "a", "0123456789", 10, 0));
    unit_ok(img_file_slice(file, 2, 6, &slice, &err), &err);
    unit_ok(img_file_slice(slice, 1, 4, &nested, &err), &err);
    ck_assert_uint_eq(img_file_len(slice), 6);
    unit_ok(img_file_read(slice, buf, 6, 0, &err), &err);
    ck_assert_mem_eq(buf, "234567", 6);
    unit_ok(img_file_read_padded(slice, buf, 8, 3, &got, &err), &err);
    ck_assert_mem_eq(buf, "567\0\0\0\0\0", 8);
    ck_assert_uint_eq(got, 3);
    ck_assert_int_eq(img_file_fd(nested, &base), img_file_fd(file, &base));
    (void)img_file_fd(nested, &base);
    ck_assert_uint_eq(base, 3);
    ck_assert_uint_eq(img_file_fd_len(nested), 4);
    img_file_unref(slice);
    img_file_unref(file); /* nested keeps it open */
    unit_ok(img_file_read_padded(nested, buf, 8, 0, &got, &err), &err);
    ck_assert_mem_eq(buf, "3456\0\0\0\0", 8);
    ck_assert_uint_eq(got, 4);
    img_file_unref(nested);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_slice_outside)
{
    struct img_file *file, *slice = NULL;

    unit_ok(img_file_from_memory("m", "0123456789", 10, &file, &err), &err);
    unit_fails(img_file_slice(file, 4, 7, &slice, &err), &err, IMG_CORRUPT,
               "7 bytes from offset 4 lie outside the file: found a length "
               "of 10 bytes");
    unit_fails(img_file_slice(file, UINT64_MAX, 2, &slice, &err), &err,
               IMG_CORRUPT,
               "2 bytes from offset 18446744073709551615 lie outside the "
               "file: found a length of 10 bytes");
    ck_assert_str_eq(err.path, "m");
    ck_assert_ptr_null(slice);
    unit_ok(img_file_slice(file, 10, 0, &slice, &err), &err);
    img_file_unref(slice);
    img_file_unref(file);
}
END_TEST

START_TEST(test_identity)
{
    struct img_file *file, *link_file, *other, *slice;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "a", "x", 1, 0);
    ck_assert_int_eq(link(path, scratch_path(&scratch, "hard")), 0);
    ck_assert_int_eq(symlink("a", scratch_path(&scratch, "soft")), 0);
    file = scratch_open_file(path);
    link_file = scratch_open_file(scratch_path(&scratch, "hard"));
    ck_assert(img_file_is_same(file, link_file));
    img_file_unref(link_file);
    link_file = scratch_open_file(scratch_path(&scratch, "soft"));
    ck_assert(img_file_is_same(file, link_file));
    img_file_unref(link_file);
    other = scratch_open_file(scratch_write(&scratch, "b", "x", 1, 0));
    ck_assert(!img_file_is_same(file, other));
    unit_ok(img_file_slice(file, 0, 1, &slice, &err), &err);
    ck_assert(img_file_is_same(file, slice));
    ck_assert(!img_file_is_same(other, slice));
    img_file_unref(slice);
    img_file_unref(other);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_stamp_notices_changes)
{
    struct img_file *file;
    struct img_stamp before, after;
    struct stat st;
    const char *path;

    scratch_open(&scratch);
    path = scratch_write(&scratch, "a", "x", 1, 0);
    file = scratch_open_file(path);
    unit_ok(img_file_stamp(file, &before, &err), &err);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(before.ino, st.st_ino);
    ck_assert_uint_eq(before.dev, st.st_dev);
    ck_assert_uint_eq(before.rdev, 0);
    ck_assert_uint_eq(before.len, 1);
    ck_assert_int_eq(before.mtime_ns,
                     st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
    unit_ok(img_file_stamp(file, &after, &err), &err);
    ck_assert(img_stamp_is_equal(&before, &after));
    scratch_write(&scratch, "a", "xyz", 3, 0);
    unit_ok(img_file_stamp(file, &after, &err), &err);
    ck_assert_uint_eq(after.len, 3);
    ck_assert(!img_stamp_is_equal(&before, &after));
    ck_assert_int_eq(chmod(path, 0600), 0);
    before = after;
    unit_ok(img_file_stamp(file, &after, &err), &err);
    ck_assert(!img_stamp_is_equal(&before, &after));
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

static void check_hole(struct img_file *file, uint64_t off, uint64_t len,
                       bool want_hole, uint64_t want_len)
{
    bool is_hole = !want_hole;
    uint64_t run_len = 0;

    unit_ok(img_file_next_hole(file, off, len, &is_hole, &run_len, &err), &err);
    ck_assert_int_eq(is_hole, want_hole);
    ck_assert_uint_eq(run_len, want_len);
}

START_TEST(test_holes)
{
    struct img_file *file, *slice, *memory;
    uint8_t data[65536];
    uint64_t run_len;
    bool is_hole;

    /* [0, 1M) hole, [1M, 1M + 64K) data, hole to 4M */
    scratch_open(&scratch);
    scratch_fill(data, sizeof(data), 1);
    scratch_write(&scratch, "a", data, sizeof(data), 1 << 20);
    ck_assert_int_eq(truncate(scratch_path(&scratch, "a"), 4 << 20), 0);
    file = scratch_open_file(scratch_path(&scratch, "a"));
    check_hole(file, 0, 8 << 20, true, 1 << 20);
    check_hole(file, 4096, 8192, true, 8192);
    check_hole(file, 1 << 20, 8 << 20, false, 65536);
    check_hole(file, (1 << 20) + 512, 100, false, 100);
    check_hole(file, (1 << 20) + 65536, 1 << 30, true, 1 << 30);
    check_hole(file, 5 << 20, 7, true, 7);
    check_hole(file, UINT64_MAX - 1, 2, true, 2);
    unit_fails(img_file_next_hole(file, 0, 0, &is_hole, &run_len, &err), &err,
               IMG_USAGE, "no bytes to look for holes in");

    unit_ok(img_file_slice(file, (1 << 20) - 512, 1024, &slice, &err), &err);
    check_hole(slice, 0, 4096, true, 512);
    check_hole(slice, 512, 4096, false, 512);
    check_hole(slice, 1024, 4096, true, 4096);
    img_file_unref(slice);
    img_file_unref(file);

    unit_ok(img_file_from_memory("m", "abc", 3, &memory, &err), &err);
    check_hole(memory, 1, 10, false, 2);
    check_hole(memory, 3, 10, true, 10);
    img_file_unref(memory);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_direct)
{
    static const struct {
        size_t len, off;
    } reads[] = {{1, 0},          {4096, 4096}, {511, 1},
                 {100000, 12345}, {7, 199990},  {1u << 21, 3}};
    struct img_open_options direct = {.direct = true};
    struct img_file *file = NULL;
    size_t size = (3u << 20) + 1234;
    IMG_AUTO(img_free_ptr) uint8_t *bytes = malloc(size);
    IMG_AUTO(img_free_ptr) uint8_t *buf = malloc(size);
    const char *path;
    uint64_t base;
    size_t got;

    scratch_open(&scratch);
    scratch_fill(bytes, size, 2);
    path = scratch_write(&scratch, "a", bytes, size, 0);
    unit_ok(img_file_open(path, &direct, &file, &err), &err);
    int flags = fcntl(img_file_fd(file, &base), F_GETFL);
    if (flags & O_DIRECT) {
        uint32_t align = img_file_direct_align(file);
        ck_assert_uint_gt(align, 1);
        ck_assert_uint_eq(align & (align - 1), 0);
    } else {
        printf("SKIP: no O_DIRECT in %s\n", scratch.dir);
        ck_assert_uint_eq(img_file_direct_align(file), 1);
    }
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        unit_ok(img_file_read(file, buf, reads[i].len, reads[i].off, &err),
                &err);
        ck_assert_mem_eq(buf, bytes + reads[i].off, reads[i].len);
    }
    unit_ok(img_file_read_padded(file, buf, 8192, size - 100, &got, &err),
            &err);
    ck_assert_uint_eq(got, 100);
    ck_assert_mem_eq(buf, bytes + size - 100, 100);
    unit_fails(img_file_read(file, buf, 8192, size - 100, &err), &err,
               IMG_CORRUPT,
               "the file ends too early: found 100 bytes, expected 8192");
    unit_ok(img_file_read_padded(file, buf, 8192, size, &got, &err), &err);
    ck_assert_uint_eq(got, 0);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_direct_without_support)
{
    struct img_open_options direct = {.direct = true};
    struct img_file *file = NULL;
    char buf[16];

    /* procfs refuses O_DIRECT at open */
    unit_ok(img_file_open("/proc/self/status", &direct, &file, &err), &err);
    ck_assert_uint_eq(img_file_direct_align(file), 1);
    unit_ok(img_file_read(file, buf, 5, 0, &err), &err);
    ck_assert_mem_eq(buf, "Name:", 5);
    img_file_unref(file);
}
END_TEST

static void *read_and_ref(void *arg)
{
    struct img_file *file = arg;
    uint8_t want[64], buf[64];
    struct img_error thread_err;

    scratch_fill(want, sizeof(want), 3);
    for (int i = 0; i < 5000; i++) {
        struct img_file *mine = img_file_ref(file);
        size_t off = (size_t)i % 64;
        if (img_file_read(mine, buf, 64 - off, off, &thread_err) ||
            memcmp(buf, want + off, 64 - off) != 0) {
            return "failed";
        }
        img_file_unref(mine);
    }
    return NULL;
}

START_TEST(test_threads_share_a_file)
{
    pthread_t threads[4];
    uint8_t bytes[64];
    struct img_file *file;

    scratch_open(&scratch);
    scratch_fill(bytes, sizeof(bytes), 3);
    file = scratch_open_file(scratch_write(&scratch, "a", bytes, 64, 0));
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_and_ref, file),
                         0);
    }
    for (int i = 0; i < 4; i++) {
        void *result;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_null(result);
    }
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

/* A loop device over PATH, or "" with a SKIP line. */
static void loop_attach(const char *path, char *device, size_t size)
{
    char command[512];
    FILE *pipe_file;

    snprintf(command, sizeof(command), "losetup -f --show %s 2>&1", path);
    device[0] = '\0';
    pipe_file = popen(command, "r");
    ck_assert_ptr_nonnull(pipe_file);
    if (!fgets(device, (int)size, pipe_file) || device[0] != '/') {
        printf("SKIP: no loop device: %s\n", device);
        device[0] = '\0';
    }
    pclose(pipe_file);
    device[strcspn(device, "\n")] = '\0';
}

static void loop_detach(const char *device)
{
    char command[512];

    snprintf(command, sizeof(command), "losetup -d %s", device);
    ck_assert_int_eq(system(command), 0);
}

static void check_block_device(const char *device, const char *second,
                               const uint8_t *bytes, size_t size)
{
    static const struct img_open_options ways[] = {{.direct = false},
                                                   {.direct = true}};
    struct img_file *other = scratch_open_file(second);
    uint8_t buf[10000];

    for (size_t i = 0; i < 2; i++) {
        struct img_file *file = NULL;
        struct img_stamp stamp;
        size_t got;
        unit_ok(img_file_open(device, &ways[i], &file, &err), &err);
        ck_assert_int_eq((int)img_file_kind(file), IMG_FILE_BLOCK);
        ck_assert_uint_eq(img_file_len(file), size);
        ck_assert_uint_eq(img_file_allocated_len(file), 0);
        ck_assert(img_file_is_same(file, other));
        unit_ok(img_file_stamp(file, &stamp, &err), &err);
        ck_assert_uint_eq(stamp.len, size);
        ck_assert_uint_ne(stamp.rdev, 0);
        check_hole(file, 512, 1u << 30, false, size - 512);
        check_hole(file, size, 5, true, 5);
        unit_ok(img_file_read(file, buf, 9999, 77, &err), &err);
        ck_assert_mem_eq(buf, bytes + 77, 9999);
        unit_ok(img_file_read_padded(file, buf, 1000, size - 9, &got, &err),
                &err);
        ck_assert_uint_eq(got, 9);
        ck_assert_mem_eq(buf, bytes + size - 9, 9);
        img_file_unref(file);
    }
    img_file_unref(other);
}

START_TEST(test_block_device)
{
    size_t size = (1u << 20) + 512;
    IMG_AUTO(img_free_ptr) uint8_t *bytes = malloc(size);
    char device[256];
    struct stat st;

    scratch_open(&scratch);
    scratch_fill(bytes, size, 5);
    loop_attach(scratch_write(&scratch, "disk", bytes, size, 0), device,
                sizeof(device));
    if (device[0]) {
        const char *second = scratch_path(&scratch, "node");
        ck_assert_int_eq(stat(device, &st), 0);
        ck_assert_int_eq(mknod(second, S_IFBLK | 0600, st.st_rdev), 0);
        check_block_device(device, second, bytes, size);
        loop_detach(device);
    }
    scratch_close(&scratch);
}
END_TEST

UNIT_SUITE("file", test_read_exact_and_padded, test_read_at_the_end_of_offsets,
           test_read_error, test_memory, test_slice, test_slice_outside,
           test_identity, test_stamp_notices_changes, test_holes, test_direct,
           test_direct_without_support, test_threads_share_a_file,
           test_block_device)
