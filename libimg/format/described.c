/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What formats share whose headers are read but whose contents are not
 * (room: format).
 */
#include "formats.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define SECTOR_LEN 512u

bool img_probe_has(const struct img_probe_bytes *bytes, size_t off,
                   const void *magic, size_t len)
{
    return img_range_fits(off, len, bytes->head_len) &&
           memcmp(bytes->head + off, magic, len) == 0;
}

void img_described_free(struct img_image *image)
{
    img_image_fini(image);
    free(image);
}

void img_described_free_ptr(struct img_image **image)
{
    img_image_free(*image);
}

static const struct img_image_ops described_ops = {
    .free = img_described_free,
};

struct img_image *img_described_new(struct img_file *file, const char *name,
                                    uint64_t virtual_len, struct img_error *err)
{
    if (virtual_len > IMG_OFF_MAX) {
        img_fail(err, IMG_CORRUPT,
                 "virtual size: found %" PRIu64 ", expected at most %" PRIu64,
                 virtual_len, IMG_OFF_MAX);
        return NULL;
    }
    struct img_image *image = img_calloc(1, sizeof(*image), err);
    if (image == NULL) {
        return NULL;
    }
    image->ops = &described_ops;
    image->format = name;
    image->file = img_file_ref(file);
    image->virtual_len = img_align_down(virtual_len, SECTOR_LEN);
    image->unreadable_why =
        img_text(err, "cannot read contents of this format (%s)", name);
    if (image->unreadable_why == NULL) {
        img_described_free(image);
        return NULL;
    }
    return image;
}

int img_specific_info(const char *type, struct img_json *data,
                      struct img_json **out, struct img_error *err)
{
    struct img_json *info = img_json_object();

    img_json_set_string(info, "type", type);
    img_json_set(info, "data", data);
    *out = info;
    return info != NULL ? 0 : img_fail_memory(err);
}

char *img_backing_name_load(struct img_file *file, uint64_t off, uint64_t len,
                            struct img_error *err)
{
    char name[IMG_BACKING_NAME_MAX];

    if (len == 0 || len > sizeof(name)) {
        img_fail(err, IMG_CORRUPT,
                 "backing file name: found %" PRIu64
                 " bytes, expected 1 to %zu",
                 len, sizeof(name));
        return NULL;
    }
    if (!img_range_fits(off, len, img_file_len(file))) {
        img_fail_at(err, IMG_CORRUPT, off,
                    "backing file name: found at offset %" PRIu64
                    " with %" PRIu64 " bytes, expected inside the file's "
                    "%" PRIu64 " bytes",
                    off, len, img_file_len(file));
        return NULL;
    }
    if (img_file_read(file, name, (size_t)len, off, err) < 0) {
        return NULL;
    }
    if (memchr(name, '\0', (size_t)len) != NULL) {
        img_fail_at(err, IMG_CORRUPT, off,
                    "backing file name: found a NUL byte in it");
        return NULL;
    }
    return img_strndup(name, (size_t)len, err);
}

int img_check_power(const char *what, uint64_t value, uint64_t min,
                    uint64_t max, struct img_error *err)
{
    if (value < min || value > max || (value & (value - 1)) != 0) {
        return img_fail(err, IMG_CORRUPT,
                        "%s: found %" PRIu64
                        ", expected a power of two from %" PRIu64
                        " to %" PRIu64,
                        what, value, min, max);
    }
    return 0;
}

static size_t utf8_put(uint32_t point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xc0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xe0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

/* The code point that begins at unit I; *units is set to 1 or 2. */
static uint32_t utf16_point(const uint8_t *bytes, size_t units_nr, size_t i,
                            bool is_big_endian, size_t *units)
{
    uint16_t (*load)(const uint8_t *) =
        is_big_endian ? img_load_be16 : img_load_le16;
    uint32_t high = load(bytes + 2 * i);

    *units = 1;
    if (high < 0xd800 || high > 0xdfff) {
        return high;
    }
    uint32_t low = i + 1 < units_nr ? load(bytes + 2 * (i + 1)) : 0;
    if (high > 0xdbff || low < 0xdc00 || low > 0xdfff) {
        return 0xfffd;
    }
    *units = 2;
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

char *img_utf16_dup(const uint8_t *bytes, size_t len, bool is_big_endian,
                    struct img_error *err)
{
    size_t units_nr = len / 2;
    size_t used = 0;

    /* A unit becomes three bytes at most (two units four). */
    char *out = img_calloc(units_nr + 1, 3, err);
    if (out == NULL) {
        return NULL;
    }
    for (size_t i = 0, step; i < units_nr; i += step) {
        uint32_t point = utf16_point(bytes, units_nr, i, is_big_endian, &step);
        if (point == 0) {
            break;
        }
        used += utf8_put(point, out + used);
    }
    out[used] = '\0';
    return out;
}
