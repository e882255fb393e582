/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bitmap directory and bitmap tables (specification: "Bitmaps").
 *
 * Room: qcow2/codec, pure. Limits are QEMU's, which are narrower than the
 * specification's: an image that breaks one does not open there.
 */
#include <inttypes.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <qcow2/bitmap.h>

enum {
    OFF_TABLE_OFFSET = 0,
    OFF_TABLE_SIZE = 8,
    OFF_FLAGS = 12,
    OFF_TYPE = 16,
    OFF_GRANULARITY_BITS = 17,
    OFF_NAME_SIZE = 18,
    OFF_EXTRA_DATA_SIZE = 20,
};

#define TYPE_DIRTY_TRACKING 1u
#define KNOWN_FLAGS (QCOW2_BITMAP_FLAG_IN_USE | QCOW2_BITMAP_FLAG_AUTO)
/* Reserved bits 1 to 8 and 56 to 63 of a bitmap table entry. */
#define ENTRY_RESERVED 0xff000000000001feull
#define ENTRY_ALL_ONES 1ull
#define ENTRY_OFFSET_MASK 0x00fffffffffffe00ull

static int check_lengths(const uint8_t *buf, size_t len, uint64_t off,
                         struct qcow2_bitmap *b, struct img_error *err)
{
    uint32_t extra_len;

    if (len < QCOW2_BITMAP_FIXED_LEN) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "bitmap directory: found %zu bytes for an entry,"
                           " expected at least %u",
                           len, QCOW2_BITMAP_FIXED_LEN);
    }
    extra_len = img_load_be32(buf + OFF_EXTRA_DATA_SIZE);
    if (extra_len != 0) {
        return img_fail_at(
            err, IMG_CORRUPT, off + OFF_EXTRA_DATA_SIZE,
            "bitmap extra_data_size: found %" PRIu32 ", expected 0", extra_len);
    }
    b->name_len = img_load_be16(buf + OFF_NAME_SIZE);
    if (b->name_len == 0 || b->name_len > QCOW2_MAX_BITMAP_NAME_LEN) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_NAME_SIZE,
                           "bitmap name_size: found %u, expected 1 to %u",
                           b->name_len, QCOW2_MAX_BITMAP_NAME_LEN);
    }
    b->entry_len =
        img_align_up((uint64_t)QCOW2_BITMAP_FIXED_LEN + b->name_len, 8);
    if (b->entry_len > len) {
        return img_fail_at(err, IMG_CORRUPT, off,
                           "bitmap directory: found %zu bytes for an entry,"
                           " expected %" PRIu64,
                           len, b->entry_len);
    }
    b->name = (const char *)buf + QCOW2_BITMAP_FIXED_LEN;
    return 0;
}

static int check_kind(const struct qcow2_bitmap *b, uint64_t off,
                      struct img_error *err)
{
    if (b->flags & ~KNOWN_FLAGS) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_FLAGS,
                           "bitmap flags: found 0x%" PRIx32
                           ", expected only bits 0 and 1",
                           b->flags);
    }
    if (b->type != TYPE_DIRTY_TRACKING) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_TYPE,
                           "bitmap type: found %u, expected %u", b->type,
                           TYPE_DIRTY_TRACKING);
    }
    if (b->granularity_bits < QCOW2_MIN_BITMAP_GRANULARITY_BITS ||
        b->granularity_bits > QCOW2_MAX_BITMAP_GRANULARITY_BITS) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_GRANULARITY_BITS,
                           "bitmap granularity_bits: found %u, expected %u to"
                           " %u",
                           b->granularity_bits,
                           QCOW2_MIN_BITMAP_GRANULARITY_BITS,
                           QCOW2_MAX_BITMAP_GRANULARITY_BITS);
    }
    return 0;
}

static int check_table(const struct qcow2_header *header,
                       const struct qcow2_bitmap *b, uint64_t off,
                       uint64_t file_len, struct img_error *err)
{
    uint64_t table_len = (uint64_t)b->table_entries * 8;
    uint32_t max_entries = (uint32_t)img_min(QCOW2_MAX_BITMAP_TABLE_ENTRIES,
                                             QCOW2_MAX_BITMAP_PHYSICAL_LEN >>
                                                 header->cluster_bits);
    uint64_t end;

    if (b->table_entries == 0 || b->table_entries > max_entries) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_TABLE_SIZE,
                           "bitmap_table_size: found %" PRIu32
                           ", expected 1 to %" PRIu32,
                           b->table_entries, max_entries);
    }
    if (b->table_off == 0 || b->table_off % header->cluster_len != 0) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_TABLE_OFFSET,
                           "bitmap_table_offset: found %" PRIu64
                           ", expected a multiple of the cluster size %" PRIu32
                           ", not 0",
                           b->table_off, header->cluster_len);
    }
    if (header->is_lenient && img_add(b->table_off, table_len, &end)) {
        return 0;
    }
    if (!img_add(b->table_off, table_len, &end) ||
        img_align_down(end - 1, header->cluster_len) >= file_len) {
        return img_fail_at(err, IMG_CORRUPT, off + OFF_TABLE_OFFSET,
                           "bitmap_table_offset: found %" PRIu64 " for %" PRIu64
                           " bytes, expected inside the file's %" PRIu64
                           " bytes",
                           b->table_off, table_len, file_len);
    }
    return 0;
}

/* One bit for each granule of the disk; an old size is fine while in use. */
static int check_covers(const struct qcow2_header *header,
                        const struct qcow2_bitmap *b, uint64_t off,
                        struct img_error *err)
{
    uint64_t bits = ((uint64_t)b->table_entries << header->cluster_bits) * 8;
    uint64_t needed =
        img_div_up(header->virtual_len, 1ull << b->granularity_bits);

    if (bits >= needed || (b->flags & QCOW2_BITMAP_FLAG_IN_USE)) {
        return 0;
    }
    return img_fail_at(err, IMG_CORRUPT, off + OFF_TABLE_SIZE,
                       "bitmap_table_size: found %" PRIu32 " for %" PRIu64
                       " bits, expected at least %" PRIu64 " bits for the disk",
                       b->table_entries, bits, needed);
}

int qcow2_bitmap_decode(const struct qcow2_header *header, const uint8_t *buf,
                        size_t len, uint64_t directory_off, uint64_t file_len,
                        struct qcow2_bitmap *out, struct img_error *err)
{
    struct qcow2_bitmap b = {0};

    if (check_lengths(buf, len, directory_off, &b, err) < 0) {
        return -1;
    }
    b.table_off = img_load_be64(buf + OFF_TABLE_OFFSET);
    b.table_entries = img_load_be32(buf + OFF_TABLE_SIZE);
    b.flags = img_load_be32(buf + OFF_FLAGS);
    b.type = buf[OFF_TYPE];
    b.granularity_bits = buf[OFF_GRANULARITY_BITS];
    if (check_kind(&b, directory_off, err) < 0 ||
        check_table(header, &b, directory_off, file_len, err) < 0 ||
        check_covers(header, &b, directory_off, err) < 0) {
        return -1;
    }
    *out = b;
    return 0;
}

void qcow2_bitmap_encode(struct qcow2_bitmap *b, uint8_t *buf)
{
    if (buf == NULL) {
        b->entry_len =
            img_align_up((uint64_t)QCOW2_BITMAP_FIXED_LEN + b->name_len, 8);
        return;
    }
    memset(buf, 0, b->entry_len);
    img_store_be64(buf + OFF_TABLE_OFFSET, b->table_off);
    img_store_be32(buf + OFF_TABLE_SIZE, b->table_entries);
    img_store_be32(buf + OFF_FLAGS, b->flags);
    buf[OFF_TYPE] = b->type;
    buf[OFF_GRANULARITY_BITS] = b->granularity_bits;
    img_store_be16(buf + OFF_NAME_SIZE, b->name_len);
    memcpy(buf + QCOW2_BITMAP_FIXED_LEN, b->name, b->name_len);
}

int qcow2_bitmap_entry_decode(const struct qcow2_header *header, uint64_t entry,
                              uint64_t file_len, uint64_t *out,
                              struct img_error *err)
{
    uint64_t off = entry & ENTRY_OFFSET_MASK;
    const char *expected;

    if (entry & ENTRY_RESERVED) {
        expected = "bits 1 to 8 and 56 to 63 to be 0";
    } else if (off != 0 && (entry & ENTRY_ALL_ONES)) {
        expected = "bit 0 to be 0 with an offset";
    } else if (off & (header->cluster_len - 1)) {
        expected = "the offset of a cluster";
    } else if (off != 0 && off >= file_len) {
        expected = "an offset inside the file";
    } else {
        *out = off;
        return 0;
    }
    return img_fail(err, IMG_CORRUPT,
                    "bitmap table entry: found 0x%016" PRIx64 ", expected %s",
                    entry, expected);
}
