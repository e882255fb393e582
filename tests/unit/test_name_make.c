/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names for headers that are made from paths: relative and absolute ones. */
#include <chain/name.h>
#include <img/memory.h>

#include "scratch.h"

static struct scratch scratch;
static struct img_error err;

/* A folder of its own with d/e, f and the files base, d/base, f/x:y. */
static void begin(void)
{
    static const char *const folders[] = {"d", "d/e", "f"};
    static const char *const files[] = {"base", "d/base", "f/x:y"};

    scratch_open(&scratch);
    ck_assert_int_eq(chdir(scratch.dir), 0);
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        ck_assert_int_eq(mkdir(folders[i], 0755), 0);
    }
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        scratch_write(&scratch, files[i], files[i], 4, 0);
    }
}

static void end(void)
{
    ck_assert_int_eq(chdir("/"), 0);
    scratch_close(&scratch);
}

static void expect_relative(const char *from, const char *to, const char *want)
{
    char *text = chain_name_relative(from, to, &err);

    ck_assert_msg(text, "%s -> %s: %s: %s", from, to, err.path, err.text);
    ck_assert_str_eq(text, want);
    free(text);
}

/* WANT is relative to the test's folder. */
static void expect_absolute(const char *to, const char *want)
{
    char *text = chain_name_absolute(to, &err);
    char absolute[512];

    ck_assert_msg(text, "%s: %s: %s", to, err.path, err.text);
    snprintf(absolute, sizeof(absolute), "%s/%s", scratch.dir, want);
    ck_assert_str_eq(text, absolute);
    free(text);
}

START_TEST(test_relative)
{
    char absolute[512];

    begin();
    expect_relative("top", "base", "base");
    expect_relative("./top", "./base", "base");
    expect_relative("top", "d/base", "d/base");
    expect_relative("d/top", "d/base", "base");
    expect_relative("d//./top", "d/e/../base", "base");
    expect_relative("d/top", "base", "../base");
    expect_relative("d/e/top", "base", "../../base");
    expect_relative("d/e/top", "d/base", "../base");
    expect_relative("f/top", "d/base", "../d/base");
    snprintf(absolute, sizeof(absolute), "%s/base", scratch.dir);
    expect_relative("d/top", absolute, "../base");
    /* The folders' names begin alike, no more. */
    ck_assert_int_eq(mkdir("dd", 0755), 0);
    expect_relative("dd/top", "d/base", "../d/base");
    expect_relative("d/top", "dd/../d/base", "base");
    end();
}
END_TEST

START_TEST(test_from_and_to_the_root)
{
    char dots[512], want[1024];

    begin();
    snprintf(want, sizeof(want), "%s/base", scratch.dir + 1);
    expect_relative("/top", "base", want);
    /* Up to the root, and down to /dev. */
    ck_assert_int_eq(chdir("/tmp"), 0);
    snprintf(dots, sizeof(dots), "%s/top", scratch.dir);
    char *text = chain_name_relative(dots, "/etc/passwd", &err);
    ck_assert_msg(text, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(text, "../etc/passwd"));
    ck_assert_int_eq(strncmp(text, "../", 3), 0);
    free(text);
    text = chain_name_relative("/top", "/etc/passwd", &err);
    ck_assert_pstr_eq(text, "etc/passwd");
    free(text);
    end();
}
END_TEST

START_TEST(test_never_a_protocol)
{
    begin();
    expect_relative("f/top", "f/x:y", "./x:y");
    expect_relative("top", "f/x:y", "f/x:y");
    expect_relative("d/top", "f/x:y", "../f/x:y");
    ck_assert_int_eq(mkdir("json:{", 0755), 0);
    scratch_write(&scratch, "json:{/z", "z", 1, 0);
    expect_relative("top", "./json:{/z", "./json:{/z");
    end();
}
END_TEST

START_TEST(test_links_of_folders)
{
    begin();
    /* ".." of a folder that is reached by a link is the real one's. */
    ck_assert_int_eq(symlink("../d/e", "f/link"), 0);
    expect_relative("f/link/top", "d/base", "../base");
    expect_relative("f/link/top", "base", "../../base");
    expect_relative("d/e/top", "f/link/../base", "../base");
    expect_absolute("f/link/../base", "d/base");
    end();
}
END_TEST

START_TEST(test_links_to_files)
{
    begin();
    /* The link is what is named, not what it leads to now. */
    ck_assert_int_eq(symlink("../base", "d/current"), 0);
    expect_relative("d/top", "d/current", "current");
    expect_relative("top", "d/current", "d/current");
    expect_absolute("d/current", "d/current");
    /* The overlay's own link does not matter: its folder as spelled does. */
    ck_assert_int_eq(symlink("../d/top", "f/top"), 0);
    expect_relative("f/top", "d/base", "../d/base");
    end();
}
END_TEST

START_TEST(test_absolute)
{
    begin();
    expect_absolute("base", "base");
    expect_absolute("./d/../d//e/../base", "d/base");
    expect_absolute("f/x:y", "f/x:y");
    char *text = chain_name_absolute("/../etc//passwd", &err);
    ck_assert_pstr_eq(text, "/etc/passwd");
    free(text);
    end();
}
END_TEST

static void expect_failure(const char *from, const char *to, const char *path,
                           const char *want)
{
    char *text = from ? chain_name_relative(from, to, &err)
                      : chain_name_absolute(to, &err);

    ck_assert_ptr_null(text);
    ck_assert_str_eq(err.text, want);
    ck_assert_str_eq(err.path, path);
    ck_assert_int_eq((int)err.code, (int)IMG_NOT_FOUND);
}

START_TEST(test_missing)
{
    begin();
    const char *folder = "cannot find its folder: No such file or directory";
    expect_failure("no/top", "base", "no/top", folder);
    expect_failure("top", "no/base", "no/base", folder);
    expect_failure(NULL, "no/base", "no/base", folder);
    struct img_stamp stamp;
    ck_assert_int_eq(img_path_stamp("gone", NULL, &stamp, &err), -1);
    char text[IMG_ERROR_TEXT_MAX];
    snprintf(text, sizeof(text), "%s", err.text);
    expect_failure("top", "gone", "gone", text);
    expect_failure(NULL, "gone", "gone", text);
    end();
}
END_TEST

UNIT_SUITE("name_make", test_relative, test_from_and_to_the_root,
           test_never_a_protocol, test_links_of_folders, test_links_to_files,
           test_absolute, test_missing)
