/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both engines against the bytes that were written, over every sort of file;
 * each test runs once per engine.
 */
#include <errno.h>
#include <liburing.h>
#include <sys/resource.h>

#include <img/engine.h>
#include <img/memory.h>

#include "deny.h"
#include "scratch.h"

#define CONTENT_LEN ((3u << 20) + 1234)
#define REQUEST_MAX 70000u
#define DEPTH 32u
#define ROUNDS 3000u

static struct scratch scratch;
static struct img_error err;
static const enum img_engine_kind kinds[] = {IMG_ENGINE_SYNC, IMG_ENGINE_URING};

static uint8_t *content;

/* Data and holes by turns; CONTENT_LEN bytes in content. */
static const char *write_content(void)
{
    const char *path = scratch_path(&scratch, "content");
    size_t step = 192 * 1024;

    content = calloc(1, CONTENT_LEN);
    for (size_t off = 0; off < CONTENT_LEN; off += 2 * step) {
        size_t len = CONTENT_LEN - off < step ? CONTENT_LEN - off : step;
        scratch_fill(content + off, len, (uint32_t)off);
        scratch_write(&scratch, "content", content + off, len, (off_t)off);
    }
    ck_assert_int_eq(truncate(path, CONTENT_LEN), 0);
    return path;
}

static struct img_engine *new_engine(enum img_engine_kind kind, unsigned depth)
{
    struct img_engine *engine = NULL;

    unit_ok(img_engine_new(kind, depth, &engine, &err), &err);
    ck_assert_int_eq((int)img_engine_kind(engine), (int)kind);
    return engine;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    return len == 0 ||
           (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

struct slot {
    struct img_request request;
    uint8_t *buf;
};

static size_t random_below(size_t n)
{
    return (size_t)random() % n;
}

/* Any place and length, often aligned, often near or past the end. */
static void randomize(struct slot *slot, struct img_file *file)
{
    size_t align = random() & 1 ? 4096 : 1;
    uint64_t len = img_file_len(file);

    slot->request.file = file;
    slot->request.len = random_below(REQUEST_MAX) & ~(align - 1);
    slot->request.off = random_below(len + len / 8 + 1) & ~(align - 1);
    if (random_below(50) == 0) {
        slot->request.off = UINT64_MAX - random_below(100000);
    }
    slot->request.buf = slot->buf + (align == 1 ? random_below(4096) : 0);
    slot->request.owner = slot;
    memset(slot->request.buf, 0xa5, slot->request.len + 1);
}

static void check_answer(const struct img_request *request, const uint8_t *want,
                         uint64_t want_len)
{
    size_t real = 0;

    ck_assert_int_eq(request->result, 0);
    if (request->off < want_len) {
        uint64_t left = want_len - request->off;
        real = request->len < left ? request->len : (size_t)left;
        ck_assert(memcmp(request->buf, want + request->off, real) == 0);
    }
    ck_assert(is_zero((uint8_t *)request->buf + real, request->len - real));
    /* not a byte too many */
    ck_assert_uint_eq(((uint8_t *)request->buf)[request->len], 0xa5);
}

static void new_slots(struct slot *slots)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        struct img_error ignored;
        slots[i].buf = img_alloc_aligned(REQUEST_MAX + 8192, &ignored);
        ck_assert_ptr_nonnull(slots[i].buf);
    }
}

static void free_slots(struct slot *slots)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        free(slots[i].buf);
    }
}

/* ROUNDS random reads of FILE, which must read as WANT. */
static void check_random(enum img_engine_kind kind, struct img_file *file,
                         const uint8_t *want, uint64_t want_len)
{
    struct img_engine *engine = new_engine(kind, DEPTH);
    struct slot slots[DEPTH] = {0};
    struct slot *idle[DEPTH];
    struct img_request *done;
    unsigned idle_nr, submitted = 0;

    srandom(42);
    new_slots(slots);
    for (idle_nr = 0; idle_nr < DEPTH; idle_nr++) {
        idle[idle_nr] = &slots[idle_nr];
    }
    while (submitted < ROUNDS || idle_nr < DEPTH) {
        /* sometimes one by one, sometimes several together */
        while (submitted < ROUNDS && idle_nr > random_below(4)) {
            struct slot *slot = idle[--idle_nr];
            randomize(slot, file);
            unit_ok(img_engine_submit(engine, &slot->request, &err), &err);
            submitted++;
        }
        unit_ok(img_engine_wait(engine, &done, &err), &err);
        ck_assert_ptr_nonnull(done);
        check_answer(done, want, want_len);
        idle[idle_nr++] = done->owner;
    }
    ck_assert_uint_eq(img_engine_in_flight(engine), 0);
    unit_ok(img_engine_wait(engine, &done, &err), &err);
    ck_assert_ptr_null(done);
    free_slots(slots);
    img_engine_free(engine);
}

static struct img_file *open_as(const char *path, bool direct)
{
    struct img_open_options options = {.direct = direct};
    struct img_file *file = NULL;

    unit_ok(img_file_open(path, &options, &file, &err), &err);
    return file;
}

START_TEST(test_random_reads)
{
    for (size_t i = 0; i < 2; i++) {
        scratch_open(&scratch);
        const char *path = write_content();
        for (int direct = 0; direct < 2; direct++) {
            struct img_file *file = open_as(path, direct);
            struct img_file *slice;
            check_random(kinds[i], file, content, CONTENT_LEN);
            unit_ok(img_file_slice(file, 8192, 1000000, &slice, &err), &err);
            check_random(kinds[i], slice, content + 8192, 1000000);
            img_file_unref(slice);
            unit_ok(img_file_slice(file, 777, 1000001, &slice, &err), &err);
            check_random(kinds[i], slice, content + 777, 1000001);
            img_file_unref(slice);
            img_file_unref(file);
        }
        free(content);
        scratch_close(&scratch);
    }
}
END_TEST

START_TEST(test_random_reads_without_descriptor)
{
    struct img_fault faults = {.short_read = 1000};

    for (size_t i = 0; i < 2; i++) {
        struct img_file *file, *memory, *faulty, *slice;
        scratch_open(&scratch);
        file = open_as(write_content(), false);
        unit_ok(img_file_from_memory("m", content, CONTENT_LEN, &memory, &err),
                &err);
        check_random(kinds[i], memory, content, CONTENT_LEN);
        unit_ok(img_file_slice(memory, 5, 999999, &slice, &err), &err);
        check_random(kinds[i], slice, content + 5, 999999);
        unit_ok(img_file_with_faults(file, &faults, &faulty, &err), &err);
        check_random(kinds[i], faulty, content, CONTENT_LEN);
        img_file_unref(faulty);
        img_file_unref(slice);
        img_file_unref(memory);
        img_file_unref(file);
        free(content);
        scratch_close(&scratch);
    }
}
END_TEST

/* More than one bounce buffer's worth, at odd places. */
START_TEST(test_long_direct_reads)
{
    static const uint64_t offs[] = {0, 4096, 1, 4095, 1234567};
    struct img_error ignored;
    uint8_t *buf;

    for (size_t i = 0; i < 2; i++) {
        struct img_engine *engine = new_engine(kinds[i], 4);
        struct img_file *file;
        scratch_open(&scratch);
        file = open_as(write_content(), true);
        buf = img_alloc_aligned(2 * CONTENT_LEN, &ignored);
        for (size_t k = 0; k < 2 * sizeof(offs) / sizeof(offs[0]); k++) {
            struct img_request *done;
            struct img_request request = {.file = file,
                                          .buf = buf + k % 2,
                                          .len = CONTENT_LEN,
                                          .off = offs[k / 2]};
            size_t real = CONTENT_LEN - (size_t)request.off;
            memset(buf, 0xa5, 2 * CONTENT_LEN);
            unit_ok(img_engine_submit(engine, &request, &err), &err);
            unit_ok(img_engine_wait(engine, &done, &err), &err);
            ck_assert_ptr_eq(done, &request);
            ck_assert_int_eq(done->result, 0);
            ck_assert(memcmp(buf + k % 2, content + offs[k / 2], real) == 0);
            ck_assert(is_zero(buf + k % 2 + real, CONTENT_LEN - real));
            ck_assert_uint_eq(buf[k % 2 + CONTENT_LEN], 0xa5);
        }
        free(buf);
        free(content);
        img_file_unref(file);
        img_engine_free(engine);
        scratch_close(&scratch);
    }
}
END_TEST

START_TEST(test_read_errors)
{
    struct img_fault faults = {
        .fail_from_off = 100, .fail_len = 1, .fail_errno = ENXIO};
    uint8_t buf[3][64];

    for (size_t i = 0; i < 2; i++) {
        struct img_engine *engine = new_engine(kinds[i], 4);
        struct img_file *memory, *faulty, *mem;
        struct img_request *done;
        uint8_t bytes[200];
        int results[3] = {1, 1, 1};

        /* nothing is mapped at 0, so that the kernel answers EIO */
        mem = open_as("/proc/self/mem", false);
        scratch_fill(bytes, sizeof(bytes), 1);
        unit_ok(img_file_from_memory("m", bytes, sizeof(bytes), &memory, &err),
                &err);
        unit_ok(img_file_with_faults(memory, &faults, &faulty, &err), &err);
        struct img_request requests[3] = {
            {.file = mem, .buf = buf[0], .len = 64},
            {.file = faulty, .buf = buf[1], .len = 64, .off = 60},
            {.file = faulty, .buf = buf[2], .len = 64, .off = 36},
        };
        for (int k = 0; k < 3; k++) {
            unit_ok(img_engine_submit(engine, &requests[k], &err), &err);
        }
        for (int k = 0; k < 3; k++) {
            unit_ok(img_engine_wait(engine, &done, &err), &err);
            ck_assert_ptr_nonnull(done);
            results[done - requests] = done->result;
        }
        ck_assert_int_eq(results[0], -EIO);
        ck_assert_int_eq(results[1], -ENXIO);
        ck_assert_int_eq(results[2], 0);
        ck_assert_mem_eq(buf[2], bytes + 36, 64);
        img_file_unref(mem);
        img_file_unref(faulty);
        img_file_unref(memory);
        img_engine_free(engine);
    }
}
END_TEST

START_TEST(test_file_that_shrank)
{
    uint8_t buf[8192];

    for (size_t i = 0; i < 2; i++) {
        struct img_engine *engine = new_engine(kinds[i], 1);
        struct img_file *file;
        struct img_request *done;
        scratch_open(&scratch);
        file = open_as(write_content(), false);
        ck_assert_int_eq(truncate(img_file_path(file), 5000), 0);
        struct img_request request = {
            .file = file, .buf = buf, .len = sizeof(buf)};
        memset(buf, 0xa5, sizeof(buf));
        unit_ok(img_engine_submit(engine, &request, &err), &err);
        unit_ok(img_engine_wait(engine, &done, &err), &err);
        ck_assert_int_eq(done->result, 0);
        ck_assert_mem_eq(buf, content, 5000);
        ck_assert(is_zero(buf + 5000, sizeof(buf) - 5000));
        free(content);
        img_file_unref(file);
        img_engine_free(engine);
        scratch_close(&scratch);
    }
}
END_TEST

START_TEST(test_limits)
{
    struct img_engine *engine = NULL;
    uint8_t bytes[4];
    struct img_file *file;
    struct img_request *done;

    unit_fails(img_engine_new(IMG_ENGINE_AUTO, 0, &engine, &err), &err,
               IMG_USAGE, "engine depth: found 0, expected 1 to 4096");
    unit_fails(img_engine_new(IMG_ENGINE_SYNC, 4097, &engine, &err), &err,
               IMG_USAGE, "engine depth: found 4097, expected 1 to 4096");
    ck_assert_ptr_null(engine);
    img_engine_free(NULL);
    unit_ok(img_file_from_memory("m", "abcd", 4, &file, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        struct img_request a = {.file = file, .buf = bytes, .len = 4};
        struct img_request b = a, c = a;
        engine = new_engine(kinds[i], 2);
        unit_ok(img_engine_submit(engine, &a, &err), &err);
        unit_ok(img_engine_submit(engine, &b, &err), &err);
        unit_fails(img_engine_submit(engine, &c, &err), &err, IMG_LIMIT,
                   "the engine is full: found 2 requests in flight, "
                   "expected fewer");
        unit_ok(img_engine_wait(engine, &done, &err), &err);
        unit_ok(img_engine_submit(engine, &c, &err), &err);
        ck_assert_uint_eq(img_engine_in_flight(engine), 2);
        img_engine_free(engine); /* with two in flight */
        engine = new_engine(kinds[i], 4096);
        img_engine_free(engine);
    }
    img_file_unref(file);
}
END_TEST

/* Freed with reads in the kernel: none may land in memory freed after. */
START_TEST(test_free_waits)
{
    uint8_t *buf = calloc(DEPTH, 65536);
    struct img_request requests[DEPTH];
    struct img_request *done;

    for (size_t i = 0; i < 2; i++) {
        struct img_engine *engine = new_engine(kinds[i], DEPTH);
        struct img_file *file;
        scratch_open(&scratch);
        file = open_as(write_content(), true);
        for (unsigned k = 0; k < DEPTH; k++) {
            /* one in two goes through a bounce buffer */
            requests[k] = (struct img_request){.file = file,
                                               .buf = buf + 65536 * k,
                                               .len = 65536,
                                               .off = 4096 * k + (k & 1)};
            unit_ok(img_engine_submit(engine, &requests[k], &err), &err);
        }
        unit_ok(img_engine_wait(engine, &done, &err), &err);
        ck_assert_ptr_nonnull(done);
        img_engine_free(engine);
        img_file_unref(file);
        free(content);
        scratch_close(&scratch);
    }
    free(buf);
}
END_TEST

START_TEST(test_falls_back_without_io_uring)
{
    struct img_engine *engine = NULL;
    struct rlimit limit, before;
    int lowest = dup(0);

    ck_assert_int_ge(lowest, 0);
    close(lowest);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)lowest;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    unit_fails(img_engine_new(IMG_ENGINE_URING, 8, &engine, &err), &err,
               IMG_UNSUPPORTED, "cannot use io_uring: Too many open files");
    ck_assert_ptr_null(engine);
    unit_ok(img_engine_new(IMG_ENGINE_AUTO, 8, &engine, &err), &err);
    ck_assert_int_eq((int)img_engine_kind(engine), IMG_ENGINE_SYNC);
    img_engine_free(engine);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}
END_TEST

START_TEST(test_falls_back_where_forbidden)
{
    static const int reasons[] = {EPERM, ENOSYS, ENOMEM};

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        struct img_engine *engine = NULL;
        char text[128];
        /* the newest filter's word counts if none is stricter */
        deny_call(SYS_io_uring_setup, DENY_ANY, reasons[i]);
        snprintf(text, sizeof(text), "cannot use io_uring: %s",
                 strerror(reasons[i]));
        unit_fails(img_engine_new(IMG_ENGINE_URING, 8, &engine, &err), &err,
                   IMG_UNSUPPORTED, text);
        unit_ok(img_engine_new(IMG_ENGINE_AUTO, 8, &engine, &err), &err);
        ck_assert_int_eq((int)img_engine_kind(engine), IMG_ENGINE_SYNC);
        img_engine_free(engine);
    }
}
END_TEST

/* A kernel before 5.10, or one that lets a ring be registered nowhere. */
START_TEST(test_ring_without_restrictions)
{
    struct img_engine *engine = NULL;

    deny_call(SYS_io_uring_register, IORING_REGISTER_RESTRICTIONS, EINVAL);
    unit_ok(img_engine_new(IMG_ENGINE_URING, 8, &engine, &err), &err);
    img_engine_free(engine);
}
END_TEST

START_TEST(test_old_kernel_ring)
{
    struct img_engine *engine = NULL;
    struct img_file *file;
    struct img_request *done;
    char buf[8];
    struct img_request request = {.buf = buf, .len = 8};

    deny_call(SYS_io_uring_register, IORING_REGISTER_ENABLE_RINGS, EINVAL);
    unit_ok(img_engine_new(IMG_ENGINE_URING, 8, &engine, &err), &err);
    scratch_open(&scratch);
    file = open_as(scratch_write(&scratch, "a", "hello", 5, 0), false);
    request.file = file;
    unit_ok(img_engine_submit(engine, &request, &err), &err);
    unit_ok(img_engine_wait(engine, &done, &err), &err);
    ck_assert_int_eq(done->result, 0);
    ck_assert_mem_eq(buf, "hello\0\0", 8);
    img_engine_free(engine);
    deny_call(SYS_io_uring_register, IORING_REGISTER_PROBE, EINVAL);
    unit_fails(img_engine_new(IMG_ENGINE_URING, 8, &engine, &err), &err,
               IMG_UNSUPPORTED, "cannot use io_uring: Operation not supported");
    img_file_unref(file);
    scratch_close(&scratch);
}
END_TEST

/*
 * Files that cannot be read without waiting answer EAGAIN when somebody has
 * set O_NONBLOCK on the description; they are read all the same.
 */
START_TEST(test_nonblocking_descriptor)
{
    char want[4096], got[4096];
    int fd = open("/proc/version", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct img_open_options options = {.lock = IMG_LOCK_NONE};
    struct img_engine *engine = new_engine(IMG_ENGINE_URING, 8);
    struct img_file *file = NULL;
    struct img_request *done;

    memset(want, 0, sizeof(want));
    ck_assert_int_gt(pread(fd, want, sizeof(want), 0), 10);
    unit_ok(img_file_open_fd(fd, "version", &options, &file, &err), &err);
    struct img_request request = {.file = file, .buf = got, .len = sizeof(got)};
    unit_ok(img_engine_submit(engine, &request, &err), &err);
    unit_ok(img_engine_wait(engine, &done, &err), &err);
    ck_assert_int_eq(done->result, 0);
    ck_assert_mem_eq(got, want, sizeof(got));
    img_file_unref(file);
    img_engine_free(engine);
    close(fd);
}
END_TEST

START_TEST(test_auto_prefers_io_uring)
{
    struct img_engine *engine = NULL;

    unit_ok(img_engine_new(IMG_ENGINE_AUTO, 8, &engine, &err), &err);
    ck_assert_int_eq((int)img_engine_kind(engine), IMG_ENGINE_URING);
    img_engine_free(engine);
}
END_TEST

/* The descriptor that the next open returns becomes the ring's. */
static int next_fd(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

/* A second mapping of the engine's ring lets the test misuse it. */
START_TEST(test_ring_only_reads)
{
    int fd = next_fd();
    struct img_engine *engine = new_engine(IMG_ENGINE_URING, 8);
    struct io_uring_params params = {.flags = IORING_SETUP_R_DISABLED |
                                              IORING_SETUP_COOP_TASKRUN};
    struct io_uring twin, ring;
    struct io_uring_sqe *sqe;
    struct io_uring_cqe *cqe;
    char link[64], target[64] = "";

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ck_assert_int_gt(readlink(link, target, sizeof(target) - 1), 0);
    ck_assert_str_eq(target, "anon_inode:[io_uring]");
    /* the twin is only made to learn where things lie in a ring */
    ck_assert_int_eq(io_uring_queue_init_params(8, &twin, &params), 0);
    ck_assert_int_eq(io_uring_queue_mmap(fd, &params, &ring), 0);
    ring.flags = 0;
    sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        ck_abort_msg("the ring is full");
    }
    io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
    ck_assert_int_eq(io_uring_submit(&ring), 1);
    ck_assert_int_eq(io_uring_wait_cqe(&ring, &cqe), 0);
    ck_assert_int_eq(cqe->res, -EACCES);
    io_uring_cqe_seen(&ring, cqe);
    io_uring_queue_exit(&twin);
    img_engine_free(engine);
}
END_TEST

UNIT_SUITE("engine", test_random_reads, test_random_reads_without_descriptor,
           test_long_direct_reads, test_read_errors, test_file_that_shrank,
           test_limits, test_free_waits, test_falls_back_without_io_uring,
           test_falls_back_where_forbidden, test_ring_without_restrictions,
           test_old_kernel_ring, test_nonblocking_descriptor,
           test_auto_prefers_io_uring, test_ring_only_reads)
