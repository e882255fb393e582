/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One L2 table in a check.
 *
 * Room: qcow2/image. Entries are judged more leniently than map judges them:
 * what counts as a corruption here is what QEMU's check counts.
 * Specification: "Cluster mapping", "Extended L2 Entries", "Compressed
 * Clusters Descriptor".
 */
#include "check_state.h"

#include <img/bytes.h>
#include <qcow2/entry.h>

/* Bits 1 to 8 and 56 to 61 of a standard entry. */
#define L2_RESERVED 0x3f000000000001feull

/* So many entries ahead a counter is asked for that may not be in the cache. */
#define NEAR_ENTRIES 32u

enum entry_type {
    ENTRY_UNALLOCATED,
    ENTRY_ZERO_PLAIN,
    ENTRY_CLUSTER, /* data or preallocated zeros */
    ENTRY_COMPRESSED,
};

/* An entry and where it stands. */
struct entry {
    uint64_t value, bitmap;
    uint64_t off;       /* in the file */
    uint64_t guest_off; /* for an active table */
};

static enum entry_type entry_type(const struct qcow2_header *header,
                                  uint64_t value)
{
    bool has_offset = (value & QCOW2_ENTRY_OFFSET_MASK) != 0;

    if (value & QCOW2_ENTRY_COMPRESSED) {
        return ENTRY_COMPRESSED;
    }
    if ((value & QCOW2_L2_ZERO) && !header->has_extended_l2) {
        return has_offset ? ENTRY_CLUSTER : ENTRY_ZERO_PLAIN;
    }
    /* Offset 0 is a place in an external data file. */
    if (has_offset || (header->has_data_file && (value & QCOW2_ENTRY_COPIED))) {
        return ENTRY_CLUSTER;
    }
    return ENTRY_UNALLOCATED;
}

static uint64_t times_of(const struct qcow2_l2_visit *visit)
{
    return visit->active_times + visit->snapshot_times;
}

static struct qcow2_owner owner_of(const struct qcow2_l2_visit *visit,
                                   const struct entry *entry,
                                   enum qcow2_owner_kind kind)
{
    return visit->active_times > 0
               ? (struct qcow2_owner){kind, entry->guest_off}
               : (struct qcow2_owner){QCOW2_OWNER_SNAPSHOT_DATA, 0};
}

/* A corruption of ENTRY itself, found as often as its table is. */
static struct qcow2_finding entry_corruption(const struct qcow2_l2_visit *visit,
                                             const struct entry *entry,
                                             const char *id)
{
    struct qcow2_owner table =
        visit->active_times > 0
            ? (struct qcow2_owner){QCOW2_OWNER_L2, entry->guest_off}
            : (struct qcow2_owner){QCOW2_OWNER_SNAPSHOT_L2, 0};

    return qcow2_corruption(id, times_of(visit), entry->off, table);
}

static void entry_tell(struct qcow2_check *check,
                       const struct qcow2_finding *finding,
                       const struct entry *entry, const char *expected)
{
    qcow2_check_tell(check, finding,
                     "L2 entry at %llu: found 0x%016llx, expected %s",
                     (unsigned long long)entry->off,
                     (unsigned long long)entry->value, expected);
}

static void entry_bad(struct qcow2_check *check,
                      const struct qcow2_l2_visit *visit,
                      const struct entry *entry, const char *id,
                      const char *expected)
{
    struct qcow2_finding finding = entry_corruption(visit, entry, id);

    entry_tell(check, &finding, entry, expected);
}

/*
 * What QEMU's check lets pass although no reader accepts it. A table at
 * offset 0 is the header, of which every word would be told.
 */
static void entry_bad_beyond(struct qcow2_check *check,
                             const struct qcow2_l2_visit *visit,
                             const struct entry *entry, const char *id,
                             const char *expected)
{
    struct qcow2_finding finding = entry_corruption(visit, entry, id);

    finding.is_beyond_qemu = true;
    if (visit->off != 0) {
        entry_tell(check, &finding, entry, expected);
    }
}

static int compressed_check(struct qcow2_check *check,
                            const struct qcow2_l2_visit *visit,
                            const struct entry *entry, struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    uint32_t sector_bits = header->cluster_bits - 8;
    uint32_t off_bits = 62 - sector_bits;
    uint64_t off = entry->value & ((1ull << off_bits) - 1);
    uint64_t sectors = (entry->value >> off_bits) & ((1ull << sector_bits) - 1);

    if (entry->value & QCOW2_ENTRY_COPIED) {
        entry_bad(check, visit, entry, "compressed-copied",
                  "bit 63 to be 0 for a compressed cluster");
    }
    if (header->has_data_file) {
        entry_bad(check, visit, entry, "compressed-with-data-file",
                  "no compressed cluster with an external data file");
        return 0;
    }
    if (entry->bitmap != 0) {
        entry_bad(check, visit, entry, "compressed-with-subclusters",
                  "no subclusters for a compressed cluster");
        return 0;
    }
    if (off >= check->file_len &&
        qcow2_check_is_inside(check, off, (sectors + 1) * 512 - off % 512)) {
        entry_bad_beyond(check, visit, entry, "compressed-past-end",
                         "compressed data to begin inside the file");
    }
    if (qcow2_check_mark(check, off, (sectors + 1) * 512 - off % 512,
                         times_of(visit),
                         owner_of(visit, entry, QCOW2_OWNER_COMPRESSED), err)) {
        return -1;
    }
    if (!check->is_naming) {
        /* Parts of sectors are read again for each: always fragmented. */
        check->result->allocated_clusters += visit->active_times;
        check->result->compressed_clusters += visit->active_times;
        check->result->fragmented_clusters += visit->active_times;
    }
    return 0;
}

/* Bit 63 of an active entry says that the cluster's refcount is 1. */
static int copied_check(struct qcow2_check *check,
                        const struct qcow2_l2_visit *visit,
                        const struct entry *entry, struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    uint64_t off = entry->value & QCOW2_ENTRY_OFFSET_MASK;
    bool is_copied = (entry->value & QCOW2_ENTRY_COPIED) != 0;
    enum qcow2_stored_answer answer = QCOW2_STORED_ONE;

    /* A table at offset 0 is the header, which QEMU does not look into. */
    if (visit->active_times == 0 || visit->off == 0 || check->is_naming) {
        return 0;
    }
    if (!header->has_data_file &&
        qcow2_stored_is_one(&check->stored, off >> header->cluster_bits,
                            &answer, err)) {
        return -1;
    }
    if (answer != QCOW2_STORED_UNKNOWN &&
        is_copied != (answer == QCOW2_STORED_ONE)) {
        struct qcow2_finding finding =
            entry_corruption(visit, entry, "l2-copied");

        finding.times = visit->active_times;
        qcow2_check_tell(check, &finding,
                         "L2 entry at %llu: bit 63 is %d, expected %d from "
                         "the refcount of the cluster at %llu (data of guest "
                         "offset %llu)",
                         (unsigned long long)entry->off, is_copied, !is_copied,
                         (unsigned long long)off,
                         (unsigned long long)entry->guest_off);
    }
    return 0;
}

/*
 * A cluster of the external data file lies where the guest sees it, and the
 * file may lack less than a cluster of it.
 */
static void data_file_check(struct qcow2_check *check,
                            const struct qcow2_l2_visit *visit,
                            const struct entry *entry)
{
    const struct img_file *file = check->q->image.data_file;
    uint64_t off = entry->value & QCOW2_ENTRY_OFFSET_MASK;

    if (visit->active_times > 0 && off != entry->guest_off) {
        entry_bad_beyond(check, visit, entry, "data-file-offset",
                         "the guest's offset in the external data file");
    } else if (file && off >= img_file_len(file)) {
        entry_bad_beyond(check, visit, entry, "data-file-too-short",
                         "an offset inside the external data file");
    }
}

/* Version 2 knows no zero clusters. */
static void zero_bit_check(struct qcow2_check *check,
                           const struct qcow2_l2_visit *visit,
                           const struct entry *entry)
{
    if (check->q->header.version < 3 && (entry->value & QCOW2_L2_ZERO) &&
        !(entry->value & QCOW2_ENTRY_COMPRESSED)) {
        entry_bad_beyond(check, visit, entry, "zero-bit-in-version-2",
                         "bit 0 to be 0 in a version 2 image");
    }
}

static int cluster_check(struct qcow2_check *check,
                         const struct qcow2_l2_visit *visit,
                         const struct entry *entry, uint64_t *next_off,
                         struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    uint64_t off = entry->value & QCOW2_ENTRY_OFFSET_MASK;

    if (copied_check(check, visit, entry, err)) {
        return -1;
    }
    if ((entry->bitmap >> 32) & entry->bitmap) {
        entry_bad(check, visit, entry, "subcluster-allocated-and-zero",
                  "no subcluster both allocated and zero");
    }
    if (off & (header->cluster_len - 1u)) {
        entry_bad(check, visit, entry, "data-unaligned",
                  "the offset of a cluster");
    }
    if (!check->is_naming) {
        check->result->allocated_clusters += visit->active_times;
        if (*next_off != 0 && off != *next_off) {
            check->result->fragmented_clusters += visit->active_times;
        }
    }
    *next_off = off + header->cluster_len;
    if (header->has_data_file) {
        data_file_check(check, visit, entry);
        return 0;
    }
    return qcow2_check_mark(check, off, header->cluster_len, times_of(visit),
                            owner_of(visit, entry, QCOW2_OWNER_DATA), err);
}

/* An entry without a host offset. */
static void no_cluster_check(struct qcow2_check *check,
                             const struct qcow2_l2_visit *visit,
                             const struct entry *entry)
{
    if (entry->bitmap & UINT32_MAX) {
        entry_bad(check, visit, entry, "subclusters-without-offset",
                  "a host offset for the allocated subclusters");
    } else if ((entry->value & QCOW2_ENTRY_COPIED) &&
               !check->q->header.has_data_file) {
        entry_bad_beyond(check, visit, entry, "copied-without-offset",
                         "bit 63 to be 0 without a host offset");
    }
}

/* NEXT_OFF is where the table's next cluster would lie unfragmented. */
static int entry_check(struct qcow2_check *check,
                       const struct qcow2_l2_visit *visit,
                       const struct entry *entry, uint64_t *next_off,
                       struct img_error *err)
{
    if (!(entry->value & QCOW2_ENTRY_COMPRESSED) &&
        (entry->value & L2_RESERVED)) {
        entry_bad(check, visit, entry, "l2-reserved-bits",
                  "bits 1 to 8 and 56 to 61 to be 0");
    }
    zero_bit_check(check, visit, entry);
    switch (entry_type(&check->q->header, entry->value)) {
    case ENTRY_COMPRESSED:
        return compressed_check(check, visit, entry, err);
    case ENTRY_CLUSTER:
        return cluster_check(check, visit, entry, next_off, err);
    case ENTRY_UNALLOCATED:
    case ENTRY_ZERO_PLAIN:
        no_cluster_check(check, visit, entry);
        break;
    }
    return 0;
}

/* A run: what bit 63 and the refcounts say is known to be right. */
static int run_check(struct qcow2_check *check, uint64_t span,
                     uint64_t *next_off, struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    const struct qcow2_owner unnamed = {QCOW2_OWNER_NONE, 0};
    uint64_t first = (span & ~QCOW2_SPAN_RUN) >> QCOW2_SPAN_BITS;
    uint64_t nr = (span & QCOW2_SPAN_MASK) + 1;
    uint64_t off = first << header->cluster_bits;
    uint64_t len = nr << header->cluster_bits;

    if (qcow2_stored_draw(&check->stored, first, err)) {
        return -1;
    }
    check->result->allocated_clusters += nr;
    check->result->fragmented_clusters += *next_off != 0 && off != *next_off;
    *next_off = off + len;
    return qcow2_check_mark(check, off, len, 1, unnamed, err);
}

/* Ask for what the entry at P needs that may not be in the cache. */
static inline void prefetch(const struct qcow2_check *check, const uint8_t *p)
{
    uint64_t cluster = (img_load_be64(p) & QCOW2_ENTRY_OFFSET_MASK) >>
                       check->q->header.cluster_bits;

    __builtin_prefetch(qcow2_stored_place(&check->stored, cluster));
    __builtin_prefetch(qcow2_counts_place(&check->counts, cluster), 1);
}

/* Entries of TABLE that are looked at one by one. */
static int span_check(struct qcow2_check *check,
                      const struct qcow2_l2_visit *visit, const uint8_t *table,
                      uint64_t span, uint64_t *next_off, struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    size_t words = header->l2_entry_len / 8u;
    uint64_t first = span >> QCOW2_SPAN_BITS;
    uint64_t end = first + (span & QCOW2_SPAN_MASK);

    for (uint64_t i = first; i < end; i++) {
        const uint8_t *p = table + i * header->l2_entry_len;

        if (img_load_be64(p) == 0) {
            uint64_t empty = qcow2_words_equal(p, (end - i) * words, 0) / words;

            i += empty;
            p += empty * header->l2_entry_len;
        }
        if (i >= end) {
            break;
        }
        if (i + NEAR_ENTRIES < end) {
            prefetch(check, p + (size_t)NEAR_ENTRIES * header->l2_entry_len);
        }

        const struct entry entry = {
            .value = img_load_be64(p),
            .bitmap = header->has_extended_l2 ? img_load_be64(p + 8) : 0,
            .off = visit->off + i * header->l2_entry_len,
            .guest_off = visit->guest_off + i * header->cluster_len,
        };
        if (entry_check(check, visit, &entry, next_off, err)) {
            return -1;
        }
    }
    return 0;
}

int qcow2_check_l2(struct qcow2_check *check,
                   const struct qcow2_l2_visit *visit, const uint8_t *table,
                   const struct qcow2_l2_scan *scan, struct img_error *err)
{
    uint64_t next_off = 0;

    for (uint32_t i = 0; i < scan->nr; i++) {
        uint64_t span = scan->spans[i];

        if (i + NEAR_ENTRIES < scan->nr) {
            uint64_t near = scan->spans[i + NEAR_ENTRIES] & ~QCOW2_SPAN_RUN;

            __builtin_prefetch(
                qcow2_counts_place(&check->counts, near >> QCOW2_SPAN_BITS), 1);
        }
        if (span & QCOW2_SPAN_RUN
                ? run_check(check, span, &next_off, err)
                : span_check(check, visit, table, span, &next_off, err)) {
            return -1;
        }
    }
    return 0;
}
