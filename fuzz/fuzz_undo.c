/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An undo record, brought back to a sound image. Byte 0: bit 0: the rest is
 * the record itself; else the rest are changes (offset, value: 3 bytes) of the
 * image's own record. Bit 1: the length and checksum are put right. Whatever
 * the record says, the image stays clean and its guest sees the same.
 */
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/write.h>
#include <qcow2/check.h>
#include <qcow2/edit.h>
#include <qcow2/inflate.h>

#include "fuzz.h"

#define DISK_LEN 8192u
#define RECORD_ROOM 2048u
#define CRC_LEN 4u

enum {
    FLAG_WHOLE = 1,
    FLAG_SEALED = 2,
};

static struct img_file *make_image(void)
{
    struct qcow2_create_options options;
    struct qcow2_fresh *fresh = NULL;
    struct qcow2_place place;
    struct img_file *file = NULL;
    struct img_error err = {0};
    uint8_t bytes[1024];

    memset(bytes, 0x5a, sizeof(bytes));
    qcow2_create_options_init(&options);
    options.virtual_len = DISK_LEN;
    options.cluster_len = 1024;
    options.backing_name = "old-base.raw";
    options.backing_format = "raw";
    fuzz_require(img_file_from_memory("image", "", 0, &file, &err) == 0);
    fuzz_require(qcow2_fresh_new(file, NULL, &options, &fresh, &err) == 0);
    fuzz_require(qcow2_fresh_data(fresh, 2048, sizeof(bytes), &place, &err) ==
                 0);
    fuzz_require(
        img_file_write(file, bytes, sizeof(bytes), place.host_off, &err) == 0);
    fuzz_require(qcow2_fresh_finish(fresh, &err) == 0);
    qcow2_fresh_free(fresh);
    return file;
}

/* A copy of one that was made once. */
static struct img_file *new_image(void)
{
    static uint8_t bytes[32u << 10];
    static size_t len;
    struct img_file *file;
    struct img_error err = {0};

    if (len == 0) {
        file = make_image();
        len = (size_t)img_file_len(file);
        fuzz_require(len <= sizeof(bytes));
        fuzz_require(img_file_read(file, bytes, len, 0, &err) == 0);
        img_file_unref(file);
    }
    fuzz_require(img_file_from_memory("image", bytes, len, &file, &err) == 0);
    return file;
}

/* The record that INPUT tells, with room for RECORD_ROOM bytes at RECORD. */
static size_t make_record(struct qcow2_edit *edit, const uint8_t *data,
                          size_t len, uint8_t *record)
{
    struct img_error err = {0};
    uint8_t *own = NULL;
    size_t own_len = 0;

    if (data[0] & FLAG_WHOLE) {
        own_len = len - 1 < RECORD_ROOM ? len - 1 : RECORD_ROOM;
        memcpy(record, data + 1, own_len);
    } else {
        fuzz_require(qcow2_edit_undo_record(edit, &own, &own_len, &err) == 0);
        fuzz_require(own_len <= RECORD_ROOM);
        memcpy(record, own, own_len);
        free(own);
        for (size_t i = 1; i + 3 <= len; i += 3) {
            record[img_load_be16(data + i) % own_len] = data[i + 2];
        }
    }
    if ((data[0] & FLAG_SEALED) && own_len > 40 + CRC_LEN) {
        img_store_be32(record + 12, (uint32_t)own_len);
        img_store_be32(record + 32, (uint32_t)(own_len - 40 - CRC_LEN));
        img_store_be32(record + own_len - CRC_LEN,
                       qcow2_crc32(record, own_len - CRC_LEN));
    }
    return own_len;
}

static void require_same(struct img_file *file)
{
    struct qcow2_check_options how = {0};
    struct qcow2_check_result result;
    struct qcow2_options options = {0};
    struct img_image *image = NULL;
    struct img_extent e;
    struct img_error err = {0};
    uint8_t byte;

    fuzz_require(qcow2_open(file, &options, &image, &err) == 0);
    fuzz_require(image->virtual_len == DISK_LEN && !image->is_corrupt);
    fuzz_require(qcow2_check(image, &how, &result, &err) == 0);
    fuzz_require(result.corruptions == 0 && result.leaks == 0);
    fuzz_require(img_image_map(image, 2048, 1024, &e, &err) == 0);
    fuzz_require(e.kind == IMG_EXTENT_DATA && e.len == 1024);
    fuzz_require(img_file_read(file, &byte, 1, e.host_off, &err) == 0);
    fuzz_require(byte == 0x5a);
    img_image_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct qcow2_edit_options options = {.max_memory = 1u << 20};
    struct qcow2_edit *edit = NULL;
    struct img_file *file;
    struct img_error err = {0};
    static uint8_t room[RECORD_ROOM];
    size_t record_len;
    uint8_t *record;

    if (len == 0) {
        return 0;
    }
    file = new_image();
    fuzz_require(qcow2_edit_open(file, NULL, &options, &edit, &err) == 0);
    record_len = make_record(edit, data, len, room);
    /* Exactly so long, for what reads beyond it. */
    record = malloc(record_len > 0 ? record_len : 1);
    fuzz_require(record != NULL);
    memcpy(record, room, record_len);
    fuzz_require(qcow2_edit_set_backing(edit, "new.raw", "raw", &err) == 0);
    if (qcow2_edit_undo(edit, record, record_len, &err) < 0) {
        fuzz_require_error(&err);
    }
    qcow2_edit_free(edit);
    require_same(file);
    free(record);
    img_file_unref(file);
    return 0;
}
