/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors, checked arithmetic, byte order, escaping. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <img/size.h>

static struct img_error err;

START_TEST(test_fail_fills_everything_in)
{
    err.has_off = true;
    err.off = 7;
    ck_assert_int_eq(img_fail(&err, IMG_CORRUPT, "l1_size: found %d", 3), -1);
    ck_assert_int_eq((int)err.code, IMG_CORRUPT);
    ck_assert_str_eq(err.text, "l1_size: found 3");
    ck_assert(!err.has_off);
    ck_assert_str_eq(err.path, "");
}
END_TEST

START_TEST(test_format_names_path_and_offset)
{
    char line[256];

    img_fail_at(&err, IMG_CORRUPT, 36, "l1_size: found 3, expected 4");
    img_error_set_path(&err, "/a\nb.qcow2");
    img_error_set_path(&err, "/ignored");
    ck_assert_uint_eq(img_error_format(&err, line, sizeof(line)), strlen(line));
    ck_assert_str_eq(
        line, "/a\\x0ab.qcow2: l1_size: found 3, expected 4 (offset 36)");
}
END_TEST

START_TEST(test_long_text_is_cut_not_overrun)
{
    char *big = malloc(5000);

    ck_assert_ptr_nonnull(big);
    memset(big, 'x', 4999);
    big[4999] = '\0';
    img_fail_sys(&err, EIO, "%s", big);
    img_error_set_path(&err, big);
    ck_assert_uint_eq(strlen(err.text), IMG_ERROR_TEXT_MAX - 1);
    ck_assert_uint_eq(strlen(err.path), IMG_ERROR_PATH_MAX - 1);
    free(big);
}
END_TEST

START_TEST(test_errno_decides_the_code)
{
    static const struct {
        int sys_errno;
        enum img_code code;
        const char *text;
    } rows[] = {
        {ENOENT, IMG_NOT_FOUND, "open: No such file or directory"},
        {ENOTDIR, IMG_NOT_FOUND, "open: Not a directory"},
        {EACCES, IMG_DENIED, "open: Permission denied"},
        {EXDEV, IMG_DENIED, "open: Invalid cross-device link"},
        {ELOOP, IMG_LOOP, "open: Too many levels of symbolic links"},
        {ENOMEM, IMG_MEMORY, "open: Cannot allocate memory"},
        {EIO, IMG_IO, "open: Input/output error"},
        {EMFILE, IMG_SYSTEM, "open: Too many open files"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unit_fails(img_fail_sys(&err, rows[i].sys_errno, "open"), &err,
                   rows[i].code, rows[i].text);
        ck_assert_int_eq(err.sys_errno, rows[i].sys_errno);
    }
}
END_TEST

START_TEST(test_code_names_are_distinct)
{
    for (int i = IMG_OK; i <= IMG_REFUSED; i++) {
        ck_assert_str_ne(img_code_name((enum img_code)i), "unknown");
        for (int k = IMG_OK; k < i; k++) {
            ck_assert_str_ne(img_code_name((enum img_code)i),
                             img_code_name((enum img_code)k));
        }
    }
    ck_assert_str_eq(img_code_name((enum img_code)1000), "unknown");
}
END_TEST

START_TEST(test_checked_arithmetic_at_the_edge)
{
    uint64_t out = 5;

    ck_assert(img_add(IMG_OFF_MAX - 1, 1, &out));
    ck_assert_uint_eq(out, IMG_OFF_MAX);
    ck_assert(!img_add(IMG_OFF_MAX, 1, &out));
    ck_assert(!img_add(UINT64_MAX, 1, &out));
    ck_assert(!img_mul(1ull << 32, 1ull << 31, &out));
    ck_assert(!img_mul(1ull << 32, 1ull << 32, &out));
    ck_assert_uint_eq(out, IMG_OFF_MAX);
    ck_assert(img_mul(1ull << 31, 1ull << 31, &out));
    ck_assert_uint_eq(out, 1ull << 62);
    ck_assert(img_range_fits(0, 0, 0));
    ck_assert(img_range_fits(512, 512, 1024));
    ck_assert(!img_range_fits(512, 513, 1024));
    ck_assert(!img_range_fits(1025, 0, 1024));
    ck_assert(!img_range_fits(1, UINT64_MAX, 1024));
    ck_assert_uint_eq(img_div_up(UINT64_MAX, 2), 1ull << 63);
    ck_assert_uint_eq(img_div_up(0, 512), 0);
    ck_assert_uint_eq(img_align_up(513, 512), 1024);
    ck_assert_uint_eq(img_align_down(1023, 512), 512);
}
END_TEST

START_TEST(test_bytes_are_unaligned_and_ordered)
{
    static const uint8_t bytes[] = {0xff, 1, 2, 3, 4, 5, 6, 7, 8};

    ck_assert_uint_eq(img_load_be16(bytes + 1), 0x0102);
    ck_assert_uint_eq(img_load_le16(bytes + 1), 0x0201);
    ck_assert_uint_eq(img_load_be32(bytes + 1), 0x01020304);
    ck_assert_uint_eq(img_load_le32(bytes + 1), 0x04030201);
    ck_assert_uint_eq(img_load_be64(bytes + 1), 0x0102030405060708ull);
    ck_assert_uint_eq(img_load_le64(bytes + 1), 0x0807060504030201ull);

    uint8_t out[9] = {0};
    img_store_be64(out + 1, 0x0102030405060708ull);
    ck_assert_mem_eq(out + 1, bytes + 1, 8);
}
END_TEST

static void escapes_to(const char *in, size_t len, size_t size,
                       const char *want)
{
    char out[64];

    ck_assert_uint_eq(img_escape(in, len, out, size), strlen(want));
    ck_assert_str_eq(out, want);
}

START_TEST(test_escape_disarms_terminals)
{
    escapes_to("plain.qcow2", 11, 64, "plain.qcow2");
    escapes_to("\033[2J", 4, 64, "\\x1b[2J");
    escapes_to("a\0b", 3, 64, "a\\x00b");
    escapes_to("back\\slash", 10, 64, "back\\x5cslash");
    escapes_to("\xc3\xa9", 2, 64, "\xc3\xa9");
    escapes_to("\xc2\x9b", 2, 64, "\\xc2\\x9b");
    escapes_to("\xe2\x80\xae", 3, 64, "\\xe2\\x80\\xae");
    escapes_to("\xe2\x82\xac", 3, 64, "\xe2\x82\xac");
    escapes_to("\xff\xc3", 2, 64, "\\xff\\xc3");
    escapes_to("\xed\xa0\x80", 3, 64, "\\xed\\xa0\\x80");
    escapes_to("\xc0\x80", 2, 64, "\\xc0\\x80");
    escapes_to("\xf4\x90\x80\x80", 4, 64, "\\xf4\\x90\\x80\\x80");
}
END_TEST

START_TEST(test_escape_cuts_whole_characters)
{
    escapes_to("abcdefgh", 8, 9, "abcdefgh");
    escapes_to("abcdefgh", 8, 8, "abcd...");
    escapes_to("abc\xe2\x82\xac!", 7, 8, "abc\xe2\x82\xac!");
    escapes_to("abc\xe2\x82\xac!!", 8, 8, "abc...");
    escapes_to("abcdefgh", 8, 3, "..");
    escapes_to("abc", 3, 1, "");
    ck_assert_uint_eq(img_escape("abc", 3, NULL, 0), 0);
}
END_TEST

START_TEST(test_alloc_refuses_what_overflows)
{
    volatile size_t huge = SIZE_MAX / 2;

    ck_assert_ptr_null(img_calloc(huge, 4, &err));
    ck_assert_int_eq((int)err.code, IMG_MEMORY);
    ck_assert_ptr_null(img_alloc_aligned(SIZE_MAX, &err));

    IMG_AUTO(img_free_ptr) void *none = img_calloc(0, 8, &err);
    ck_assert_ptr_nonnull(none);
    IMG_AUTO(img_free_ptr) void *aligned = img_alloc_aligned(1, &err);
    ck_assert_ptr_nonnull(aligned);
    ck_assert_uint_eq((uintptr_t)aligned % 4096, 0);
}
END_TEST

START_TEST(test_steal_leaves_null)
{
    char *text = img_text(&err, "%s-%d", "a", 1);
    char *other = img_steal(&text);

    ck_assert_ptr_null(text);
    ck_assert_str_eq(other, "a-1");
    free(other);
}
END_TEST

static void reads(uint64_t len, const char *brief, const char *exact)
{
    char text[IMG_SIZE_TEXT_LEN];

    ck_assert_str_eq(img_size_short(len, text), brief);
    ck_assert_str_eq(img_size_exact(len, text), exact);
}

START_TEST(test_sizes_are_human_and_exact)
{
    reads(0, "0 bytes", "0 bytes");
    reads(1, "1 byte", "1 byte");
    reads(999, "999 bytes", "999 bytes");
    reads(1000, "0.977 KiB", "0.977 KiB (1000 bytes)");
    reads(536870912, "512 MiB", "512 MiB (536870912 bytes)");
    reads(536870913, "512 MiB", "512 MiB (536870913 bytes)");
    reads(UINT64_MAX, "16 EiB", "16 EiB (18446744073709551615 bytes)");
}
END_TEST

UNIT_SUITE("base", test_fail_fills_everything_in,
           test_format_names_path_and_offset, test_long_text_is_cut_not_overrun,
           test_errno_decides_the_code, test_code_names_are_distinct,
           test_checked_arithmetic_at_the_edge,
           test_bytes_are_unaligned_and_ordered, test_escape_disarms_terminals,
           test_escape_cuts_whole_characters, test_alloc_refuses_what_overflows,
           test_steal_leaves_null, test_sizes_are_human_and_exact)
