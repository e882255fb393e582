/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMDK: sparse headers, footers, embedded descriptors and descriptor files.
 * No extent that a descriptor names is ever opened: none exists here.
 */
#include "foreign.h"

enum { FILE_LEN = 65536, DESC_OFF = 512, DESC_LEN = 20 * 512 };

static uint8_t bytes[FILE_LEN];
static struct foreign_base base = {"vmdk", bytes, FILE_LEN, false, NULL};

static void put(size_t off, size_t width, uint64_t value)
{
    foreign_put(bytes + off, width, value, false);
}

static void set_desc(const char *text)
{
    memset(bytes + DESC_OFF, 0, DESC_LEN);
    strcpy((char *)bytes + DESC_OFF, text);
}

static void make_header(size_t off)
{
    memcpy(bytes + off, "KDMV", 4);
    put(off + 4, 4, 1);
    put(off + 8, 4, 3);
    put(off + 12, 8, 20480);
    put(off + 20, 8, 128);
    put(off + 28, 8, 1);
    put(off + 36, 8, 20);
    put(off + 44, 4, 512);
    put(off + 48, 8, 21);
    put(off + 56, 8, 26);
    put(off + 64, 8, 128);
}

static void make(void)
{
    memset(bytes, 0, sizeof(bytes));
    make_header(0);
    set_desc("# Disk DescriptorFile\nversion=1\nCID=1234abcd\n"
             "parentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n"
             "# Extent description\nRW 20480 SPARSE \"image\"\n");
}

START_TEST(sparse)
{
    make();
    struct img_image *image = foreign_open("vmdk", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 10 << 20);
    ck_assert_uint_eq(image->cluster_len, 65536);
    ck_assert_ptr_null(image->backing_name);
    foreign_describes(image,
                      "{\"type\":\"vmdk\",\"data\":{\"create-type\":"
                      "\"monolithicSparse\",\"cid\":305441741,\"parent-cid\":"
                      "4294967295,\"extents\":[{\"filename\":\"dir/image\","
                      "\"format\":\"\",\"virtual-size\":10485760,"
                      "\"cluster-size\":65536}]}}");
    img_image_free(image);
}
END_TEST

START_TEST(sparse_with_parent)
{
    make();
    set_desc("CID=1\r\nparentCID=2\r\nparentFileNameHint=\"base.vmdk\"\r\n");
    struct img_image *image = foreign_open("vmdk", bytes, sizeof(bytes));

    ck_assert_str_eq(image->backing_name, "base.vmdk");
    ck_assert_str_eq(image->backing_format, "vmdk");
    ck_assert(image->supports_backing);
    img_image_free(image);
}
END_TEST

/* The extent of a split disk: a header that tells of no descriptor. */
START_TEST(sparse_without_descriptor)
{
    make();
    put(28, 8, 0);
    put(36, 8, 0);
    struct img_image *image = foreign_open("vmdk", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 10 << 20);
    foreign_describes(image,
                      "{\"type\":\"vmdk\",\"data\":{\"create-type\":"
                      "\"monolithicSparse\",\"extents\":[{\"filename\":"
                      "\"dir/image\",\"format\":\"\",\"virtual-size\":10485760,"
                      "\"cluster-size\":65536}]}}");
    img_image_free(image);
}
END_TEST

static void make_footer(void)
{
    put(56, 8, UINT64_MAX);
    put(77, 2, 1);
    put(12, 8, 4096); /* the footer's capacity counts */
    make_header(FILE_LEN - 1024);
    put(FILE_LEN - 1024 + 77, 2, 1);
    put(FILE_LEN - 1536 + 12, 4, 3);
}

START_TEST(streamed)
{
    make();
    make_footer();
    struct img_image *image = foreign_open("vmdk", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 10 << 20);
    foreign_describes(image,
                      "{\"type\":\"vmdk\",\"data\":{\"create-type\":"
                      "\"streamOptimized\",\"cid\":305441741,\"parent-cid\":"
                      "4294967295,\"extents\":[{\"filename\":\"dir/image\","
                      "\"format\":\"\",\"virtual-size\":10485760,"
                      "\"cluster-size\":65536,\"compressed\":true}]}}");
    img_image_free(image);
}
END_TEST

START_TEST(bad_footers)
{
    static const char text[] =
        "VMDK footer: expected its marker, a header and the end marker";
    static const struct foreign_bad bad[] = {
        {FILE_LEN - 1024, 1, 0, IMG_CORRUPT, text},
        {FILE_LEN - 1536 + 8, 4, 1, IMG_CORRUPT, text},
        {FILE_LEN - 1536 + 12, 4, 2, IMG_CORRUPT, text},
        {FILE_LEN - 512, 8, 1, IMG_CORRUPT, text},
        {FILE_LEN - 512 + 8, 4, 1, IMG_CORRUPT, text},
        {FILE_LEN - 512 + 12, 4, 1, IMG_CORRUPT, text},
        {FILE_LEN - 1024 + 56, 8, UINT64_MAX, IMG_CORRUPT,
         "VMDK footer: found no grain directory in it"},
        {FILE_LEN - 1024 + 20, 8, 0, IMG_CORRUPT,
         "VMDK grain size: found 0 sectors, expected 1 to 2097152"},
    };

    make();
    make_footer();
    FOREIGN_ALL_REFUSED(&base, bad);
    foreign_refused("vmdk", bytes, FILE_LEN - 1, IMG_CORRUPT,
                    "VMDK footer: found a file of 65535 bytes, expected at "
                    "least four whole sectors");
    put(28, 8, 0);
    foreign_refused("vmdk", bytes, 1536, IMG_CORRUPT,
                    "VMDK footer: found a file of 1536 bytes, expected at "
                    "least four whole sectors");
}
END_TEST

START_TEST(bad_headers)
{
    static const struct foreign_bad bad[] = {
        {4, 4, 4, IMG_UNSUPPORTED, "VMDK version: found 4, expected at most 3"},
        {12, 8, UINT64_MAX, IMG_CORRUPT,
         "VMDK capacity: found 18446744073709551615 sectors, expected at most "
         "2199023255552"},
        {12, 8, UINT64_C(2199023255552) + 1, IMG_CORRUPT,
         "VMDK capacity: found 2199023255553 sectors, expected at most "
         "2199023255552"},
        {20, 8, 0, IMG_CORRUPT,
         "VMDK grain size: found 0 sectors, expected 1 to 2097152"},
        {20, 8, UINT64_C(1) << 60, IMG_CORRUPT,
         "VMDK grain size: found 1152921504606846976 sectors, expected 1 to "
         "2097152"},
        {44, 4, 0, IMG_CORRUPT,
         "VMDK grain table: found 0 entries, expected 1 to 512"},
        {44, 4, 513, IMG_CORRUPT,
         "VMDK grain table: found 513 entries, expected 1 to 512"},
        {64, 8, 129, IMG_CORRUPT,
         "VMDK metadata: found 129 sectors, expected no more than the file's "
         "128"},
        {28, 8, 2, IMG_CORRUPT,
         "VMDK descriptor: found 20 sectors at sector 2, expected 1 to 2047 "
         "at sector 1 inside the file"},
        {36, 8, 0, IMG_CORRUPT,
         "VMDK descriptor: found 0 sectors at sector 1, expected 1 to 2047 at "
         "sector 1 inside the file"},
        {36, 8, UINT64_MAX, IMG_CORRUPT,
         "VMDK descriptor: found 18446744073709551615 sectors at sector 1, "
         "expected 1 to 2047 at sector 1 inside the file"},
        {36, 8, 128, IMG_CORRUPT,
         "VMDK descriptor: found 128 sectors at sector 1, expected 1 to 2047 "
         "at sector 1 inside the file"},
    };

    make();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

START_TEST(cowd)
{
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, "COWD", 4);
    put(4, 4, 1);
    put(8, 4, 3);
    put(12, 4, 20480);
    put(16, 4, 1);
    put(20, 4, 4);
    put(24, 4, 5);
    struct img_image *image = foreign_open("vmdk", bytes, sizeof(bytes));
    ck_assert_uint_eq(image->virtual_len, 10 << 20);
    ck_assert_uint_eq(image->cluster_len, 512);
    img_image_free(image);

    put(16, 4, 0);
    foreign_refused("vmdk", bytes, sizeof(bytes), IMG_CORRUPT,
                    "VMDK grain size: found 0 sectors, expected 1 to "
                    "2097152");
}
END_TEST

static struct img_image *open_text(const char *text)
{
    return foreign_open("vmdk", text, strlen(text));
}

START_TEST(descriptor_file)
{
    struct img_image *image =
        open_text("# Disk DescriptorFile\nversion=1\nCID=0\n"
                  "parentCID=ffffffff\ncreateType = \"twoGbMaxExtentFlat\"\n"
                  "RW 4194304 FLAT \"a-f001.vmdk\" 0\n"
                  "RDONLY 100 FLAT \"/etc/shadow\" 5\r\n"
                  "  NOACCESS 28 ZERO\n"
                  "ddb.geometry.heads = \"16\"\n");

    ck_assert_uint_eq(image->virtual_len, UINT64_C(4194432) * 512);
    ck_assert_uint_eq(image->cluster_len, 0);
    foreign_describes(
        image,
        "{\"type\":\"vmdk\",\"data\":{\"create-type\":"
        "\"twoGbMaxExtentFlat\",\"cid\":0,\"parent-cid\":4294967295,"
        "\"extents\":[{\"filename\":\"dir/a-f001.vmdk\",\"format\":\"FLAT\","
        "\"virtual-size\":2147483648},{\"filename\":\"/etc/shadow\","
        "\"format\":\"FLAT\",\"virtual-size\":51200},{\"format\":\"ZERO\","
        "\"virtual-size\":14336}]}}");
    img_image_free(image);
}
END_TEST

/* Capacity 0: the embedded descriptor lists the disk, as in QEMU. */
START_TEST(descriptor_in_empty_sparse)
{
    make();
    put(12, 8, 0);
    set_desc("createType=\"monolithicFlat\"\nRW 8 FLAT \"/dev/sda\" 0\n");
    struct img_image *image = foreign_open("vmdk", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 4096);
    foreign_describes(
        image, "{\"type\":\"vmdk\",\"data\":{\"create-type\":"
               "\"monolithicFlat\",\"extents\":[{\"filename\":\"/dev/sda\","
               "\"format\":\"FLAT\",\"virtual-size\":4096}]}}");
    img_image_free(image);
}
END_TEST

START_TEST(many_extents)
{
    enum { NR = 1000 };
    static char text[NR * 32 + 64];
    size_t len = (size_t)sprintf(text, "createType=\"x\"\n");

    for (int i = 0; i < NR; i++) {
        len += (size_t)sprintf(text + len, "RW 2 SPARSE \"s%d\"\n", i);
    }
    struct img_image *image = open_text(text);
    ck_assert_uint_eq(image->virtual_len, NR * 1024);
    struct img_json *json = NULL;
    unit_ok(img_image_describe(image, &json, &err), &err);
    const struct img_json *extents =
        img_json_get(img_json_get(json, "data"), "extents");
    ck_assert_uint_eq(img_json_len(extents), NR);
    ck_assert_str_eq(
        img_json_get_string(img_json_at(extents, NR - 1), "filename"),
        "dir/s999");
    img_json_free(json);
    img_image_free(image);
}
END_TEST

START_TEST(bad_descriptors)
{
#define DISK "createType=\"x\"\nRW 8 FLAT \"a\" 0\n"
#define NO_VMDK                                                                \
    "not a VMDK: found neither a sparse header nor a descriptor with "         \
    "createType and extents"
    static const struct {
        const char *desc;
        enum img_code code;
        const char *text;
    } bad[] = {
        {"nothing of the kind", IMG_FORMAT, NO_VMDK},
        {"createType=\"x\"\n", IMG_FORMAT, NO_VMDK},
        {"RW 8 FLAT \"a\" 0\n", IMG_FORMAT, NO_VMDK},
        {DISK "createType=\"y\"\n", IMG_CORRUPT,
         "VMDK descriptor: found a key for the second time in "
         "\"createType=\"y\"\""},
        {DISK "CID=1\nCID=1\n", IMG_CORRUPT,
         "VMDK descriptor: found a key for the second time in \"CID=1\""},
        {DISK "CID=123456789\n", IMG_CORRUPT,
         "VMDK descriptor: expected a hexadecimal number of 32 bits in "
         "\"CID=123456789\""},
        {DISK "parentCID=0x12\n", IMG_CORRUPT,
         "VMDK descriptor: expected a hexadecimal number of 32 bits in "
         "\"parentCID=0x12\""},
        {DISK "CID=\n", IMG_CORRUPT,
         "VMDK descriptor: expected a hexadecimal number of 32 bits in "
         "\"CID=\""},
        {DISK "parentFileNameHint=\"\"\n", IMG_CORRUPT,
         "VMDK descriptor: expected 1 to 1023 bytes without quotation marks "
         "in \"parentFileNameHint=\"\"\""},
        {DISK "parentFileNameHint=\"a\x1b\"b\"\n", IMG_CORRUPT,
         "VMDK descriptor: expected 1 to 1023 bytes without quotation marks "
         "in \"parentFileNameHint=\"a\\x1b\"b\"\""},
        {DISK "RW 8\n", IMG_CORRUPT,
         "VMDK descriptor: expected a size and a type in \"RW 8\""},
        {DISK "RW 8 AVERYLONGTYPENAME \"a\"\n", IMG_CORRUPT,
         "VMDK descriptor: expected a size and a type in "
         "\"RW 8 AVERYLONGTYPENAME \"a\"\""},
        {DISK "RW 8x FLAT \"a\"\n", IMG_CORRUPT,
         "VMDK descriptor: expected a number of sectors below 2^54 in "
         "\"RW 8x FLAT \"a\"\""},
        {DISK "RW 18014398509481984 FLAT \"a\"\n", IMG_CORRUPT,
         "VMDK descriptor: expected a number of sectors below 2^54 in "
         "\"RW 18014398509481984 FLAT \"a\"\""},
        {DISK "RW 99999999999999999999999 FLAT \"a\"\n", IMG_CORRUPT,
         "VMDK descriptor: expected a number of sectors below 2^54 in "
         "\"RW 99999999999999999999999 FLAT \"a\"\""},
        {DISK "RW 8 FLAT \"a\n", IMG_CORRUPT,
         "VMDK descriptor: expected a second quotation mark in "
         "\"RW 8 FLAT \"a\""},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        foreign_refused("vmdk", bad[i].desc, strlen(bad[i].desc), bad[i].code,
                        bad[i].text);
    }
}
END_TEST

START_TEST(descriptor_too_long)
{
    size_t len = 1 << 20;
    char *text = malloc(len);

    ck_assert_ptr_nonnull(text);
    memset(text, '\n', len);
    memcpy(text, DISK, strlen(DISK));
    foreign_refused("vmdk", text, len, IMG_LIMIT,
                    "VMDK descriptor too long: found 1048576 bytes, expected "
                    "at most 1048575");
    img_image_free(foreign_open("vmdk", text, len - 1));
    free(text);
}
END_TEST

UNIT_SUITE("vmdk", sparse, sparse_with_parent, sparse_without_descriptor,
           streamed, bad_footers, bad_headers, cowd, descriptor_file,
           descriptor_in_empty_sparse, many_extents, bad_descriptors,
           descriptor_too_long)
