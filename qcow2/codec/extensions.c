/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The extension area of the header and the backing file name (specification:
 * "Header extensions", "String header extensions", "Feature name table",
 * "Bitmaps extension", "Full disk encryption header pointer").
 *
 * Room: qcow2/codec, pure. The area ends at the end marker, at the backing
 * file name or with the first cluster, whichever comes first. One pass; each
 * length is judged against the rest of the area before it is rounded up.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/extensions.h>

#include "extension_layout.h"

/* Offsets of header fields that errors are about. */
#define OFF_BACKING_FILE_OFFSET 8u
#define OFF_CRYPT_METHOD 32u

/* One extension as it stands in the first cluster. */
struct item {
    uint32_t type;
    uint32_t len;
    uint64_t off; /* of the data */
    const uint8_t *data;
};

struct decoder {
    const struct qcow2_header *header;
    struct qcow2_extensions *out;
    bool has_unaligned; /* an extension of unaligned length came by */
    bool has_backing_format, has_features, has_data_file_name;
};

static int fail_twice(const struct item *item, struct img_error *err)
{
    return img_fail_at(err, IMG_CORRUPT, item->off - EXTENSION_HEAD_LEN,
                       "header extension 0x%08" PRIx32
                       ": found twice, expected once",
                       item->type);
}

/* A fresh copy of a name, which may hold any byte but NUL. */
static char *copy_name(const uint8_t *data, size_t len, uint64_t off,
                       const char *what, struct img_error *err)
{
    const uint8_t *nul = memchr(data, 0, len);

    if (nul != NULL) {
        img_fail_at(err, IMG_CORRUPT, off + (uint64_t)(nul - data),
                    "%s: found a NUL byte after %td bytes, expected %zu bytes"
                    " without one",
                    what, nul - data, len);
        return NULL;
    }
    return img_strndup((const char *)data, len, err);
}

static int decode_backing_format(struct decoder *d, const struct item *item,
                                 struct img_error *err)
{
    if (d->has_backing_format) {
        return fail_twice(item, err);
    }
    d->has_backing_format = true;
    if (item->len > QCOW2_MAX_BACKING_FORMAT_LEN) {
        return img_fail_at(err, IMG_CORRUPT, item->off - 4,
                           "backing format: found %" PRIu32
                           " bytes, expected at most %u",
                           item->len, QCOW2_MAX_BACKING_FORMAT_LEN);
    }
    if (item->len == 0) {
        return 0;
    }
    d->out->backing_format =
        copy_name(item->data, item->len, item->off, "backing format", err);
    if (d->out->backing_format == NULL) {
        return -1;
    }
    d->out->backing_format_off = item->off;
    d->out->is_backing_format_hidden = d->has_unaligned;
    return 0;
}

static int decode_data_file_name(struct decoder *d, const struct item *item,
                                 struct img_error *err)
{
    if (d->has_data_file_name) {
        return fail_twice(item, err);
    }
    d->has_data_file_name = true;
    if (!d->header->has_data_file) {
        return img_fail_at(err, IMG_CORRUPT, item->off - EXTENSION_HEAD_LEN,
                           "data file name: found one, expected none without"
                           " incompatible feature bit 2");
    }
    if (item->len == 0) {
        return img_fail_at(err, IMG_CORRUPT, item->off - 4,
                           "data file name: found 0 bytes, expected at least"
                           " 1");
    }
    d->out->data_file_name =
        copy_name(item->data, item->len, item->off, "data file name", err);
    return d->out->data_file_name == NULL ? -1 : 0;
}

/* A last entry that is cut off is no name; QEMU does not miss it either. */
static int decode_features(struct decoder *d, const struct item *item,
                           struct img_error *err)
{
    size_t nr = item->len / FEATURE_LEN;

    if (d->has_features) {
        return fail_twice(item, err);
    }
    d->has_features = true;
    if (nr > QCOW2_MAX_FEATURE_NAMES) {
        return img_fail_at(err, IMG_LIMIT, item->off - 4,
                           "feature name table: found %zu names, expected at"
                           " most %u",
                           nr, QCOW2_MAX_FEATURE_NAMES);
    }
    if (nr == 0) {
        return 0;
    }
    d->out->features = img_calloc(nr, sizeof(*d->out->features), err);
    if (d->out->features == NULL) {
        return -1;
    }
    d->out->features_nr = nr;
    for (size_t i = 0; i < nr; i++) {
        struct qcow2_feature_name *feature = &d->out->features[i];
        const uint8_t *entry = item->data + i * FEATURE_LEN;

        feature->kind = entry[0];
        feature->bit = entry[1];
        memcpy(feature->name, entry + 2, FEATURE_NAME_LEN);
    }
    return 0;
}

static int check_bitmaps(const struct decoder *d, const struct item *item,
                         struct img_error *err)
{
    const struct qcow2_extensions *x = d->out;
    uint32_t cluster_len = d->header->cluster_len;

    if (x->bitmaps_nr == 0 || x->bitmaps_nr > QCOW2_MAX_BITMAPS) {
        return img_fail_at(err, IMG_CORRUPT, item->off,
                           "nb_bitmaps: found %" PRIu32 ", expected 1 to %u",
                           x->bitmaps_nr, QCOW2_MAX_BITMAPS);
    }
    if (x->bitmap_directory_len == 0 ||
        x->bitmap_directory_len > QCOW2_MAX_BITMAP_DIRECTORY_LEN) {
        return img_fail_at(
            err, IMG_CORRUPT, item->off + 8,
            "bitmap_directory_size: found %" PRIu64 ", expected 1 to %u",
            x->bitmap_directory_len, QCOW2_MAX_BITMAP_DIRECTORY_LEN);
    }
    if (x->bitmap_directory_off == 0 ||
        x->bitmap_directory_off % cluster_len != 0 ||
        x->bitmap_directory_off > IMG_OFF_MAX - x->bitmap_directory_len) {
        return img_fail_at(err, IMG_CORRUPT, item->off + 16,
                           "bitmap_directory_offset: found %" PRIu64
                           ", expected a multiple of the cluster size %" PRIu32
                           ", not 0 and below 2^63",
                           x->bitmap_directory_off, cluster_len);
    }
    return 0;
}

static int decode_bitmaps(struct decoder *d, const struct item *item,
                          struct img_error *err)
{
    uint32_t reserved;

    if (d->out->has_bitmaps) {
        return fail_twice(item, err);
    }
    if (item->len != BITMAPS_LEN) {
        return img_fail_at(err, IMG_CORRUPT, item->off - 4,
                           "bitmaps extension: found %" PRIu32
                           " bytes, expected %u",
                           item->len, BITMAPS_LEN);
    }
    reserved = img_load_be32(item->data + 4);
    if (reserved != 0) {
        return img_fail_at(err, IMG_CORRUPT, item->off + 4,
                           "bitmaps extension, reserved field: found 0x%" PRIx32
                           ", expected 0",
                           reserved);
    }
    d->out->has_bitmaps = true;
    d->out->bitmaps_nr = img_load_be32(item->data);
    d->out->bitmap_directory_len = img_load_be64(item->data + 8);
    d->out->bitmap_directory_off = img_load_be64(item->data + 16);
    if (!(d->header->autoclear & QCOW2_AUTOCLEAR_BITMAPS)) {
        return 0;
    }
    return check_bitmaps(d, item, err);
}

static int decode_crypto(struct decoder *d, const struct item *item,
                         struct img_error *err)
{
    struct qcow2_extensions *x = d->out;
    uint32_t cluster_len = d->header->cluster_len;

    if (x->has_crypto) {
        return fail_twice(item, err);
    }
    if (d->header->crypt_method != QCOW2_CRYPT_LUKS) {
        return img_fail_at(err, IMG_CORRUPT, item->off - EXTENSION_HEAD_LEN,
                           "crypto header pointer: found one with"
                           " crypt_method %" PRIu32 ", expected it only with 2"
                           " (LUKS)",
                           d->header->crypt_method);
    }
    if (item->len != CRYPTO_LEN) {
        return img_fail_at(err, IMG_CORRUPT, item->off - 4,
                           "crypto header pointer: found %" PRIu32
                           " bytes, expected %u",
                           item->len, CRYPTO_LEN);
    }
    x->has_crypto = true;
    x->crypto_off = img_load_be64(item->data);
    x->crypto_len = img_load_be64(item->data + 8);
    if (x->crypto_len == 0 || x->crypto_len > QCOW2_MAX_CRYPTO_HEADER_LEN) {
        return img_fail_at(err, IMG_CORRUPT, item->off + 8,
                           "crypto header length: found %" PRIu64
                           ", expected 1 to %u",
                           x->crypto_len, QCOW2_MAX_CRYPTO_HEADER_LEN);
    }
    if (x->crypto_off == 0 || x->crypto_off % cluster_len != 0 ||
        x->crypto_off > IMG_OFF_MAX - x->crypto_len) {
        return img_fail_at(err, IMG_CORRUPT, item->off,
                           "crypto header offset: found %" PRIu64
                           ", expected a multiple of the cluster size %" PRIu32
                           ", not 0 and below 2^63",
                           x->crypto_off, cluster_len);
    }
    return 0;
}

static int keep_unknown(struct decoder *d, const struct item *item,
                        struct img_error *err)
{
    struct qcow2_extensions *x = d->out;
    struct qcow2_unknown_extension *unknown = x->unknown;
    uint8_t *data;

    if (x->unknown_nr == QCOW2_MAX_UNKNOWN_EXTENSIONS) {
        return img_fail_at(err, IMG_LIMIT, item->off - EXTENSION_HEAD_LEN,
                           "header extensions: found more than %u unknown"
                           " ones, expected at most %u",
                           QCOW2_MAX_UNKNOWN_EXTENSIONS,
                           QCOW2_MAX_UNKNOWN_EXTENSIONS);
    }
    /* Room for 1, 2, 4, ... entries: grown when the number is a power of 2. */
    if ((x->unknown_nr & (x->unknown_nr - 1)) == 0) {
        size_t room = x->unknown_nr == 0 ? 1 : x->unknown_nr * 2;

        unknown = reallocarray(unknown, room, sizeof(*unknown));
        if (unknown == NULL) {
            return img_fail_memory(err);
        }
        x->unknown = unknown;
    }
    data = img_calloc(1, item->len > 0 ? item->len : 1, err);
    if (data == NULL) {
        return -1;
    }
    memcpy(data, item->data, item->len);
    unknown[x->unknown_nr++] = (struct qcow2_unknown_extension){
        .type = item->type,
        .len = item->len,
        .off = item->off,
        .data = data,
    };
    return 0;
}

static int decode_item(struct decoder *d, const struct item *item,
                       struct img_error *err)
{
    switch (item->type) {
    case QCOW2_EXT_BACKING_FORMAT:
        return decode_backing_format(d, item, err);
    case QCOW2_EXT_FEATURE_NAMES:
        return decode_features(d, item, err);
    case QCOW2_EXT_BITMAPS:
        return decode_bitmaps(d, item, err);
    case QCOW2_EXT_CRYPTO:
        return decode_crypto(d, item, err);
    case QCOW2_EXT_DATA_FILE:
        return decode_data_file_name(d, item, err);
    default:
        return keep_unknown(d, item, err);
    }
}

/* The extension at *OFF of an area that ends at END; *OFF moves past it. */
static int next_item(const uint8_t *buf, uint64_t *off, uint64_t end,
                     struct item *item, struct img_error *err)
{
    uint64_t rest = end - *off;

    if (rest < EXTENSION_HEAD_LEN) {
        return img_fail_at(err, IMG_CORRUPT, *off,
                           "header extensions: found %" PRIu64
                           " bytes at the end of the area, expected none or"
                           " at least %u",
                           rest, EXTENSION_HEAD_LEN);
    }
    rest -= EXTENSION_HEAD_LEN;
    item->type = img_load_be32(buf + *off);
    item->len = img_load_be32(buf + *off + 4);
    item->off = *off + EXTENSION_HEAD_LEN;
    item->data = buf + item->off;
    if (item->len > rest) {
        return img_fail_at(err, IMG_CORRUPT, *off + 4,
                           "header extension 0x%08" PRIx32
                           ": found length %" PRIu32
                           ", expected at most %" PRIu64,
                           item->type, item->len, rest);
    }
    /* The padding of the last one may lie behind the area's end. */
    *off = img_min(item->off + img_align_up(item->len, 8), end);
    return 0;
}

static int decode_area(struct decoder *d, const uint8_t *buf, size_t len,
                       struct img_error *err)
{
    uint64_t off = d->header->header_len;
    uint64_t end = img_min(d->header->cluster_len, len);
    struct item item = {0};

    if (d->header->backing_name_off != 0) {
        end = img_min(end, d->header->backing_name_off);
    }
    while (off < end) {
        if (next_item(buf, &off, end, &item, err) < 0) {
            return -1;
        }
        if (item.type == QCOW2_EXT_END) {
            break;
        }
        if (decode_item(d, &item, err) < 0) {
            return -1;
        }
        d->has_unaligned |= item.len % 8 != 0;
    }
    d->out->end_off = off;
    return 0;
}

static int decode_backing_name(struct decoder *d, const uint8_t *buf,
                               size_t buf_len, struct img_error *err)
{
    uint64_t off = d->header->backing_name_off;
    uint32_t name_len = d->header->backing_name_len;

    if (off == 0) {
        return 0;
    }
    if (!img_range_fits(off, name_len, buf_len)) {
        return img_fail_at(err, IMG_CORRUPT, OFF_BACKING_FILE_OFFSET,
                           "backing_file_offset: found %" PRIu64
                           ", expected the name's %" PRIu32
                           " bytes inside the file's %zu",
                           off, name_len, buf_len);
    }
    d->out->backing_name =
        copy_name(buf + off, name_len, off, "backing file name", err);
    return d->out->backing_name == NULL ? -1 : 0;
}

int qcow2_extensions_decode(const struct qcow2_header *header,
                            const uint8_t *buf, size_t len,
                            struct qcow2_extensions *out, struct img_error *err)
{
    struct decoder d = {.header = header, .out = out};

    *out = (struct qcow2_extensions){.end_off = header->header_len};
    if (len < header->header_len) {
        return img_fail_at(err, IMG_CORRUPT, len,
                           "header: found %zu bytes, expected the %" PRIu32
                           " of header_length",
                           len, header->header_len);
    }
    if (decode_area(&d, buf, len, err) < 0 ||
        decode_backing_name(&d, buf, len, err) < 0) {
        goto fail;
    }
    if (header->crypt_method == QCOW2_CRYPT_LUKS && !out->has_crypto) {
        img_fail_at(err, IMG_CORRUPT, OFF_CRYPT_METHOD,
                    "crypto header pointer: found none, expected one with"
                    " crypt_method 2 (LUKS)");
        goto fail;
    }
    return 0;

fail:
    qcow2_extensions_fini(out);
    return -1;
}

void qcow2_extensions_fini(struct qcow2_extensions *extensions)
{
    free(extensions->backing_name);
    free(extensions->backing_format);
    free(extensions->data_file_name);
    free(extensions->features);
    for (size_t i = 0; i < extensions->unknown_nr; i++) {
        free(extensions->unknown[i].data);
    }
    free(extensions->unknown);
    *extensions = (struct qcow2_extensions){0};
}
