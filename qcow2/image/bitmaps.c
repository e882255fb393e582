/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bitmap directory. Room: qcow2/image. Specification: "Bitmaps
 * extension", "Bitmap directory". The directory is inside the file and at
 * most 64 MiB long before memory is taken for it.
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

static int info_fill(struct qcow2_bitmap_info *info,
                     const struct qcow2_bitmap *bitmap, struct img_error *err)
{
    info->name = img_strndup(bitmap->name, bitmap->name_len, err);
    info->granularity = 1ull << bitmap->granularity_bits;
    info->flags = bitmap->flags;
    info->table_off = bitmap->table_off;
    info->table_entries = bitmap->table_entries;
    return info->name ? 0 : -1;
}

static int info_compare(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;

    return strcmp(*x, *y);
}

static int names_check(const struct qcow2_image *q, struct img_error *err)
{
    size_t nr = q->bitmaps_nr;
    IMG_AUTO(img_free_ptr)
    const char **names = img_calloc(nr, sizeof(*names), err);

    if (!names) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        names[i] = q->bitmaps[i].name;
    }
    qsort(names, nr, sizeof(*names), info_compare);
    for (size_t i = 1; i < nr; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            char name[256];

            img_escape(names[i], strlen(names[i]), name, sizeof(name));
            return img_fail_at(
                err, IMG_CORRUPT, q->extensions.bitmap_directory_off,
                "bitmap directory: two bitmaps are named '%s'", name);
        }
    }
    return 0;
}

static int directory_decode(struct qcow2_image *q, const uint8_t *buf,
                            uint64_t len, struct img_error *err)
{
    const struct qcow2_extensions *ext = &q->extensions;
    uint64_t pos = 0;

    for (uint32_t i = 0; i < ext->bitmaps_nr; i++) {
        struct qcow2_bitmap bitmap;

        if (qcow2_bitmap_decode(&q->header, buf + pos, (size_t)(len - pos),
                                ext->bitmap_directory_off + pos,
                                img_file_len(q->image.file), &bitmap, err) ||
            info_fill(&q->bitmaps[i], &bitmap, err)) {
            return -1;
        }
        q->bitmaps_nr = i + 1;
        pos += bitmap.entry_len;
    }
    if (pos != len) {
        return img_fail_at(err, IMG_CORRUPT, ext->bitmap_directory_off,
                           "bitmap directory: its %u entries are %llu bytes "
                           "long, expected %llu",
                           ext->bitmaps_nr, (unsigned long long)pos,
                           (unsigned long long)len);
    }
    return names_check(q, err);
}

static int directory_check(const struct qcow2_image *q, struct img_error *err)
{
    const struct qcow2_extensions *ext = &q->extensions;
    uint64_t off = ext->bitmap_directory_off;
    uint64_t len = ext->bitmap_directory_len;

    if (ext->bitmaps_nr == 0 || ext->bitmaps_nr > QCOW2_MAX_BITMAPS) {
        return img_fail(err, IMG_CORRUPT,
                        "bitmaps extension: found %u bitmaps, expected 1 to %u",
                        ext->bitmaps_nr, QCOW2_MAX_BITMAPS);
    }
    if (len < (uint64_t)ext->bitmaps_nr * QCOW2_BITMAP_FIXED_LEN ||
        len > QCOW2_MAX_BITMAP_DIRECTORY_LEN) {
        return img_fail(err, IMG_CORRUPT,
                        "bitmaps extension: found a directory of %llu bytes "
                        "for %u bitmaps, expected %llu to %u",
                        (unsigned long long)len, ext->bitmaps_nr,
                        (unsigned long long)ext->bitmaps_nr *
                            QCOW2_BITMAP_FIXED_LEN,
                        QCOW2_MAX_BITMAP_DIRECTORY_LEN);
    }
    if (off == 0 || off & (q->header.cluster_len - 1u) ||
        !img_range_fits(off, len, img_file_len(q->image.file))) {
        return img_fail(err, IMG_CORRUPT,
                        "bitmaps extension: found the directory at %llu, "
                        "expected a cluster inside the file",
                        (unsigned long long)off);
    }
    return 0;
}

static int bitmaps_load(struct qcow2_image *q, struct img_error *err)
{
    const struct qcow2_extensions *ext = &q->extensions;
    uint64_t len = ext->bitmap_directory_len;

    if (directory_check(q, err)) {
        return -1;
    }
    IMG_AUTO(img_free_ptr) uint8_t *buf = img_calloc(1, len, err);
    q->bitmaps = img_calloc(ext->bitmaps_nr, sizeof(*q->bitmaps), err);
    if (!buf || !q->bitmaps ||
        img_file_read(q->image.file, buf, len, ext->bitmap_directory_off,
                      err) ||
        directory_decode(q, buf, len, err)) {
        qcow2_bitmaps_free(q);
        return -1;
    }
    return 0;
}

int qcow2_image_bitmaps(struct img_image *image,
                        const struct qcow2_bitmap_info **out, size_t *nr,
                        struct img_error *err)
{
    struct qcow2_image *q = qcow2_image_of(image);
    bool is_vouched_for = q->extensions.has_bitmaps &&
                          (q->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS);

    if (!q->has_bitmaps_loaded && is_vouched_for && bitmaps_load(q, err)) {
        return -1;
    }
    q->has_bitmaps_loaded = true;
    *out = q->bitmaps;
    *nr = q->bitmaps_nr;
    return 0;
}

void qcow2_bitmaps_free(struct qcow2_image *q)
{
    if (q->bitmaps) {
        for (uint32_t i = 0; i < q->extensions.bitmaps_nr; i++) {
            free(q->bitmaps[i].name);
        }
    }
    free(q->bitmaps);
    q->bitmaps = NULL;
    q->bitmaps_nr = 0;
}
