/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VHD (QEMU's vpc): fixed, dynamic and differencing disks. */
#include "foreign.h"

enum { FILE_LEN = 8192, DYNAMIC_OFF = 512, TABLE_OFF = 1536 };

static uint8_t bytes[FILE_LEN];

static void put(size_t off, size_t width, uint64_t value)
{
    foreign_put(bytes + off, width, value, true);
}

static void sum(uint8_t *at, size_t len, size_t sum_off)
{
    uint32_t total = 0;

    foreign_put(at + sum_off, 4, 0, true);
    for (size_t i = 0; i < len; i++) {
        total += at[i];
    }
    foreign_put(at + sum_off, 4, ~total, true);
}

static void fix_dynamic(uint8_t *at)
{
    sum(at, 512, 64);
    sum(at + DYNAMIC_OFF, 1024, 36);
}

static void fix_fixed(uint8_t *at)
{
    sum(at + FILE_LEN - 512, 512, 64);
}

static void make_footer(size_t off, uint32_t type)
{
    memcpy(bytes + off, "conectix", 8);
    put(off + 16, 8, type == 2 ? UINT64_MAX : DYNAMIC_OFF);
    memcpy(bytes + off + 28, "vpc ", 4);
    put(off + 48, 8, 10 << 20);
    put(off + 56, 2, 301); /* 301 * 4 * 17 = 20468 sectors */
    bytes[off + 58] = 4;
    bytes[off + 59] = 17;
    put(off + 60, 4, type);
}

static void make_dynamic(uint32_t type)
{
    memset(bytes, 0, sizeof(bytes));
    make_footer(0, type);
    memcpy(bytes + DYNAMIC_OFF, "cxsparse", 8);
    put(DYNAMIC_OFF + 16, 8, TABLE_OFF);
    put(DYNAMIC_OFF + 28, 4, 5);
    put(DYNAMIC_OFF + 32, 4, 2 << 20);
    fix_dynamic(bytes);
}

START_TEST(dynamic)
{
    make_dynamic(3);
    struct img_image *image = foreign_open("vpc", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 20468 * 512);
    ck_assert_uint_eq(image->cluster_len, 2 << 20);
    ck_assert_ptr_null(image->backing_name);
    foreign_describes(image, "");
    img_image_free(image);
}
END_TEST

/* Who made the image decides which of its two sizes is the disk's. */
START_TEST(size_by_creator)
{
    static const struct {
        const char *creator;
        uint64_t sectors;
    } cases[] = {
        {"qemu", 20468}, {"vpc ", 20468}, {"qem2", 20480}, {"win ", 20480},
        {"d2v ", 20480}, {"tap", 20480},  {"CTXS", 20480}, {"xxxx", 20468},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make_dynamic(3);
        memcpy(bytes + 28, cases[i].creator, 4);
        fix_dynamic(bytes);
        struct img_image *image = foreign_open("vpc", bytes, sizeof(bytes));
        ck_assert_uint_eq(image->virtual_len, cases[i].sectors * 512);
        img_image_free(image);
    }
}
END_TEST

START_TEST(largest_geometry_means_size)
{
    make_dynamic(3);
    put(56, 2, 65535);
    bytes[58] = 16;
    bytes[59] = 255;
    fix_dynamic(bytes);
    struct img_image *image = foreign_open("vpc", bytes, sizeof(bytes));
    ck_assert_uint_eq(image->virtual_len, 10 << 20);
    img_image_free(image);
}
END_TEST

START_TEST(differencing)
{
    static const char parent[] = "\0b\0a\0s\0e\x00\xe9\x20\xac\xd8\x3d\xde\x00"
                                 "\xd8\x00\0.";

    make_dynamic(4);
    memcpy(bytes + DYNAMIC_OFF + 64, parent, sizeof(parent) - 1);
    fix_dynamic(bytes);
    struct img_image *image = foreign_open("vpc", bytes, sizeof(bytes));
    ck_assert_ptr_null(image->backing_name);
    /* Half a surrogate pair is no character. */
    foreign_describes(image, "{\"type\":\"vpc\",\"data\":{\"parent-name\":"
                             "\"base\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"
                             "\xef\xbf\xbd.\"}}");
    img_image_free(image);
}
END_TEST

static void make_fixed(void)
{
    memset(bytes, 0, sizeof(bytes));
    make_footer(FILE_LEN - 512, 2);
    put(FILE_LEN - 512 + 56, 2, 15);
    bytes[FILE_LEN - 512 + 58] = 1;
    bytes[FILE_LEN - 512 + 59] = 1;
    fix_fixed(bytes);
}

START_TEST(fixed)
{
    make_fixed();
    ck_assert_str_eq(foreign_probe(bytes, sizeof(bytes)), "raw");
    struct img_image *image = foreign_open("vpc", bytes, sizeof(bytes));
    ck_assert_uint_eq(image->virtual_len, 15 * 512);
    ck_assert_uint_eq(image->cluster_len, 0);
    foreign_describes(image, "");
    img_image_free(image);
}
END_TEST

START_TEST(bad_fixed)
{
    static const size_t at = FILE_LEN - 512;
    static const struct foreign_bad bad[] = {
        {at, 1, 0, IMG_FORMAT, "not a VHD: no footer at its start or end"},
        {at + 56, 2, 16, IMG_CORRUPT,
         "VHD fixed disk: found 7680 bytes of contents, expected 8192"},
        {at + 60, 4, 5, IMG_CORRUPT, "VHD disk type: found 5, expected 2 to 4"},
        {at + 60, 4, 0, IMG_CORRUPT, "VHD disk type: found 0, expected 2 to 4"},
    };
    struct foreign_base base = {"vpc", bytes, FILE_LEN, true, fix_fixed};

    make_fixed();
    FOREIGN_ALL_REFUSED(&base, bad);
    bytes[at + 100] ^= 1;
    uint32_t found = img_load_be32(bytes + at + 64);
    char text[80];
    snprintf(text, sizeof(text),
             "VHD footer checksum: found 0x%08x, expected 0x%08x", found,
             found - 1);
    foreign_refused("vpc", bytes, sizeof(bytes), IMG_CORRUPT, text);
    foreign_refused("vpc", bytes, 511, IMG_CORRUPT,
                    "VHD file too short: found 511 bytes, expected at least "
                    "512");
}
END_TEST

START_TEST(bad_dynamic)
{
    static const struct foreign_bad bad[] = {
        {60, 4, 2, IMG_CORRUPT,
         "VHD disk type: found fixed, expected dynamic or differencing for a "
         "footer at the start"},
        {16, 8, UINT64_MAX, IMG_CORRUPT,
         "VHD dynamic header: found at offset 18446744073709551615, expected "
         "inside the file's 8192 bytes"},
        {16, 8, FILE_LEN - 1023, IMG_CORRUPT,
         "VHD dynamic header: found at offset 7169, expected inside the "
         "file's 8192 bytes"},
        {DYNAMIC_OFF, 1, 0, IMG_CORRUPT,
         "VHD dynamic header: its cookie is missing"},
        {DYNAMIC_OFF + 32, 4, 0, IMG_CORRUPT,
         "VHD block size: found 0, expected a power of two from 512 to "
         "2147483648"},
        {DYNAMIC_OFF + 32, 4, 3 << 20, IMG_CORRUPT,
         "VHD block size: found 3145728, expected a power of two from 512 to "
         "2147483648"},
        {DYNAMIC_OFF + 28, 4, 4, IMG_CORRUPT,
         "VHD block table: found 4 entries, expected at least 5"},
        {DYNAMIC_OFF + 16, 8, FILE_LEN - 19, IMG_CORRUPT,
         "VHD block table: found at offset 8173, expected inside the file's "
         "8192 bytes"},
    };
    struct foreign_base base = {"vpc", bytes, FILE_LEN, true, fix_dynamic};

    make_dynamic(3);
    FOREIGN_ALL_REFUSED(&base, bad);

    memcpy(bytes + 28, "qem2", 4);
    put(48, 8, UINT64_C(0xff000001) * 512);
    fix_dynamic(bytes);
    foreign_refused("vpc", bytes, sizeof(bytes), IMG_CORRUPT,
                    "VHD size: found 4278190081 sectors, expected at most "
                    "4278190080");
}
END_TEST

START_TEST(bad_dynamic_checksum)
{
    make_dynamic(3);
    bytes[DYNAMIC_OFF + 1000] = 1;
    uint32_t found = img_load_be32(bytes + DYNAMIC_OFF + 36);
    char text[80];
    snprintf(text, sizeof(text),
             "VHD dynamic header checksum: found 0x%08x, expected 0x%08x",
             found, found - 1);
    foreign_refused("vpc", bytes, sizeof(bytes), IMG_CORRUPT, text);
}
END_TEST

UNIT_SUITE("vpc", dynamic, size_by_creator, largest_geometry_means_size,
           differencing, fixed, bad_fixed, bad_dynamic, bad_dynamic_checksum)
