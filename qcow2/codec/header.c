/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The header of versions 2 and 3 (specification: "Header").
 *
 * Room: qcow2/codec, pure. Every field is checked before another one is
 * derived from it, so a decoded header never divides by zero, shifts out of
 * range or makes a table larger than the limits of geometry.h.
 */
#include <inttypes.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <qcow2/header.h>

/* Where the fields stand, under the specification's names. */
enum {
    OFF_MAGIC = 0,
    OFF_VERSION = 4,
    OFF_BACKING_FILE_OFFSET = 8,
    OFF_BACKING_FILE_SIZE = 16,
    OFF_CLUSTER_BITS = 20,
    OFF_SIZE = 24,
    OFF_CRYPT_METHOD = 32,
    OFF_L1_SIZE = 36,
    OFF_L1_TABLE_OFFSET = 40,
    OFF_REFCOUNT_TABLE_OFFSET = 48,
    OFF_REFCOUNT_TABLE_CLUSTERS = 56,
    OFF_NB_SNAPSHOTS = 60,
    OFF_SNAPSHOTS_OFFSET = 64,
    OFF_INCOMPATIBLE_FEATURES = 72,
    OFF_COMPATIBLE_FEATURES = 80,
    OFF_AUTOCLEAR_FEATURES = 88,
    OFF_REFCOUNT_ORDER = 96,
    OFF_HEADER_LENGTH = 100,
    OFF_COMPRESSION_TYPE = 104,
    OFF_PADDING = 105,
    OFF_PADDING_END = 112,
};

static int check_start(const uint8_t *buf, size_t len, struct img_error *err)
{
    uint32_t version, fixed_len;

    if (len < OFF_VERSION) {
        return img_fail_at(err, IMG_FORMAT, OFF_MAGIC,
                           "magic: found %zu bytes, expected 4", len);
    }
    if (img_load_be32(buf) != QCOW2_MAGIC) {
        return img_fail_at(err, IMG_FORMAT, OFF_MAGIC,
                           "magic: found 0x%08" PRIx32 ", expected 0x%08x",
                           img_load_be32(buf), QCOW2_MAGIC);
    }
    if (len < OFF_BACKING_FILE_OFFSET) {
        return img_fail_at(err, IMG_CORRUPT, len,
                           "header: found %zu bytes, expected at least %u", len,
                           QCOW2_V2_HEADER_LEN);
    }
    version = img_load_be32(buf + OFF_VERSION);
    if (version != 2 && version != 3) {
        return img_fail_at(err, IMG_UNSUPPORTED, OFF_VERSION,
                           "version: found %" PRIu32 ", expected 2 or 3",
                           version);
    }
    fixed_len = version == 2 ? QCOW2_V2_HEADER_LEN : QCOW2_V3_HEADER_LEN;
    if (len < fixed_len) {
        return img_fail_at(err, IMG_CORRUPT, len,
                           "header: found %zu bytes, expected at least %" PRIu32
                           " in version %" PRIu32,
                           len, fixed_len, version);
    }
    return 0;
}

static void load_fields(const uint8_t *buf, struct qcow2_header *h)
{
    *h = (struct qcow2_header){
        .version = img_load_be32(buf + OFF_VERSION),
        .backing_name_off = img_load_be64(buf + OFF_BACKING_FILE_OFFSET),
        .backing_name_len = img_load_be32(buf + OFF_BACKING_FILE_SIZE),
        .cluster_bits = img_load_be32(buf + OFF_CLUSTER_BITS),
        .virtual_len = img_load_be64(buf + OFF_SIZE),
        .crypt_method = img_load_be32(buf + OFF_CRYPT_METHOD),
        .l1_entries = img_load_be32(buf + OFF_L1_SIZE),
        .l1_off = img_load_be64(buf + OFF_L1_TABLE_OFFSET),
        .reftable_off = img_load_be64(buf + OFF_REFCOUNT_TABLE_OFFSET),
        .reftable_clusters = img_load_be32(buf + OFF_REFCOUNT_TABLE_CLUSTERS),
        .snapshots_nr = img_load_be32(buf + OFF_NB_SNAPSHOTS),
        .snapshots_off = img_load_be64(buf + OFF_SNAPSHOTS_OFFSET),
        .refcount_order = QCOW2_V2_REFCOUNT_ORDER,
        .header_len = QCOW2_V2_HEADER_LEN,
        .compression = QCOW2_COMPRESSION_ZLIB,
    };
    if (h->version >= 3) {
        h->incompatible = img_load_be64(buf + OFF_INCOMPATIBLE_FEATURES);
        h->compatible = img_load_be64(buf + OFF_COMPATIBLE_FEATURES);
        h->autoclear = img_load_be64(buf + OFF_AUTOCLEAR_FEATURES);
        h->refcount_order = img_load_be32(buf + OFF_REFCOUNT_ORDER);
        h->header_len = img_load_be32(buf + OFF_HEADER_LENGTH);
    }
}

void qcow2_header_derive(struct qcow2_header *h)
{
    h->has_extended_l2 = (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2) != 0;
    h->has_data_file = (h->incompatible & QCOW2_INCOMPAT_DATA_FILE) != 0;
    h->is_data_file_raw = (h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) != 0;
    h->cluster_len = 1u << h->cluster_bits;
    h->l2_entry_len = h->has_extended_l2 ? 16 : 8;
    h->l2_entries = h->cluster_len / h->l2_entry_len;
    h->l2_covers_len = (uint64_t)h->l2_entries << h->cluster_bits;
    h->subcluster_len = h->has_extended_l2 ? h->cluster_len / QCOW2_SUBCLUSTERS
                                           : h->cluster_len;
}

/* cluster_bits, and what follows from it and the features. */
static int decode_geometry(struct qcow2_header *h, struct img_error *err)
{
    bool has_extended_l2 = (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2) != 0;
    uint32_t min_bits = has_extended_l2 ? QCOW2_MIN_SUBCLUSTER_CLUSTER_BITS
                                        : QCOW2_MIN_CLUSTER_BITS;

    if (h->cluster_bits < min_bits ||
        h->cluster_bits > QCOW2_MAX_CLUSTER_BITS) {
        img_fail_at(err, IMG_CORRUPT, OFF_CLUSTER_BITS,
                    "cluster_bits: found %" PRIu32 ", expected %" PRIu32
                    " to %u%s",
                    h->cluster_bits, min_bits, QCOW2_MAX_CLUSTER_BITS,
                    has_extended_l2 ? " with extended L2 entries" : "");
        return -1;
    }
    qcow2_header_derive(h);
    return 0;
}

static int check_header_len(const struct qcow2_header *h, size_t len,
                            struct img_error *err)
{
    if (h->version == 2) {
        return 0;
    }
    if (h->header_len < QCOW2_V3_HEADER_LEN || h->header_len > h->cluster_len ||
        h->header_len % 8 != 0) {
        return img_fail_at(err, IMG_CORRUPT, OFF_HEADER_LENGTH,
                           "header_length: found %" PRIu32
                           ", expected a multiple of 8 from %u to the cluster"
                           " size %" PRIu32,
                           h->header_len, QCOW2_V3_HEADER_LEN, h->cluster_len);
    }
    /* What is decoded must be there; the rest is for check_file. */
    if (h->header_len > QCOW2_V3_HEADER_LEN && len < OFF_PADDING_END) {
        return img_fail_at(err, IMG_CORRUPT, len,
                           "header: found %zu bytes, expected the %" PRIu32
                           " of header_length",
                           len, h->header_len);
    }
    return 0;
}

/* compression_type and the padding after it, where the header has them. */
static int decode_compression(const uint8_t *buf, struct qcow2_header *h,
                              struct img_error *err)
{
    bool has_bit = (h->incompatible & QCOW2_INCOMPAT_COMPRESSION) != 0;

    if (h->header_len > QCOW2_V3_HEADER_LEN) {
        h->compression = buf[OFF_COMPRESSION_TYPE];
        for (uint64_t i = OFF_PADDING; i < OFF_PADDING_END; i++) {
            if (buf[i] != 0) {
                return img_fail_at(err, IMG_CORRUPT, i,
                                   "header padding: found 0x%02x, expected 0",
                                   buf[i]);
            }
        }
    }
    if (h->compression > QCOW2_COMPRESSION_ZSTD) {
        return img_fail_at(err, IMG_CORRUPT, OFF_COMPRESSION_TYPE,
                           "compression_type: found %" PRIu32
                           ", expected 0 (zlib) or 1 (zstd)",
                           h->compression);
    }
    if (has_bit != (h->compression != QCOW2_COMPRESSION_ZLIB)) {
        return img_fail_at(err, IMG_CORRUPT, OFF_COMPRESSION_TYPE,
                           "compression_type: found %" PRIu32
                           ", expected %s as incompatible feature bit 3 is %s",
                           h->compression, has_bit ? "1" : "0",
                           has_bit ? "set" : "clear");
    }
    return 0;
}

static int check_features(const struct qcow2_header *h, struct img_error *err)
{
    if (h->is_data_file_raw && !h->has_data_file) {
        return img_fail_at(err, IMG_CORRUPT, OFF_AUTOCLEAR_FEATURES,
                           "autoclear_features: found bit 1 (raw external"
                           " data), expected it only with incompatible"
                           " feature bit 2 (external data file)");
    }
    if (h->refcount_order > QCOW2_MAX_REFCOUNT_ORDER) {
        return img_fail_at(err, IMG_CORRUPT, OFF_REFCOUNT_ORDER,
                           "refcount_order: found %" PRIu32
                           ", expected at most %u",
                           h->refcount_order, QCOW2_MAX_REFCOUNT_ORDER);
    }
    if (h->crypt_method > QCOW2_CRYPT_LUKS) {
        return img_fail_at(err, IMG_CORRUPT, OFF_CRYPT_METHOD,
                           "crypt_method: found %" PRIu32
                           ", expected 0 (none), 1 (AES) or 2 (LUKS)",
                           h->crypt_method);
    }
    return 0;
}

/* That the name does not reach into the extensions is seen with them. */
static int check_backing(const struct qcow2_header *h, struct img_error *err)
{
    uint32_t max_len = QCOW2_MAX_BACKING_NAME_LEN;

    if (h->backing_name_off == 0) {
        return 0;
    }
    if (h->backing_name_len == 0 || h->backing_name_len > max_len) {
        return img_fail_at(err, IMG_CORRUPT, OFF_BACKING_FILE_SIZE,
                           "backing_file_size: found %" PRIu32
                           ", expected 1 to %" PRIu32
                           " as backing_file_offset is set",
                           h->backing_name_len, max_len);
    }
    if (h->backing_name_off < h->header_len) {
        return img_fail_at(err, IMG_CORRUPT, OFF_BACKING_FILE_OFFSET,
                           "backing_file_offset: found %" PRIu64
                           ", expected at least the header's length %" PRIu32,
                           h->backing_name_off, h->header_len);
    }
    if (!img_range_fits(h->backing_name_off, h->backing_name_len,
                        h->cluster_len)) {
        return img_fail_at(
            err, IMG_CORRUPT, OFF_BACKING_FILE_OFFSET,
            "backing_file_offset: found %" PRIu64
            ", expected the name's %" PRIu32
            " bytes to end in the first cluster (%" PRIu32 " bytes)",
            h->backing_name_off, h->backing_name_len, h->cluster_len);
    }
    return 0;
}

/* A table of LEN > 0 bytes: aligned, behind the header, ends below 2^63. */
static int check_table(const struct qcow2_header *h, uint64_t off, uint64_t len,
                       const char *field, uint64_t field_off,
                       struct img_error *err)
{
    uint64_t end;

    if (h->is_lenient && off % h->cluster_len == 0 && img_add(off, len, &end)) {
        return 0;
    }
    if (off % h->cluster_len != 0 || off < h->cluster_len ||
        !img_add(off, len, &end)) {
        return img_fail_at(err, IMG_CORRUPT, field_off,
                           "%s: found %" PRIu64
                           ", expected a multiple of the cluster size %" PRIu32
                           ", not 0 and below 2^63",
                           field, off, h->cluster_len);
    }
    return 0;
}

static int check_l1(const struct qcow2_header *h, struct img_error *err)
{
    uint32_t max_entries = QCOW2_MAX_L1_LEN / 8;
    uint64_t min_entries;

    if (h->virtual_len > QCOW2_MAX_VIRTUAL_LEN) {
        return img_fail_at(err, IMG_CORRUPT, OFF_SIZE,
                           "size: found %" PRIu64 ", expected at most %" PRIu64,
                           h->virtual_len, QCOW2_MAX_VIRTUAL_LEN);
    }
    min_entries = img_div_up(h->virtual_len, h->l2_covers_len);
    if (h->l1_entries < min_entries || h->l1_entries > max_entries) {
        return img_fail_at(err, IMG_CORRUPT, OFF_L1_SIZE,
                           "l1_size: found %" PRIu32
                           ", expected at least %" PRIu64
                           " entries for the size and at most %" PRIu32,
                           h->l1_entries, min_entries, max_entries);
    }
    /* An image of 0 bytes, as qemu-img makes it, has no L1 table at all. */
    if (h->l1_entries == 0 && h->l1_off == 0) {
        return 0;
    }
    return check_table(h, h->l1_off, (uint64_t)h->l1_entries * 8,
                       "l1_table_offset", OFF_L1_TABLE_OFFSET, err);
}

static int check_reftable(const struct qcow2_header *h, struct img_error *err)
{
    uint32_t max_clusters = QCOW2_MAX_REFTABLE_LEN >> h->cluster_bits;

    if ((h->reftable_clusters == 0 && !h->is_lenient) ||
        h->reftable_clusters > max_clusters) {
        return img_fail_at(err, IMG_CORRUPT, OFF_REFCOUNT_TABLE_CLUSTERS,
                           "refcount_table_clusters: found %" PRIu32
                           ", expected 1 to %" PRIu32,
                           h->reftable_clusters, max_clusters);
    }
    return check_table(h, h->reftable_off,
                       (uint64_t)h->reftable_clusters << h->cluster_bits,
                       "refcount_table_offset", OFF_REFCOUNT_TABLE_OFFSET, err);
}

static int check_snapshots(const struct qcow2_header *h, struct img_error *err)
{
    if (h->snapshots_nr > QCOW2_MAX_SNAPSHOTS) {
        return img_fail_at(err, IMG_CORRUPT, OFF_NB_SNAPSHOTS,
                           "nb_snapshots: found %" PRIu32
                           ", expected at most %u",
                           h->snapshots_nr, QCOW2_MAX_SNAPSHOTS);
    }
    if (h->snapshots_nr > 0 && h->has_data_file && !h->is_lenient) {
        return img_fail_at(err, IMG_CORRUPT, OFF_NB_SNAPSHOTS,
                           "nb_snapshots: found %" PRIu32
                           ", expected 0 with an external data file",
                           h->snapshots_nr);
    }
    if (h->snapshots_nr == 0) {
        /* Unused, but QEMU wants it aligned all the same. */
        if (h->snapshots_off % h->cluster_len == 0) {
            return 0;
        }
        return img_fail_at(err, IMG_CORRUPT, OFF_SNAPSHOTS_OFFSET,
                           "snapshots_offset: found %" PRIu64
                           ", expected a multiple of the cluster size %" PRIu32,
                           h->snapshots_off, h->cluster_len);
    }
    return check_table(h, h->snapshots_off, (uint64_t)h->snapshots_nr * 40,
                       "snapshots_offset", OFF_SNAPSHOTS_OFFSET, err);
}

static int decode(const uint8_t *buf, size_t len, bool is_lenient,
                  struct qcow2_header *out, struct img_error *err)
{
    struct qcow2_header h;

    if (check_start(buf, len, err) < 0) {
        return -1;
    }
    load_fields(buf, &h);
    h.is_lenient = is_lenient;
    if (decode_geometry(&h, err) < 0 || check_header_len(&h, len, err) < 0 ||
        decode_compression(buf, &h, err) < 0 || check_features(&h, err) < 0 ||
        check_backing(&h, err) < 0 || check_l1(&h, err) < 0 ||
        check_reftable(&h, err) < 0 || check_snapshots(&h, err) < 0) {
        return -1;
    }
    *out = h;
    return 0;
}

int qcow2_header_decode(const uint8_t *buf, size_t len,
                        struct qcow2_header *out, struct img_error *err)
{
    return decode(buf, len, false, out, err);
}

int qcow2_header_decode_lenient(const uint8_t *buf, size_t len,
                                struct qcow2_header *out, struct img_error *err)
{
    return decode(buf, len, true, out, err);
}

void qcow2_header_encode(const struct qcow2_header *h, uint8_t *buf)
{
    memset(buf, 0, h->header_len);
    img_store_be32(buf + OFF_MAGIC, QCOW2_MAGIC);
    img_store_be32(buf + OFF_VERSION, h->version);
    img_store_be64(buf + OFF_BACKING_FILE_OFFSET, h->backing_name_off);
    img_store_be32(buf + OFF_BACKING_FILE_SIZE, h->backing_name_len);
    img_store_be32(buf + OFF_CLUSTER_BITS, h->cluster_bits);
    img_store_be64(buf + OFF_SIZE, h->virtual_len);
    img_store_be32(buf + OFF_CRYPT_METHOD, h->crypt_method);
    img_store_be32(buf + OFF_L1_SIZE, h->l1_entries);
    img_store_be64(buf + OFF_L1_TABLE_OFFSET, h->l1_off);
    img_store_be64(buf + OFF_REFCOUNT_TABLE_OFFSET, h->reftable_off);
    img_store_be32(buf + OFF_REFCOUNT_TABLE_CLUSTERS, h->reftable_clusters);
    img_store_be32(buf + OFF_NB_SNAPSHOTS, h->snapshots_nr);
    img_store_be64(buf + OFF_SNAPSHOTS_OFFSET, h->snapshots_off);
    if (h->version < 3) {
        return;
    }
    img_store_be64(buf + OFF_INCOMPATIBLE_FEATURES, h->incompatible);
    img_store_be64(buf + OFF_COMPATIBLE_FEATURES, h->compatible);
    img_store_be64(buf + OFF_AUTOCLEAR_FEATURES, h->autoclear);
    img_store_be32(buf + OFF_REFCOUNT_ORDER, h->refcount_order);
    img_store_be32(buf + OFF_HEADER_LENGTH, h->header_len);
    if (h->header_len > OFF_COMPRESSION_TYPE) {
        buf[OFF_COMPRESSION_TYPE] = (uint8_t)h->compression;
    }
}

/* A table may lack a part of its last cluster, but no whole cluster. */
static int check_table_in_file(const struct qcow2_header *h, uint64_t off,
                               uint64_t len, uint64_t file_len,
                               const char *field, uint64_t field_off,
                               struct img_error *err)
{
    uint64_t last = len > 0 ? off + len - 1 : off;

    if (img_align_down(last, h->cluster_len) < file_len) {
        return 0;
    }
    return img_fail_at(err, IMG_CORRUPT, field_off,
                       "%s: found a table from %" PRIu64 " to %" PRIu64
                       ", expected it inside the file's %" PRIu64 " bytes",
                       field, off, off + len, file_len);
}

int qcow2_header_check_file(const struct qcow2_header *h, uint64_t file_len,
                            struct img_error *err)
{
    if (file_len < h->header_len) {
        return img_fail_at(err, IMG_CORRUPT, file_len,
                           "header: found %" PRIu64
                           " bytes, expected the %" PRIu32 " of header_length",
                           file_len, h->header_len);
    }
    if (h->is_lenient) {
        return 0;
    }
    if (h->l1_entries > 0 &&
        check_table_in_file(h, h->l1_off, (uint64_t)h->l1_entries * 8, file_len,
                            "l1_table_offset", OFF_L1_TABLE_OFFSET, err) < 0) {
        return -1;
    }
    if (check_table_in_file(h, h->reftable_off,
                            (uint64_t)h->reftable_clusters << h->cluster_bits,
                            file_len, "refcount_table_offset",
                            OFF_REFCOUNT_TABLE_OFFSET, err) < 0) {
        return -1;
    }
    if (h->snapshots_nr > 0 && h->snapshots_off >= file_len) {
        return img_fail_at(err, IMG_CORRUPT, OFF_SNAPSHOTS_OFFSET,
                           "snapshots_offset: found %" PRIu64
                           ", expected inside the file's %" PRIu64 " bytes",
                           h->snapshots_off, file_len);
    }
    return 0;
}

uint32_t qcow2_header_peek_cluster_len(const uint8_t *buf, size_t len)
{
    uint32_t bits;

    if (len < OFF_SIZE || img_load_be32(buf) != QCOW2_MAGIC) {
        return 0;
    }
    bits = img_load_be32(buf + OFF_CLUSTER_BITS);
    if (bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS) {
        return 0;
    }
    return 1u << bits;
}
