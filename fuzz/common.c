/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the fuzz targets share: see fuzz.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/format.h>

#include "fuzz.h"

enum {
    FLAG_VERSION_3 = 1,
    FLAG_EXTENDED_L2 = 2,
    FLAG_DATA_FILE = 4,
};

void fuzz_broken(const char *file, int line, const char *condition)
{
    (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

void fuzz_require_error(const struct img_error *err)
{
    fuzz_require(err->code != IMG_OK);
    fuzz_require(err->text[0] != '\0');
    for (const char *p = err->text; *p != '\0'; p++) {
        fuzz_require((unsigned char)*p >= 0x20 && *p != 0x7f);
    }
}

bool fuzz_prefix(const uint8_t *data, size_t len, struct fuzz_geometry *out)
{
    struct qcow2_header *h = &out->header;
    uint32_t min_bits;

    if (len < FUZZ_PREFIX_LEN) {
        return false;
    }
    memset(out, 0, sizeof(*out));
    h->version = data[0] & FLAG_VERSION_3 ? 3 : 2;
    h->has_extended_l2 = h->version == 3 && (data[0] & FLAG_EXTENDED_L2);
    h->has_data_file = h->version == 3 && (data[0] & FLAG_DATA_FILE);
    min_bits = h->has_extended_l2 ? QCOW2_MIN_SUBCLUSTER_CLUSTER_BITS
                                  : QCOW2_MIN_CLUSTER_BITS;
    h->cluster_bits =
        min_bits + data[1] % (QCOW2_MAX_CLUSTER_BITS + 1 - min_bits);
    h->cluster_len = 1u << h->cluster_bits;
    h->refcount_order = data[2] % (QCOW2_MAX_REFCOUNT_ORDER + 1);
    h->l2_entry_len = h->has_extended_l2 ? 16 : 8;
    h->l2_entries = h->cluster_len / h->l2_entry_len;
    h->l2_covers_len = (uint64_t)h->l2_entries << h->cluster_bits;
    h->virtual_len = 1 << 20;
    out->file_len = (uint64_t)img_load_be32(data + 4) * 512;
    return true;
}

static void check_described(struct img_image *image)
{
    struct img_json *described = NULL;
    struct img_error err = {0};

    fuzz_require(!image->is_readable && image->unreadable_why != NULL);
    fuzz_require(image->virtual_len <= INT64_MAX);
    if (img_image_describe(image, &described, &err) < 0) {
        fuzz_require_error(&err);
    }
    img_json_free(described);
}

void fuzz_open_described(const char *format, const uint8_t *data, size_t len)
{
    const struct img_format *driver = img_formats;
    struct img_file *file = NULL;
    struct img_image *image = NULL;
    struct img_error err = {0};

    while (strcmp(driver->name, format) != 0) {
        driver++;
    }
    fuzz_require(img_file_from_memory("fuzz", data, len, &file, &err) == 0);
    if (driver->open(file, &image, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        check_described(image);
        img_image_free(image);
    }
    img_file_unref(file);
}
