/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest offsets -> where the bytes lie.
 *
 * Room: qcow2/image. A piece is what one look at the tables settles: a run of
 * absent L1 entries, a run of alike entries of one L2 slice, a run of
 * subclusters, a compressed cluster. An extent is as many pieces as continue
 * each other within what was asked for. Every entry that decides an answer
 * is decoded strictly, or equals a decoded one but for its offset.
 * Specification: "Cluster mapping", "Extended L2 Entries".
 */
#include "state.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <qcow2/entry.h>

/* L2 tables that are announced to the kernel ahead of a forward walk. */
#define PREFETCH_TABLES 8u

static void piece_set(struct img_extent *piece, enum img_extent_kind kind,
                      uint64_t len)
{
    piece->kind = kind;
    piece->len = len;
}

/* Absent L1 entries, and what lies beyond the table. */
static void piece_absent(const struct qcow2_image *q, uint64_t off,
                         uint64_t len, struct img_extent *piece)
{
    uint64_t covers = q->header.l2_covers_len;
    uint64_t idx = off / covers;
    uint64_t run = len;

    if (idx < q->l1_entries) {
        size_t left = (size_t)(q->l1_entries - idx);
        /* The first is known to be absent, whatever its other bits are. */
        size_t nr = 1 + qcow2_words_equal(q->l1 + (idx + 1) * 8, left - 1, 0);

        if (nr < left) {
            run = (idx + nr) * covers - off;
        }
    }
    piece_set(piece, IMG_EXTENT_UNALLOCATED, img_min(run, len));
}

/*
 * How many entries from P on, LEFT at most, go on like FIRST, which stands
 * for a cluster at HOST_OFF: same flags, the next cluster's offset. Data
 * must begin before LIMIT.
 */
static size_t contiguous_entries(const uint8_t *p, size_t left, uint64_t first,
                                 uint64_t host_off, uint64_t limit,
                                 uint32_t cluster_len)
{
    size_t nr = 1;

    while (nr < left) {
        uint64_t ahead = nr * (uint64_t)cluster_len;

        if (img_load_be64(p + nr * 8) != first + ahead ||
            host_off + ahead >= limit) {
            break;
        }
        nr++;
    }
    return nr;
}

static enum img_extent_kind kind_of(enum qcow2_cluster_kind kind)
{
    switch (kind) {
    case QCOW2_CLUSTER_ZERO:
        return IMG_EXTENT_ZERO;
    case QCOW2_CLUSTER_DATA:
        return IMG_EXTENT_DATA;
    case QCOW2_CLUSTER_COMPRESSED:
        return IMG_EXTENT_COMPRESSED;
    case QCOW2_CLUSTER_UNALLOCATED:
    case QCOW2_CLUSTER_MIXED:
        break;
    }
    return IMG_EXTENT_UNALLOCATED;
}

/* Entries of eight bytes: as many as continue the first of them. */
static size_t alike_entries(const struct qcow2_image *q, const uint8_t *p,
                            size_t left, const struct qcow2_l2_entry *entry)
{
    uint64_t first = img_load_be64(p);
    uint64_t stored;

    if (entry->kind == QCOW2_CLUSTER_COMPRESSED) {
        return 1;
    }
    if (entry->has_host) {
        return contiguous_entries(p, left, first, entry->host_off,
                                  img_file_len(qcow2_data_file(q)),
                                  q->header.cluster_len);
    }
    memcpy(&stored, p, sizeof(stored));
    return qcow2_words_equal(p, left, stored);
}

static void piece_compressed(const struct qcow2_image *q, uint64_t cluster_off,
                             const struct qcow2_l2_entry *entry,
                             struct img_extent *piece)
{
    uint64_t limit = img_file_len(q->image.file);

    piece->has_host = true;
    piece->file = q->image.file;
    piece->host_off = entry->host_off;
    piece->host_len =
        (uint32_t)img_min(entry->host_len, limit - entry->host_off);
    piece->unit_guest_off = cluster_off;
    piece->unit_len = q->header.cluster_len;
}

/*
 * The run of the decoded ENTRY at P (LEFT entries are left of its slice)
 * from guest offset OFF on. ENTRY's cluster contains OFF.
 */
static void piece_entry(const struct qcow2_image *q, uint64_t off,
                        const uint8_t *p, size_t left,
                        const struct qcow2_l2_entry *entry,
                        struct img_extent *piece)
{
    const struct qcow2_header *header = &q->header;
    uint64_t in_cluster = off & (header->cluster_len - 1u);
    uint64_t end = header->cluster_len;
    enum qcow2_cluster_kind kind = entry->kind;

    if (!header->has_extended_l2) {
        end *= alike_entries(q, p, left, entry);
    } else if (kind != QCOW2_CLUSTER_COMPRESSED) {
        uint32_t idx = (uint32_t)(in_cluster / header->subcluster_len);
        uint32_t run = 0;

        kind = qcow2_l2_subcluster_run(entry, idx, &run);
        end = (uint64_t)(idx + run) * header->subcluster_len;
    }
    piece_set(piece, kind_of(kind), end - in_cluster);
    if (kind == QCOW2_CLUSTER_COMPRESSED) {
        piece_compressed(q, off - in_cluster, entry, piece);
    } else if (entry->has_host) {
        piece->has_host = true;
        piece->file = qcow2_data_file(q);
        piece->host_off = entry->host_off + in_cluster;
    }
}

/* Announce the tables after L1 entry IDX to the kernel. */
static void prefetch_after(const struct qcow2_image *q, uint64_t idx)
{
    uint32_t found = 0;

    for (uint64_t i = idx + 1; i < q->l1_entries && found < PREFETCH_TABLES;
         i++) {
        uint64_t entry = img_load_be64(q->l1 + i * 8);

        if (entry != 0) {
            qcow2_prefetch(q->image.file, entry & QCOW2_ENTRY_OFFSET_MASK,
                           q->slice.len);
            found++;
        }
    }
}

/* The slice with OFF's entry: *p is the entry, *left the entries from it. */
static int slice_find(struct qcow2_image *q, uint64_t l2_off, uint64_t off,
                      const uint8_t **p, size_t *left, uint64_t *entry_off,
                      struct img_error *err)
{
    const struct qcow2_header *header = &q->header;
    uint64_t in_table = off % header->l2_covers_len / header->cluster_len *
                        header->l2_entry_len;
    uint64_t slice_off = img_align_down(in_table, q->slice.len);
    size_t in_slice = (size_t)(in_table - slice_off);
    const uint8_t *bytes;
    bool is_fresh;

    if (qcow2_slice_get(&q->slice, q->image.file, l2_off + slice_off, &bytes,
                        &is_fresh, err)) {
        return -1;
    }
    if (is_fresh && slice_off == 0) {
        uint64_t idx = off / header->l2_covers_len;

        /* Every few tables is often enough. */
        if (idx % PREFETCH_TABLES == 0) {
            prefetch_after(q, idx);
        }
    }
    *p = bytes + in_slice;
    *left = (q->slice.len - in_slice) / header->l2_entry_len;
    *entry_off = l2_off + in_table;
    return 0;
}

/* A run of words that are 0, in entries. */
static size_t empty_entries(const struct qcow2_image *q, const uint8_t *p,
                            size_t left)
{
    size_t words = q->header.l2_entry_len / sizeof(uint64_t);

    return qcow2_words_equal(p, left * words, 0) / words;
}

static int piece_present(struct qcow2_image *q, uint64_t l2_off, uint64_t off,
                         uint64_t len, struct img_extent *piece,
                         struct img_error *err)
{
    const struct qcow2_header *header = &q->header;
    struct qcow2_l2_entry entry;
    const uint8_t *p;
    uint64_t entry_off;
    size_t left;

    if (slice_find(q, l2_off, off, &p, &left, &entry_off, err)) {
        return -1;
    }

    uint64_t in_cluster = off & (header->cluster_len - 1u);
    size_t empty = empty_entries(q, p, left);
    if (empty > 0) {
        piece_set(
            piece, IMG_EXTENT_UNALLOCATED,
            img_min(empty * (uint64_t)header->cluster_len - in_cluster, len));
        return 0;
    }

    uint64_t bitmap = header->has_extended_l2 ? img_load_be64(p + 8) : 0;
    if (qcow2_l2_decode(header, img_load_be64(p), bitmap, off - in_cluster,
                        img_file_len(qcow2_data_file(q)), &entry, err)) {
        return qcow2_fail_entry(err, entry_off);
    }
    piece_entry(q, off, p, left, &entry, piece);
    piece->len = img_min(piece->len, len);
    return 0;
}

static int piece_look(struct qcow2_image *q, uint64_t off, uint64_t len,
                      struct img_extent *piece, struct img_error *err)
{
    uint64_t idx = off / q->header.l2_covers_len;
    struct qcow2_l1_entry entry = {0};

    *piece = (struct img_extent){.guest_off = off};
    if (idx < q->l1_entries &&
        qcow2_l1_decode(&q->header, img_load_be64(q->l1 + idx * 8),
                        img_file_len(q->image.file), &entry, err)) {
        return qcow2_fail_entry(err, q->l1_off + idx * 8);
    }
    if (entry.l2_off == 0) {
        piece_absent(q, off, len, piece);
        return 0;
    }
    return piece_present(q, entry.l2_off, off, len, piece, err);
}

/*
 * The piece at OFF, LEN bytes at most. The piece that ended the last extent
 * is kept: it begins the next one, and an empty table is not scanned twice.
 */
static int piece_at(struct qcow2_image *q, uint64_t off, uint64_t len,
                    struct img_extent *piece, struct img_error *err)
{
    if (q->ahead.len > 0 && q->ahead.guest_off == off) {
        *piece = q->ahead;
        piece->len = img_min(piece->len, len);
        return 0;
    }
    return piece_look(q, off, len, piece, err);
}

static bool is_continued(const struct img_extent *extent,
                         const struct img_extent *next)
{
    return extent->kind == next->kind &&
           extent->kind != IMG_EXTENT_COMPRESSED &&
           extent->has_host == next->has_host &&
           (!extent->has_host ||
            extent->host_off + extent->len == next->host_off);
}

static int tables_ready(struct qcow2_image *q, struct img_error *err)
{
    if (!qcow2_data_file(q)) {
        return img_fail(err, IMG_NOT_FOUND,
                        "the image keeps its data in an external data file, "
                        "which is not open");
    }
    return q->l1 ? 0
                 : qcow2_table_load(q, q->l1_off, q->l1_entries, &q->l1, err);
}

int qcow2_image_map(struct img_image *image, uint64_t off, uint64_t len,
                    struct img_extent *out, struct img_error *err)
{
    struct qcow2_image *q = qcow2_image_of(image);
    struct img_extent next;

    if (tables_ready(q, err) || piece_at(q, off, len, out, err)) {
        return -1;
    }
    while (out->len < len && out->kind != IMG_EXTENT_COMPRESSED) {
        if (piece_at(q, off + out->len, len - out->len, &next, err)) {
            /* What comes before the broken entry can be read. */
            img_error_clear(err);
            break;
        }
        if (!is_continued(out, &next)) {
            q->ahead = next;
            break;
        }
        out->len += next.len;
    }
    return out->kind == IMG_EXTENT_DATA ? qcow2_sparse_split(q, out, err) : 0;
}
