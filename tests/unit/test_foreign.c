/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Formats that are described by a small header: qcow version 1, QED, VDI,
 * Parallels, DMG, Bochs, cloop. VMDK, VHD and VHDX have tests of their own.
 */
#include "foreign.h"

enum { FILE_LEN = 16384 };

static uint8_t bytes[FILE_LEN];

static void put_be(size_t off, size_t width, uint64_t value)
{
    foreign_put(bytes + off, width, value, true);
}

static void put_le(size_t off, size_t width, uint64_t value)
{
    foreign_put(bytes + off, width, value, false);
}

static struct foreign_base base_of(const char *name, bool is_big_endian)
{
    return (struct foreign_base){name, bytes, sizeof(bytes), is_big_endian,
                                 NULL};
}

static void make_qcow(void)
{
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, "QFI\xfb\0\0\0\1", 8);
    put_be(8, 8, 48);
    put_be(16, 4, 8);
    put_be(24, 8, 1000 * 512 + 100);
    bytes[32] = 12;
    bytes[33] = 9;
    put_be(40, 8, 56);
    memcpy(bytes + 48, "base.img", 8);
}

START_TEST(qcow_opens)
{
    make_qcow();
    struct img_image *image = foreign_open("qcow", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 1000 * 512);
    ck_assert_uint_eq(image->cluster_len, 4096);
    ck_assert_str_eq(image->backing_name, "base.img");
    ck_assert_ptr_null(image->backing_format);
    ck_assert(image->supports_backing && !image->is_encrypted);
    foreign_describes(image, "");
    img_image_free(image);

    put_be(8, 8, 0);
    put_be(36, 4, 1);
    image = foreign_open("qcow", bytes, sizeof(bytes));
    ck_assert_ptr_null(image->backing_name);
    ck_assert(image->is_encrypted);
    img_image_free(image);
}
END_TEST

START_TEST(qcow_refused)
{
    static const struct foreign_bad bad[] = {
        {4, 4, 2, IMG_FORMAT, "not a qcow version 1 header"},
        {24, 8, 1, IMG_CORRUPT,
         "qcow virtual size: found 1, expected 2 to 9223372036854775807"},
        {24, 8, UINT64_MAX, IMG_CORRUPT,
         "qcow virtual size: found 18446744073709551615, expected 2 to "
         "9223372036854775807"},
        {24, 8, INT64_MAX, IMG_CORRUPT,
         "qcow L1 table: found 4398046511104 entries, expected at most "
         "268435455"},
        {32, 1, 8, IMG_CORRUPT, "qcow cluster bits: found 8, expected 9 to 16"},
        {32, 1, 17, IMG_CORRUPT,
         "qcow cluster bits: found 17, expected 9 to 16"},
        {33, 1, 5, IMG_CORRUPT, "qcow L2 bits: found 5, expected 6 to 13"},
        {33, 1, 14, IMG_CORRUPT, "qcow L2 bits: found 14, expected 6 to 13"},
        {36, 4, 2, IMG_CORRUPT,
         "qcow encryption: found method 2, expected 0 (none) or 1 (AES)"},
        {16, 4, 1024, IMG_CORRUPT,
         "backing file name: found 1024 bytes, expected 1 to 1023"},
        {8, 8, FILE_LEN - 7, IMG_CORRUPT,
         "backing file name: found at offset 16377 with 8 bytes, expected "
         "inside the file's 16384 bytes"},
        {8, 8, UINT64_MAX, IMG_CORRUPT,
         "backing file name: found at offset 18446744073709551615 with 8 "
         "bytes, expected inside the file's 16384 bytes"},
        {50, 1, 0, IMG_CORRUPT, "backing file name: found a NUL byte in it"},
    };
    struct foreign_base base = base_of("qcow", true);

    make_qcow();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

static void make_qed(void)
{
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, "QED", 4);
    put_le(4, 4, 4096);
    put_le(8, 4, 2);
    put_le(12, 4, 1);
    put_le(16, 8, 1 | 2 | 4);
    put_le(40, 8, 4096);
    put_le(48, 8, 1 << 20);
    put_le(56, 4, 64);
    put_le(60, 4, 8);
    memcpy(bytes + 64, "base.img", 8);
}

START_TEST(qed_opens)
{
    make_qed();
    struct img_image *image = foreign_open("qed", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 1 << 20);
    ck_assert_uint_eq(image->cluster_len, 4096);
    ck_assert_str_eq(image->backing_name, "base.img");
    ck_assert_str_eq(image->backing_format, "raw");
    ck_assert(image->is_dirty);
    foreign_describes(image, "");
    img_image_free(image);

    put_le(16, 8, 1);
    image = foreign_open("qed", bytes, sizeof(bytes));
    ck_assert_str_eq(image->backing_name, "base.img");
    ck_assert_ptr_null(image->backing_format);
    ck_assert(!image->is_dirty);
    img_image_free(image);

    put_le(16, 8, 0);
    image = foreign_open("qed", bytes, sizeof(bytes));
    ck_assert_ptr_null(image->backing_name);
    img_image_free(image);
}
END_TEST

START_TEST(qed_refused)
{
    static const struct foreign_bad bad[] = {
        {3, 1, 1, IMG_FORMAT, "not a QED header"},
        {16, 8, 8, IMG_UNSUPPORTED,
         "QED features: found 0x8, expected no others than 0x7"},
        {4, 4, 2048, IMG_CORRUPT,
         "QED cluster size: found 2048, expected a power of two from 4096 to "
         "67108864"},
        {4, 4, 0, IMG_CORRUPT,
         "QED cluster size: found 0, expected a power of two from 4096 to "
         "67108864"},
        {4, 4, 1u << 27, IMG_CORRUPT,
         "QED cluster size: found 134217728, expected a power of two from "
         "4096 to 67108864"},
        {8, 4, 3, IMG_CORRUPT,
         "QED table size: found 3, expected a power of two from 1 to 16"},
        {8, 4, 32, IMG_CORRUPT,
         "QED table size: found 32, expected a power of two from 1 to 16"},
        {48, 8, 1000, IMG_CORRUPT,
         "QED image size: found 1000, expected a multiple of 512 up to "
         "4294967296"},
        {48, 8, UINT64_C(4294967296) + 512, IMG_CORRUPT,
         "QED image size: found 4294967808, expected a multiple of 512 up to "
         "4294967296"},
        {40, 8, 0, IMG_CORRUPT,
         "QED L1 table: found at offset 0, expected a cluster inside the "
         "file"},
        {40, 8, 4097, IMG_CORRUPT,
         "QED L1 table: found at offset 4097, expected a cluster inside the "
         "file"},
        {40, 8, 12288, IMG_CORRUPT,
         "QED L1 table: found at offset 12288, expected a cluster inside the "
         "file"},
        {56, 4, 4090, IMG_CORRUPT,
         "QED backing file name: found at offset 4090 with 8 bytes, expected "
         "inside the header's 4096 bytes"},
        {12, 4, 0, IMG_CORRUPT,
         "QED backing file name: found at offset 64 with 8 bytes, expected "
         "inside the header's 0 bytes"},
        {60, 4, 0, IMG_CORRUPT,
         "backing file name: found 0 bytes, expected 1 to 1023"},
        {60, 4, 1024, IMG_CORRUPT,
         "backing file name: found 1024 bytes, expected 1 to 1023"},
    };
    struct foreign_base base = base_of("qed", false);

    make_qed();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

/* The largest tables overflow 63 bits: the limit is the largest offset. */
START_TEST(qed_largest)
{
    make_qed();
    put_le(4, 4, 64 << 20);
    put_le(8, 4, 16);
    put_le(48, 8, UINT64_C(1) << 63);
    foreign_refused("qed", bytes, sizeof(bytes), IMG_CORRUPT,
                    "QED image size: found 9223372036854775808, expected a "
                    "multiple of 512 up to 9223372036854775807");
}
END_TEST

static void make_vdi(void)
{
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, "<<< QEMU VM Virtual Disk Image >>>\n", 35);
    put_le(0x40, 4, 0xbeda107f);
    put_le(0x44, 4, 0x00010001);
    put_le(0x48, 4, 0x180);
    put_le(0x4c, 4, 1);
    put_le(0x154, 4, 0x200);
    put_le(0x158, 4, 0x400);
    put_le(0x168, 4, 512);
    put_le(0x170, 8, (10 << 20) - 100);
    put_le(0x178, 4, 1 << 20);
    put_le(0x180, 4, 10);
}

START_TEST(vdi_opens)
{
    make_vdi();
    struct img_image *image = foreign_open("vdi", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 10 << 20);
    ck_assert_uint_eq(image->cluster_len, 1 << 20);
    foreign_describes(image, "");
    img_image_free(image);
}
END_TEST

START_TEST(vdi_refused)
{
    static const struct foreign_bad bad[] = {
        {0x40, 1, 0, IMG_FORMAT, "not a VDI header"},
        {0x44, 4, 0x00010002, IMG_UNSUPPORTED,
         "VDI version: found 1.2, expected 1.1"},
        {0x4c, 4, 0, IMG_CORRUPT, "VDI image type: found 0, expected 1 to 4"},
        {0x4c, 4, 5, IMG_CORRUPT, "VDI image type: found 5, expected 1 to 4"},
        {0x154, 4, 0x201, IMG_CORRUPT,
         "VDI block map: found offset 513, expected a multiple of 512"},
        {0x158, 4, 1, IMG_CORRUPT,
         "VDI data: found offset 1, expected a multiple of 512"},
        {0x168, 4, 0, IMG_UNSUPPORTED,
         "VDI sector size: found 0, expected 512"},
        {0x178, 4, 0, IMG_CORRUPT,
         "VDI block size: found 0, expected a power of two from 512 to "
         "1073741824"},
        {0x178, 4, 3 << 20, IMG_CORRUPT,
         "VDI block size: found 3145728, expected a power of two from 512 to "
         "1073741824"},
        {0x180, 4, 9, IMG_CORRUPT,
         "VDI disk size: found 10485660, expected at most 9437184 for its "
         "blocks"},
        {0x180, 4, 0x40000000, IMG_CORRUPT,
         "VDI blocks: found 1073741824, expected at most 1073741823"},
        {0x170, 8, UINT64_MAX, IMG_CORRUPT,
         "VDI disk size: found 18446744073709551615, expected at most "
         "10485760 for its blocks"},
    };
    struct foreign_base base = base_of("vdi", false);

    make_vdi();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

static void make_parallels(const char *magic)
{
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, magic, 16);
    put_le(16, 4, 2);
    put_le(28, 4, 2048);
    put_le(32, 4, 10);
    put_le(36, 8, (UINT64_C(1) << 32) + 20480);
}

START_TEST(parallels_opens)
{
    make_parallels("WithouFreSpacExt");
    struct img_image *image = foreign_open("parallels", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, ((UINT64_C(1) << 32) + 20480) * 512);
    ck_assert_uint_eq(image->cluster_len, 1 << 20);
    ck_assert(!image->is_dirty);
    foreign_describes(image, "");
    img_image_free(image);

    make_parallels("WithoutFreeSpace");
    put_le(44, 4, 0x746f6e59);
    image = foreign_open("parallels", bytes, sizeof(bytes));
    ck_assert_uint_eq(image->virtual_len, 10 << 20);
    ck_assert(image->is_dirty);
    img_image_free(image);
}
END_TEST

START_TEST(parallels_refused)
{
    static const struct foreign_bad bad[] = {
        {0, 1, 'w', IMG_FORMAT, "not a Parallels header"},
        {16, 4, 1, IMG_UNSUPPORTED, "Parallels version: found 1, expected 2"},
        {28, 4, 0, IMG_CORRUPT,
         "Parallels cluster size: found 0 sectors, expected 1 to 4186127"},
        {28, 4, 4186128, IMG_CORRUPT,
         "Parallels cluster size: found 4186128 sectors, expected 1 to "
         "4186127"},
        {32, 4, UINT32_MAX, IMG_CORRUPT,
         "Parallels block table: found 4294967295 entries, expected at most "
         "536870911"},
        {36, 8, UINT64_C(1) << 54, IMG_CORRUPT,
         "Parallels disk size: found 18014398509481984 sectors, expected at "
         "most 18014398509481983"},
    };
    struct foreign_base base = base_of("parallels", false);

    make_parallels("WithouFreSpacExt");
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

enum { KOLY = FILE_LEN - 512 };

static void make_dmg(void)
{
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes + KOLY, "koly", 4);
    put_be(KOLY + 4, 4, 4);
    put_be(KOLY + 8, 4, 512);
    put_be(KOLY + 32, 8, 4096);
    put_be(KOLY + 216, 8, 4096);
    put_be(KOLY + 224, 8, KOLY - 4096);
    put_be(KOLY + 492, 8, 2048);
}

START_TEST(dmg_opens)
{
    make_dmg();
    struct img_image *image = foreign_open("dmg", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 1 << 20);
    foreign_describes(image, "");
    img_image_free(image);
    foreign_refused("dmg", bytes, 511, IMG_CORRUPT,
                    "DMG too short: found 511 bytes, expected at least 512");
}
END_TEST

START_TEST(dmg_refused)
{
    static const struct foreign_bad bad[] = {
        {KOLY, 1, 'K', IMG_FORMAT, "not a DMG: no trailer at its end"},
        {KOLY + 4, 4, 5, IMG_CORRUPT,
         "DMG trailer: found version 5 and 512 bytes, expected version 4 and "
         "512 bytes"},
        {KOLY + 8, 4, 0, IMG_CORRUPT,
         "DMG trailer: found version 4 and 0 bytes, expected version 4 and "
         "512 bytes"},
        {KOLY + 24, 8, UINT64_MAX, IMG_CORRUPT,
         "DMG data fork: found 4096 bytes at offset 18446744073709551615, "
         "expected before the trailer at 15872"},
        {KOLY + 48, 8, FILE_LEN, IMG_CORRUPT,
         "DMG resource fork: found 16384 bytes at offset 0, expected before "
         "the trailer at 15872"},
        {KOLY + 216, 8, 4097, IMG_CORRUPT,
         "DMG XML: found 11776 bytes at offset 4097, expected before the "
         "trailer at 15872"},
        {KOLY + 492, 8, UINT64_MAX, IMG_CORRUPT,
         "DMG disk size: found 18446744073709551615 sectors, expected at "
         "most 18014398509481983"},
    };
    struct foreign_base base = base_of("dmg", true);

    make_dmg();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

static void make_bochs(void)
{
    memset(bytes, 0, sizeof(bytes));
    strcpy((char *)bytes, "Bochs Virtual HD Image");
    strcpy((char *)bytes + 32, "Redolog");
    strcpy((char *)bytes + 48, "Growing");
    put_le(64, 4, 0x20000);
    put_le(68, 4, 512);
    put_le(72, 4, 16);
    put_le(80, 4, 65536);
    put_le(88, 8, 1 << 20);
}

START_TEST(bochs_opens)
{
    make_bochs();
    struct img_image *image = foreign_open("bochs", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 1 << 20);
    ck_assert_uint_eq(image->cluster_len, 65536);
    img_image_free(image);

    put_le(64, 4, 0x10000); /* version 1 has the size in another place */
    put_le(88, 8, 0);
    put_le(84, 8, 512 << 10);
    image = foreign_open("bochs", bytes, sizeof(bytes));
    ck_assert_uint_eq(image->virtual_len, 512 << 10);
    foreign_describes(image, "");
    img_image_free(image);
}
END_TEST

START_TEST(bochs_refused)
{
    static const struct foreign_bad bad[] = {
        {64, 4, 0x30000, IMG_FORMAT,
         "not a Bochs growing image of version 1 or 2"},
        {39, 1, 'x', IMG_FORMAT, "not a Bochs growing image of version 1 or 2"},
        {72, 4, 0x100001, IMG_CORRUPT,
         "Bochs catalog: found 1048577 entries, expected at most 1048576"},
        {80, 4, 0, IMG_CORRUPT,
         "Bochs extent size: found 0, expected a power of two from 512 to "
         "8388608"},
        {80, 4, 0x1000000, IMG_CORRUPT,
         "Bochs extent size: found 16777216, expected a power of two from "
         "512 to 8388608"},
        {88, 8, (1 << 20) + 1, IMG_CORRUPT,
         "Bochs disk size: found 1048577, expected at most 1048576 for its "
         "catalog"},
    };
    struct foreign_base base = base_of("bochs", false);

    make_bochs();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

static void make_cloop(void)
{
    memset(bytes, 0, sizeof(bytes));
    strcpy((char *)bytes,
           "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t "
           "iso9660 /dev/cloop $1\n");
    put_be(128, 4, 65536);
    put_be(132, 4, 16);
}

START_TEST(cloop_opens)
{
    make_cloop();
    struct img_image *image = foreign_open("cloop", bytes, sizeof(bytes));

    ck_assert_uint_eq(image->virtual_len, 1 << 20);
    ck_assert_uint_eq(image->cluster_len, 65536);
    foreign_describes(image, "");
    img_image_free(image);
}
END_TEST

START_TEST(cloop_refused)
{
    static const struct foreign_bad bad[] = {
        {12, 1, 'x', IMG_FORMAT, "not a cloop image"},
        {128, 4, 0, IMG_CORRUPT,
         "cloop block size: found 0, expected a multiple of 512 up to "
         "67108864"},
        {128, 4, 1000, IMG_CORRUPT,
         "cloop block size: found 1000, expected a multiple of 512 up to "
         "67108864"},
        {128, 4, (64 << 20) + 512, IMG_CORRUPT,
         "cloop block size: found 67109376, expected a multiple of 512 up to "
         "67108864"},
        {132, 4, 67108864, IMG_CORRUPT,
         "cloop blocks: found 67108864, expected at most 67108863"},
    };
    struct foreign_base base = base_of("cloop", true);

    make_cloop();
    FOREIGN_ALL_REFUSED(&base, bad);
}
END_TEST

/* A header that is cut off is refused by every format, with a reason. */
START_TEST(empty_files)
{
    for (const struct img_format *f = img_formats; f->name != NULL; f++) {
        struct img_file *file = NULL;
        struct img_image *image = NULL;
        if (strcmp(f->name, "raw") == 0) {
            continue;
        }
        for (size_t len = 0; len < 64; len += 3) {
            memset(bytes, 0, sizeof(bytes));
            unit_ok(img_file_from_memory("m", bytes, len, &file, &err), &err);
            img_error_clear(&err);
            ck_assert_int_eq(f->open(file, &image, &err), -1);
            ck_assert_ptr_null(image);
            ck_assert_msg(err.code == IMG_CORRUPT || err.code == IMG_FORMAT,
                          "%s: %s", f->name, err.text);
            ck_assert_str_ne(err.text, "");
            img_file_unref(file);
        }
    }
}
END_TEST

UNIT_SUITE("foreign", qcow_opens, qcow_refused, qed_opens, qed_refused,
           qed_largest, vdi_opens, vdi_refused, parallels_opens,
           parallels_refused, dmg_opens, dmg_refused, bochs_opens,
           bochs_refused, cloop_opens, cloop_refused, empty_files)
