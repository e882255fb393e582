/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A repair that is under way; private to qcow2/repair.
 *
 * Everything is done to STAGED; FILE stays as it is until apply.c writes the
 * difference. In this order:
 *
 *   prepare.c    fields of the header without which nothing can be opened
 *   l1.c         entries of L1 tables; which L2 tables there are
 *   l2.c, entry.c  entries of L2 tables; references of the guest's clusters
 *   move.c       tables in which something else lies
 *   owners.c     references of everything else: snapshot table, bitmaps
 *   blocks.c     the refcount table, its blocks, the refcounts
 *   flags.c      bit 63 of active entries
 *   apply.c      the difference, in an order that a crash may cut
 *   record.c, undo.c   the way back
 *
 * FIXES is false for -r leaks: then references are counted as the check counts
 * them, and only refcounts above them change. References never go to clusters
 * at or beyond OLD_LEN but to those that were allocated here (space.c), so
 * that what grows the file never comes to lie under a stale entry.
 */
#ifndef QCOW2_REPAIR_IMPL_H
#define QCOW2_REPAIR_IMPL_H

#include <img/write.h>
#include <qcow2/entry.h>
#include <qcow2/image.h>
#include <qcow2/refcount.h>
#include <qcow2/repair.h>

#include "refs.h"

#define QCOW2_SECTOR_LEN 512u
/* Entries of L1 tables and words of other tables that are read at a time. */
#define QCOW2_REPAIR_PIECE 8192u

/* Clusters [start, end). */
struct qcow2_run {
    uint64_t start, end;
    bool is_shared; /* something else lies there, too */
};

struct qcow2_runs {
    struct qcow2_run *at;
    size_t nr, room;
};

struct qcow2_l1_table {
    uint64_t off;
    uint32_t entries;
    bool is_active;
};

struct qcow2_repair {
    const struct qcow2_repair_options *options;
    struct qcow2_repair_result *result;
    struct img_file *file;   /* borrowed: as it is */
    struct img_file *staged; /* own: as it will be */
    struct img_image *image; /* own: opened over STAGED */
    struct qcow2_header header;
    uint64_t old_len;
    bool fixes;
    bool has_told;     /* the problems that remain */
    const char *doubt; /* !fixes: why nothing can be freed; NULL: it can */

    /* What the header will say. */
    uint64_t l1_off, reftable_off, snapshots_off, autoclear;
    uint32_t reftable_clusters, snapshots_nr;
    bool is_reftable_lost;   /* nothing of it can be used */
    uint8_t *snapshot_table; /* own: to be put somewhere; NULL: it stays */
    uint64_t snapshot_table_len;
    uint64_t min_len; /* the file must be so long for its L1 table */

    struct qcow2_l1_table *l1_tables; /* own; the active one first */
    size_t l1_tables_nr;
    struct qcow2_runs exclusive; /* ascending: header, L1 tables, crypto */
    struct qcow2_refs refs;
    struct qcow2_l2_refs tables;
    uint64_t refcount_max;
    bool needs_flags;   /* refcounts went to 1 or from it */
    bool has_shared_l2; /* an L2 table has to be moved */

    uint64_t *blocks; /* own: offsets of refcount blocks, 0: none */
    uint64_t *kept;   /* own: those that were there before, ascending */
    uint64_t blocks_nr, kept_nr;
    bool is_reftable_moved;

    uint64_t next_cluster; /* the next one to allocate */
    uint64_t zero_cluster; /* shared by what is lost; 0: none as yet */
    uint64_t copied_len;   /* bytes copied so far */
    uint64_t fresh_start;  /* everything from here on was allocated here */

    uint8_t *words, *words_was; /* own: a piece of a table */
    uint8_t *l2, *l2_was;       /* own: one cluster each */
    uint8_t *copy;              /* own: one cluster */
};

/* ---- repair.c */
int qcow2_repair_is_wanted(const struct qcow2_repair *r, struct img_error *err);
/* Stage those sectors of NOW, LEN bytes at OFF, that differ from WAS. */
int qcow2_repair_stage(struct qcow2_repair *r, const uint8_t *was,
                       const uint8_t *now, size_t len, uint64_t off,
                       struct img_error *err);

/* ---- tell.c */
struct qcow2_repair_told {
    enum qcow2_repair_kind kind;
    uint64_t off;
    bool is_lost;
    bool has_guest; /* guest_off and guest_len as yet not cut to the disk */
    uint64_t guest_off, guest_len;
};
void qcow2_repair_tell(struct qcow2_repair *r,
                       const struct qcow2_repair_told *told, const char *fmt,
                       ...) __attribute__((format(printf, 3, 4)));

/* ---- prepare.c */
int qcow2_repair_prepare(struct qcow2_repair *r, struct img_error *err);
/* ---- prepare_snapshots.c: keep what can be kept of the snapshot table. */
int qcow2_repair_salvage_snapshots(struct qcow2_repair *r, uint64_t table_off,
                                   uint32_t *nr, struct img_error *err);

/* ---- space.c */

/* NR clusters in a row, with no references yet and (staged) zeros. */
int qcow2_repair_alloc(struct qcow2_repair *r, uint64_t nr, uint64_t *cluster,
                       struct img_error *err);
bool qcow2_repair_is_fresh(const struct qcow2_repair *r, uint64_t off);
/* LEN bytes at FROM as they are go to TO. */
int qcow2_repair_copy(struct qcow2_repair *r, uint64_t from, uint64_t to,
                      uint64_t len, struct img_error *err);
int qcow2_runs_add(struct qcow2_runs *runs, uint64_t start, uint64_t end,
                   struct img_error *err);
/* Put RUNS in order, overlapping ones together. */
void qcow2_runs_settle(struct qcow2_runs *runs);
/* The one that CLUSTER is in; NULL: none. */
struct qcow2_run *qcow2_runs_find(const struct qcow2_runs *runs,
                                  uint64_t cluster);
/* Each cluster of [OFF, OFF + LEN) gets TIMES references more or, with
   TIMES < 0, fewer. */
int qcow2_repair_refer(struct qcow2_repair *r, uint64_t off, uint64_t len,
                       int64_t times, struct img_error *err);
/* Is any of those clusters referred to already? */
bool qcow2_repair_is_used(const struct qcow2_repair *r, uint64_t off,
                          uint64_t len);

/* ---- l1.c */

/* See to L1 entry IDX of TABLE, which is not 0; it may be changed. */
typedef int qcow2_l1_visit(struct qcow2_repair *r,
                           const struct qcow2_l1_table *table, uint32_t idx,
                           uint64_t *entry, struct img_error *err);
int qcow2_repair_each_l1(struct qcow2_repair *r,
                         const struct qcow2_l1_table *table,
                         qcow2_l1_visit *visit, struct img_error *err);
int qcow2_repair_l1_tables(struct qcow2_repair *r, struct img_error *err);

/* ---- entry.c */
struct qcow2_entry_fix {
    uint64_t value, bitmap; /* what the entry is to be */
    const char *why;        /* it changes because; NULL: it does not */
    bool is_lost;           /* what it showed could not be read */
    bool wants_zeros;       /* version 2: only a cluster of zeros shows them */
    bool is_compressed;
    uint64_t ref_off, ref_len; /* it refers to these bytes; 0: to none */
};
void qcow2_entry_judge(const struct qcow2_repair *r, uint64_t value,
                       uint64_t bitmap, struct qcow2_entry_fix *out);

/* ---- l2.c */
int qcow2_repair_l2_tables(struct qcow2_repair *r, struct img_error *err);

/* ---- move.c */

/* Something else lies in CLUSTER as well: false when no mapping table does. */
bool qcow2_repair_share(struct qcow2_repair *r, uint64_t cluster);
/* Give the tables that share a place new ones. */
int qcow2_repair_move_tables(struct qcow2_repair *r, struct img_error *err);

/* ---- owners.c, bitmaps.c */
int qcow2_repair_owners(struct qcow2_repair *r, struct img_error *err);
int qcow2_repair_bitmaps(struct qcow2_repair *r, struct img_error *err);

/* ---- reftable.c: which blocks there are; blocks.c: what they say. */
int qcow2_repair_reftable(struct qcow2_repair *r, struct img_error *err);
int qcow2_repair_reftable_complete(struct qcow2_repair *r,
                                   struct img_error *err);
int qcow2_repair_refcounts(struct qcow2_repair *r, struct img_error *err);

/* ---- flags.c */

/* May the tables that have flags be written where they are? */
bool qcow2_repair_flags_can(const struct qcow2_repair *r);
int qcow2_repair_flags(struct qcow2_repair *r, struct img_error *err);

/* ---- header.c: the first sector of the file. */
int qcow2_repair_header_stage(struct qcow2_repair *r, struct img_error *err);

/* ---- plan.c: the difference, page by page. */
enum qcow2_page_class {
    QCOW2_PAGE_FRESH,    /* nothing points to it yet */
    QCOW2_PAGE_REFBLOCK, /* refcounts in place */
    QCOW2_PAGE_REFTABLE,
    QCOW2_PAGE_ENTRIES, /* L2 tables, bitmap tables */
    QCOW2_PAGE_L1,
    QCOW2_PAGE_HEADER,
};

struct qcow2_page {
    uint64_t off;
    enum qcow2_page_class class;
};

struct qcow2_plan {
    struct qcow2_page *pages; /* ascending; only what differs */
    size_t nr;
    uint32_t page_len;
};
uint32_t qcow2_repair_page_len(const struct qcow2_repair *r);
int qcow2_plan_make(struct qcow2_repair *r, struct qcow2_plan *out,
                    struct img_error *err);
void qcow2_plan_fini(struct qcow2_plan *plan);
/* Refcounts on the way: those of COUNTS, LEN bytes of a block, are raised to
   what FLOOR has where that is more. */
void qcow2_refcounts_raise(const struct qcow2_header *header,
                           const uint8_t *floor, uint8_t *counts, uint32_t len);

/* ---- record.c, apply.c */
int qcow2_record_store(struct qcow2_repair *r, const struct qcow2_plan *plan,
                       struct img_error *err);
int qcow2_repair_apply(struct qcow2_repair *r, const struct qcow2_plan *plan,
                       struct img_error *err);
/* Clear the bits that say that the image is dirty or corrupt. */
int qcow2_repair_mark_clean(struct qcow2_repair *r, struct img_error *err);

#endif
