/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What commit refuses, and in which words; which layer a base is; what becomes
 * of the overlay. What it writes is held against qemu-img in
 * tests/interop/commit.py.
 */
#include <chain/rebase.h>
#include <chain/view.h>

#include "chain_fixture.h"

static struct chain_commit_request request;
static struct chain_commit_result result;

#define LEN 2048u

/* What the guest sees of the image at PATH. */
static void load(const char *path, const char *format, uint8_t *bytes)
{
    struct chain_view *view;

    chain_options_init(&options);
    options.format = format;
    unit_ok(chain_open(path, &options, &chain, &err), &err);
    unit_ok(chain_view_new(chain, 0, &view, &err), &err);
    memset(bytes, 0xee, LEN);
    unit_ok(
        chain_view_read(
            view, bytes,
            (size_t)(chain_view_len(view) < LEN ? chain_view_len(view) : LEN),
            0, &err),
        &err);
    chain_view_free(view);
    chain_free(chain);
}

static void expect_same(const char *path, const char *format,
                        const uint8_t *wanted)
{
    uint8_t found[LEN];

    load(path, format, found);
    ck_assert_mem_eq(found, wanted, LEN);
}

static void write_image(const char *path, const char *clusters, uint8_t fill,
                        const char *backing, const char *format)
{
    tiny_qcow2_write(path, &(struct tiny_qcow2){.clusters = clusters,
                                                .fill = fill,
                                                .backing = backing,
                                                .format = format});
}

/* base (raw) <- low <- mid <- top, each of four clusters. */
static void begin_commit(void)
{
    begin();
    tiny_raw_write("base", 4, 1);
    write_image("low", ".D..", 40, "base", "raw");
    write_image("mid", "..D.", 80, "low", "qcow2");
    write_image("top", "z..D", 120, "mid", "qcow2");
    request = (struct chain_commit_request){.path = "top"};
}

/* It fails with this, and what the guest sees of every layer stays. */
static void expect_refusal(enum img_code code, const char *where,
                           const char *text)
{
    uint8_t top[LEN], mid[LEN], base[LEN];

    load("top", "qcow2", top);
    load("mid", "qcow2", mid);
    load("base", "raw", base);
    unit_fails(chain_commit(&request, &result, &err), &err, code, text);
    ck_assert_str_eq(err.path, where);
    ck_assert_ptr_null(result.base);
    expect_same("top", "qcow2", top);
    expect_same("mid", "qcow2", mid);
    expect_same("base", "raw", base);
}

static void commit(const char *base, size_t stale_nr)
{
    unit_ok(chain_commit(&request, &result, &err), &err);
    ck_assert_str_eq(result.base, base);
    ck_assert_uint_eq(result.stale_nr, stale_nr);
}

START_TEST(test_into_the_backing_file)
{
    uint8_t wanted[LEN];

    begin_commit();
    load("top", "qcow2", wanted);
    request.verify = true;
    commit("mid", 0);
    ck_assert(result.is_overlay_emptied);
    ck_assert(!result.is_base_grown);
    ck_assert_uint_eq(result.written_len, 512);
    ck_assert_uint_eq(result.zero_len, 512);
    chain_commit_result_fini(&result);
    expect_same("top", "qcow2", wanted);
    expect_same("mid", "qcow2", wanted);
    /* There is nothing left to commit. */
    commit("mid", 0);
    ck_assert_uint_eq(result.written_len + result.zero_len, 0);
    chain_commit_result_fini(&result);
    end();
}
END_TEST

START_TEST(test_into_layers_below)
{
    static const char *const names[] = {"base", "./base", "d/../base", "link"};
    uint8_t wanted[LEN];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        begin_commit();
        ck_assert_int_eq(mkdir("d", 0755), 0);
        ck_assert_int_eq(symlink("base", "link"), 0);
        load("top", "qcow2", wanted);
        request.base = names[i];
        commit("base", 2);
        ck_assert(!result.is_overlay_emptied);
        ck_assert_str_eq(result.stale[0], "mid");
        ck_assert_str_eq(result.stale[1], "low");
        chain_commit_result_fini(&result);
        expect_same("top", "qcow2", wanted);
        expect_same("base", "raw", wanted);
        end();
    }
}
END_TEST

/* The text of a header leads to its layer, though no such file is here. */
START_TEST(test_base_by_recorded_name)
{
    uint8_t wanted[LEN];

    begin_commit();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    write_image("d/top", "D...", 160, "../mid", "qcow2");
    load("d/top", "qcow2", wanted);
    request.path = "d/top";
    request.base = "../mid";
    commit("d/../mid", 0);
    ck_assert(!result.is_overlay_emptied);
    chain_commit_result_fini(&result);
    expect_same("mid", "qcow2", wanted);
    end();
}
END_TEST

START_TEST(test_no_such_base)
{
    begin_commit();
    write_image("else", "....", 1, NULL, NULL);
    request.base = "else";
    expect_refusal(IMG_USAGE, "top", "\"else\" is no layer of its chain");
    request.base = "gone\n";
    expect_refusal(IMG_USAGE, "top", "\"gone\\x0a\" is no layer of its chain");
    request.base = "./top";
    expect_refusal(IMG_USAGE, "top",
                   "the base \"./top\" is the overlay itself: a layer below "
                   "it is wanted");
    write_image("top", "....", 1, NULL, NULL);
    request.base = NULL;
    expect_refusal(IMG_USAGE, "top",
                   "it has no backing file that it could be committed to");
    end();
}
END_TEST

START_TEST(test_probed_base)
{
    begin_commit();
    write_image("top", "...D", 9, "base", NULL);
    request.allow_probe = true;
    for (int i = 0; i < 2; i++) {
        request.dry_run = i == 1;
        unit_fails(chain_commit(&request, &result, &err), &err, IMG_UNDECLARED,
                   "its format is not recorded, and what looks raw is not "
                   "written on that ground");
        ck_assert_str_eq(err.path, "base");
    }
    end();
}
END_TEST

START_TEST(test_base_in_use)
{
    const struct img_open_options how = {.lock = IMG_LOCK_READER};
    struct img_file *reader;
    uint8_t mid[LEN];

    begin_commit();
    load("mid", "qcow2", mid);
    unit_ok(img_file_open("mid", &how, &reader, &err), &err);
    img_error_clear(&err);
    ck_assert_int_eq(chain_commit(&request, &result, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_LOCKED);
    ck_assert_str_eq(err.path, "mid");
    img_file_unref(reader);
    expect_same("mid", "qcow2", mid);
    end();
}
END_TEST

START_TEST(test_other_sizes)
{
    uint8_t wanted[LEN], mid[LEN];

    begin_commit();
    /* A shorter base grows ... */
    write_image("mid", ".D", 80, "low", "qcow2");
    load("top", "qcow2", wanted);
    commit("mid", 0);
    ck_assert(result.is_base_grown);
    chain_commit_result_fini(&result);
    expect_same("mid", "qcow2", wanted);
    expect_same("top", "qcow2", wanted);
    /* ... and a longer one keeps what it has beyond. */
    load("mid", "qcow2", mid);
    write_image("top", "D", 160, "mid", "qcow2");
    memset(mid, 160, 512);
    commit("mid", 0);
    ck_assert(!result.is_base_grown);
    chain_commit_result_fini(&result);
    expect_same("mid", "qcow2", mid);
    end();
}
END_TEST

/* A layer between that is too short shows zeros, where the base has data. */
START_TEST(test_short_layer_between)
{
    uint8_t wanted[LEN];

    begin_commit();
    write_image("mid", "D", 80, "base", "raw");
    load("top", "qcow2", wanted);
    request.base = "base";
    request.verify = true;
    commit("base", 1);
    chain_commit_result_fini(&result);
    expect_same("base", "raw", wanted);
    end();
}
END_TEST

START_TEST(test_dry_run)
{
    uint8_t top[LEN], mid[LEN];

    begin_commit();
    load("top", "qcow2", top);
    load("mid", "qcow2", mid);
    request.dry_run = true;
    commit("mid", 0);
    ck_assert(result.is_overlay_emptied);
    ck_assert_uint_eq(result.read_len, 512);
    ck_assert_uint_eq(result.written_len, 512);
    ck_assert_uint_eq(result.zero_len, 512);
    chain_commit_result_fini(&result);
    expect_same("top", "qcow2", top);
    expect_same("mid", "qcow2", mid);
    request.keep_overlay = true;
    commit("mid", 0);
    ck_assert(!result.is_overlay_emptied);
    chain_commit_result_fini(&result);
    end();
}
END_TEST

START_TEST(test_cancelled)
{
    static const volatile int cancel = 1;

    begin_commit();
    request.cancel = &cancel;
    unit_fails(chain_commit(&request, &result, &err), &err, IMG_CANCELLED,
               "cancelled");
    end();
}
END_TEST

UNIT_SUITE("commit", test_into_the_backing_file, test_into_layers_below,
           test_base_by_recorded_name, test_no_such_base, test_probed_base,
           test_base_in_use, test_other_sizes, test_short_layer_between,
           test_dry_run, test_cancelled)
