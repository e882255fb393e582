/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving bytes when reads or writes fail, are short, or the file system is
 * full: the first failure is told with the file's name, everything ends, and
 * what was not told to have failed is right.
 */
#include "mover_support.h"

#include <errno.h>

#define LEN (2u << 20)
#define CLUSTER 65536u

/* How bytes are moved. Bit 0: compressed source; bit 1: compressed result;
   bit 2: the synchronous engine. */
#define VARIANTS 8

struct fixture {
    struct scratch scratch;
    struct side side;
    uint8_t *bytes;
    const char *source_path;
    char dest_path[300];
};

static struct fixture fx;

static void fixture_open(int variant)
{
    struct builder builder;

    memset(&fx, 0, sizeof(fx));
    scratch_open(&fx.scratch);
    fx.bytes = malloc(LEN);
    ck_assert_ptr_nonnull(fx.bytes);
    scratch_fill(fx.bytes, LEN, 5);
    /* Something that can be packed, and a hole. */
    memset(fx.bytes + LEN / 4, 7, LEN / 4);
    memset(fx.bytes + LEN / 2, 0, 3 * CLUSTER);
    builder_init(&builder, 16, LEN);
    for (uint64_t i = 0; i < LEN / CLUSTER; i++) {
        if (variant & 1) {
            builder_compressed(&builder, i, fx.bytes + i * CLUSTER);
        } else {
            builder_data(&builder, i, fx.bytes + i * CLUSTER);
        }
    }
    fx.source_path = builder_save(&builder, &fx.scratch, "source");
    snprintf(fx.dest_path, sizeof(fx.dest_path), "%s/dest", fx.scratch.dir);
    side_open(&fx.side, fx.source_path, "qcow2");
}

static void fixture_close(void)
{
    side_close(&fx.side);
    free(fx.bytes);
    scratch_close(&fx.scratch);
}

/* FILE with FAULT around it; the given reference goes. */
static struct img_file *with_fault(struct img_file *inner,
                                   const struct img_fault *fault)
{
    struct img_file *file = NULL;
    struct img_error err = {0};

    unit_ok(img_file_with_faults(inner, fault, &file, &err), &err);
    img_file_unref(inner);
    return file;
}

static struct img_file *open_dest(void)
{
    struct img_open_options options = {.lock = IMG_LOCK_NONE, .writable = true};
    struct img_file *file = NULL;
    struct img_error err = {0};
    int fd = open(fx.dest_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    close(fd);
    unit_ok(img_file_open(fx.dest_path, &options, &file, &err), &err);
    return file;
}

static int push_all(struct qcow2_fresh *fresh, struct img_file *file,
                    int variant, struct img_error *err)
{
    bool compress = (variant & 2) != 0;
    struct chain_mover_options options = {
        .engine = variant & 4 ? IMG_ENGINE_SYNC : IMG_ENGINE_AUTO,
        .threads = 2,
        .sparse_len = 4096,
        .compress = compress,
        .budget_len = 2u << 20,
    };
    struct chain_fresh_sink sink;
    struct chain_mover *mover = NULL;

    chain_fresh_sink_init(&sink, fresh, file, false, compress ? CLUSTER : 0);
    unit_ok(chain_mover_new(&sink.sink, &options, &mover, err), err);
    int rc = chain_mover_push_range(mover, fx.side.view, 0, LEN, false, err);
    rc = rc == 0 ? chain_mover_sync(mover, err) : rc;
    if (rc != 0) {
        /* It stays so. */
        struct img_error again;
        ck_assert_int_eq(chain_mover_sync(mover, &again), -1);
        ck_assert_str_eq(again.text, err->text);
        ck_assert_str_eq(again.path, err->path);
    }
    chain_mover_free(mover);
    return rc;
}

/* Move everything into a new image whose file has FAULT; 0 or -1. */
static int move_with(int variant, const struct img_fault *fault,
                     struct img_error *err)
{
    struct qcow2_create_options options;
    struct qcow2_fresh *fresh = NULL;
    struct img_file *file = with_fault(open_dest(), fault);

    qcow2_create_options_init(&options);
    options.virtual_len = LEN;
    img_error_clear(err);
    int rc = qcow2_fresh_new(file, NULL, &options, &fresh, err);
    if (rc == 0) {
        rc = push_all(fresh, file, variant, err);
    }
    if (rc == 0) {
        rc = qcow2_fresh_finish(fresh, err);
    }
    qcow2_fresh_free(fresh);
    img_file_unref(file);
    return rc;
}

/* What was made without a word of failure shows what the source shows. */
static void check_dest(void)
{
    struct side side;
    struct img_error err = {0};
    uint8_t *bytes = malloc(LEN);

    ck_assert_ptr_nonnull(bytes);
    side_open(&side, fx.dest_path, "qcow2");
    unit_ok(chain_view_read(side.view, bytes, LEN, 0, &err), &err);
    ck_assert_int_eq(memcmp(bytes, fx.bytes, LEN), 0);
    side_close(&side);
    free(bytes);
}

/* Move with FAULT in the source's file. */
static int move_from(int variant, const struct img_fault *fault,
                     struct img_error *err)
{
    static const struct img_fault none = {0};

    side_close(&fx.side);
    side_open(&fx.side, fx.source_path, "qcow2");
    struct img_image *image =
        chain_layer_image(chain_layer_at(fx.side.chain, 0));
    image->file = with_fault(image->file, fault);
    return move_with(variant, &none, err);
}

START_TEST(test_each_read)
{
    unsigned struck = 0, missed = 0;

    fixture_open(_i);
    for (uint64_t n = 1; missed < 4; n++) {
        struct img_error err = {0};
        struct img_fault fault = {.fail_at_read = n, .fail_errno = EIO};
        if (move_from(_i, &fault, &err) == 0) {
            missed++;
            check_dest();
            continue;
        }
        ck_assert_int_eq(err.code, IMG_IO);
        ck_assert_int_eq(err.sys_errno, EIO);
        ck_assert_str_eq(err.path, fx.source_path);
        ck_assert_ptr_nonnull(strstr(err.text, "Input/output error"));
        struck++;
    }
    ck_assert_uint_ge(struck, LEN / (1u << 20));
    fixture_close();
}
END_TEST

START_TEST(test_each_place)
{
    struct img_error err = {0};
    struct img_extent e;

    fixture_open(_i);
    for (uint64_t off = 0; off < LEN; off += 5 * CLUSTER) {
        unit_ok(
            img_image_map(chain_layer_image(chain_layer_at(fx.side.chain, 0)),
                          off, 1, &e, &err),
            &err);
        struct img_fault fault = {
            .fail_from_off = e.host_off, .fail_len = 1, .fail_errno = EIO};
        ck_assert_int_eq(move_from(_i, &fault, &err), -1);
        ck_assert_int_eq(err.code, IMG_IO);
        ck_assert_str_eq(err.path, fx.source_path);
    }
    fixture_close();
}
END_TEST

START_TEST(test_each_write)
{
    static const int errnos[] = {EIO, ENOSPC};
    struct img_error err = {0};

    fixture_open(_i);
    for (size_t e = 0; e < 2; e++) {
        unsigned struck = 0;
        bool is_over = false;
        for (uint64_t n = 1; !is_over; n++) {
            struct img_fault fault = {.fail_at_write = n,
                                      .fail_errno = errnos[e]};
            is_over = move_with(_i, &fault, &err) == 0;
            if (is_over) {
                check_dest();
                continue;
            }
            ck_assert_int_eq(err.sys_errno, errnos[e]);
            ck_assert_int_eq(err.code, errnos[e] == EIO ? IMG_IO : IMG_SYSTEM);
            ck_assert_ptr_nonnull(strstr(err.text, strerror(errnos[e])));
            struck++;
        }
        ck_assert_uint_ge(struck, _i & 2 ? 5 : LEN / (1u << 20));
    }
    fixture_close();
}
END_TEST

/* The disk is full at any place. */
START_TEST(test_space)
{
    struct img_error err = {0};
    unsigned struck = 0;
    bool is_over = false;

    fixture_open(_i);
    for (uint64_t len = 1; !is_over; len += 300007) {
        struct img_fault fault = {.space_len = len};
        is_over = move_with(_i, &fault, &err) == 0;
        if (!is_over) {
            ck_assert_int_eq(err.code, IMG_SYSTEM);
            ck_assert_int_eq(err.sys_errno, ENOSPC);
            struck++;
        }
    }
    check_dest();
    ck_assert_uint_gt(struck, 3);
    fixture_close();
}
END_TEST

START_TEST(test_short)
{
    struct img_fault slow = {.short_read = 999, .short_write = 4321};
    struct img_error err = {0};

    fixture_open(_i);
    unit_ok(move_with(_i, &slow, &err), &err);
    check_dest();
    unit_ok(move_from(_i, &slow, &err), &err);
    check_dest();
    fixture_close();
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("mover faults");

    tcase_add_loop_test(tcase, test_each_read, 0, VARIANTS);
    tcase_add_loop_test(tcase, test_each_place, 0, VARIANTS);
    tcase_add_loop_test(tcase, test_each_write, 0, VARIANTS);
    tcase_add_loop_test(tcase, test_space, 0, VARIANTS);
    tcase_add_loop_test(tcase, test_short, 0, VARIANTS);
    return unit_run("mover faults", tcase);
}
