/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing files of every sort: each is led through the same random changes
 * as a model in memory, and must show what the model shows.
 */
#include <errno.h>
#include <pthread.h>

#include <img/memory.h>
#include <img/write.h>

#include "deny.h"
#include "loop_device.h"
#include "scratch.h"

#define LIMIT (300u << 10)
#define ROUNDS 700u

static struct scratch scratch;
static struct img_error err;
static uint8_t model[LIMIT], bytes[LIMIT], got[LIMIT];
static uint64_t model_len;

static struct img_file *open_writable(const char *path, bool direct)
{
    struct img_open_options options = {
        .writable = true, .direct = direct, .lock = IMG_LOCK_WRITER};
    struct img_file *file = NULL;

    unit_ok(img_file_open(path, &options, &file, &err), &err);
    ck_assert(img_file_is_writable(file));
    return file;
}

static struct img_file *new_file(bool direct)
{
    return open_writable(scratch_write(&scratch, "a", "", 0, 0), direct);
}

static uint64_t random_below(uint64_t n)
{
    return (uint64_t)random() % n;
}

static void note(uint64_t end)
{
    model_len = model_len > end ? model_len : end;
}

/* One random change of FILE and the model; only LEN_IS_FREE may change it. */
static void change(struct img_file *file, bool len_is_free)
{
    uint64_t max = len_is_free ? LIMIT : model_len;
    uint64_t align = random() & 1 ? 512 : 1;
    uint64_t off = random_below(max) & ~(align - 1);
    uint64_t len = random_below(max - off + 1) & ~(align - 1);
    size_t skew = random() & 1 ? 0 : random_below(17);

    len = random() & 1 ? len : len % 5000;
    switch (random_below(6)) {
    case 0:
        unit_ok(img_file_zero(file, off, len, IMG_ZERO_UNMAP, &err), &err);
        memset(model + off, 0, len);
        break;
    case 1:
        unit_ok(img_file_zero(file, off, len, IMG_ZERO_KEEP, &err), &err);
        memset(model + off, 0, len);
        break;
    case 2:
        unit_ok(img_file_reserve(file, off, len, random() & 1, &err), &err);
        break;
    case 3:
        if (len_is_free && random_below(4) == 0) {
            unit_ok(img_file_resize(file, off, &err), &err);
            memset(model + off, 0, LIMIT - off);
            model_len = off;
        }
        return;
    default:
        len = len < LIMIT - skew ? len : LIMIT - skew;
        scratch_fill(bytes + skew, len, (uint32_t)random());
        unit_ok(img_file_write(file, bytes + skew, len, off, &err), &err);
        memcpy(model + off, bytes + skew, len);
        break;
    }
    if (len > 0) {
        note(off + len);
    }
}

static void check_same(struct img_file *file)
{
    struct img_stamp stamp;
    size_t real;

    ck_assert_uint_eq(img_file_len(file), model_len);
    unit_ok(img_file_read_padded(file, got, LIMIT, 0, &real, &err), &err);
    ck_assert_uint_eq(real, model_len);
    ck_assert(memcmp(got, model, LIMIT) == 0);
    unit_ok(img_file_stamp(file, &stamp, &err), &err);
    if (img_file_fd_len(file) == UINT64_MAX) { /* no slice */
        ck_assert_uint_eq(stamp.len, model_len);
    }
}

/* ROUNDS changes of FILE, which has LEN bytes of zeros. */
static void check_random(struct img_file *file, uint64_t len, bool len_is_free)
{
    srandom(7);
    memset(model, 0, sizeof(model));
    model_len = len;
    for (unsigned i = 0; i < ROUNDS; i++) {
        change(file, len_is_free);
        if (i % 16 == 0) {
            check_same(file);
        }
    }
    unit_ok(img_file_flush(file, &err), &err);
    check_same(file);
}

START_TEST(test_regular_files)
{
    for (int direct = 0; direct < 2; direct++) {
        struct img_file *file;
        scratch_open(&scratch);
        file = new_file(direct);
        check_random(file, 0, true);
        ck_assert_uint_eq(img_file_fd_len(file), UINT64_MAX);
        img_file_unref(file);
        scratch_close(&scratch);
    }
}
END_TEST

/* Buffered first, then past the page cache, on one descriptor. */
START_TEST(test_use_direct)
{
    struct img_file *file, *slice;

    scratch_open(&scratch);
    file = new_file(false);
    ck_assert_uint_eq(img_file_direct_align(file), 1);
    check_random(file, 0, true);
    if (img_file_use_direct(file)) {
        ck_assert_uint_gt(img_file_direct_align(file), 1);
    }
    check_same(file);
    for (unsigned i = 0; i < ROUNDS; i++) {
        change(file, true);
    }
    check_same(file);
    unit_ok(img_file_slice(file, 0, 512, &slice, &err), &err);
    ck_assert(img_file_use_direct(slice) == (img_file_direct_align(file) > 1));
    img_file_unref(slice);
    img_file_unref(file);
    scratch_close(&scratch);
    /* Files without a descriptor stay as they are. */
    unit_ok(img_file_from_memory("m", "abc", 3, &file, &err), &err);
    ck_assert(!img_file_use_direct(file));
    img_file_unref(file);
}
END_TEST

/* A file system that can do nothing but write. */
START_TEST(test_without_fallocate)
{
    deny_call(SYS_fallocate, DENY_ANY, EOPNOTSUPP);
    for (int direct = 0; direct < 2; direct++) {
        struct img_file *file;
        scratch_open(&scratch);
        file = new_file(direct);
        check_random(file, 0, true);
        img_file_unref(file);
        scratch_close(&scratch);
    }
}
END_TEST

START_TEST(test_memory)
{
    struct img_file *file, *slice;

    unit_ok(img_file_from_memory("m", "", 0, &file, &err), &err);
    ck_assert(img_file_is_writable(file));
    check_random(file, 0, true);
    unit_ok(img_file_resize(file, 0, &err), &err);
    unit_ok(img_file_resize(file, 200000, &err), &err);
    unit_ok(img_file_slice(file, 333, 99999, &slice, &err), &err);
    check_random(slice, 99999, false);
    ck_assert_uint_eq(img_file_len(file), 200000);
    ck_assert_uint_eq(img_file_space_left(file), UINT64_MAX);
    unit_fails(img_file_resize(file, UINT64_C(1) << 40, &err), &err, IMG_SYSTEM,
               "cannot change the length to 1099511627776 bytes: File too "
               "large");
    img_file_unref(slice);
    img_file_unref(file);
}
END_TEST

START_TEST(test_slices)
{
    for (int i = 0; i < 4; i++) {
        struct img_file *file, *slice;
        scratch_open(&scratch);
        file = new_file(i & 1);
        unit_ok(img_file_resize(file, 200000, &err), &err);
        unit_ok(img_file_slice(file, i & 2 ? 8192 : 333, 99999, &slice, &err),
                &err);
        check_random(slice, 99999, false);
        ck_assert_uint_eq(img_file_len(file), 200000);
        img_file_unref(slice);
        img_file_unref(file);
        scratch_close(&scratch);
    }
}
END_TEST

START_TEST(test_faulty)
{
    const struct img_fault fault = {.short_write = 700};
    struct img_file *file, *faulty;

    scratch_open(&scratch);
    file = new_file(false);
    unit_ok(img_file_with_faults(file, &fault, &faulty, &err), &err);
    check_random(faulty, 0, true);
    img_file_unref(faulty);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

static void check_device(struct img_file *device, uint64_t len)
{
    ck_assert_int_eq((int)img_file_kind(device), IMG_FILE_BLOCK);
    check_random(device, len, false);
    img_file_discard(device, 0, len);
    ck_assert_uint_eq(img_file_space_left(device), len);
    unit_ok(img_file_resize(device, len, &err), &err);
    unit_fails(img_file_resize(device, len + 512, &err), &err, IMG_UNSUPPORTED,
               "a block device has a fixed length: found 262144 bytes, "
               "expected 262656");
    unit_fails(img_file_write(device, bytes, 512, len - 511, &err), &err,
               IMG_LIMIT,
               "512 bytes end past the end of what can be written: found a "
               "length of 262144 bytes");
    ck_assert_uint_eq(err.off, len - 511);
}

START_TEST(test_block_device)
{
    const char *path;
    char device[64];

    scratch_open(&scratch);
    path = scratch_path(&scratch, "backing");
    scratch_write(&scratch, "backing", "", 0, 0);
    for (int i = 0; i < 2; i++) {
        struct img_file *file;
        ck_assert_int_eq(truncate(path, 0), 0);
        ck_assert_int_eq(truncate(path, 256 << 10), 0);
        if (!loop_attach("", path, device, sizeof(device))) {
            break;
        }
        file = open_writable(device, i);
        loop_detach(device); /* when the file is closed */
        check_device(file, 256 << 10);
        img_file_unref(file);
    }
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_not_open_for_writing)
{
    struct img_file *file, *slice;
    bool done;

    scratch_open(&scratch);
    file = scratch_open_file(scratch_write(&scratch, "a", "abcd", 4, 0));
    unit_ok(img_file_slice(file, 1, 2, &slice, &err), &err);
    ck_assert(!img_file_is_writable(file));
    for (int i = 0; i < 2; i++) {
        struct img_file *each = i ? slice : file;
        unit_fails(img_file_write(each, "x", 1, 0, &err), &err, IMG_USAGE,
                   "is not open for writing");
        ck_assert_str_eq(err.path, img_file_path(file));
        unit_fails(img_file_zero(each, 0, 1, IMG_ZERO_KEEP, &err), &err,
                   IMG_USAGE, "is not open for writing");
        unit_fails(img_file_resize(each, 2, &err), &err, IMG_USAGE,
                   "is not open for writing");
        unit_fails(img_file_reserve(each, 0, 1, false, &err), &err, IMG_USAGE,
                   "is not open for writing");
        unit_fails(img_file_share(each, 0, file, 0, 1, &done, &err), &err,
                   IMG_USAGE, "is not open for writing");
        unit_fails(img_file_flush(each, &err), &err, IMG_USAGE,
                   "is not open for writing");
        img_file_discard(each, 0, 1); /* a hint */
    }
    unit_ok(img_file_read(file, got, 4, 0, &err), &err);
    ck_assert_mem_eq(got, "abcd", 4);
    img_file_unref(slice);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_bounds)
{
    struct img_file *file, *slice;

    scratch_open(&scratch);
    file = new_file(false);
    unit_ok(img_file_resize(file, 1000, &err), &err);
    unit_ok(img_file_slice(file, 100, 200, &slice, &err), &err);
    unit_fails(img_file_write(slice, bytes, 101, 100, &err), &err, IMG_LIMIT,
               "101 bytes end past the end of what can be written: found a "
               "length of 200 bytes");
    unit_fails(img_file_zero(slice, 201, 0, IMG_ZERO_UNMAP, &err), &err,
               IMG_LIMIT,
               "0 bytes end past the end of what can be written: found a "
               "length of 200 bytes");
    unit_fails(img_file_resize(slice, 201, &err), &err, IMG_UNSUPPORTED,
               "a part of a file has a fixed length: found 200 bytes, "
               "expected 201");
    unit_ok(img_file_resize(slice, 200, &err), &err);
    unit_fails(img_file_write(file, bytes, 2, INT64_MAX - 1, &err), &err,
               IMG_LIMIT,
               "2 bytes end past the end of what can be written: found a "
               "length of 9223372036854775807 bytes");
    unit_fails(img_file_resize(file, (uint64_t)INT64_MAX + 1, &err), &err,
               IMG_LIMIT,
               "9223372036854775808 bytes end past the end of what can be "
               "written: found a length of 9223372036854775807 bytes");
    unit_fails(img_file_resize(file, INT64_MAX, &err), &err, IMG_SYSTEM,
               "cannot change the length to 9223372036854775807 bytes: File "
               "too large");
    img_file_discard(slice, UINT64_MAX, 1);
    img_file_discard(file, 999, UINT64_MAX);
    ck_assert_uint_eq(img_file_len(file), 1000);
    img_file_unref(slice);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

static uint64_t allocated(const struct img_file *file)
{
    struct stat st;

    ck_assert_int_eq(stat(img_file_path(file), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* Space that is given back, kept, taken: as the blocks tell. */
START_TEST(test_space)
{
    struct img_file *file;

    scratch_open(&scratch);
    file = new_file(false);
    scratch_fill(bytes, LIMIT, 1);
    unit_ok(img_file_write(file, bytes, 256 << 10, 0, &err), &err);
    unit_ok(img_file_flush(file, &err), &err);
    ck_assert_uint_eq(allocated(file), 256 << 10);
    unit_ok(img_file_zero(file, 0, 64 << 10, IMG_ZERO_KEEP, &err), &err);
    ck_assert_uint_eq(allocated(file), 256 << 10);
    unit_ok(img_file_zero(file, 0, 64 << 10, IMG_ZERO_UNMAP, &err), &err);
    ck_assert_uint_eq(allocated(file), 192 << 10);
    img_file_discard(file, 64 << 10, 64 << 10);
    ck_assert_uint_eq(allocated(file), 128 << 10);
    /* beyond the end: nothing, then all of it */
    unit_ok(img_file_zero(file, 256 << 10, 64 << 10, IMG_ZERO_UNMAP, &err),
            &err);
    ck_assert_uint_eq(allocated(file), 128 << 10);
    unit_ok(img_file_zero(file, 320 << 10, 64 << 10, IMG_ZERO_KEEP, &err),
            &err);
    ck_assert_uint_eq(allocated(file), 192 << 10);
    ck_assert_uint_eq(img_file_len(file), 384 << 10);
    unit_ok(img_file_reserve(file, 0, 384 << 10, false, &err), &err);
    ck_assert_uint_eq(allocated(file), 384 << 10);
    unit_ok(img_file_resize(file, 0, &err), &err);
    unit_ok(img_file_reserve(file, 0, 64 << 10, true, &err), &err);
    unit_ok(img_file_flush(file, &err), &err);
    ck_assert_uint_eq(allocated(file), 64 << 10);
    ck_assert_uint_ge(img_file_space_left(file), 1 << 20);
    ck_assert_uint_lt(img_file_space_left(file), UINT64_C(1) << 60);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

START_TEST(test_share_refused)
{
    struct img_file *file, *memory;
    bool done = true;

    scratch_open(&scratch);
    file = new_file(false);
    unit_ok(img_file_resize(file, 16384, &err), &err);
    unit_ok(img_file_from_memory("m", bytes, 8192, &memory, &err), &err);
    unit_ok(img_file_share(file, 0, memory, 0, 4096, &done, &err), &err);
    ck_assert(!done);
    unit_ok(img_file_share(memory, 0, file, 0, 4096, &done, &err), &err);
    ck_assert(!done);
    unit_ok(img_file_share(file, 1, file, 4097, 100, &done, &err), &err);
    ck_assert(!done);
    unit_ok(img_file_share(file, 0, file, 16384, 1, &done, &err), &err);
    ck_assert(!done);
    unit_ok(img_file_share(file, 0, file, 4096, 0, &done, &err), &err);
    ck_assert(!done);
    ck_assert_uint_eq(img_file_len(file), 16384);
    img_file_unref(memory);
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

/* On a file system that can: XFS, in a file. */
START_TEST(test_share)
{
    char command[1024], path[300];
    struct img_file *file, *slice;
    bool done = false;

    scratch_open(&scratch);
    snprintf(command, sizeof(command),
             "cd '%s' && mkdir m && truncate -s 320M fs && "
             "mkfs.xfs -q -m reflink=1 fs >&2 && mount -o loop fs m",
             scratch.dir);
    if (getuid() != 0 || system(command) != 0) {
        printf("SKIP: no XFS can be mounted\n");
        scratch_close(&scratch);
        return;
    }
    snprintf(path, sizeof(path), "%s/m/a", scratch.dir);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    file = open_writable(path, false);
    scratch_fill(bytes, 8192, 1);
    unit_ok(img_file_write(file, bytes, 8192, 0, &err), &err);
    unit_ok(img_file_slice(file, 4096, 4096, &slice, &err), &err);
    unit_ok(img_file_share(file, 65536, slice, 0, 4096, &done, &err), &err);
    ck_assert(done);
    ck_assert_uint_eq(img_file_len(file), 65536 + 4096);
    unit_ok(img_file_read(file, got, 4096, 65536, &err), &err);
    ck_assert_mem_eq(got, bytes + 4096, 4096);
    img_file_unref(slice);
    img_file_unref(file);
    snprintf(command, sizeof(command), "umount '%s/m'", scratch.dir);
    ck_assert_int_eq(system(command), 0);
    scratch_close(&scratch);
}
END_TEST

#define THREADS 4u
#define PIECE 100u

struct writer {
    pthread_t thread;
    struct img_file *file;
    unsigned idx;
};

/* Every THREADS'th piece of the file. */
static void *write_pieces(void *arg)
{
    const struct writer *writer = arg;
    struct img_error ignored;
    uint8_t piece[PIECE];

    memset(piece, (int)writer->idx + 1, PIECE);
    for (uint64_t i = writer->idx; i < 2000; i += THREADS) {
        if (img_file_write(writer->file, piece, PIECE, i * PIECE, &ignored)) {
            return arg;
        }
    }
    return NULL;
}

/* Neighbours of one block, of four threads, and a file that grows. */
START_TEST(test_threads)
{
    for (int kind = 0; kind < 3; kind++) {
        struct writer writers[THREADS];
        struct img_file *file;
        void *failed;
        scratch_open(&scratch);
        if (kind == 2) {
            unit_ok(img_file_from_memory("m", "", 0, &file, &err), &err);
        } else {
            file = new_file(kind);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            writers[i] = (struct writer){.file = file, .idx = i};
            ck_assert_int_eq(pthread_create(&writers[i].thread, NULL,
                                            write_pieces, &writers[i]),
                             0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            ck_assert_int_eq(pthread_join(writers[i].thread, &failed), 0);
            ck_assert_ptr_null(failed);
        }
        ck_assert_uint_eq(img_file_len(file), 2000 * PIECE);
        unit_ok(img_file_read(file, got, 2000 * PIECE, 0, &err), &err);
        for (unsigned i = 0; i < 2000 * PIECE; i++) {
            ck_assert_uint_eq(got[i], i / PIECE % THREADS + 1);
        }
        img_file_unref(file);
        scratch_close(&scratch);
    }
}
END_TEST

UNIT_SUITE("write", test_regular_files, test_use_direct, test_without_fallocate,
           test_memory, test_slices, test_faulty, test_block_device,
           test_not_open_for_writing, test_bounds, test_space,
           test_share_refused, test_share, test_threads)
