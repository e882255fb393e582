/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Headers of foreign formats made in memory: open them, and open them with
 * one field changed.
 */
#ifndef TESTS_FOREIGN_H
#define TESTS_FOREIGN_H

#include <stdio.h>

#include <img/bytes.h>
#include <img/format.h>
#include <img/memory.h>

#include "unit.h"

static struct img_error err;

static inline const struct img_format *foreign_format(const char *name)
{
    const struct img_format *format = img_formats;

    while (format->name != NULL && strcmp(format->name, name) != 0) {
        format++;
    }
    ck_assert_msg(format->name != NULL, "no format %s", name);
    return format;
}

/* The name of the format that claims the bytes, "raw" when none does. */
static inline const char *foreign_probe(const void *bytes, size_t len)
{
    static uint8_t head[IMG_PROBE_HEAD_LEN], tail[IMG_PROBE_TAIL_LEN];
    struct img_probe_bytes probe;
    struct img_file *file = NULL;
    const char *claim = NULL;

    unit_ok(img_file_from_memory("probed", bytes, len, &file, &err), &err);
    unit_ok(img_probe_load(file, head, tail, &probe, &err), &err);
    img_file_unref(file);
    for (const struct img_format *f = img_formats; f->name != NULL; f++) {
        if (f->probe(&probe)) {
            ck_assert_msg(claim == NULL, "%s and %s", claim, f->name);
            claim = f->name;
        }
    }
    return claim != NULL ? claim : "raw";
}

/* The bytes as an image of the format that they claim to be. */
static inline struct img_image *foreign_open(const char *name,
                                             const void *bytes, size_t len)
{
    struct img_file *file = NULL;
    struct img_image *image = NULL;
    struct img_extent extent;
    char why[80];

    unit_ok(img_file_from_memory("dir/image", bytes, len, &file, &err), &err);
    unit_ok(foreign_format(name)->open(file, &image, &err), &err);
    img_file_unref(file);
    ck_assert_str_eq(image->format, name);
    ck_assert(!image->is_readable);
    snprintf(why, sizeof(why), "cannot read contents of this format (%s)",
             name);
    ck_assert_str_eq(image->unreadable_why, why);
    unit_fails(img_image_map(image, 0, 512, &extent, &err), &err,
               IMG_UNSUPPORTED, why);
    return image;
}

/* What describe says, as one line of JSON; "" for nothing. Free it. */
static inline char *foreign_describe(struct img_image *image)
{
    struct img_json *json = NULL;

    unit_ok(img_image_describe(image, &json, &err), &err);
    char *text = json != NULL ? img_json_text(json, false, &err) : strdup("");
    ck_assert_ptr_nonnull(text);
    img_json_free(json);
    return text;
}

static inline void foreign_describes(struct img_image *image, const char *want)
{
    char *text = foreign_describe(image);

    ck_assert_str_eq(text, want);
    free(text);
}

static inline void foreign_refused(const char *name, const void *bytes,
                                   size_t len, enum img_code code,
                                   const char *text)
{
    struct img_file *file = NULL;
    struct img_image *image = NULL;

    unit_ok(img_file_from_memory("dir/image", bytes, len, &file, &err), &err);
    unit_fails(foreign_format(name)->open(file, &image, &err), &err, code,
               text);
    ck_assert_ptr_null(image);
    img_file_unref(file);
}

/* One field of WIDTH bytes with a value that must be refused. */
struct foreign_bad {
    size_t off;
    size_t width;
    uint64_t value;
    enum img_code code;
    const char *text;
};

struct foreign_base {
    const char *name;
    const uint8_t *bytes;
    size_t len;
    bool is_big_endian;
    void (*fix)(uint8_t *bytes); /* checksums, or NULL */
};

static inline void foreign_put(uint8_t *at, size_t width, uint64_t value,
                               bool is_big_endian)
{
    for (size_t i = 0; i < width; i++) {
        size_t byte = is_big_endian ? width - 1 - i : i;
        at[byte] = (uint8_t)(value >> (8 * i));
    }
}

static inline void foreign_all_refused(const struct foreign_base *base,
                                       const struct foreign_bad *bad, size_t nr)
{
    uint8_t *bytes = malloc(base->len);

    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < nr; i++) {
        memcpy(bytes, base->bytes, base->len);
        foreign_put(bytes + bad[i].off, bad[i].width, bad[i].value,
                    base->is_big_endian);
        if (base->fix != NULL) {
            base->fix(bytes);
        }
        foreign_refused(base->name, bytes, base->len, bad[i].code, bad[i].text);
    }
    free(bytes);
}

#define FOREIGN_ALL_REFUSED(base, bad)                                         \
    foreign_all_refused(base, bad, sizeof(bad) / sizeof((bad)[0]))

#endif
