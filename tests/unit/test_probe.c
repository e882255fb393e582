/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Probing: what the first and last bytes of a file claim. */
#include <errno.h>

#include "foreign.h"

static uint8_t bytes[80000];

static const char *contents(size_t len)
{
    static uint8_t head[IMG_PROBE_HEAD_LEN], tail[IMG_PROBE_TAIL_LEN];
    struct img_probe_bytes probe;
    struct img_file *file = NULL;

    unit_ok(img_file_from_memory("m", bytes, len, &file, &err), &err);
    unit_ok(img_probe_load(file, head, tail, &probe, &err), &err);
    img_file_unref(file);
    ck_assert_uint_eq(probe.file_len, len);
    const char *found = img_probe_contents(&probe);
    return found != NULL ? found : "";
}

static void put(size_t off, const char *text, size_t len)
{
    memcpy(bytes + off, text, len);
}

static void partition(size_t idx, uint8_t flag, uint8_t type, uint32_t start,
                      uint32_t sectors)
{
    uint8_t *entry = bytes + 446 + 16 * idx;

    put(510, "\x55\xaa", 2);
    entry[0] = flag;
    entry[4] = type;
    foreign_put(entry + 8, 4, start, false);
    foreign_put(entry + 12, 4, sectors, false);
}

START_TEST(load_short_and_long_files)
{
    static uint8_t head[IMG_PROBE_HEAD_LEN], tail[IMG_PROBE_TAIL_LEN];
    static const size_t lens[] = {0, 1, 511, 512, 513, 36863, 36864, 70000};

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct img_file *file = NULL;
        struct img_probe_bytes out;
        size_t len = lens[i];
        unit_ok(img_file_from_memory("m", bytes, len, &file, &err), &err);
        unit_ok(img_probe_load(file, head, tail, &out, &err), &err);
        img_file_unref(file);
        ck_assert_uint_eq(out.head_len, len < 36864 ? len : 36864);
        ck_assert_uint_eq(out.tail_len, len < 512 ? len : 512);
        ck_assert_mem_eq(out.head, bytes, out.head_len);
        ck_assert_mem_eq(out.tail, bytes + len - out.tail_len, out.tail_len);
    }
}
END_TEST

START_TEST(load_reports_errors)
{
    static uint8_t head[IMG_PROBE_HEAD_LEN], tail[IMG_PROBE_TAIL_LEN];
    struct img_fault fault = {.fail_at_read = 2, .fail_errno = EIO};
    struct img_file *file = NULL;
    struct img_file *faulty = NULL;
    struct img_probe_bytes out;

    unit_ok(img_file_from_memory("m", bytes, 4096, &file, &err), &err);
    unit_ok(img_file_with_faults(file, &fault, &faulty, &err), &err);
    ck_assert_int_eq(img_probe_load(faulty, head, tail, &out, &err), -1);
    ck_assert_int_eq((int)err.code, IMG_IO);
    img_file_unref(faulty);
    img_file_unref(file);
}
END_TEST

START_TEST(claims_by_magic)
{
    static const struct {
        const char *name;
        size_t off;
        const char *magic;
        size_t len;
    } cases[] = {
        {"luks", 0, "LUKS\xba\xbe\0\1", 8},
        {"qcow", 0, "QFI\xfb\0\0\0\1", 8},
        {"qed", 0, "QED", 4},
        {"vmdk", 0, "KDMV", 4},
        {"vmdk", 0, "COWD", 4},
        {"vmdk", 0, "# Disk DescriptorFile\nversion=1\n", 32},
        {"vmdk", 0, "# x\r\n \r\n\nversion=3\r\n", 20},
        {"vdi", 0x40, "\x7f\x10\xda\xbe", 4},
        {"vpc", 0, "conectix", 8},
        {"vhdx", 0, "vhdxfile", 8},
        {"parallels", 0, "WithoutFreeSpace\2\0\0\0", 20},
        {"parallels", 0, "WithouFreSpacExt\2\0\0\0", 20},
        {"cloop", 0,
         "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t "
         "iso9660 /dev/cloop $1\n",
         83},
        /* Near misses. */
        {"raw", 0, "LUKS\xba\xbe\0\2", 8},
        {"raw", 0, "QFI\xfb\0\0\0\4", 8},
        {"raw", 1, "conectix", 8},
        {"raw", 0, "WithoutFreeSpace\3\0\0\0", 20},
        {"raw", 0, "# Disk DescriptorFile\nversion=4\n", 32},
        {"raw", 0, "# Disk DescriptorFile\nversion=1x\n", 33},
        {"raw", 0, "x\nversion=1\n", 12},
        {"raw", 0, " x\nversion=1\n", 13},
        {"raw", 0, "# only a comment", 16},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(bytes, 0, sizeof(bytes));
        put(cases[i].off, cases[i].magic, cases[i].len);
        ck_assert_msg(strcmp(foreign_probe(bytes, 4096), cases[i].name) == 0,
                      "case %zu: %s, expected %s", i,
                      foreign_probe(bytes, 4096), cases[i].name);
        /* A file that ends inside the magic claims nothing. */
        ck_assert_str_eq(foreign_probe(bytes, cases[i].off + cases[i].len - 1),
                         "raw");
    }
}
END_TEST

/* QEMU's probe gets 512 bytes: a descriptor must begin in them. */
START_TEST(descriptor_beyond_the_first_sector)
{
    memset(bytes, '#', 700);
    put(600, "\nversion=1\n", 11);
    ck_assert_str_eq(foreign_probe(bytes, 1000), "raw");
    put(480, "\nversion=1\n", 11);
    ck_assert_str_eq(foreign_probe(bytes, 1000), "vmdk");
}
END_TEST

START_TEST(bochs)
{
    put(0, "Bochs Virtual HD Image", 23);
    put(32, "Redolog", 8);
    put(48, "Growing", 8);
    put(64, "\0\0\2\0", 4);
    ck_assert_str_eq(foreign_probe(bytes, 4096), "bochs");
    ck_assert_str_eq(foreign_probe(bytes, 95), "raw");
    put(48, "Volatil", 8);
    ck_assert_str_eq(foreign_probe(bytes, 4096), "raw");
}
END_TEST

START_TEST(dmg_trailer)
{
    uint8_t *trailer = bytes + 10000 - 512;

    memcpy(trailer, "koly", 4);
    ck_assert_str_eq(foreign_probe(bytes, 10000), "raw");
    foreign_put(trailer + 4, 4, 4, true);
    foreign_put(trailer + 8, 4, 512, true);
    ck_assert_str_eq(foreign_probe(bytes, 10000), "dmg");
    foreign_put(trailer + 216, 8, 9000, true);
    foreign_put(trailer + 224, 8, 489, true);
    ck_assert_str_eq(foreign_probe(bytes, 10000), "raw");
    ck_assert_str_eq(foreign_probe(bytes, 9999), "raw");
}
END_TEST

START_TEST(contents_of_nothing)
{
    ck_assert_str_eq(contents(0), "");
    ck_assert_str_eq(contents(100), "");
    ck_assert_str_eq(contents(70000), "");
}
END_TEST

START_TEST(contents_mbr)
{
    partition(1, 0x80, 0x83, 2048, 100000);
    ck_assert_str_eq(contents(70000), "mbr");
    ck_assert_str_eq(contents(512), "mbr");
    ck_assert_str_eq(contents(511), "");
    partition(3, 0x12, 0x83, 2048, 100000); /* no known boot flag */
    ck_assert_str_eq(contents(70000), "");
    partition(3, 0, 0x83, 0, 100000); /* begins at the table itself */
    ck_assert_str_eq(contents(70000), "");
    partition(3, 0, 0x83, 1, 0); /* has no sectors */
    ck_assert_str_eq(contents(70000), "");
    partition(3, 0, 0, 0, 0);
    ck_assert_str_eq(contents(70000), "mbr");
    partition(1, 0, 0, 0, 0); /* no partition left */
    ck_assert_str_eq(contents(70000), "");
}
END_TEST

START_TEST(contents_volumes_are_no_disks)
{
    partition(0, 0x80, 0x83, 2048, 100000);
    put(3, "NTFS    ", 8);
    ck_assert_str_eq(contents(70000), "");
    put(3, "EXFAT   ", 8);
    ck_assert_str_eq(contents(70000), "");
    put(3, "mkfs.fat", 8);
    ck_assert_str_eq(contents(70000), "mbr");
    put(11, "\0\2", 2); /* 512 bytes a sector */
    bytes[16] = 2;      /* two tables */
    put(54, "FAT16", 5);
    ck_assert_str_eq(contents(70000), "");
    put(54, "xxxxx", 5);
    put(82, "FAT32", 5);
    ck_assert_str_eq(contents(70000), "");
}
END_TEST

START_TEST(contents_gpt)
{
    partition(0, 0, 0xee, 1, 100000);
    ck_assert_str_eq(contents(70000), "mbr");
    put(512, "EFI PART", 8);
    ck_assert_str_eq(contents(70000), "gpt");
    ck_assert_str_eq(contents(519), "mbr");
    memset(bytes + 512, 0, 8);
    put(4096, "EFI PART", 8);
    ck_assert_str_eq(contents(70000), "gpt");
    partition(0, 0, 0x83, 1, 100000); /* nothing protects the table */
    ck_assert_str_eq(contents(70000), "mbr");
}
END_TEST

START_TEST(contents_iso_before_mbr)
{
    put(32769, "CD001", 5);
    ck_assert_str_eq(contents(70000), "iso");
    ck_assert_str_eq(contents(32773), "");
    partition(0, 0, 0x83, 1, 100);
    ck_assert_str_eq(contents(70000), "iso");
}
END_TEST

START_TEST(contents_unread_by_qemu)
{
    put(70000 - 512, "conectix", 8);
    ck_assert_str_eq(contents(70000), "vhd");
    ck_assert_str_eq(foreign_probe(bytes, 70000), "raw");
    put(0, "conectix", 8); /* a dynamic one, which probing finds */
    ck_assert_str_eq(contents(70000), "");
    memset(bytes, 0, sizeof(bytes));
    put(0, "LUKS\xba\xbe\0\2", 8);
    ck_assert_str_eq(contents(70000), "luks2");
}
END_TEST

UNIT_SUITE("probe", load_short_and_long_files, load_reports_errors,
           claims_by_magic, descriptor_beyond_the_first_sector, bochs,
           dmg_trailer, contents_of_nothing, contents_mbr,
           contents_volumes_are_no_disks, contents_gpt, contents_iso_before_mbr,
           contents_unread_by_qemu)
