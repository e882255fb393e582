/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The in-place writer on a file whose Nth write, flush or resize fails: the
 * error is told, the edit is over, and the image is as after a crash.
 */
#include <errno.h>

#include "edit_fixture.h"

static const struct fixture_kind kinds[] = {
    {"snapshot", 3, 1024, 16, .has_backing = true, .has_snapshot = true,
     .has_compressed = true, .sectors = 300},
    {"plain", 3, 512, 64, .has_backing = true, .sectors = 400},
};

#define STEPS 7u

/* The guest's disk after each step. */
struct path {
    uint8_t at[STEPS + 1][400];
};

static int store(struct fixture *f, uint64_t off, uint64_t len, uint8_t byte)
{
    uint8_t bytes[8192];

    ck_assert_uint_le(len, sizeof(bytes));
    memset(bytes, byte, len);
    memset(f->now + off / SECTOR, byte, len / SECTOR);
    for (uint64_t at = 0; at < len;) {
        struct qcow2_place place;

        if (qcow2_edit_place(f->edit, off + at, len - at, &place, &f->err) ||
            img_file_write(place.file, bytes + at, place.len, place.host_off,
                           &f->err)) {
            return -1;
        }
        at += place.len;
    }
    return 0;
}

/* Step STEP, and f->now as it is to be. */
static int step_do(struct fixture *f, unsigned step)
{
    switch (step) {
    case 1:
        return store(f, 4096, 8192, 0x11);
    case 2:
        memset(f->now + 4, 0, 16);
        return qcow2_edit_zero(f->edit, 2048, 8192, false, &f->err);
    case 3:
        memset(f->now + 100, BELOW, 60);
        return qcow2_edit_discard(f->edit, 51200, 60ull * SECTOR, &f->err);
    case 4:
        return qcow2_edit_commit(f->edit, &f->err);
    case 5:
        return store(f, 102400, 8192, 0x22);
    case 6:
        return qcow2_edit_commit(f->edit, &f->err);
    default:
        memset(f->now, BELOW, f->kind->sectors);
        return qcow2_edit_make_empty(f->edit, &f->err);
    }
}

/* Every sector is as it was after one of the steps. */
static void ck_contents(struct fixture *f, struct img_file *file,
                        const struct path *path)
{
    uint64_t sectors = f->kind->sectors;
    uint8_t found[400];

    disk_read(file, NULL, NULL, sectors, found);
    for (uint64_t i = 0; i < sectors; i++) {
        unsigned step = 0;

        while (step <= STEPS && path->at[step][i] != found[i]) {
            step++;
        }
        if (step > STEPS) {
            ck_abort_msg("sector %llu is 0x%02x", (unsigned long long)i,
                         found[i]);
        }
    }
    if (f->kind->has_snapshot) {
        disk_read(file, NULL, "1", sectors, found);
        ck_assert_mem_eq(found, f->before, sectors);
    }
}

/* All steps with FAULT; false: one failed, as it must then. */
static bool run(struct fixture *f, const struct img_fault *fault,
                struct path *path)
{
    struct img_file *inner = f->file;
    unsigned step = 1;

    unit_ok(img_file_with_faults(inner, fault, &f->file, &f->err), &f->err);
    fixture_open(f);
    memcpy(path->at[0], f->now, f->kind->sectors);
    while (step <= STEPS && step_do(f, step) == 0) {
        memcpy(path->at[step], f->now, f->kind->sectors);
        step++;
    }
    for (unsigned i = step; i <= STEPS; i++) {
        memcpy(path->at[i], f->now, f->kind->sectors);
    }
    if (step <= STEPS) {
        ck_assert_str_eq(f->err.path, "test.qcow2");
        ck_assert_int_eq(f->err.sys_errno, fault->fail_errno);
        ck_assert_int_eq((int)f->err.code,
                         fault->fail_errno == ENOSPC ? IMG_SYSTEM : IMG_IO);
    }
    fixture_close(f);
    img_file_unref(f->file);
    f->file = inner;
    return step > STEPS;
}

/* Which of the three counters of a fault counts. */
static uint64_t *counter(struct img_fault *fault, int which)
{
    return which == 0   ? &fault->fail_at_write
           : which == 1 ? &fault->fail_at_flush
                        : &fault->fail_at_resize;
}

static void run_all(const struct fixture_kind *kind, int which, int sys_errno,
                    uint64_t at_least)
{
    bool is_done = false;
    uint64_t nr = 0;

    while (!is_done) {
        struct img_fault fault = {.fail_errno = sys_errno};
        struct path path = {0};
        struct fixture f;

        *counter(&fault, which) = ++nr;
        fixture_init(&f, kind, 3);
        is_done = run(&f, &fault, &path);
        image_check(f.file, NULL, true, kind->name);
        ck_contents(&f, f.file, &path);
        fixture_fini(&f);
    }
    ck_assert_uint_gt(nr, at_least);
}

START_TEST(test_write_fails)
{
    run_all(&kinds[_i], 0, EIO, 12);
}
END_TEST

START_TEST(test_write_finds_no_space)
{
    run_all(&kinds[_i], 0, ENOSPC, 12);
}
END_TEST

START_TEST(test_flush_fails)
{
    run_all(&kinds[_i], 1, EIO, 5);
}
END_TEST

START_TEST(test_resize_fails)
{
    run_all(&kinds[_i], 2, EIO, _i == 0 ? 0 : 1);
}
END_TEST

/* A file system that is full: the text says so and names the file. */
START_TEST(test_space_runs_out)
{
    struct img_fault fault = {.fail_errno = ENOSPC};
    struct path path = {0};
    struct fixture f;

    fixture_init(&f, &kinds[_i], 3);
    fault.space_len = img_file_len(f.file);
    ck_assert(!run(&f, &fault, &path));
    ck_assert_ptr_nonnull(strstr(f.err.text, "No space left on device"));
    image_check(f.file, NULL, true, f.kind->name);
    ck_contents(&f, f.file, &path);
    fixture_fini(&f);
}
END_TEST

/* After a failed commit nothing goes on. */
START_TEST(test_over_after_failure)
{
    struct img_fault fault = {.fail_at_flush = 1};
    struct img_file *inner;
    struct fixture f;

    fixture_init(&f, &kinds[1], 3);
    inner = f.file;
    unit_ok(img_file_with_faults(inner, &fault, &f.file, &f.err), &f.err);
    fixture_open(&f);
    unit_ok(qcow2_edit_discard(f.edit, 0, 8192, &f.err), &f.err);
    ck_assert_int_eq(qcow2_edit_commit(f.edit, &f.err), -1);
    ck_assert_int_eq(f.err.sys_errno, EIO);
    unit_fails(qcow2_edit_commit(f.edit, &f.err), &f.err, IMG_USAGE,
               "an earlier change of the image failed, nothing more can be "
               "done to it before it is opened again");
    fixture_close(&f);
    img_file_unref(inner);
    fixture_fini(&f);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("edit faults");

    tcase_add_loop_test(tcase, test_write_fails, 0, 2);
    tcase_add_loop_test(tcase, test_write_finds_no_space, 0, 2);
    tcase_add_loop_test(tcase, test_flush_fails, 0, 2);
    tcase_add_loop_test(tcase, test_resize_fails, 0, 2);
    tcase_add_loop_test(tcase, test_space_runs_out, 0, 2);
    tcase_add_test(tcase, test_over_after_failure);
    return unit_run("edit faults", tcase);
}
