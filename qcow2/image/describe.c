/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's ImageInfoSpecific of a qcow2 image: keys, and which of them are
 * there, as `qemu-img info --output=json` prints them.
 * Room: qcow2/image.
 */
#include "state.h"

#include <img/checked.h>
#include <img/format.h>
#include <img/memory.h>

static void json_free_ptr(struct img_json **json)
{
    img_json_free(*json);
}

static int describe_bitmaps(struct qcow2_image *q, struct img_json *data,
                            struct img_error *err)
{
    const struct qcow2_bitmap_info *bitmaps;
    size_t nr;

    if (qcow2_image_bitmaps(&q->image, &bitmaps, &nr, err)) {
        return -1;
    }
    if (nr == 0) {
        return 0;
    }

    struct img_json *list = img_json_array();
    for (size_t i = 0; i < nr; i++) {
        struct img_json *bitmap = img_json_object();
        struct img_json *flags = img_json_array();

        if (bitmaps[i].flags & QCOW2_BITMAP_FLAG_IN_USE) {
            img_json_push(flags, img_json_string("in-use"));
        }
        if (bitmaps[i].flags & QCOW2_BITMAP_FLAG_AUTO) {
            img_json_push(flags, img_json_string("auto"));
        }
        img_json_set(bitmap, "flags", flags);
        img_json_set_string(bitmap, "name", bitmaps[i].name);
        img_json_set_u64(bitmap, "granularity", bitmaps[i].granularity);
        img_json_push(list, bitmap);
    }
    img_json_set(data, "bitmaps", list);
    return 0;
}

static int describe_luks(struct qcow2_image *q, struct img_json **out,
                         struct img_error *err)
{
    uint8_t bytes[IMG_LUKS_HEADER_LEN];
    size_t len = (size_t)img_min(sizeof(bytes), q->extensions.crypto_len);

    if (img_file_read(q->image.file, bytes, len, q->extensions.crypto_off,
                      err) ||
        img_luks_describe(bytes, len, out, err)) {
        return qcow2_fail_entry(err, q->extensions.crypto_off);
    }
    return 0;
}

static int describe_encryption(struct qcow2_image *q, struct img_json *data,
                               struct img_error *err)
{
    struct img_json *encrypt = NULL;

    if (q->header.crypt_method == QCOW2_CRYPT_NONE) {
        return 0;
    }
    if (q->header.crypt_method == QCOW2_CRYPT_LUKS) {
        if (describe_luks(q, &encrypt, err)) {
            return -1;
        }
        img_json_set_string(encrypt, "format", "luks");
    } else {
        encrypt = img_json_object();
        img_json_set_string(encrypt, "format", "aes");
    }
    img_json_set(data, "encrypt", encrypt);
    return 0;
}

/* The keys that only version 3 has. */
static int describe_v3(struct qcow2_image *q, struct img_json *data,
                       struct img_error *err)
{
    const struct qcow2_header *header = &q->header;

    img_json_set_bool(data, "lazy-refcounts",
                      (header->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS) != 0);
    img_json_set_bool(data, "corrupt", q->image.is_corrupt);
    img_json_set_bool(data, "extended-l2", header->has_extended_l2);
    if (q->extensions.data_file_name) {
        img_json_set_string(data, "data-file", q->extensions.data_file_name);
    }
    if (header->has_data_file) {
        img_json_set_bool(data, "data-file-raw", header->is_data_file_raw);
    }
    return describe_bitmaps(q, data, err);
}

int qcow2_image_describe(struct img_image *image, struct img_json **out,
                         struct img_error *err)
{
    struct qcow2_image *q = qcow2_image_of(image);
    const struct qcow2_header *header = &q->header;
    IMG_AUTO(json_free_ptr) struct img_json *info = img_json_object();
    struct img_json *data;

    if (!info) {
        return img_fail_memory(err);
    }
    data = img_json_object();
    img_json_set_string(info, "type", "qcow2");
    img_json_set_string(data, "compat", header->version == 2 ? "0.10" : "1.1");
    img_json_set_string(data, "compression-type",
                        header->compression == QCOW2_COMPRESSION_ZSTD ? "zstd"
                                                                      : "zlib");
    img_json_set_u64(data, "refcount-bits", 1ull << header->refcount_order);
    if ((header->version >= 3 && describe_v3(q, data, err)) ||
        describe_encryption(q, data, err)) {
        img_json_free(data);
        return -1;
    }
    img_json_set(info, "data", data);
    *out = img_steal(&info);
    return 0;
}
