/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow version 1: the header, big-endian (room: format). Limits are those of
 * QEMU's driver; contents are not read.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define QCOW_HEADER_LEN 48u
#define QCOW_MAGIC_AND_VERSION "QFI\xfb\0\0\0\1"
#define QCOW_CRYPT_AES 1u
/* QEMU: an L1 table of at most INT_MAX bytes of eight-byte entries. */
#define QCOW_L1_MAX (INT32_MAX / 8u)

struct qcow_header {
    uint64_t backing_off;
    uint32_t backing_len;
    uint64_t virtual_len;
    uint8_t cluster_bits;
    uint8_t l2_bits;
    uint32_t crypt_method;
};

static int qcow_header_decode(const uint8_t *bytes, struct qcow_header *out,
                              struct img_error *err)
{
    out->backing_off = img_load_be64(bytes + 8);
    out->backing_len = img_load_be32(bytes + 16);
    out->virtual_len = img_load_be64(bytes + 24);
    out->cluster_bits = bytes[32];
    out->l2_bits = bytes[33];
    out->crypt_method = img_load_be32(bytes + 36);

    if (out->virtual_len <= 1 || out->virtual_len > IMG_OFF_MAX) {
        return img_fail_at(err, IMG_CORRUPT, 24,
                           "qcow virtual size: found %" PRIu64
                           ", expected 2 to %" PRIu64,
                           out->virtual_len, IMG_OFF_MAX);
    }
    if (out->cluster_bits < 9 || out->cluster_bits > 16) {
        return img_fail_at(err, IMG_CORRUPT, 32,
                           "qcow cluster bits: found %u, expected 9 to 16",
                           out->cluster_bits);
    }
    if (out->l2_bits < 6 || out->l2_bits > 13) {
        return img_fail_at(err, IMG_CORRUPT, 33,
                           "qcow L2 bits: found %u, expected 6 to 13",
                           out->l2_bits);
    }
    uint64_t l1_entries = img_div_up(
        out->virtual_len, UINT64_C(1) << (out->cluster_bits + out->l2_bits));
    if (l1_entries > QCOW_L1_MAX) {
        return img_fail_at(err, IMG_CORRUPT, 24,
                           "qcow L1 table: found %" PRIu64
                           " entries, expected at most %u",
                           l1_entries, QCOW_L1_MAX);
    }
    if (out->crypt_method > QCOW_CRYPT_AES) {
        return img_fail_at(err, IMG_CORRUPT, 36,
                           "qcow encryption: found method %" PRIu32
                           ", expected 0 (none) or 1 (AES)",
                           out->crypt_method);
    }
    return 0;
}

bool img_qcow_probe(const struct img_probe_bytes *bytes)
{
    return img_probe_has(bytes, 0, QCOW_MAGIC_AND_VERSION, 8);
}

int img_qcow_open(struct img_file *file, struct img_image **out,
                  struct img_error *err)
{
    uint8_t bytes[QCOW_HEADER_LEN];
    struct qcow_header header;

    if (img_file_read(file, bytes, sizeof(bytes), 0, err) < 0) {
        return -1;
    }
    if (memcmp(bytes, QCOW_MAGIC_AND_VERSION, 8) != 0) {
        return img_fail_at(err, IMG_FORMAT, 0, "not a qcow version 1 header");
    }
    if (qcow_header_decode(bytes, &header, err) < 0) {
        return -1;
    }
    IMG_AUTO(img_described_free_ptr)
    struct img_image *image =
        img_described_new(file, "qcow", header.virtual_len, err);
    if (image == NULL) {
        return -1;
    }
    image->cluster_len = UINT64_C(1) << header.cluster_bits;
    image->is_encrypted = header.crypt_method == QCOW_CRYPT_AES;
    image->supports_backing = true;
    if (header.backing_off != 0 && header.backing_len != 0) {
        image->backing_name = img_backing_name_load(file, header.backing_off,
                                                    header.backing_len, err);
        if (image->backing_name == NULL) {
            return -1;
        }
    }
    *out = img_steal(&image);
    return 0;
}
