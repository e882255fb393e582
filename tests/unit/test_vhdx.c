/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VHDX: headers, region table, metadata items, parent locators. */
#include "foreign.h"

enum {
    MIB = 1 << 20,
    FILE_LEN = 3 * MIB,
    HEADER1 = 64 << 10,
    HEADER2 = 128 << 10,
    REGIONS = 192 << 10,
    META = 2 * MIB,
    ITEMS = 64 << 10, /* where items begin, in the metadata region */
    ENTRY = META + 32,
};

static const uint8_t metadata_id[] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47,
                                      0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f,
                                      0x05, 0x0f, 0x88, 0x6e};
static const uint8_t parameters_id[] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa,
                                        0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0,
                                        0xaa, 0x44, 0xe7, 0x6b};
static const uint8_t size_id[] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd,
                                  0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe,
                                  0xd8, 0x3b, 0xf4, 0xb8};
static const uint8_t sector_id[] = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9,
                                    0x09, 0x47, 0xba, 0x47, 0xf2, 0x33,
                                    0xa8, 0xfa, 0xab, 0x5f};
static const uint8_t locator_id[] = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3,
                                     0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8,
                                     0x48, 0x34, 0xab, 0x0c};

static uint8_t *bytes;
static struct foreign_base base = {"vhdx", NULL, FILE_LEN, false, NULL};

static void put(size_t off, size_t width, uint64_t value)
{
    foreign_put(bytes + off, width, value, false);
}

static void make_header(size_t off, uint64_t sequence)
{
    memcpy(bytes + off, "head", 4);
    put(off + 8, 8, sequence);
    put(off + 66, 2, 1);
}

static void item(size_t idx, const uint8_t *id, size_t off, size_t len)
{
    memcpy(bytes + ENTRY + 32 * idx, id, 16);
    put(ENTRY + 32 * idx + 16, 4, ITEMS + off);
    put(ENTRY + 32 * idx + 20, 4, len);
}

static void make(void)
{
    free(bytes);
    bytes = calloc(1, FILE_LEN);
    ck_assert_ptr_nonnull(bytes);
    base.bytes = bytes;
    memcpy(bytes, "vhdxfile", 8);
    make_header(HEADER1, 1);
    make_header(HEADER2, 2);
    memcpy(bytes + REGIONS, "regi", 4);
    put(REGIONS + 8, 4, 2);
    memcpy(bytes + REGIONS + 16 + 32, metadata_id, 16);
    put(REGIONS + 16 + 32 + 16, 8, META);
    put(REGIONS + 16 + 32 + 24, 4, MIB);
    memcpy(bytes + META, "metadata", 8);
    put(META + 10, 2, 3);
    item(0, parameters_id, 0, 8);
    item(1, size_id, 8, 8);
    item(2, sector_id, 16, 4);
    put(META + ITEMS, 4, 8 * MIB);
    put(META + ITEMS + 8, 8, 10 * MIB);
    put(META + ITEMS + 16, 4, 512);
}

START_TEST(opens)
{
    make();
    struct img_image *image = foreign_open("vhdx", bytes, FILE_LEN);

    ck_assert_uint_eq(image->virtual_len, 10 * MIB);
    ck_assert_uint_eq(image->cluster_len, 8 * MIB);
    ck_assert(!image->is_dirty);
    foreign_describes(image, "");
    img_image_free(image);
}
END_TEST

static bool opens_dirty(void)
{
    struct img_image *image = foreign_open("vhdx", bytes, FILE_LEN);
    bool is_dirty = image->is_dirty;

    img_image_free(image);
    return is_dirty;
}

/* Only the current header tells whether there is a log to replay. */
START_TEST(log_of_current_header)
{
    make();
    bytes[HEADER1 + 48] = 1;
    ck_assert(!opens_dirty());
    bytes[HEADER2 + 63] = 1;
    ck_assert(opens_dirty());
    put(HEADER1 + 8, 8, 3);
    bytes[HEADER1 + 48] = 0;
    ck_assert(!opens_dirty());
    bytes[HEADER1] = 0; /* the other one is all that is left */
    ck_assert(opens_dirty());
}
END_TEST

static void add_text(size_t off, const char *text)
{
    for (size_t i = 0; text[i] != '\0'; i++) {
        put(META + ITEMS + off + 2 * i, 2, (uint8_t)text[i]);
    }
}

static void make_differencing(void)
{
    size_t at = META + ITEMS + 1024;

    make();
    put(META + ITEMS + 4, 4, 2);
    put(META + 10, 2, 4);
    item(3, locator_id, 1024, 512);
    put(at + 18, 2, 2);
    put(at + 20, 4, 100);
    put(at + 24, 4, 200);
    put(at + 28, 2, 26);
    put(at + 30, 2, 18);
    add_text(1024 + 100, "relative_path");
    add_text(1024 + 200, "base.vhdx");
    put(at + 32, 4, 300); /* a key that says nothing to us */
    put(at + 36, 4, 300);
    put(at + 40, 2, 4);
    put(at + 42, 2, 4);
    add_text(1024 + 300, "xx");
}

START_TEST(differencing)
{
    make_differencing();
    struct img_image *image = foreign_open("vhdx", bytes, FILE_LEN);

    ck_assert_ptr_null(image->backing_name);
    foreign_describes(image, "{\"type\":\"vhdx\",\"data\":{\"parent-locator\":"
                             "{\"relative_path\":\"base.vhdx\"}}}");
    img_image_free(image);
}
END_TEST

START_TEST(bad_locators)
{
    static const size_t at = META + ITEMS + 1024;
    static const struct {
        size_t off, width;
        uint64_t value;
        const char *text;
    } bad[] = {
        {at + 18, 2, 42,
         "VHDX parent locator: found 42 entries, expected no more than fit in "
         "512 bytes"},
        {at + 20, 4, 500,
         "VHDX parent locator: found text at 500 and 200, expected inside its "
         "512 bytes"},
        {at + 24, 4, UINT32_MAX,
         "VHDX parent locator: found text at 100 and 4294967295, expected "
         "inside its 512 bytes"},
        {ENTRY + 96 + 20, 4, 8193,
         "VHDX parent locator: found 8193 bytes, expected 20 to 8192"},
        {ENTRY + 96, 1, 0,
         "VHDX parent locator: found 0 bytes, expected 20 to 8192"},
        {ENTRY + 96 + 20, 4, 19,
         "VHDX parent locator: found 19 bytes at 66560, expected at least 20 "
         "in the metadata region, behind its table"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make_differencing();
        put(bad[i].off, bad[i].width, bad[i].value);
        struct img_image *image = foreign_open("vhdx", bytes, FILE_LEN);
        struct img_json *json = NULL;
        unit_fails(img_image_describe(image, &json, &err), &err, IMG_CORRUPT,
                   bad[i].text);
        ck_assert_ptr_null(json);
        img_image_free(image);
    }
}
END_TEST

START_TEST(bad_fields)
{
    static const struct foreign_bad bad[] = {
        {0, 1, 0, IMG_FORMAT, "not a VHDX file"},
        {REGIONS, 1, 0, IMG_CORRUPT,
         "VHDX table: its signature \"regi\" is missing"},
        {REGIONS + 8, 4, 2048, IMG_CORRUPT,
         "VHDX table \"regi\": found 2048 entries, expected at most 2047"},
        {REGIONS + 8, 4, 1, IMG_CORRUPT,
         "VHDX region table: found no metadata region"},
        {REGIONS + 64, 8, MIB - 1, IMG_CORRUPT,
         "VHDX metadata region: found 1048576 bytes at offset 1048575, "
         "expected at least 65536 inside the file, behind its first MiB"},
        {REGIONS + 64, 8, UINT64_MAX, IMG_CORRUPT,
         "VHDX metadata region: found 1048576 bytes at offset "
         "18446744073709551615, expected at least 65536 inside the file, "
         "behind its first MiB"},
        {REGIONS + 72, 4, 65535, IMG_CORRUPT,
         "VHDX metadata region: found 65535 bytes at offset 2097152, "
         "expected at least 65536 inside the file, behind its first MiB"},
        {META, 1, 0, IMG_CORRUPT,
         "VHDX table: its signature \"metadata\" is missing"},
        {META + 10, 2, 2048, IMG_CORRUPT,
         "VHDX table \"metadata\": found 2048 entries, expected at most "
         "2047"},
        {META + 10, 2, 2, IMG_CORRUPT,
         "VHDX metadata: found no logical sector size"},
        {ENTRY, 1, 0, IMG_CORRUPT, "VHDX metadata: found no file parameters"},
        {ENTRY + 32, 1, 0, IMG_CORRUPT,
         "VHDX metadata: found no virtual disk size"},
        {ENTRY + 16, 4, 0, IMG_CORRUPT,
         "VHDX file parameters: found 8 bytes at 0, expected at least 8 in "
         "the metadata region, behind its table"},
        {ENTRY + 48, 4, UINT32_MAX, IMG_CORRUPT,
         "VHDX virtual disk size: found 8 bytes at 4294967295, expected at "
         "least 8 in the metadata region, behind its table"},
        {ENTRY + 52, 4, 7, IMG_CORRUPT,
         "VHDX virtual disk size: found 7 bytes at 65544, expected at least "
         "8 in the metadata region, behind its table"},
        {META + ITEMS, 4, 0, IMG_CORRUPT,
         "VHDX block size: found 0, expected a power of two from 1048576 to "
         "268435456"},
        {META + ITEMS, 4, 3 * MIB, IMG_CORRUPT,
         "VHDX block size: found 3145728, expected a power of two from "
         "1048576 to 268435456"},
        {META + ITEMS + 16, 4, 1024, IMG_CORRUPT,
         "VHDX logical sector size: found 1024, expected 512 or 4096"},
        {META + ITEMS + 16, 4, 0, IMG_CORRUPT,
         "VHDX logical sector size: found 0, expected 512 or 4096"},
        {META + ITEMS + 8, 8, 100, IMG_CORRUPT,
         "VHDX virtual disk size: found 100, expected a multiple of 512 up "
         "to 70368744177664"},
        {META + ITEMS + 8, 8, UINT64_MAX - 511, IMG_CORRUPT,
         "VHDX virtual disk size: found 18446744073709551104, expected a "
         "multiple of 512 up to 70368744177664"},
    };

    make();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

START_TEST(items_twice)
{
    make();
    memcpy(bytes + ENTRY + 64, size_id, 16);
    /* The sector size is looked for first, and gone. */
    foreign_refused("vhdx", bytes, FILE_LEN, IMG_CORRUPT,
                    "VHDX metadata: found no logical sector size");
    put(META + 10, 2, 4);
    item(3, sector_id, 16, 4);
    foreign_refused("vhdx", bytes, FILE_LEN, IMG_CORRUPT,
                    "VHDX virtual disk size: found 4 bytes at 65552, expected "
                    "at least 8 in the metadata region, behind its table");
    item(2, size_id, 8, 8);
    foreign_refused("vhdx", bytes, FILE_LEN, IMG_CORRUPT,
                    "VHDX virtual disk size: found it twice");
}
END_TEST

START_TEST(no_header)
{
    make();
    bytes[HEADER1] = 0;
    put(HEADER2 + 66, 2, 2);
    foreign_refused("vhdx", bytes, FILE_LEN, IMG_CORRUPT,
                    "VHDX headers: found none of version 1 at offsets 65536 "
                    "and 131072");
}
END_TEST

UNIT_SUITE("vhdx", opens, log_of_current_header, differencing, bad_locators,
           bad_fields, items_twice, no_header)
