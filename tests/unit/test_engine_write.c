/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes of both engines, over every sort of file, against a model in
 * memory. Requests in flight never overlap, but share blocks: each place of
 * the queue has a region of its own of an odd length.
 */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include <img/engine.h>
#include <img/memory.h>
#include <img/write.h>

#include "scratch.h"

#define DEPTH 16u
#define REGION 70001u
#define MODEL_LEN (DEPTH * REGION)
#define ROUNDS 1500u

static struct scratch scratch;
static struct img_error err;
static const enum img_engine_kind kinds[] = {IMG_ENGINE_SYNC, IMG_ENGINE_URING};

static uint8_t model[MODEL_LEN];
static uint64_t model_len;

struct slot {
    struct img_request request;
    uint8_t *buf, *copy;
};

static size_t random_below(size_t n)
{
    return (size_t)random() % n;
}

static struct img_engine *new_engine(enum img_engine_kind kind)
{
    struct img_engine *engine = NULL;

    unit_ok(img_engine_new(kind, DEPTH, &engine, &err), &err);
    return engine;
}

static struct img_file *open_new(const char *name, bool direct)
{
    struct img_open_options options = {
        .writable = true, .direct = direct, .lock = IMG_LOCK_WRITER};
    struct img_file *file = NULL;

    unit_ok(img_file_open(scratch_write(&scratch, name, "", 0, 0), &options,
                          &file, &err),
            &err);
    return file;
}

/* A place in region IDX, by half of the time one of whole blocks. */
static void prepare(struct slot *slot, unsigned idx, struct img_file *file)
{
    uint64_t start = (uint64_t)idx * REGION, end = start + REGION;
    uint64_t align = random() & 1 ? 4096 : 1;
    uint64_t any = (start + random_below(REGION) + align - 1) & ~(align - 1);
    uint64_t off = any < end ? any : start;
    uint64_t len = random_below(end - off + 1) & ~(align - 1);
    uint8_t *buf = slot->buf + (random() & 1 ? random_below(4096) : 0);

    slot->request = (struct img_request){.file = file,
                                         .op = IMG_REQUEST_WRITE,
                                         .buf = buf,
                                         .len = (size_t)len,
                                         .off = off,
                                         .owner = slot};
    scratch_fill(buf, (size_t)len, (uint32_t)random());
    memcpy(slot->copy, buf, (size_t)len);
    if (len > 0) {
        memcpy(model + off, buf, (size_t)len);
        model_len = model_len > off + len ? model_len : off + len;
    }
}

static void check_contents(struct img_file *file)
{
    uint8_t *got = calloc(1, MODEL_LEN);
    size_t real;

    ck_assert_uint_eq(img_file_len(file), model_len);
    unit_ok(img_file_read_padded(file, got, MODEL_LEN, 0, &real, &err), &err);
    ck_assert_uint_eq(real, model_len);
    ck_assert(memcmp(got, model, MODEL_LEN) == 0);
    free(got);
}

static void check_answer(const struct img_request *request)
{
    const struct slot *slot = request->owner;

    ck_assert_int_eq(request->result, 0);
    ck_assert(memcmp(request->buf, slot->copy, request->len) == 0);
}

/* ROUNDS random writes of FILE, which is empty or zeros of FIXED_LEN. */
static void check_random(enum img_engine_kind kind, struct img_file *file,
                         uint64_t fixed_len)
{
    struct img_engine *engine = new_engine(kind);
    struct slot slots[DEPTH] = {0};
    bool is_busy[DEPTH] = {false};
    struct img_request *done;
    struct img_error ignored;

    srandom(42);
    memset(model, 0, sizeof(model));
    model_len = fixed_len;
    for (unsigned i = 0; i < DEPTH; i++) {
        slots[i].buf = img_alloc_aligned(REGION + 4096, &ignored);
        slots[i].copy = malloc(REGION);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned idx = (unsigned)random_below(DEPTH);
        while (is_busy[idx]) {
            unit_ok(img_engine_wait(engine, &done, &err), &err);
            check_answer(done);
            is_busy[(struct slot *)done->owner - slots] = false;
        }
        prepare(&slots[idx], idx, file);
        unit_ok(img_engine_submit(engine, &slots[idx].request, &err), &err);
        is_busy[idx] = true;
    }
    while (img_engine_in_flight(engine) > 0) {
        unit_ok(img_engine_wait(engine, &done, &err), &err);
        check_answer(done);
    }
    check_contents(file);
    for (unsigned i = 0; i < DEPTH; i++) {
        free(slots[i].buf);
        free(slots[i].copy);
    }
    img_engine_free(engine);
}

START_TEST(test_files)
{
    for (size_t i = 0; i < 4; i++) {
        struct img_file *file;
        struct stat st;
        scratch_open(&scratch);
        file = open_new("a", i & 1);
        check_random(kinds[i / 2], file, 0);
        ck_assert_int_eq(stat(img_file_path(file), &st), 0);
        ck_assert_uint_eq((uint64_t)st.st_size, model_len);
        img_file_unref(file);
        scratch_close(&scratch);
    }
}
END_TEST

START_TEST(test_slices)
{
    for (size_t i = 0; i < 8; i++) {
        uint64_t start = i & 1 ? 777 : 8192;
        struct img_file *file, *slice;
        uint8_t around[2];
        scratch_open(&scratch);
        file = open_new("a", i & 2);
        unit_ok(img_file_resize(file, start + MODEL_LEN + 999, &err), &err);
        unit_ok(img_file_write(file, "A", 1, start - 1, &err), &err);
        unit_ok(img_file_write(file, "B", 1, start + MODEL_LEN, &err), &err);
        unit_ok(img_file_slice(file, start, MODEL_LEN, &slice, &err), &err);
        check_random(kinds[i / 4], slice, MODEL_LEN);
        unit_ok(img_file_read(file, around, 1, start - 1, &err), &err);
        unit_ok(img_file_read(file, around + 1, 1, start + MODEL_LEN, &err),
                &err);
        ck_assert_mem_eq(around, "AB", 2);
        ck_assert_uint_eq(img_file_len(file), start + MODEL_LEN + 999);
        img_file_unref(slice);
        img_file_unref(file);
        scratch_close(&scratch);
    }
}
END_TEST

START_TEST(test_without_descriptor)
{
    struct img_fault faults = {.short_write = 1000};

    for (size_t i = 0; i < 2; i++) {
        struct img_file *memory, *file, *faulty;
        unit_ok(img_file_from_memory("m", "", 0, &memory, &err), &err);
        check_random(kinds[i], memory, 0);
        img_file_unref(memory);
        scratch_open(&scratch);
        file = open_new("a", true);
        unit_ok(img_file_with_faults(file, &faults, &faulty, &err), &err);
        check_random(kinds[i], faulty, 0);
        img_file_unref(faulty);
        img_file_unref(file);
        scratch_close(&scratch);
    }
}
END_TEST

static int write_once(struct img_engine *engine, struct img_file *file,
                      const void *bytes, size_t len, uint64_t off)
{
    struct img_request request = {
        .file = file, .op = IMG_REQUEST_WRITE, .len = len, .off = off};
    struct img_request *done;

    memcpy(&request.buf, &bytes, sizeof(bytes));
    unit_ok(img_engine_submit(engine, &request, &err), &err);
    unit_ok(img_engine_wait(engine, &done, &err), &err);
    ck_assert_ptr_eq(done, &request);
    return done->result;
}

START_TEST(test_refusals)
{
    static const struct img_open_options only_read = {0};
    uint8_t bytes[512] = {1};

    for (size_t i = 0; i < 2; i++) {
        struct img_engine *engine = new_engine(kinds[i]);
        struct img_file *file, *slice, *reader = NULL;
        scratch_open(&scratch);
        file = open_new("a", false);
        unit_ok(img_file_resize(file, 4096, &err), &err);
        unit_ok(img_file_slice(file, 0, 1024, &slice, &err), &err);
        unit_ok(img_file_open(img_file_path(file), &only_read, &reader, &err),
                &err);
        ck_assert_int_eq(write_once(engine, reader, bytes, 512, 0), -EBADF);
        ck_assert_int_eq(write_once(engine, slice, bytes, 512, 513), -EFBIG);
        ck_assert_int_eq(write_once(engine, slice, bytes, 512, UINT64_MAX),
                         -EFBIG);
        ck_assert_int_eq(write_once(engine, file, bytes, 512, INT64_MAX - 511),
                         -EFBIG);
        ck_assert_int_eq(write_once(engine, slice, bytes, 512, 512), 0);
        ck_assert_int_eq(write_once(engine, file, bytes, 0, 9999), 0);
        ck_assert_uint_eq(img_file_len(file), 4096);
        img_file_unref(reader);
        img_file_unref(slice);
        img_file_unref(file);
        img_engine_free(engine);
        scratch_close(&scratch);
    }
}
END_TEST

/* The file may not grow beyond 10000 bytes: a short write, then an error. */
START_TEST(test_short_write)
{
    struct rlimit limit, before;
    static uint8_t bytes[20000], got[20000];

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    scratch_fill(bytes, sizeof(bytes), 1);
    for (size_t i = 0; i < 2; i++) {
        struct img_engine *engine = new_engine(kinds[i]);
        struct img_file *file;
        size_t real;
        scratch_open(&scratch);
        file = open_new("a", false);
        limit = before;
        limit.rlim_cur = 10000;
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        ck_assert_int_eq(write_once(engine, file, bytes, sizeof(bytes), 0),
                         -EFBIG);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        ck_assert_uint_eq(img_file_len(file), 10000);
        unit_ok(img_file_read_padded(file, got, sizeof(got), 0, &real, &err),
                &err);
        ck_assert_uint_eq(real, 10000);
        ck_assert_mem_eq(got, bytes, 10000);
        img_file_unref(file);
        img_engine_free(engine);
        scratch_close(&scratch);
    }
}
END_TEST

/*
 * While a write far out is in flight, zeroing beyond the end that is known
 * must not cut the file below it.
 */
START_TEST(test_zero_beside_a_write)
{
    static uint8_t bytes[4096];
    uint8_t byte = 0;

    memset(bytes, 7, sizeof(bytes));
    for (size_t i = 0; i < 2; i++) {
        struct img_engine *engine = new_engine(kinds[i]);
        struct img_request far = {.op = IMG_REQUEST_WRITE,
                                  .buf = bytes,
                                  .len = sizeof(bytes),
                                  .off = 8u << 20};
        struct img_request near = {
            .op = IMG_REQUEST_WRITE, .buf = bytes, .len = sizeof(bytes)};
        struct img_request *done;
        struct img_file *file;
        scratch_open(&scratch);
        file = open_new("a", false);
        far.file = near.file = file;
        unit_ok(img_engine_submit(engine, &far, &err), &err);
        unit_ok(img_engine_submit(engine, &near, &err), &err);
        unit_ok(img_engine_wait(engine, &done, &err), &err);
        unit_ok(img_file_zero(file, 4096, 1 << 20, IMG_ZERO_UNMAP, &err), &err);
        unit_ok(img_engine_wait(engine, &done, &err), &err);
        ck_assert_uint_eq(img_file_len(file), (8u << 20) + sizeof(bytes));
        unit_ok(img_file_read(file, &byte, 1, (8u << 20) + 4095, &err), &err);
        ck_assert_uint_eq(byte, 7);
        img_file_unref(file);
        img_engine_free(engine);
        scratch_close(&scratch);
    }
}
END_TEST

UNIT_SUITE("engine writes", test_files, test_slices, test_without_descriptor,
           test_refusals, test_short_write, test_zero_beside_a_write)
