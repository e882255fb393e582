/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an edit is made of; private to qcow2/edit.
 *
 * Changes live in memory until a commit: the refcount blocks, the L2 tables
 * and the L1 table that are held here are "as wanted", the file is "as
 * stored". Only the data of guests, and what the header functions write, goes
 * to the file before. What a commit does in which order stands in commit.c.
 *
 *   edit.c       open, close, options, state
 *   first.c      the first cluster: header and extensions
 *   overlap.c    which cluster holds which metadata; checked writes
 *   cache.c      tables of one cluster, bounded, dirty ones kept
 *   refcounts.c  the refcount table and its blocks
 *   alloc.c      free clusters
 *   release.c    clusters given up
 *   l1.c, l2.c   mapping tables
 *   place.c, zero.c, empty.c   what callers ask for
 *   commit.c     the order in which it becomes stable
 *
 * Once a call failed amid a change the edit is over (qcow2_edit_check_usable).
 */
#ifndef QCOW2_EDIT_IMPL_H
#define QCOW2_EDIT_IMPL_H

#include <qcow2/edit.h>
#include <qcow2/entry.h>
#include <qcow2/refcount.h>

#define QCOW2_SECTOR_LEN 512u
#define QCOW2_EDIT_MEMORY (32u << 20)

/* ---- What is known to lie in a cluster (overlap.c). */

enum qcow2_part {
    QCOW2_PART_NONE, /* nothing that is known: free, guest data, ... */
    QCOW2_PART_HEADER,
    QCOW2_PART_L1,
    QCOW2_PART_L2,
    QCOW2_PART_REFTABLE,
    QCOW2_PART_REFBLOCK,
    QCOW2_PART_SNAPSHOT_TABLE,
    QCOW2_PART_SNAPSHOT_L1,
    QCOW2_PART_BITMAP_DIRECTORY,
    QCOW2_PART_BITMAP_TABLE,
    QCOW2_PART_BITMAP,
};

/* Clusters [start, end) hold PART. */
struct qcow2_part_range {
    uint64_t start, end;
    enum qcow2_part part;
};

/*
 * Ranges for tables, a hash for single clusters (L2 tables, refcount blocks,
 * bitmaps: there are millions). A cluster stays known after its release: it is
 * not to be used again in this edit.
 */
struct qcow2_parts {
    struct qcow2_part_range *ranges; /* ascending, disjoint */
    size_t ranges_nr, ranges_room;
    uint64_t *slots; /* cluster << 4 | part; 0: empty */
    size_t slots_nr, slots_room;
};

/* ---- Tables of one cluster in memory (cache.c). */

struct qcow2_table {
    uint64_t key; /* index in the L1 or refcount table */
    uint64_t off; /* in the file */
    bool is_new;  /* nothing stable points to it: to be written whole */
    uint32_t dirty_start, dirty_end; /* bytes that differ from the file's */
    struct qcow2_table *hash_next;
    struct qcow2_table *older, *newer; /* by last use */
    uint8_t *bytes;                    /* cluster_len of them */
};

struct qcow2_cache {
    uint32_t table_len;
    size_t nr, dirty_nr; /* tables held; dirty or new ones */
    size_t max_nr;       /* clean ones are dropped beyond it */
    struct qcow2_table **buckets;
    size_t buckets_nr; /* a power of two */
    struct qcow2_table *oldest, *newest;
};

/* ---- Releases. */

struct qcow2_release {
    uint64_t cluster, nr; /* each of them loses one reference */
};

struct qcow2_edit {
    struct img_file *file;      /* own reference */
    struct img_file *data_file; /* own reference; NULL: data lies in file */
    struct qcow2_edit_options options;
    uint64_t memory; /* bytes that tables may take */

    /*
     * An image on the same file, as it was when the edit was opened: for its
     * snapshots and bitmaps. Not told about changes.
     */
    struct img_image *image;

    /* The first cluster as stored (what the file lacks of it is zeros), and
       what it says. Changed by qcow2_edit_first_store only. */
    uint8_t *first;
    struct qcow2_header header;
    struct qcow2_extensions extensions;
    /* What the guest sees: whole sectors of header.virtual_len. */
    uint64_t virtual_len;

    bool is_changed; /* qcow2_edit_begin_change has run */
    bool is_failed;

    struct qcow2_parts parts;

    /* The active L1 table: header.l1_entries values in host byte order. */
    uint64_t *l1;
    uint32_t l1_dirty_start, l1_dirty_end; /* entries */
    struct qcow2_cache l2;                 /* keys: L1 indices */

    /* The refcount table, values in host byte order. */
    uint64_t *reftable;
    uint64_t reftable_nr;
    uint64_t reftable_off; /* where it is to lie (header: where it lies) */
    uint64_t reftable_dirty_start, reftable_dirty_end; /* entries */
    bool reftable_is_moved;    /* grown: to be written whole and switched to */
    bool reftable_is_chained;  /* a new block is counted by another new one */
    struct qcow2_cache blocks; /* keys: refcount table indices */
    uint64_t block_entries;    /* refcounts in a block */
    /*
     * For each entry of the refcount table: clusters of this block below the
     * index were, some of them, released in this edit and are not to be used
     * again. One item for each entry.
     */
    uint32_t *floors;
    uint64_t hint; /* cluster at which the search for free ones begins */

    struct qcow2_release *releases;
    size_t releases_nr, releases_room;
    uint64_t placed_len; /* of new clusters since the last commit */
    /* No stable pointer leads beyond this length of the file; unknown while a
       commit is under way. */
    uint64_t stable_len;

    struct qcow2_edit_marks *marks; /* bitmaps_mark.c; NULL: none so far */

    /* Beyond the end of the disk in its last cluster: zeros, with the next
       commit. Length 0: none. */
    struct img_file *tail_file; /* borrowed */
    uint64_t tail_off, tail_len;
};

/* ---- edit.c */

/* IMG_USAGE after a failure; IMG_CANCELLED when the caller wants no more. */
int qcow2_edit_check_usable(struct qcow2_edit *edit, struct img_error *err);
/* The edit is over; returns -1 (for "return qcow2_edit_abandon(edit)"). */
int qcow2_edit_abandon(struct qcow2_edit *edit);
/*
 * Call before the first write that changes anything, guest data included:
 * unknown autoclear bits are cleared in the header, and that flushed.
 */
int qcow2_edit_begin_change(struct qcow2_edit *edit, struct img_error *err);
int qcow2_edit_flush(struct qcow2_edit *edit, struct img_error *err);

/* ---- first.c: the first cluster. */

/*
 * Make CLUSTER (cluster_len bytes) the first cluster: its first sector is
 * written with one 512-byte write, then flushed, then decoded anew into
 * edit->header and edit->extensions. Beyond the first sector it must be what
 * is stored already (qcow2_edit_first_prepare; IMG_USAGE else): that makes it
 * atomic. What was written before is flushed first, so that what the new
 * sector points to is stable. Decoding is tried before anything is written.
 */
int qcow2_edit_first_store(struct qcow2_edit *edit, const uint8_t *cluster,
                           struct img_error *err);
/*
 * Write [OFF, OFF + LEN) of CLUSTER, beyond the first sector, where no stable
 * pointer leads; edit->first follows. Not flushed.
 */
int qcow2_edit_first_prepare(struct qcow2_edit *edit, const uint8_t *cluster,
                             uint32_t off, uint32_t len, struct img_error *err);
/*
 * The same with edit->first where only fields of the header change: those of
 * HEADER that this program knows (not header_len and the backing name unless
 * they are as before) are put into the first sector, what else is there stays.
 */
int qcow2_edit_header_store(struct qcow2_edit *edit,
                            const struct qcow2_header *header,
                            struct img_error *err);
/*
 * The image is corrupt: set the bit (version 3), flush, abandon the edit. ERR,
 * which says why, stays; returns -1.
 */
int qcow2_edit_mark_corrupt(struct qcow2_edit *edit, struct img_error *err);

/* ---- overlap.c */

/* LEN bytes at OFF, cluster aligned, hold PART from now on. IMG_CORRUPT when
   they are known to hold something else (two L2 tables may be the same). */
int qcow2_edit_part_add(struct qcow2_edit *edit, enum qcow2_part part,
                        uint64_t off, uint64_t len, struct img_error *err);
/* What is known of CLUSTER. */
enum qcow2_part qcow2_edit_part_of(const struct qcow2_edit *edit,
                                   uint64_t cluster);
/*
 * Write LEN bytes of metadata at OFF of the file. Each cluster that they touch
 * must be known to hold PART and nothing else; if not, the image is marked
 * corrupt (IMG_CORRUPT). Data: QCOW2_PART_NONE.
 */
int qcow2_edit_write(struct qcow2_edit *edit, enum qcow2_part part,
                     const void *buf, size_t len, uint64_t off,
                     struct img_error *err);
/*
 * The clusters that [OFF, OFF + LEN) touches, which a table entry says are the
 * guest's, are to be changed or given up: none may be known to hold metadata
 * (IMG_CORRUPT, and marked so).
 */
int qcow2_edit_check_guest(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                           struct img_error *err);
void qcow2_edit_parts_fini(struct qcow2_parts *parts);

/* ---- cache.c */

int qcow2_cache_init(struct qcow2_cache *cache, uint32_t table_len,
                     uint64_t memory, struct img_error *err);
void qcow2_cache_fini(struct qcow2_cache *cache);
/* NULL: not held. Counts as a use. */
struct qcow2_table *qcow2_cache_find(struct qcow2_cache *cache, uint64_t key);
/*
 * A zeroed table for KEY, which is not held. Clean tables may be dropped for
 * it: pointers to others than the last RECENT used ones become invalid.
 */
struct qcow2_table *qcow2_cache_add(struct qcow2_cache *cache, uint64_t key,
                                    struct img_error *err);
#define QCOW2_CACHE_RECENT 4u
/* [START, END) of the table's bytes was changed. */
void qcow2_cache_touch(struct qcow2_cache *cache, struct qcow2_table *table,
                       uint32_t start, uint32_t end);
void qcow2_cache_set_new(struct qcow2_cache *cache, struct qcow2_table *table);
/* What is in memory is in the file. */
void qcow2_cache_clean(struct qcow2_cache *cache, struct qcow2_table *table);
/* Forget one table, or (NULL) all, dirty or not. */
void qcow2_cache_drop(struct qcow2_cache *cache, struct qcow2_table *table);
/* The dirty and new tables by key, ascending; free *out with free(). */
int qcow2_cache_dirty(const struct qcow2_cache *cache,
                      struct qcow2_table ***out, size_t *nr,
                      struct img_error *err);

/* ---- refcounts.c */

/* The refcount of CLUSTER as wanted (pending releases not counted). */
int qcow2_edit_refcount_get(struct qcow2_edit *edit, uint64_t cluster,
                            uint64_t *out, struct img_error *err);
/*
 * Add one reference to each of NR clusters, whose blocks exist. IMG_LIMIT when
 * the width has no room for it. (What lowers refcounts: qcow2_edit_release.)
 */
int qcow2_edit_refcount_raise(struct qcow2_edit *edit, uint64_t cluster,
                              uint64_t nr, struct img_error *err);
/*
 * Load the refcount table that edit->header points to and forget what was
 * held, as when the edit was opened; nothing may be pending. Used when the
 * structures were replaced (other width, an image made empty).
 */
int qcow2_edit_refcounts_load(struct qcow2_edit *edit, struct img_error *err);
void qcow2_edit_refcounts_fini(struct qcow2_edit *edit);
/* The block with index IDX of the refcount table; NULL in *out: none. */
int qcow2_edit_block_get(struct qcow2_edit *edit, uint64_t idx,
                         struct qcow2_table **out, struct img_error *err);
/* An empty block for IDX, which has none, at OFF; not counted by this. */
int qcow2_edit_block_new(struct qcow2_edit *edit, uint64_t idx, uint64_t off,
                         struct img_error *err);
/* Refcount IDX of BLOCK was set. */
void qcow2_edit_block_touch(struct qcow2_edit *edit, struct qcow2_table *block,
                            uint64_t idx);
/*
 * Let the table have room for at least NR blocks (in memory; the commit
 * writes it in whole and switches to it). IMG_LIMIT beyond 8 MiB.
 */
int qcow2_edit_reftable_grow(struct qcow2_edit *edit, uint64_t nr,
                             struct img_error *err);
/* Steps of commit.c: write the raised refcounts and new blocks; then what
   points to new blocks, flushes included. */
int qcow2_edit_blocks_store(struct qcow2_edit *edit, struct img_error *err);
int qcow2_edit_reftable_store(struct qcow2_edit *edit, struct img_error *err);

/* ---- alloc.c */

/*
 * CLUSTERS contiguous free clusters with refcount 1 (in memory until the next
 * commit), noted as PART. Their bytes are whatever was there. IMG_LIMIT where
 * a table would outgrow its limits; IMG_CORRUPT (and marked so) where a
 * cluster that counts as free holds metadata.
 */
int qcow2_edit_alloc(struct qcow2_edit *edit, uint64_t clusters,
                     enum qcow2_part part, uint64_t *off,
                     struct img_error *err);
/* The same for guest data: as many as can be had in one piece, at most
   WANTED. */
int qcow2_edit_alloc_data(struct qcow2_edit *edit, uint64_t wanted,
                          uint64_t *off, uint64_t *got, struct img_error *err);

/* ---- release.c */

/*
 * The clusters that [OFF, OFF + LEN) touches (any bytes, as compressed data
 * has them) lose one reference each, in the last step of the next commit,
 * when nothing stable points to them any more. They are not used again before
 * the edit is closed; what became free is discarded when it is.
 */
int qcow2_edit_release(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                       struct img_error *err);
/* Step of commit.c: lower the refcounts; *any: something was written. */
int qcow2_edit_releases_store(struct qcow2_edit *edit, bool *any,
                              struct img_error *err);
/* Let the file end after its last cluster that is in use. Nothing pending. */
int qcow2_edit_cut_end(struct qcow2_edit *edit, struct img_error *err);
/* Give back to the file system what was released in this edit. */
void qcow2_edit_discard_free(struct qcow2_edit *edit);

/* ---- l1.c */

int qcow2_edit_l1_load(struct qcow2_edit *edit, struct img_error *err);
void qcow2_edit_l1_set(struct qcow2_edit *edit, uint32_t idx, uint64_t entry);
/* Step of commit.c: write what changed, not flushed. */
int qcow2_edit_l1_store(struct qcow2_edit *edit, bool *any,
                        struct img_error *err);
/*
 * Switch to a new L1 table of ENTRIES entries, the present ones as far as it
 * goes and then none, and to VIRTUAL_LEN, in one header write; entries that
 * are cut off must be empty (IMG_USAGE). Commits before and after. With the
 * same number of entries only the length is switched.
 */
int qcow2_edit_l1_replace(struct qcow2_edit *edit, uint32_t entries,
                          uint64_t virtual_len, struct img_error *err);

/*
 * Switch to an empty L1 table of as many entries. What the old one referred
 * to, itself included, is leaked: the refcounts are to be made anew. Nothing
 * may be pending.
 */
int qcow2_edit_l1_clear(struct qcow2_edit *edit, struct img_error *err);

/* ---- l2.c */

/* The L2 table of entry IDX for reading; NULL in *out: there is none. */
int qcow2_edit_l2_get(struct qcow2_edit *edit, uint32_t idx,
                      struct qcow2_table **out, struct img_error *err);
/* The same for changing: made where there is none, copied where shared. */
int qcow2_edit_l2_own(struct qcow2_edit *edit, uint32_t idx,
                      struct qcow2_table **out, struct img_error *err);
/* Nothing but the active L1 entry IDX refers to the table. */
int qcow2_edit_l2_is_private(struct qcow2_edit *edit, uint32_t idx, bool *out,
                             struct img_error *err);
/* Entry I of TABLE decoded (strictly); errors have their place. */
int qcow2_edit_entry_get(struct qcow2_edit *edit,
                         const struct qcow2_table *table, uint32_t i,
                         struct qcow2_l2_entry *out, struct img_error *err);
void qcow2_edit_entry_set(struct qcow2_edit *edit, struct qcow2_table *table,
                          uint32_t i, const struct qcow2_l2_entry *entry);
/* Release the host clusters that ENTRY refers to (none in a data file). */
int qcow2_edit_entry_release(struct qcow2_edit *edit,
                             const struct qcow2_l2_entry *entry,
                             struct img_error *err);
/*
 * ENTRY has a place that the active image alone refers to, so that the bytes
 * there may be changed. TABLE_IS_PRIVATE: as qcow2_edit_l2_is_private.
 */
int qcow2_edit_entry_is_own(struct qcow2_edit *edit,
                            const struct qcow2_l2_entry *entry,
                            bool table_is_private, bool *out,
                            struct img_error *err);
/* Set KIND of an entry of an image with extended L2 from its bitmaps. */
void qcow2_edit_entry_settle(struct qcow2_l2_entry *entry);
/*
 * The subclusters that bytes [START, END) of a cluster touch, as a bitmap; all
 * without extended L2.
 */
uint32_t qcow2_edit_subclusters(const struct qcow2_edit *edit, uint64_t start,
                                uint64_t end);
/* Step of commit.c: write new tables (NEW_ONES) or changed ones. */
int qcow2_edit_l2_store(struct qcow2_edit *edit, bool new_ones, bool *any,
                        struct img_error *err);

/* ---- zero.c */

/* IMG_USAGE unless [OFF, OFF + LEN) is not empty and lies on the disk. */
int qcow2_edit_check_range(const struct qcow2_edit *edit, uint64_t off,
                           uint64_t len, struct img_error *err);

/* The file that guest data lies in. */
static inline struct img_file *qcow2_edit_data(const struct qcow2_edit *edit)
{
    return edit->data_file ? edit->data_file : edit->file;
}

static inline uint64_t qcow2_edit_cluster_of(const struct qcow2_edit *edit,
                                             uint64_t off)
{
    return off >> edit->header.cluster_bits;
}

#endif
