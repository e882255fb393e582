/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * L1 and L2 table entries (specification: "Cluster mapping", "Extended L2
 * Entries").
 *
 * Room: qcow2/codec, pure. qcow2_l2_decode runs for each allocated cluster of
 * an image: its good path is a handful of compares, texts are made in cold
 * functions.
 */
#include <inttypes.h>

#include <img/checked.h>
#include <qcow2/entry.h>

/* Reserved bits 0 to 8 and 56 to 62 of an L1 entry. */
#define L1_RESERVED 0x7f000000000001ffull
/* Reserved bits 1 to 8 and 56 to 61 of a standard L2 entry. */
#define L2_RESERVED 0x3f000000000001feull
/* Compressed data lies below 2^56 as well, whatever the field could hold. */
#define COMPRESSED_OFF_LIMIT (1ull << 56)

static __attribute__((cold)) int fail_l1(struct img_error *err, uint64_t entry,
                                         const char *expected)
{
    return img_fail(err, IMG_CORRUPT,
                    "L1 entry: found 0x%016" PRIx64 ", expected %s", entry,
                    expected);
}

int qcow2_l1_decode(const struct qcow2_header *header, uint64_t entry,
                    uint64_t file_len, struct qcow2_l1_entry *out,
                    struct img_error *err)
{
    uint64_t off = entry & QCOW2_ENTRY_OFFSET_MASK;

    if (entry & L1_RESERVED) {
        return fail_l1(err, entry, "bits 0 to 8 and 56 to 62 to be 0");
    }
    if (off & (header->cluster_len - 1)) {
        return fail_l1(err, entry, "the offset of a cluster");
    }
    if (off == 0 && entry != 0) {
        return fail_l1(err, entry, "bit 63 to be 0 without an offset");
    }
    if (off >= file_len && off != 0) {
        return fail_l1(err, entry, "an offset inside the file");
    }
    out->l2_off = off;
    out->is_copied = (entry & QCOW2_ENTRY_COPIED) != 0;
    return 0;
}

static __attribute__((cold)) int fail_l2(struct img_error *err,
                                         uint64_t guest_off, uint64_t entry,
                                         const char *expected)
{
    return img_fail(err, IMG_CORRUPT,
                    "L2 entry for guest offset %" PRIu64 ": found 0x%016" PRIx64
                    ", expected %s",
                    guest_off, entry, expected);
}

static int decode_compressed(const struct qcow2_header *header, uint64_t entry,
                             uint64_t bitmap, uint64_t guest_off,
                             uint64_t host_len_limit,
                             struct qcow2_l2_entry *out, struct img_error *err)
{
    uint32_t sector_bits = header->cluster_bits - 8;
    uint32_t off_bits = 62 - sector_bits;
    uint64_t off = entry & ((1ull << off_bits) - 1);
    uint64_t sectors = (entry >> off_bits) & ((1ull << sector_bits) - 1);

    if (header->has_data_file) {
        return fail_l2(err, guest_off, entry,
                       "no compressed cluster with an external data file");
    }
    if (entry & QCOW2_ENTRY_COPIED) {
        return fail_l2(err, guest_off, entry,
                       "bit 63 to be 0 for a compressed cluster");
    }
    if (off >= COMPRESSED_OFF_LIMIT) {
        return fail_l2(err, guest_off, entry, "offset bits above 55 to be 0");
    }
    if (off >= host_len_limit) {
        return fail_l2(err, guest_off, entry,
                       "compressed data to begin inside the file");
    }
    if (bitmap != 0) {
        return fail_l2(err, guest_off, entry,
                       "no subclusters for a compressed cluster");
    }
    *out = (struct qcow2_l2_entry){
        .kind = QCOW2_CLUSTER_COMPRESSED,
        .has_host = true,
        .host_off = off,
        .host_len = (uint32_t)((sectors + 1) * 512 - off % 512),
    };
    return 0;
}

static int decode_subclusters(uint64_t entry, uint64_t bitmap,
                              uint64_t guest_off, struct qcow2_l2_entry *out,
                              struct img_error *err)
{
    out->alloc = (uint32_t)bitmap;
    out->zero = (uint32_t)(bitmap >> 32);
    if (out->alloc & out->zero) {
        return img_fail(err, IMG_CORRUPT,
                        "L2 entry for guest offset %" PRIu64
                        ": found subcluster bitmap 0x%016" PRIx64
                        ", expected no subcluster both allocated and zero",
                        guest_off, bitmap);
    }
    if (out->alloc != 0 && !out->has_host) {
        return fail_l2(err, guest_off, entry,
                       "a host offset for the allocated subclusters");
    }
    if (out->alloc == UINT32_MAX) {
        out->kind = QCOW2_CLUSTER_DATA;
    } else if (out->zero == UINT32_MAX) {
        out->kind = QCOW2_CLUSTER_ZERO;
    } else if (bitmap == 0) {
        out->kind = QCOW2_CLUSTER_UNALLOCATED;
    } else {
        out->kind = QCOW2_CLUSTER_MIXED;
    }
    return 0;
}

/* The host offset of a standard entry that has one. */
static int check_host(const struct qcow2_header *header, uint64_t entry,
                      uint64_t guest_off, uint64_t host_len_limit,
                      struct img_error *err)
{
    uint64_t in_cluster = header->cluster_len - 1;
    uint64_t off = entry & QCOW2_ENTRY_OFFSET_MASK;

    if (off & in_cluster) {
        return fail_l2(err, guest_off, entry, "the offset of a cluster");
    }
    if (off >= host_len_limit) {
        return fail_l2(err, guest_off, entry, "an offset inside the file");
    }
    if (header->has_data_file && off != (guest_off & ~in_cluster)) {
        return fail_l2(err, guest_off, entry,
                       "the guest's offset in the external data file");
    }
    return 0;
}

int qcow2_l2_decode(const struct qcow2_header *header, uint64_t entry,
                    uint64_t bitmap, uint64_t guest_off,
                    uint64_t host_len_limit, struct qcow2_l2_entry *out,
                    struct img_error *err)
{
    bool is_zero = (entry & QCOW2_L2_ZERO) && !header->has_extended_l2;
    bool is_copied = (entry & QCOW2_ENTRY_COPIED) != 0;
    uint64_t off = entry & QCOW2_ENTRY_OFFSET_MASK;
    bool has_host = off != 0;

    if (entry & QCOW2_ENTRY_COMPRESSED) {
        return decode_compressed(header, entry, bitmap, guest_off,
                                 host_len_limit, out, err);
    }
    if (entry & L2_RESERVED) {
        return fail_l2(err, guest_off, entry,
                       "bits 1 to 8 and 56 to 61 to be 0");
    }
    if (is_copied && off == 0) {
        if (!header->has_data_file) {
            return fail_l2(err, guest_off, entry,
                           "bit 63 to be 0 without a host offset");
        }
        has_host = !is_zero;
    }
    if (has_host &&
        check_host(header, entry, guest_off, host_len_limit, err) < 0) {
        return -1;
    }
    *out = (struct qcow2_l2_entry){
        .kind = has_host ? QCOW2_CLUSTER_DATA : QCOW2_CLUSTER_UNALLOCATED,
        .is_copied = is_copied,
        .has_host = has_host,
        .host_off = off,
    };
    if (header->has_extended_l2) {
        return decode_subclusters(entry, bitmap, guest_off, out, err);
    }
    if (is_zero) {
        if (header->version < 3) {
            return fail_l2(err, guest_off, entry,
                           "bit 0 to be 0 in a version 2 image");
        }
        out->kind = QCOW2_CLUSTER_ZERO;
    }
    return 0;
}

enum qcow2_cluster_kind
qcow2_l2_subcluster_run(const struct qcow2_l2_entry *entry, uint32_t idx,
                        uint32_t *run)
{
    enum qcow2_cluster_kind kind;
    uint32_t same;

    if (entry->kind == QCOW2_CLUSTER_COMPRESSED) {
        *run = QCOW2_SUBCLUSTERS - idx;
        return QCOW2_CLUSTER_COMPRESSED;
    }
    if (entry->alloc >> idx & 1) {
        kind = QCOW2_CLUSTER_DATA;
        same = entry->alloc;
    } else if (entry->zero >> idx & 1) {
        kind = QCOW2_CLUSTER_ZERO;
        same = entry->zero;
    } else {
        kind = QCOW2_CLUSTER_UNALLOCATED;
        same = ~(entry->alloc | entry->zero);
    }
    same = ~(same >> idx);
    *run = same == 0 ? QCOW2_SUBCLUSTERS : (uint32_t)__builtin_ctz(same);
    return kind;
}

uint64_t qcow2_l1_encode(const struct qcow2_l1_entry *entry)
{
    return entry->l2_off | (entry->is_copied ? QCOW2_ENTRY_COPIED : 0);
}

static uint64_t encode_compressed(const struct qcow2_header *header,
                                  const struct qcow2_l2_entry *entry)
{
    uint32_t off_bits = 62 - (header->cluster_bits - 8);
    uint64_t last = entry->host_off % 512 + entry->host_len - 1;

    return QCOW2_ENTRY_COMPRESSED | last / 512 << off_bits | entry->host_off;
}

static uint64_t encode_subclusters(const struct qcow2_l2_entry *entry)
{
    switch (entry->kind) {
    case QCOW2_CLUSTER_UNALLOCATED:
    case QCOW2_CLUSTER_COMPRESSED:
        return 0;
    case QCOW2_CLUSTER_DATA:
        return UINT32_MAX;
    case QCOW2_CLUSTER_ZERO:
        return (uint64_t)UINT32_MAX << 32;
    case QCOW2_CLUSTER_MIXED:
        break;
    }
    return (uint64_t)entry->zero << 32 | entry->alloc;
}

uint64_t qcow2_l2_encode(const struct qcow2_header *header,
                         const struct qcow2_l2_entry *entry, uint64_t *bitmap)
{
    uint64_t value = 0;

    *bitmap = header->has_extended_l2 ? encode_subclusters(entry) : 0;
    if (entry->kind == QCOW2_CLUSTER_COMPRESSED) {
        return encode_compressed(header, entry);
    }
    if (entry->has_host) {
        value |= entry->host_off;
    }
    if (entry->is_copied) {
        value |= QCOW2_ENTRY_COPIED;
    }
    if (entry->kind == QCOW2_CLUSTER_ZERO && !header->has_extended_l2) {
        value |= QCOW2_L2_ZERO;
    }
    return value;
}
