/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refcount table and block entries (specification: "Host cluster
 * management").
 *
 * Room: qcow2/codec, pure.
 */
#include <inttypes.h>

#include <img/bytes.h>
#include <qcow2/refcount.h>

#define REFTABLE_RESERVED 0x1ffull

uint64_t qcow2_refcount_block_entries(const struct qcow2_header *header)
{
    return ((uint64_t)header->cluster_len * 8) >> header->refcount_order;
}

uint64_t qcow2_refcount_get(const struct qcow2_header *header,
                            const uint8_t *block, uint64_t idx)
{
    uint32_t order = header->refcount_order;
    uint64_t bit = idx << order;

    switch (order) {
    case 3:
        return block[idx];
    case 4:
        return img_load_be16(block + idx * 2);
    case 5:
        return img_load_be32(block + idx * 4);
    case 6:
        return img_load_be64(block + idx * 8);
    default:
        /* 1, 2 and 4 bits: the first entry has the lowest bits. */
        return (uint64_t)(block[bit / 8] >> (bit % 8)) &
               ((1u << (1u << order)) - 1);
    }
}

void qcow2_refcount_set(const struct qcow2_header *header, uint8_t *block,
                        uint64_t idx, uint64_t value)
{
    uint32_t order = header->refcount_order;
    uint64_t bit = idx << order;
    uint32_t mask;

    switch (order) {
    case 3:
        block[idx] = (uint8_t)value;
        return;
    case 4:
        img_store_be16(block + idx * 2, (uint16_t)value);
        return;
    case 5:
        img_store_be32(block + idx * 4, (uint32_t)value);
        return;
    case 6:
        img_store_be64(block + idx * 8, value);
        return;
    default:
        mask = ((1u << (1u << order)) - 1) << (bit % 8);
        block[bit / 8] = (uint8_t)((block[bit / 8] & ~mask) |
                                   ((uint32_t)value << (bit % 8) & mask));
    }
}

uint64_t qcow2_refcount_max(const struct qcow2_header *header)
{
    return UINT64_MAX >> (64 - (1u << header->refcount_order));
}

int qcow2_reftable_decode(const struct qcow2_header *header, uint64_t entry,
                          uint64_t file_len, uint64_t *out,
                          struct img_error *err)
{
    const char *expected;

    if (entry & REFTABLE_RESERVED) {
        expected = "bits 0 to 8 to be 0";
    } else if (entry & (header->cluster_len - 1)) {
        expected = "the offset of a cluster";
    } else if (entry != 0 && entry >= file_len) {
        expected = "an offset inside the file";
    } else {
        *out = entry;
        return 0;
    }
    return img_fail(err, IMG_CORRUPT,
                    "refcount table entry: found 0x%016" PRIx64 ", expected %s",
                    entry, expected);
}
