/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cancelling while the size of an image changes: before the switch nothing
   has happened, after it the work ends, or the message says what it is. */
#include "edit_fixture.h"
#include "recorder.h"

static const struct fixture_kind plain = {
    "plain", 3, 4096, 16, .has_backing = true, .sectors = 2048};

/* Somebody cancels when the header was written. */
static volatile int cancelled;

static ssize_t trip_pwrite(struct img_file *file, const void *buf, size_t len,
                           uint64_t off)
{
    if (off == 0) {
        cancelled = 1;
    }
    return file->inner->ops->pwrite(file->inner, buf, len, off);
}

/* What resizing to SECTORS came to. */
static int resize(struct fixture *f, uint64_t sectors, struct img_error *err)
{
    struct img_file_ops ops = recorder_ops;
    struct record_log log = {0};
    struct img_file *memory = f->file;
    struct qcow2_edit *edit;

    ops.pwrite = trip_pwrite;
    f->file = recorder_new(memory, &log, 0);
    f->file->ops = &ops;
    f->options.cancel = &cancelled;
    unit_ok(qcow2_edit_open(f->file, NULL, &f->options, &edit, err), err);
    int result =
        qcow2_edit_resize(edit, sectors * SECTOR, QCOW2_PREALLOC_OFF, err);
    qcow2_edit_free(edit);
    img_file_unref(f->file);
    f->file = memory;
    record_log_fini(&log);
    return result;
}

static uint64_t sectors_of(struct img_file *file)
{
    struct img_error err = {0};
    struct img_image *image;

    unit_ok(qcow2_open(file, &(struct qcow2_options){0}, &image, &err), &err);
    uint64_t sectors = image->virtual_len / SECTOR;
    img_image_free(image);
    return sectors;
}

START_TEST(test_before)
{
    struct fixture f;
    struct img_error err = {0};

    fixture_init(&f, &plain, 5);
    cancelled = 1;
    ck_assert_int_eq(resize(&f, 4096, &err), -1);
    ck_assert_int_eq(err.code, IMG_CANCELLED);
    ck_assert_str_eq(err.text, "cancelled");
    ck_assert_uint_eq(sectors_of(f.file), 2048);
    fixture_check(&f);
    fixture_fini(&f);
}
END_TEST

START_TEST(test_growing)
{
    struct fixture f;
    struct img_error err = {0};

    fixture_init(&f, &plain, 5);
    cancelled = 0;
    unit_ok(resize(&f, 4096, &err), &err);
    ck_assert_int_eq(cancelled, 1);
    ck_assert_uint_eq(sectors_of(f.file), 4096);
    image_check(f.file, NULL, false, "grown");
    fixture_fini(&f);
}
END_TEST

START_TEST(test_shrinking)
{
    struct fixture f;
    struct img_error err = {0};

    fixture_init(&f, &plain, 5);
    cancelled = 0;
    ck_assert_int_eq(resize(&f, 8, &err), -1);
    ck_assert_int_eq(err.code, IMG_CANCELLED);
    ck_assert_str_eq(err.text,
                     "cancelled; it has its new size already, what lay beyond"
                     " is lost, and some of that may still take up space"
                     " (qemu-img check -r leaks)");
    ck_assert_uint_eq(sectors_of(f.file), 8);
    image_check(f.file, NULL, true, "shrunk");
    fixture_fini(&f);
}
END_TEST

UNIT_SUITE("edit cancel", test_before, test_growing, test_shrinking)
