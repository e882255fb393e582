/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chains whose opener says more than a name: another backing file, files that
 * are open already, a layer to be written.
 */
#include <img/write.h>

#include "chain_fixture.h"

static struct img_file *layer_file(size_t idx)
{
    return chain_layer_file(chain_layer_at(chain, idx));
}

static struct img_file *open_writable(const char *path)
{
    const struct img_open_options how = {.lock = IMG_LOCK_WRITER,
                                         .writable = true};
    struct img_file *file = NULL;

    unit_ok(img_file_open(path, &how, &file, &err), &err);
    return file;
}

/* May another handle have PATH in this way? */
static bool can_lock(const char *path, enum img_lock_mode lock)
{
    const struct img_open_options how = {.lock = lock,
                                         .writable = lock == IMG_LOCK_WRITER};
    struct img_file *file = NULL;
    struct img_error why;
    int r = img_file_open(path, &how, &file, &why);

    ck_assert_msg(r == 0 || why.code == IMG_LOCKED, "%s: %s", path, why.text);
    img_file_unref(file);
    return r == 0;
}

static void expect_lock(const char *path, enum img_lock_mode held)
{
    ck_assert_msg(can_lock(path, IMG_LOCK_READER) == (held != IMG_LOCK_WRITER),
                  "a reader of %s", path);
    ck_assert_msg(can_lock(path, IMG_LOCK_WRITER) == (held == IMG_LOCK_NONE),
                  "a writer of %s", path);
}

START_TEST(test_other_backing)
{
    begin();
    ck_assert_int_eq(mkdir("d", 0755), 0);
    tiny_raw_write("base", 4, 1);
    tiny_raw_write("d/other", 8, 2);
    make("d/top", "../base", "raw");
    options.backing_name = "other";
    options.backing_format = "raw";
    expect_paths("d/top", (const char *const[]){"d/top", "d/other"}, 2);
    ck_assert_str_eq(chain_layer_image(chain_layer_at(chain, 0))->backing_name,
                     "other");
    chain_free(chain);
    options.backing_name = "";
    expect_paths("d/top", (const char *const[]){"d/top"}, 1);
    ck_assert_ptr_null(
        chain_layer_image(chain_layer_at(chain, 0))->backing_format);
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_other_backing_of_no_format)
{
    begin();
    make("base", NULL, NULL);
    make("top", "gone", "raw");
    options.backing_name = "base";
    expect_failure("top", IMG_UNDECLARED, "top",
                   "the format of the new backing file \"base\" is not given: "
                   "it looks like qcow2 (-F qcow2)");
    options.allow_probe = true;
    expect_paths("top", (const char *const[]){"top", "base"}, 2);
    ck_assert(chain_layer_is_probed(chain_layer_at(chain, 1)));
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_other_backing_makes_a_loop)
{
    begin();
    make("base", NULL, NULL);
    make("top", "base", "qcow2");
    make("child", "top", "qcow2");
    options.backing_format = "qcow2";
    options.backing_name = "./top";
    expect_failure("top", IMG_LOOP, "top",
                   "its backing file \"./top\" is the same file as \"top\": "
                   "the chain is a loop");
    options.backing_name = "child";
    expect_failure("top", IMG_LOOP, "child",
                   "its backing file \"top\" is the same file as \"top\": the "
                   "chain is a loop");
    end();
}
END_TEST

START_TEST(test_who_can_have_another)
{
    begin();
    make("base", NULL, NULL);
    tiny_raw_write("raw", 4, 1);
    options.backing_format = "qcow2";
    options.backing_name = "base";
    options.format = "raw";
    expect_failure("raw", IMG_UNSUPPORTED, "raw",
                   "the format raw has no backing file");
    options.format = NULL;
    expect_failure("json:{\"driver\":\"qcow2\",\"file.filename\":\"base\","
                   "\"backing\":null}",
                   IMG_USAGE, "base",
                   "its json: name says already what its backing file is");
    end();
}
END_TEST

START_TEST(test_top_for_writing)
{
    begin();
    tiny_raw_write("base", 4, 1);
    make("top", "base", "raw");
    options.write_top = true;
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    ck_assert(img_file_is_writable(layer_file(0)));
    ck_assert(!img_file_is_writable(layer_file(1)));
    expect_lock("top", IMG_LOCK_WRITER);
    expect_lock("base", IMG_LOCK_READER);
    chain_free(chain);
    expect_lock("top", IMG_LOCK_NONE);
    end();
}
END_TEST

START_TEST(test_layer_for_writing)
{
    begin();
    make("base", NULL, NULL);
    make("mid", "base", "qcow2");
    make("top", "mid", "qcow2");
    options.write_layer = 2;
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    ck_assert(img_file_is_writable(layer_file(2)));
    ck_assert(!img_file_is_writable(layer_file(1)));
    expect_lock("base", IMG_LOCK_WRITER);
    expect_lock("mid", IMG_LOCK_READER);
    expect_lock("top", IMG_LOCK_READER);
    chain_free(chain);
    /* A writer's locks are taken even where a reader's are not. */
    options.force_share = true;
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    expect_lock("base", IMG_LOCK_WRITER);
    expect_lock("mid", IMG_LOCK_NONE);
    chain_free(chain);
    end();
}
END_TEST

START_TEST(test_locked_by_a_reader)
{
    begin();
    make("base", NULL, NULL);
    make("top", "base", "qcow2");
    struct img_file *reader = NULL;
    const struct img_open_options how = {.lock = IMG_LOCK_READER};
    unit_ok(img_file_open("base", &how, &reader, &err), &err);
    options.write_layer = 1;
    img_error_clear(&err);
    ck_assert_int_eq(chain_open("top", &options, &chain, &err), -1);
    ck_assert_int_eq((int)err.code, (int)IMG_LOCKED);
    ck_assert_str_eq(err.path, "base");
    img_file_unref(reader);
    end();
}
END_TEST

START_TEST(test_data_file_for_writing)
{
    begin();
    tiny_raw_write("data", 4, 1);
    tiny_qcow2_write(
        "top", &(struct tiny_qcow2){.clusters = "DDDD", .data_file = "data"});
    options.write_top = true;
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    expect_lock("data", IMG_LOCK_WRITER);
    struct img_file *data =
        chain_layer_image(chain_layer_at(chain, 0))->data_file;
    ck_assert(img_file_is_writable(data));

    /* A second chain over the same handles, beside the first. */
    struct chain *first = chain;
    options.file = layer_file(0);
    options.data_file = data;
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    ck_assert_ptr_eq(layer_file(0), options.file);
    ck_assert_ptr_eq(chain_layer_image(chain_layer_at(chain, 0))->data_file,
                     data);
    chain_free(chain);
    expect_lock("data", IMG_LOCK_WRITER);
    chain_free(first);
    end();
}
END_TEST

START_TEST(test_given_for_reading_only)
{
    begin();
    make("top", NULL, NULL);
    options.file = scratch_open_file("top");
    options.write_top = true;
    expect_failure("top", IMG_USAGE, "top",
                   "it is to be written, but was opened for reading");
    img_file_unref(options.file);
    end();
}
END_TEST

START_TEST(test_own_changes_are_no_changes)
{
    static const uint8_t bytes[512] = {1};

    begin();
    tiny_raw_write("base", 4, 1);
    make("top", "base", "raw");
    options.file = open_writable("top");
    unit_ok(chain_open("top", &options, &chain, &err), &err);
    unit_ok(img_file_write(options.file, bytes, 512, 8192, &err), &err);
    unit_ok(chain_check_unchanged(chain, &err), &err);
    ck_assert_int_eq(truncate("base", 512), 0);
    unit_fails(chain_check_unchanged(chain, &err), &err, IMG_CHANGED,
               "its length changed since it was opened");
    ck_assert_str_eq(err.path, "base");
    chain_free(chain);
    img_file_unref(options.file);
    end();
}
END_TEST

UNIT_SUITE("chain_given", test_other_backing, test_other_backing_of_no_format,
           test_other_backing_makes_a_loop, test_who_can_have_another,
           test_top_for_writing, test_layer_for_writing,
           test_locked_by_a_reader, test_data_file_for_writing,
           test_given_for_reading_only, test_own_changes_are_no_changes)
