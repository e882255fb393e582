/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying: what is refused and in which words, what is left after a failure,
 * what is told. That copies are right is shown against qemu-img elsewhere.
 */
#include <chain/copy.h>

#include "mover_support.h"

#include <signal.h>

#define CLUSTER 65536u
#define LEN (4u << 20)

/* An overlay over a raw base, in a folder. */
struct fixture {
    struct scratch scratch;
    uint8_t *bytes; /* what the guest sees */
    const char *top, *base, *dest;
    struct chain_copy_request request;
    struct chain_copy_result result;
    struct img_error err;
};

static struct fixture fx;

static void write_top(void)
{
    struct builder builder;

    builder_init(&builder, 16, LEN);
    for (uint64_t i = 1; i < LEN / CLUSTER; i += 3) {
        scratch_fill(fx.bytes + i * CLUSTER, CLUSTER, 77 + (uint32_t)i);
        builder_data(&builder, i, fx.bytes + i * CLUSTER);
    }
    builder_set(&builder, 5, 1);
    memset(fx.bytes + 5 * CLUSTER, 0, CLUSTER);
    /* The name, and its format as an extension. */
    img_store_be64(builder.bytes + 8, 512);
    img_store_be32(builder.bytes + 16, 4);
    memcpy(builder.bytes + 512, "base", 4);
    img_store_be32(builder.bytes + 104, 0xe2792aca);
    img_store_be32(builder.bytes + 108, 3);
    memcpy(builder.bytes + 112, "raw", 3);
    fx.top = builder_save(&builder, &fx.scratch, "top");
}

static void fixture_open(void)
{
    memset(&fx, 0, sizeof(fx));
    scratch_open(&fx.scratch);
    fx.bytes = malloc(LEN);
    ck_assert_ptr_nonnull(fx.bytes);
    scratch_fill(fx.bytes, LEN, 1);
    fx.base = scratch_write(&fx.scratch, "base", fx.bytes, LEN, 0);
    write_top();
    fx.dest = scratch_path(&fx.scratch, "dest");
    chain_copy_request_init(&fx.request);
    fx.request.source = fx.top;
    fx.request.source_format = "qcow2";
    fx.request.dest.path = fx.dest;
    fx.request.dest.format = "qcow2";
}

static void fixture_close(void)
{
    chain_copy_result_fini(&fx.result);
    free(fx.bytes);
    scratch_close(&fx.scratch);
}

static int copy(void)
{
    chain_copy_result_fini(&fx.result);
    img_error_clear(&fx.err);
    return chain_copy(&fx.request, &fx.result, &fx.err);
}

/* The image at PATH shows what the source shows. */
static void check_shows(const char *path, const char *format)
{
    struct side side;
    uint8_t *bytes = malloc(LEN);

    ck_assert_ptr_nonnull(bytes);
    side_open(&side, path, format);
    ck_assert_uint_eq(chain_view_len(side.view), LEN);
    unit_ok(chain_view_read(side.view, bytes, LEN, 0, &fx.err), &fx.err);
    ck_assert_int_eq(memcmp(bytes, fx.bytes, LEN), 0);
    side_close(&side);
    free(bytes);
}

/* Names in the folder, but those of the source. */
static unsigned names_nr(void)
{
    char command[400];
    unsigned nr = 0;

    snprintf(command, sizeof(command),
             "ls -A %s | grep -cvxE 'top|base|old-[a-z]*'", fx.scratch.dir);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    ck_assert_int_eq(fscanf(pipe, "%u", &nr), 1);
    pclose(pipe);
    return nr;
}

START_TEST(test_full_and_shallow)
{
    fixture_open();
    fx.request.verify = true;
    unit_ok(copy(), &fx.err);
    check_shows(fx.dest, "qcow2");
    ck_assert(fx.result.is_verified);
    ck_assert_uint_eq(fx.result.data_len, LEN - CLUSTER);
    ck_assert_uint_eq(fx.result.zero_len, CLUSTER);
    ck_assert_uint_eq(fx.result.written_len, LEN - CLUSTER);
    ck_assert_uint_ge(fx.result.needed_len, LEN);
    ck_assert_ptr_null(fx.result.made.backing_name);
    ck_assert_uint_eq(fx.result.made.virtual_len, LEN);
    ck_assert_ptr_null(fx.result.report);

    fx.request.shallow = true;
    unit_ok(copy(), &fx.err);
    check_shows(fx.dest, "qcow2");
    ck_assert_uint_eq(fx.result.written_len, 21 * CLUSTER);
    ck_assert_uint_eq(fx.result.zero_len, CLUSTER);
    ck_assert_str_eq(fx.result.made.backing_name, "base");
    ck_assert_str_eq(fx.result.made.backing_format, "raw");

    fx.request.dest.style = CHAIN_MAKE_ABSOLUTE;
    unit_ok(copy(), &fx.err);
    check_shows(fx.dest, "qcow2");
    ck_assert_str_eq(fx.result.made.backing_name, fx.base);

    fx.request.shallow = false;
    fx.request.dest.format = NULL;
    unit_ok(copy(), &fx.err);
    check_shows(fx.dest, "raw");
    ck_assert_str_eq(fx.result.made.format, "raw");
    fixture_close();
}
END_TEST

/* A shallow copy over other files than the source's. */
START_TEST(test_other_backing)
{
    char text[400];

    fixture_open();
    const char *same = scratch_write(&fx.scratch, "old-same", "", 0, 0);
    fx.request.source = fx.base;
    fx.request.source_format = "raw";
    fx.request.dest.path = same;
    fx.request.dest.format = "raw";
    unit_ok(copy(), &fx.err);

    fx.request.source = fx.top;
    fx.request.source_format = "qcow2";
    fx.request.dest.path = fx.dest;
    fx.request.dest.format = "qcow2";
    fx.request.shallow = true;
    fx.request.dest.backing_name = "old-same";
    fx.request.dest.backing_format = "raw";
    unit_ok(copy(), &fx.err);
    check_shows(fx.dest, "qcow2");
    ck_assert_str_eq(fx.result.made.backing_name, "old-same");

    scratch_write(&fx.scratch, "old-same", "x", 1, 70000);
    ck_assert_int_eq(unlink(fx.dest), 0);
    snprintf(text, sizeof(text),
             "the backing file to be recorded shows other contents than the "
             "source's: the first difference is at 70000");
    unit_fails(copy(), &fx.err, IMG_USAGE, text);
    ck_assert_str_eq(fx.err.path, same);
    ck_assert_uint_eq(names_nr(), 0);
    fixture_close();
}
END_TEST

START_TEST(test_same_file)
{
    char text[600];

    fixture_open();
    const char *link_path = scratch_path(&fx.scratch, "old-link");
    ck_assert_int_eq(link(fx.top, link_path), 0);
    const char *symlink_path = scratch_path(&fx.scratch, "old-symlink");
    ck_assert_int_eq(symlink("base", symlink_path), 0);
    const char *const dests[] = {fx.top, fx.base, link_path, symlink_path};
    const char *const names[] = {fx.top, fx.base, fx.top, fx.base};
    for (size_t i = 0; i < 4; i++) {
        for (unsigned existing = 0; existing < 2; existing++) {
            fx.request.dest.path = dests[i];
            fx.request.into_existing = existing != 0;
            snprintf(text, sizeof(text),
                     "source and destination are the same file: it is \"%s\" "
                     "of the source's chain",
                     names[i]);
            unit_fails(copy(), &fx.err, IMG_USAGE, text);
            ck_assert_str_eq(fx.err.path, dests[i]);
        }
    }
    check_shows(fx.top, "qcow2");
    fixture_close();
}
END_TEST

/* Requests that make no sense, each in one word more than is good. */
START_TEST(test_usage)
{
    static const char *const size[] = {"size=1G"};
    static const char *const data_file[] = {"data_file=dest.data"};
    static const char *const zstd_v2[] = {"compat=0.10",
                                          "compression_type=zstd"};
    static const struct {
        bool shallow, compress, target_is_zero, bitmaps, skip_broken;
        const char *format;
        const char *const *options;
        size_t options_nr;
        const char *backing_name;
        uint64_t sparse_len;
        enum img_code code;
        const char *text;
    } cases[] = {
        {.target_is_zero = true,
         .format = "raw",
         .code = IMG_USAGE,
         .text = "only a destination that exists can be said to be zero"},
        {.format = "raw",
         .sparse_len = 1000,
         .code = IMG_USAGE,
         .text = "the length of zeros that are left out is 1000 bytes: "
                 "expected a multiple of 512"},
        {.skip_broken = true,
         .format = "qcow2",
         .code = IMG_USAGE,
         .text = "broken bitmaps can only be skipped when bitmaps are copied"},
        {.format = "qcow2",
         .options = size,
         .options_nr = 1,
         .code = IMG_USAGE,
         .text = "option: found \"size\", which follows from the source and "
                 "cannot be given"},
        {.format = "qcow2",
         .backing_name = "base",
         .code = IMG_USAGE,
         .text = "a full copy has no backing file: found one, expected none "
                 "or a shallow copy"},
        {.format = "raw",
         .shallow = true,
         .code = IMG_UNSUPPORTED,
         .text = "a raw image has no backing file: a shallow copy is qcow2"},
        {.format = "raw",
         .compress = true,
         .code = IMG_UNSUPPORTED,
         .text = "a raw image cannot be compressed: expected qcow2"},
        {.format = "qcow2",
         .compress = true,
         .options = data_file,
         .options_nr = 1,
         .code = IMG_UNSUPPORTED,
         .text = "what lies in an external data file cannot be compressed"},
        {.format = "raw",
         .bitmaps = true,
         .code = IMG_UNSUPPORTED,
         .text = "raw images cannot hold bitmaps: expected qcow2 version 3"},
        {.format = "vmdk",
         .code = IMG_UNSUPPORTED,
         .text = "no image of format \"vmdk\" can be made: expected qcow2 or "
                 "raw"},
        {.format = "qcow2",
         .options = zstd_v2,
         .options_nr = 2,
         .code = IMG_USAGE,
         .text = NULL},
    };

    fixture_open();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fx.request.shallow = cases[i].shallow;
        fx.request.compress = cases[i].compress;
        fx.request.target_is_zero = cases[i].target_is_zero;
        fx.request.bitmaps = cases[i].bitmaps;
        fx.request.skip_broken_bitmaps = cases[i].skip_broken;
        fx.request.sparse_len = cases[i].sparse_len;
        fx.request.dest.format = cases[i].format;
        fx.request.dest.options = cases[i].options;
        fx.request.dest.options_nr = cases[i].options_nr;
        fx.request.dest.backing_name = cases[i].backing_name;
        fx.request.dest.backing_format = cases[i].backing_name ? "raw" : NULL;
        ck_assert_int_eq(copy(), -1);
        ck_assert_int_eq((int)fx.err.code, (int)cases[i].code);
        if (cases[i].text) {
            ck_assert_str_eq(fx.err.text, cases[i].text);
        }
        ck_assert_uint_eq(names_nr(), 0);
    }
    fixture_close();
}
END_TEST

START_TEST(test_dry_run)
{
    fixture_open();
    fx.request.dest.dry_run = true;
    unit_ok(copy(), &fx.err);
    ck_assert_uint_eq(names_nr(), 0);
    ck_assert_uint_eq(fx.result.data_len, LEN - CLUSTER);
    ck_assert_uint_gt(fx.result.needed_len, LEN - CLUSTER);
    ck_assert_uint_gt(fx.result.space_left, 0);
    ck_assert_str_eq(fx.result.made.path, fx.dest);
    ck_assert_uint_eq(fx.result.made.cluster_len, CLUSTER);
    ck_assert_uint_eq(fx.result.written_len, 0);
    fixture_close();
}
END_TEST

/* What a copy tells of its progress, and what is done meanwhile. */
struct watch {
    enum chain_phase phase;
    uint64_t done;
    bool is_over[CHAIN_PHASE_VERIFY + 1];
    enum chain_phase act_in;
    void (*act)(struct watch *watch);
    volatile int cancel;
};

static void on_progress(void *opaque, enum chain_phase phase, uint64_t done,
                        uint64_t total)
{
    struct watch *watch = opaque;

    ck_assert_int_ge((int)phase, (int)watch->phase);
    ck_assert_uint_le(done, total);
    if (phase == watch->phase) {
        ck_assert_uint_ge(done, watch->done);
    }
    watch->phase = phase;
    watch->done = done;
    watch->is_over[phase] = done == total;
    if (watch->act && phase == watch->act_in) {
        watch->act(watch);
    }
}

static void watch_open(struct watch *watch)
{
    memset(watch, 0, sizeof(*watch));
    fx.request.progress = on_progress;
    fx.request.opaque = watch;
    fx.request.cancel = &watch->cancel;
}

START_TEST(test_progress)
{
    struct watch watch;

    fixture_open();
    fx.request.verify = true;
    for (unsigned shallow = 0; shallow < 2; shallow++) {
        watch_open(&watch);
        fx.request.shallow = shallow != 0;
        unit_ok(copy(), &fx.err);
        ck_assert(watch.is_over[CHAIN_PHASE_COPY]);
        ck_assert(watch.is_over[CHAIN_PHASE_FLUSH]);
        ck_assert_int_eq((int)watch.phase, CHAIN_PHASE_VERIFY);
    }
    fixture_close();
}
END_TEST

static void do_cancel(struct watch *watch)
{
    watch->cancel = 1;
}

START_TEST(test_cancel_new)
{
    static const enum chain_phase phases[] = {CHAIN_PHASE_COPY,
                                              CHAIN_PHASE_VERIFY};
    struct watch watch;

    fixture_open();
    fx.request.verify = true;
    for (size_t i = 0; i < 2; i++) {
        watch_open(&watch);
        watch.act = do_cancel;
        watch.act_in = phases[i];
        fx.request.no_share = true;
        unit_fails(copy(), &fx.err, IMG_CANCELLED, "cancelled");
        ck_assert_uint_eq(names_nr(), 0);
    }
    /* An old file of that name stays what it is. */
    const char *old = scratch_write(&fx.scratch, "old-file", "precious", 8, 0);
    fx.request.dest.path = old;
    watch_open(&watch);
    watch.act = do_cancel;
    watch.act_in = CHAIN_PHASE_COPY;
    unit_fails(copy(), &fx.err, IMG_CANCELLED, "cancelled");
    char text[16] = "";
    FILE *file = fopen(old, "r");
    ck_assert_ptr_nonnull(fgets(text, sizeof(text), file));
    fclose(file);
    ck_assert_str_eq(text, "precious");
    fixture_close();
}
END_TEST

static void do_change_source(struct watch *watch)
{
    (void)watch;
    int fd = open(fx.base, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, "y", 1, LEN - 1), 1);
    close(fd);
}

START_TEST(test_source_changes)
{
    struct watch watch;

    fixture_open();
    watch_open(&watch);
    watch.act = do_change_source;
    watch.act_in = CHAIN_PHASE_COPY;
    ck_assert_int_eq(copy(), -1);
    ck_assert_int_eq((int)fx.err.code, IMG_CHANGED);
    ck_assert_str_eq(fx.err.path, fx.base);
    ck_assert_uint_eq(names_nr(), 0);
    fixture_close();
}
END_TEST

/* ---- Into an image that exists. */

static void make_existing(const char *format)
{
    struct chain_create_request request = {
        .path = fx.dest, .format = format, .has_size = true, .size = LEN};
    struct chain_made made;

    unit_ok(chain_create(&request, &made, &fx.err), &fx.err);
    chain_made_fini(&made);
    fx.request.into_existing = true;
    fx.request.dest.format = format;
}

START_TEST(test_existing)
{
    static const char *const formats[] = {"qcow2", "raw"};

    fixture_open();
    for (size_t i = 0; i < 2; i++) {
        struct img_stamp before, after;
        make_existing(formats[i]);
        unit_ok(img_path_stamp(fx.dest, NULL, &before, &fx.err), &fx.err);
        unit_ok(copy(), &fx.err);
        check_shows(fx.dest, formats[i]);
        unit_ok(img_path_stamp(fx.dest, NULL, &after, &fx.err), &fx.err);
        ck_assert_uint_eq(before.ino, after.ino);
    }
    fixture_close();
}
END_TEST

/* An image and its data file would not change at once. */
START_TEST(test_data_file_is_not_replaced)
{
    static const char *const data_file[] = {"data_file=data"};

    fixture_open();
    const char *data = scratch_path(&fx.scratch, "data");
    fx.request.dest.options = data_file;
    fx.request.dest.options_nr = 1;
    unit_ok(copy(), &fx.err);
    for (int i = 0; i < 2; i++) {
        fx.request.dest.dry_run = i == 0;
        unit_fails(copy(), &fx.err, IMG_USAGE, "exists already");
        ck_assert_str_eq(fx.err.path, data);
        check_shows(fx.dest, "qcow2");
    }
    ck_assert_uint_eq(names_nr(), 2);
    fixture_close();
}
END_TEST

START_TEST(test_existing_cancelled)
{
    struct watch watch;
    char magic[4];

    fixture_open();
    make_existing("qcow2");
    watch_open(&watch);
    watch.act = do_cancel;
    watch.act_in = CHAIN_PHASE_COPY;
    unit_fails(copy(), &fx.err, IMG_CANCELLED,
               "cancelled; the destination is incomplete, and a valid image");
    FILE *file = fopen(fx.dest, "r");
    ck_assert(fread(magic, 1, 4, file) == 4 && !memcmp(magic, "QFI\xfb", 4));
    fclose(file);
    fixture_close();
}
END_TEST

START_TEST(test_existing_refused)
{
    static const char *const options[] = {"compat=1.1"};

    fixture_open();
    struct chain_create_request request = {.path = fx.dest,
                                           .format = "qcow2",
                                           .options = options,
                                           .options_nr = 1,
                                           .has_size = true,
                                           .size = LEN / 2};
    struct chain_made made;
    unit_ok(chain_create(&request, &made, &fx.err), &fx.err);
    chain_made_fini(&made);
    fx.request.into_existing = true;
    ck_assert_int_eq(copy(), -1);
    ck_assert_int_eq((int)fx.err.code, IMG_USAGE);
    ck_assert_ptr_nonnull(fx.result.report);
    ck_assert_int_eq((int)chain_report_judgement(fx.result.report),
                     CHAIN_REFUSED);
    /* It is as it was. */
    struct side side;
    side_open(&side, fx.dest, "qcow2");
    ck_assert_uint_eq(chain_view_len(side.view), LEN / 2);
    side_close(&side);
    /* There is none. */
    ck_assert_int_eq(unlink(fx.dest), 0);
    ck_assert_int_eq(copy(), -1);
    ck_assert_int_eq((int)fx.err.code, IMG_NOT_FOUND);
    ck_assert_str_eq(fx.err.path, fx.dest);
    fixture_close();
}
END_TEST

START_TEST(test_target_is_zero)
{
    fixture_open();
    make_existing("raw");
    fx.request.target_is_zero = true;
    unit_ok(copy(), &fx.err);
    check_shows(fx.dest, "raw");
    ck_assert_int_eq(truncate(fx.dest, 0), 0);
    ck_assert_int_eq(truncate(fx.dest, LEN), 0);
    scratch_write(&fx.scratch, "dest", "!", 1, 300001);
    unit_fails(copy(), &fx.err, IMG_USAGE,
               "content-stale: the request trusts it to read as zeros, but it "
               "holds data at guest offset 300001: found data at 300001, "
               "expected zeros");
    ck_assert_str_eq(fx.err.path, fx.dest);
    fx.request.shallow = true;
    unit_fails(copy(), &fx.err, IMG_USAGE,
               "the destination of a shallow copy shows its backing file: it "
               "cannot be said to be zero");
    fixture_close();
}
END_TEST

UNIT_SUITE("copy", test_full_and_shallow, test_other_backing, test_same_file,
           test_usage, test_dry_run, test_progress, test_cancel_new,
           test_source_changes, test_existing, test_existing_cancelled,
           test_data_file_is_not_replaced, test_existing_refused,
           test_target_is_zero)
