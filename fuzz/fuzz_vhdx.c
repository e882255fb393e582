/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHDX. Its structures stand 64 KiB and more apart, so that an input is a list
 * of changes to a sound file of 1.25 MiB: which structure (1 byte), offset in
 * it (2 bytes), length (1 byte), bytes.
 */
#include <string.h>

#include "fuzz.h"

#define FILE_LEN (1280u << 10)
#define PIECE_HEAD_LEN 4u
#define METADATA_OFF (1u << 20)
#define ITEMS_OFF (64u << 10) /* in the metadata region */

static uint8_t file[FILE_LEN];
static uint8_t sound[FILE_LEN];

static const uint32_t structures[] = {
    0,            /* file identifier */
    64u << 10,    /* header 1 */
    128u << 10,   /* header 2 */
    192u << 10,   /* region table */
    METADATA_OFF, /* metadata table */
    METADATA_OFF + ITEMS_OFF,
};

struct item {
    uint8_t id[16];
    uint8_t off, len; /* among the items */
    uint8_t value[8];
};
static const struct item items[] = {
    {{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0,
      0xaa, 0x44, 0xe7, 0x6b},
     0,
     8,
     {0, 0, 0x20, 0, 2}}, /* blocks of 2 MiB, and a parent */
    {{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe,
      0xd8, 0x3b, 0xf4, 0xb8},
     8,
     8,
     {0, 0, 0, 4}}, /* a disk of 64 MiB */
    {{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33,
      0xa8, 0xfa, 0xab, 0x5f},
     16,
     4,
     {0, 2}}, /* sectors of 512 bytes */
    {{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8,
      0x48, 0x34, 0xab, 0x0c},
     24,
     80,
     {0}}, /* the parent locator, see below */
};
#define ITEMS (sizeof(items) / sizeof(items[0]))

static const uint8_t metadata_region[16] = {
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
    0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
};

static void store_le(uint8_t *p, unsigned width, uint64_t value)
{
    for (unsigned i = 0; i < width; i++) {
        p[i] = (uint8_t)(value >> 8 * i);
    }
}

static void store_utf16(uint8_t *p, const char *text)
{
    for (; *text != '\0'; text++, p += 2) {
        *p = (uint8_t)*text;
    }
}

/* One pair: relative_path, p.vhdx */
static void make_locator(uint8_t *p)
{
    store_le(p + 18, 2, 1);
    store_le(p + 20, 4, 32);
    store_le(p + 24, 4, 32 + 26);
    store_le(p + 28, 2, 26);
    store_le(p + 30, 2, 12);
    store_utf16(p + 32, "relative_path");
    store_utf16(p + 32 + 26, "p.vhdx");
}

static void make_sound(void)
{
    uint8_t *table = sound + structures[3];

    memcpy(sound, "vhdxfile", 8);
    memcpy(sound + structures[1], "head", 4);
    sound[structures[1] + 66] = 1;
    memcpy(table, "regi", 4);
    store_le(table + 8, 4, 1);
    memcpy(table + 16, metadata_region, 16);
    store_le(table + 32, 8, METADATA_OFF);
    store_le(table + 40, 4, FILE_LEN - METADATA_OFF);
    table = sound + METADATA_OFF;
    memcpy(table, "metadata", 8);
    store_le(table + 10, 2, ITEMS);
    for (size_t i = 0; i < ITEMS; i++) {
        uint8_t *entry = table + 32 * (i + 1);

        memcpy(entry, items[i].id, 16);
        store_le(entry + 16, 4, ITEMS_OFF + items[i].off);
        store_le(entry + 20, 4, items[i].len);
        memcpy(table + ITEMS_OFF + items[i].off, items[i].value, 8);
    }
    make_locator(table + ITEMS_OFF + items[ITEMS - 1].off);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t nr = sizeof(structures) / sizeof(structures[0]);

    if (sound[0] == 0) {
        make_sound();
    }
    memcpy(file, sound, sizeof(file));
    for (size_t at = 0, n; len - at > PIECE_HEAD_LEN; at += n) {
        uint32_t off =
            structures[data[at] % nr] + data[at + 1] * 256u + data[at + 2];

        n = data[at + 3];
        at += PIECE_HEAD_LEN;
        n = n < len - at ? n : len - at;
        memcpy(file + off, data + at, n);
    }
    /* The last byte may cut the file. */
    fuzz_open_described(
        "vhdx", file, len % 8 == 7 ? FILE_LEN / 256 * data[len - 1] : FILE_LEN);
    return 0;
}
