/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QED: the header, little-endian (room: format; "QED Image File Format" of
 * QEMU's docs/interop). Contents are not read.
 */
#include "formats.h"

#include <inttypes.h>
#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>

#define QED_HEADER_LEN 64u
#define QED_MAGIC "QED"
#define QED_MAGIC_LEN 4u
#define QED_FEATURE_BACKING 0x01u
#define QED_FEATURE_NEED_CHECK 0x02u
#define QED_FEATURE_BACKING_NO_PROBE 0x04u
#define QED_FEATURES_KNOWN 0x07u
#define QED_CLUSTER_MIN 4096u
#define QED_CLUSTER_MAX (64u << 20)
#define QED_TABLE_MAX 16u

struct qed_header {
    uint32_t cluster_len;
    uint32_t table_clusters;
    uint32_t header_clusters;
    uint64_t features;
    uint64_t l1_off;
    uint64_t virtual_len;
    uint32_t backing_off;
    uint32_t backing_len;
};

static int check_virtual_len(const struct qed_header *header,
                             struct img_error *err)
{
    /* Two levels of tables: at most (16 * 64 MiB / 8)^2 clusters. */
    uint64_t entries =
        (uint64_t)header->table_clusters * header->cluster_len / 8;
    uint64_t max;

    if (!img_mul(entries, entries, &max) ||
        !img_mul(max, header->cluster_len, &max)) {
        max = IMG_OFF_MAX;
    }
    if (header->virtual_len > max || header->virtual_len % 512 != 0) {
        return img_fail_at(err, IMG_CORRUPT, 48,
                           "QED image size: found %" PRIu64
                           ", expected a multiple of 512 up to %" PRIu64,
                           header->virtual_len, max);
    }
    return 0;
}

static int qed_header_decode(const uint8_t *bytes, uint64_t file_len,
                             struct qed_header *out, struct img_error *err)
{
    out->cluster_len = img_load_le32(bytes + 4);
    out->table_clusters = img_load_le32(bytes + 8);
    out->header_clusters = img_load_le32(bytes + 12);
    out->features = img_load_le64(bytes + 16);
    out->l1_off = img_load_le64(bytes + 40);
    out->virtual_len = img_load_le64(bytes + 48);
    out->backing_off = img_load_le32(bytes + 56);
    out->backing_len = img_load_le32(bytes + 60);

    if ((out->features & ~(uint64_t)QED_FEATURES_KNOWN) != 0) {
        return img_fail_at(err, IMG_UNSUPPORTED, 16,
                           "QED features: found 0x%" PRIx64
                           ", expected no others than 0x%x",
                           out->features, QED_FEATURES_KNOWN);
    }
    if (img_check_power("QED cluster size", out->cluster_len, QED_CLUSTER_MIN,
                        QED_CLUSTER_MAX, err) < 0 ||
        img_check_power("QED table size", out->table_clusters, 1, QED_TABLE_MAX,
                        err) < 0 ||
        check_virtual_len(out, err) < 0) {
        return -1;
    }
    uint64_t table_len = (uint64_t)out->table_clusters * out->cluster_len;
    if (out->l1_off == 0 || out->l1_off % out->cluster_len != 0 ||
        !img_range_fits(out->l1_off, table_len, file_len)) {
        return img_fail_at(err, IMG_CORRUPT, 40,
                           "QED L1 table: found at offset %" PRIu64
                           ", expected a cluster inside the file",
                           out->l1_off);
    }
    return 0;
}

static int load_backing(struct img_image *image,
                        const struct qed_header *header, struct img_error *err)
{
    uint64_t header_len =
        (uint64_t)header->header_clusters * header->cluster_len;

    if ((header->features & QED_FEATURE_BACKING) == 0) {
        return 0;
    }
    if (!img_range_fits(header->backing_off, header->backing_len, header_len)) {
        return img_fail_at(
            err, IMG_CORRUPT, 56,
            "QED backing file name: found at offset %" PRIu32 " with %" PRIu32
            " bytes, expected inside the header's %" PRIu64 " bytes",
            header->backing_off, header->backing_len, header_len);
    }
    image->backing_name = img_backing_name_load(
        image->file, header->backing_off, header->backing_len, err);
    if (image->backing_name == NULL) {
        return -1;
    }
    if ((header->features & QED_FEATURE_BACKING_NO_PROBE) != 0) {
        image->backing_format = img_strndup("raw", 3, err);
        return image->backing_format != NULL ? 0 : -1;
    }
    return 0;
}

bool img_qed_probe(const struct img_probe_bytes *bytes)
{
    return bytes->head_len >= QED_HEADER_LEN &&
           img_probe_has(bytes, 0, QED_MAGIC, QED_MAGIC_LEN);
}

int img_qed_open(struct img_file *file, struct img_image **out,
                 struct img_error *err)
{
    uint8_t bytes[QED_HEADER_LEN];
    struct qed_header header;

    if (img_file_read(file, bytes, sizeof(bytes), 0, err) < 0) {
        return -1;
    }
    if (memcmp(bytes, QED_MAGIC, QED_MAGIC_LEN) != 0) {
        return img_fail_at(err, IMG_FORMAT, 0, "not a QED header");
    }
    if (qed_header_decode(bytes, img_file_len(file), &header, err) < 0) {
        return -1;
    }
    IMG_AUTO(img_described_free_ptr)
    struct img_image *image =
        img_described_new(file, "qed", header.virtual_len, err);
    if (image == NULL) {
        return -1;
    }
    image->cluster_len = header.cluster_len;
    image->is_dirty = (header.features & QED_FEATURE_NEED_CHECK) != 0;
    image->supports_backing = true;
    if (load_backing(image, &header, err) < 0) {
        return -1;
    }
    *out = img_steal(&image);
    return 0;
}
