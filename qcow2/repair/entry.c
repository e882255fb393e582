/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One entry of an L2 table: what it should be.
 *
 * Room: qcow2/repair, pure. Where an entry could be read, what it shows stays
 * the same; where it could not, zeros are shown, not what the backing file has
 * there. Specification: "Cluster mapping", "Extended L2 Entries", "Compressed
 * Clusters Descriptor".
 */
#include "repair_impl.h"

#include <img/checked.h>

/* Bits 1 to 8 and 56 to 61 of a standard entry. */
#define RESERVED 0x3f000000000001feull

static void set_why(struct qcow2_entry_fix *out, const char *why)
{
    out->why = out->why ? out->why : why;
}

/* Show zeros instead of what cannot be read. */
static void make_zero(const struct qcow2_header *header,
                      struct qcow2_entry_fix *out)
{
    out->value = 0;
    if (header->has_extended_l2) {
        out->bitmap |= out->bitmap << 32;
        out->bitmap &= ~(uint64_t)UINT32_MAX;
    } else if (header->version >= 3) {
        out->value = QCOW2_L2_ZERO;
    } else {
        out->wants_zeros = true;
    }
}

/* Is what begins at OFF, LEN bytes, in the file? The last cluster may be partly
   missing. */
static bool is_inside(const struct qcow2_repair *r, uint64_t off, uint64_t len)
{
    return len < r->old_len + r->header.cluster_len &&
           off < r->old_len + r->header.cluster_len - len;
}

static void compressed_judge(const struct qcow2_repair *r,
                             struct qcow2_entry_fix *out)
{
    const struct qcow2_header *header = &r->header;
    uint32_t sector_bits = header->cluster_bits - 8;
    uint32_t off_bits = 62 - sector_bits;
    uint64_t off = out->value & ((1ull << off_bits) - 1);
    uint64_t sectors = (out->value >> off_bits) & ((1ull << sector_bits) - 1);
    uint64_t len = (sectors + 1) * 512 - off % 512;

    if (r->fixes && (header->has_data_file || off >= r->old_len)) {
        out->why = header->has_data_file
                       ? "is compressed, with an external data file"
                       : "has compressed data past the end of the file";
        out->is_lost = true;
        out->bitmap = UINT32_MAX; /* all of it */
        make_zero(header, out);
        return;
    }
    if (r->fixes && out->bitmap != 0) {
        out->bitmap = 0;
        set_why(out, "has subclusters, though it is compressed");
    }
    if (r->fixes && (out->value & QCOW2_ENTRY_COPIED)) {
        out->value &= ~QCOW2_ENTRY_COPIED;
        set_why(out, "has bit 63 set, though it is compressed");
    }
    if (r->fixes && !is_inside(r, off, len)) {
        sectors = img_div_up(r->old_len, 512) - off / 512 - 1;
        len = (sectors + 1) * 512 - off % 512;
        out->value = QCOW2_ENTRY_COMPRESSED | sectors << off_bits | off;
        set_why(out, "has compressed data that passes the end of the file");
    }
    if (header->has_data_file || out->bitmap != 0 || !is_inside(r, off, len)) {
        return;
    }
    out->is_compressed = true;
    out->ref_off = off;
    out->ref_len = len;
}

static void cluster_judge(const struct qcow2_repair *r,
                          struct qcow2_entry_fix *out)
{
    const struct qcow2_header *header = &r->header;
    uint64_t off = out->value & QCOW2_ENTRY_OFFSET_MASK;
    bool is_odd = (off & (header->cluster_len - 1u)) != 0;
    bool is_outside =
        !header->has_data_file && !is_inside(r, off, header->cluster_len);
    bool has_data = header->has_extended_l2
                        ? (out->bitmap & UINT32_MAX) != 0
                        : header->version < 3 || !(out->value & QCOW2_L2_ZERO);
    uint64_t both = (out->bitmap >> 32) & out->bitmap & UINT32_MAX;

    if (r->fixes && (is_odd || is_outside)) {
        out->why = is_odd ? "has no multiple of the cluster size as offset"
                          : "has data past the end of the file";
        out->is_lost = has_data;
        make_zero(header, out);
        return;
    }
    if (r->fixes && both != 0) {
        out->bitmap &= ~both;
        out->is_lost = true;
        set_why(out, "has subclusters that are both data and zeros");
    }
    if (!header->has_data_file && !is_outside) {
        out->ref_off = off;
        out->ref_len = header->cluster_len;
    }
}

/* An entry without a place in the file. */
static void empty_judge(const struct qcow2_repair *r,
                        struct qcow2_entry_fix *out)
{
    if (!r->fixes) {
        return;
    }
    if (out->value & QCOW2_ENTRY_COPIED) {
        out->value &= ~QCOW2_ENTRY_COPIED;
        set_why(out, "has bit 63 set, but no offset");
    }
    if (out->bitmap & UINT32_MAX) {
        out->is_lost = true;
        out->why = "has subclusters with data, but no offset";
        make_zero(&r->header, out);
    }
}

void qcow2_entry_judge(const struct qcow2_repair *r, uint64_t value,
                       uint64_t bitmap, struct qcow2_entry_fix *out)
{
    const struct qcow2_header *header = &r->header;
    uint64_t reserved = RESERVED;

    *out = (struct qcow2_entry_fix){.value = value, .bitmap = bitmap};
    if (value & QCOW2_ENTRY_COMPRESSED) {
        compressed_judge(r, out);
        return;
    }
    if (header->version < 3) {
        reserved |= QCOW2_L2_ZERO;
    }
    if (r->fixes && (value & reserved)) {
        out->value &= ~reserved;
        set_why(out, "has reserved bits set");
    }
    if ((value & QCOW2_ENTRY_OFFSET_MASK) ||
        (header->has_data_file && (value & QCOW2_ENTRY_COPIED))) {
        cluster_judge(r, out);
    } else {
        empty_judge(r, out);
    }
}
