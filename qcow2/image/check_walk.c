/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything that refers to clusters, once.
 *
 * Room: qcow2/image. Tables of snapshots and of bitmaps may overlap each
 * other in a hostile image; sweeps keep the work bounded by the file.
 * Specification: "Snapshots", "Bitmap table", "Refcount table".
 */
#include "check_state.h"

#include <string.h>

#include <img/bytes.h>
#include <img/checked.h>
#include <img/memory.h>
#include <qcow2/entry.h>

#include "sweep.h"

/* Words of swept tables that are read at a time. */
#define PIECE_WORDS 8192u
/* Bits 1 to 8 and 56 to 63 of a bitmap table's entry. */
#define BITMAP_RESERVED 0xff000000000001feull
#define BITMAP_ALL_ONES 1ull
/* Of a snapshot's id in a message. */
#define SHOWN_ID_LEN 80u

/* Tables of 64-bit words of one kind, possibly overlapping. */
struct table_set {
    struct qcow2_sweep words;    /* ranges in words of the file */
    struct qcow2_sweep clusters; /* the clusters they lie in */
    size_t nr;
    struct qcow2_owner owner;
    /* An entry at OFF that TIMES tables contain, not 0. */
    int (*entry)(struct qcow2_check *check, uint64_t entry, uint64_t times,
                 uint64_t off, struct img_error *err);
};

static void table_set_fini(struct table_set *set)
{
    qcow2_sweep_fini(&set->words);
    qcow2_sweep_fini(&set->clusters);
}

static int table_set_init(struct table_set *set, size_t nr,
                          struct img_error *err)
{
    return qcow2_sweep_init(&set->words, nr, err) ||
                   qcow2_sweep_init(&set->clusters, nr, err)
               ? -1
               : 0;
}

/*
 * A table of ENTRIES words at OFF (aligned). The part that is missing of the
 * file is empty; one that is too far outside is told of and not counted.
 */
static int table_set_put(struct qcow2_check *check, struct table_set *set,
                         uint64_t off, uint32_t entries, struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    uint64_t words_end = check->file_len / 8 + 1;
    uint64_t len = (uint64_t)entries * 8;
    size_t i = set->nr++;

    set->words.starts[i] = img_min(off / 8, words_end);
    set->words.ends[i] = img_min(off / 8 + entries, words_end);
    set->clusters.starts[i] = off >> header->cluster_bits;
    set->clusters.ends[i] = set->clusters.starts[i];
    if (!qcow2_check_is_inside(check, off, len)) {
        return qcow2_check_mark(check, off, len, 1, set->owner, err);
    }
    if (entries > 0) {
        set->clusters.ends[i] = ((off + len - 1) >> header->cluster_bits) + 1;
    }
    return 0;
}

/* Words [START, END) of the file, which are part of TIMES tables. */
static int words_check(struct qcow2_check *check, const struct table_set *set,
                       uint64_t start, uint64_t end, uint64_t times,
                       uint8_t *piece, struct img_error *err)
{
    while (start < end) {
        size_t nr = (size_t)img_min(end - start, PIECE_WORDS);

        if (qcow2_check_is_wanted(check, err) ||
            img_file_read_padded(check->q->image.file, piece, nr * 8, start * 8,
                                 NULL, err)) {
            return -1;
        }
        for (size_t i = 0; i < nr; i++) {
            uint64_t entry = img_load_be64(piece + i * 8);

            if (entry != 0 &&
                set->entry(check, entry, times, (start + i) * 8, err)) {
                return -1;
            }
        }
        start += nr;
    }
    return 0;
}

static int table_set_check(struct qcow2_check *check, struct table_set *set,
                           struct img_error *err)
{
    uint32_t cluster_len = check->q->header.cluster_len;
    uint64_t start, end, depth;
    IMG_AUTO(img_free_ptr)
    uint8_t *piece = img_calloc(PIECE_WORDS, 8, err);

    if (!piece) {
        return -1;
    }
    while (qcow2_sweep_next(&set->clusters, &start, &end, &depth)) {
        if (qcow2_check_mark(check, start * cluster_len,
                             (end - start) * cluster_len, depth, set->owner,
                             err)) {
            return -1;
        }
    }
    while (qcow2_sweep_next(&set->words, &start, &end, &depth)) {
        if (words_check(check, set, start, end, depth, piece, err)) {
            return -1;
        }
    }
    return 0;
}

/*
 * What is wrong with entry I of the snapshot table itself; false when its L1
 * table cannot be looked at.
 */
static bool snapshot_check(struct qcow2_check *check, size_t i)
{
    const struct qcow2_image *q = check->q;
    const struct qcow2_stored_snapshot *stored = &q->stored[i];
    const char *raw_id = q->image.snapshots[i].id;
    char id[SHOWN_ID_LEN];
    struct qcow2_finding finding =
        qcow2_corruption(NULL, 1, stored->off,
                         (struct qcow2_owner){QCOW2_OWNER_SNAPSHOT_TABLE, 0});

    img_escape(raw_id, strlen(raw_id), id, sizeof(id));
    if (q->header.version >= 3 &&
        stored->extra_len < QCOW2_SNAPSHOT_MIN_V3_EXTRA_LEN) {
        finding.id = "snapshot-extra-data";
        qcow2_check_tell(check, &finding,
                         "snapshot %zu (id '%s'): found %u bytes of extra "
                         "data, expected at least %u",
                         i, id, stored->extra_len,
                         QCOW2_SNAPSHOT_MIN_V3_EXTRA_LEN);
    }
    if (stored->l1_off & (q->header.cluster_len - 1u)) {
        finding.id = "snapshot-l1-unaligned";
        qcow2_check_tell(check, &finding,
                         "snapshot %zu (id '%s'): found its L1 table at %llu, "
                         "expected a multiple of the cluster size %u",
                         i, id, (unsigned long long)stored->l1_off,
                         q->header.cluster_len);
        return false;
    }
    if (stored->l1_entries > QCOW2_MAX_L1_LEN / 8) {
        finding.id = "snapshot-l1-too-large";
        qcow2_check_tell(check, &finding,
                         "snapshot %zu (id '%s'): found an L1 table of %u "
                         "entries, expected at most %u",
                         i, id, stored->l1_entries, QCOW2_MAX_L1_LEN / 8);
        return false;
    }
    return true;
}

static int snapshots_check(struct qcow2_check *check, struct img_error *err)
{
    const struct qcow2_image *q = check->q;
    size_t nr = q->image.snapshots_nr;
    IMG_AUTO(table_set_fini)
    struct table_set set = {
        .owner = {QCOW2_OWNER_SNAPSHOT_L1, 0},
        .entry = qcow2_check_snapshot_entry,
    };

    if (nr == 0) {
        return 0;
    }
    if (q->header.has_data_file) {
        struct qcow2_finding finding = qcow2_corruption(
            "snapshots-with-data-file", 1, q->header.snapshots_off,
            (struct qcow2_owner){QCOW2_OWNER_HEADER, 0});

        qcow2_check_tell(check, &finding,
                         "found %zu snapshots, expected none with an external "
                         "data file",
                         nr);
    }
    if (table_set_init(&set, nr, err)) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        if (snapshot_check(check, i) &&
            table_set_put(check, &set, q->stored[i].l1_off,
                          q->stored[i].l1_entries, err)) {
            return -1;
        }
    }
    return table_set_check(check, &set, err);
}

static int bitmap_entry_check(struct qcow2_check *check, uint64_t entry,
                              uint64_t times, uint64_t off,
                              struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    uint64_t cluster_off = entry & QCOW2_ENTRY_OFFSET_MASK;
    struct qcow2_owner owner = {QCOW2_OWNER_BITMAP, 0};
    bool is_broken = (entry & BITMAP_RESERVED) != 0;

    if (cluster_off != 0) {
        is_broken = is_broken || (entry & BITMAP_ALL_ONES) ||
                    (cluster_off & (header->cluster_len - 1u));
    }
    if (is_broken) {
        struct qcow2_finding finding =
            qcow2_corruption("bitmap-table-entry", times, off,
                             (struct qcow2_owner){QCOW2_OWNER_BITMAP_TABLE, 0});

        qcow2_check_tell(check, &finding,
                         "bitmap table entry at %llu: found 0x%016llx, "
                         "expected the offset of a cluster, 0 or 1",
                         (unsigned long long)off, (unsigned long long)entry);
        return 0;
    }
    return cluster_off == 0
               ? 0
               : qcow2_check_mark(check, cluster_off, header->cluster_len,
                                  times, owner, err);
}

static int bitmaps_check(struct qcow2_check *check, struct img_error *err)
{
    struct qcow2_image *q = check->q;
    const struct qcow2_bitmap_info *bitmaps;
    struct qcow2_owner directory = {QCOW2_OWNER_BITMAP_DIRECTORY, 0};
    IMG_AUTO(table_set_fini)
    struct table_set set = {
        .owner = {QCOW2_OWNER_BITMAP_TABLE, 0},
        .entry = bitmap_entry_check,
    };
    size_t nr;

    if (qcow2_image_bitmaps(&q->image, &bitmaps, &nr, err)) {
        return -1;
    }
    if (nr == 0) {
        return 0;
    }
    if (qcow2_check_mark(check, q->extensions.bitmap_directory_off,
                         q->extensions.bitmap_directory_len, 1, directory,
                         err) ||
        table_set_init(&set, nr, err)) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        if (table_set_put(check, &set, bitmaps[i].table_off,
                          bitmaps[i].table_entries, err)) {
            return -1;
        }
    }
    return table_set_check(check, &set, err);
}

/* Entry I of the refcount table, which is not 0. */
static int refblock_check(struct qcow2_check *check, uint64_t i,
                          struct img_error *err)
{
    const struct qcow2_header *header = &check->q->header;
    const struct qcow2_reftable *table = &check->stored.table;
    uint64_t off = table->off[i];
    uint64_t entry_off = header->reftable_off + i * 8;
    uint64_t cluster = off >> header->cluster_bits;
    struct qcow2_owner owner = {QCOW2_OWNER_REFBLOCK, i};
    struct qcow2_finding finding =
        qcow2_corruption("refcount-table-entry", 1, entry_off,
                         (struct qcow2_owner){QCOW2_OWNER_REFTABLE, 0});

    if (table->entry[i] != off || (off & (header->cluster_len - 1u))) {
        qcow2_check_tell(check, &finding,
                         "refcount table entry %llu: found 0x%016llx, "
                         "expected the offset of a cluster",
                         (unsigned long long)i,
                         (unsigned long long)table->entry[i]);
        return 0;
    }
    if (cluster >= check->clusters_nr) {
        finding.id = "refcount-block-outside";
        qcow2_check_tell(check, &finding,
                         "refcount table entry %llu: found a block at %llu, "
                         "expected one inside the file",
                         (unsigned long long)i, (unsigned long long)off);
        return 0;
    }
    if (qcow2_check_mark(check, off, header->cluster_len, 1, owner, err)) {
        return -1;
    }

    uint64_t references = qcow2_counts_get(&check->counts, cluster);
    if (references != 1) {
        finding.id = "refcount-block-shared";
        qcow2_check_tell(check, &finding,
                         "refcount table entry %llu: found a block at %llu "
                         "with %llu references, expected 1",
                         (unsigned long long)i, (unsigned long long)off,
                         (unsigned long long)references);
    }
    return 0;
}

static int refblocks_check(struct qcow2_check *check, struct img_error *err)
{
    const struct qcow2_reftable *table = &check->stored.table;

    for (uint64_t i = 0; i < table->nr; i++) {
        if (table->entry[i] != 0 && refblock_check(check, i, err)) {
            return -1;
        }
    }
    return 0;
}

int qcow2_check_walk(struct qcow2_check *check, struct img_error *err)
{
    struct qcow2_image *q = check->q;
    const struct qcow2_header *header = &q->header;
    struct qcow2_owner first = {QCOW2_OWNER_HEADER, 0};
    struct qcow2_owner snapshots = {QCOW2_OWNER_SNAPSHOT_TABLE, 0};
    struct qcow2_owner reftable = {QCOW2_OWNER_REFTABLE, 0};
    struct qcow2_owner crypto = {QCOW2_OWNER_CRYPTO, 0};

    return qcow2_check_mark(check, 0, header->cluster_len, 1, first, err) ||
                   qcow2_check_active(check, err) ||
                   snapshots_check(check, err) ||
                   qcow2_check_l2_tables(check, err) ||
                   qcow2_check_mark(check, header->snapshots_off,
                                    q->snapshot_table_len, 1, snapshots, err) ||
                   qcow2_check_mark(check, header->reftable_off,
                                    check->stored.table.nr * 8, 1, reftable,
                                    err) ||
                   qcow2_check_mark(check, q->extensions.crypto_off,
                                    q->extensions.crypto_len, 1, crypto, err) ||
                   bitmaps_check(check, err) || refblocks_check(check, err)
               ? -1
               : 0;
}
