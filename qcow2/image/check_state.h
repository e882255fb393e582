/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A check that is under way; private to qcow2/image.
 *
 * The walk over everything that refers to clusters (check_walk) runs once to
 * count references and, where refcounts turn out wrong, once more to name
 * who owns the clusters in question. Both runs take the same way; what they
 * do at each reference is qcow2_check_mark's.
 *
 * Each table is visited once, however many references it has: its findings
 * then count that many times, as if it had been visited each time.
 */
#ifndef QCOW2_IMAGE_CHECK_STATE_H
#define QCOW2_IMAGE_CHECK_STATE_H

#include <qcow2/check.h>

#include <img/reader.h>

#include "counts.h"
#include "state.h"
#include "stored.h"

enum qcow2_owner_kind {
    QCOW2_OWNER_NONE,
    QCOW2_OWNER_HEADER,
    QCOW2_OWNER_L1,
    QCOW2_OWNER_L2,         /* place: guest offset */
    QCOW2_OWNER_DATA,       /* place: guest offset */
    QCOW2_OWNER_COMPRESSED, /* place: guest offset */
    QCOW2_OWNER_SNAPSHOT_TABLE,
    QCOW2_OWNER_SNAPSHOT_L1,
    QCOW2_OWNER_SNAPSHOT_L2,
    QCOW2_OWNER_SNAPSHOT_DATA,
    QCOW2_OWNER_REFTABLE,
    QCOW2_OWNER_REFBLOCK, /* place: index in the refcount table */
    QCOW2_OWNER_CRYPTO,
    QCOW2_OWNER_BITMAP_DIRECTORY,
    QCOW2_OWNER_BITMAP_TABLE,
    QCOW2_OWNER_BITMAP,
    QCOW2_OWNER_DATA_FILE,
};

struct qcow2_owner {
    enum qcow2_owner_kind kind;
    uint64_t place;
};

/* What was found, TIMES times; the message goes beside it. */
struct qcow2_finding {
    enum qcow2_problem_kind kind;
    const char *id;
    uint64_t times;
    uint64_t off; /* in the file */
    struct qcow2_owner owner;
    bool is_beyond_qemu; /* QEMU's check does not count it */
};

/* A cluster whose stored refcount is not the number of its references. */
struct qcow2_suspect {
    uint64_t cluster;
    uint64_t stored, references;
    struct qcow2_owner owner; /* the first one met */
};

struct qcow2_suspects {
    struct qcow2_suspect *at; /* ascending */
    size_t nr, room;
};

/* Refcount blocks in the order of the refcount table, read ahead. */
struct qcow2_blocks {
    const struct qcow2_check *check;
    struct img_reader *reader;     /* NULL until one is asked for */
    const struct img_piece *piece; /* the one that was handed out last */
    uint64_t piece_end;            /* behind its last block's index */
    uint64_t next, end;            /* to be asked for; of all */
};

struct qcow2_check {
    struct qcow2_image *q;
    const struct qcow2_check_options *options;
    struct qcow2_check_result *result;
    uint64_t memory_left;
    uint64_t file_len;
    uint64_t clusters_nr; /* of the file, and one more where data passes it */
    uint64_t problems_told;
    struct qcow2_counts counts; /* references */
    /* How many entries of snapshots' L1 tables name a cluster as L2 table. */
    struct qcow2_counts tables;
    struct qcow2_stored stored;
    struct qcow2_l1_order l1; /* the active table */
    uint64_t *odd_tables;     /* unaligned L2 tables of snapshots */
    size_t odd_tables_nr;
    uint8_t *l2;              /* one table that was not read ahead */
    uint32_t odd_visits_left; /* see MAX_ODD_TABLES */
    struct qcow2_blocks blocks;
    struct qcow2_suspects suspects;
    bool is_naming; /* the second run */
};

/*
 * Unaligned L2 tables that are looked into; they overlap each other, so
 * that there is no bound from the length of the file.
 */
#define QCOW2_CHECK_MAX_ODD_TABLES 4096u

/* check_tell.c */

#define QCOW2_OWNER_TEXT_LEN 64u
/* "data of guest offset 65536"; OUT has QCOW2_OWNER_TEXT_LEN bytes. */
void qcow2_owner_text(const struct qcow2_owner *owner, char *out);
/* Count a problem and report it once; not while naming. */
void qcow2_check_tell(struct qcow2_check *check,
                      const struct qcow2_finding *finding, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static inline struct qcow2_finding qcow2_corruption(const char *id,
                                                    uint64_t times,
                                                    uint64_t off,
                                                    struct qcow2_owner owner)
{
    return (struct qcow2_finding){
        .kind = QCOW2_PROBLEM_CORRUPTION,
        .id = id,
        .times = times,
        .off = off,
        .owner = owner,
    };
}

/* check.c */

/* May a reference to LEN bytes at OFF be? A file may lack less than the last
   cluster of it. */
bool qcow2_check_is_inside(const struct qcow2_check *check, uint64_t off,
                           uint64_t len);
/* [OFF, OFF + LEN) is referred to TIMES times by OWNER. */
int qcow2_check_mark(struct qcow2_check *check, uint64_t off, uint64_t len,
                     uint64_t times, struct qcow2_owner owner,
                     struct img_error *err);
/* IMG_CANCELLED when the caller wants no more. */
int qcow2_check_is_wanted(const struct qcow2_check *check,
                          struct img_error *err);

/* check_walk.c: every reference of the image, in one fixed order. */
int qcow2_check_walk(struct qcow2_check *check, struct img_error *err);

/* check_l1.c */
int qcow2_check_active(struct qcow2_check *check, struct img_error *err);
/* An entry of a snapshot's L1 table at OFF, which TIMES tables contain. */
int qcow2_check_snapshot_entry(struct qcow2_check *check, uint64_t entry,
                               uint64_t times, uint64_t off,
                               struct img_error *err);
/* Visit the L2 tables of the active table and of all snapshots. */
int qcow2_check_l2_tables(struct qcow2_check *check, struct img_error *err);

/* check_l2.c: one L2 table that is referred to by two kinds of L1 table. */
struct qcow2_l2_visit {
    uint64_t off;
    uint64_t guest_off; /* of the first active L1 entry that names it */
    uint64_t active_times;
    uint64_t snapshot_times;
};
/*
 * Entries of a table, in one number: a run of data clusters one behind the
 * other that are as they should be (bit 63, the first cluster, how many less
 * one), or such as have to be looked at one by one (the first, how many).
 */
#define QCOW2_SPAN_RUN (1ull << 63)
#define QCOW2_SPAN_BITS 24u /* of how many: a table has 2^18 at most */
#define QCOW2_SPAN_MASK ((1ull << QCOW2_SPAN_BITS) - 1u)
/* A cluster from here on is looked at by itself. */
#define QCOW2_SPAN_CLUSTERS (1ull << (63u - QCOW2_SPAN_BITS))

struct qcow2_l2_scan {
    uint64_t *spans; /* room for one an entry */
    uint32_t nr;     /* ascending; in between is nothing */
};

/* TABLE holds its bytes, SCAN what was seen in it. */
int qcow2_check_l2(struct qcow2_check *check,
                   const struct qcow2_l2_visit *visit, const uint8_t *table,
                   const struct qcow2_l2_scan *scan, struct img_error *err);

/* check_scan.c: a table at a glance */

/* May the table of VISIT have runs? */
bool qcow2_l2_is_plain(const struct qcow2_check *check,
                       const struct qcow2_l2_visit *visit);
/* Any thread, beside others and the check itself. */
void qcow2_l2_scan(struct qcow2_check *check, const uint8_t *table,
                   bool is_plain, struct qcow2_l2_scan *out);

/* check_ahead.c: L2 tables in the order of the visits, read ahead. */

/* Where the walk over both kinds of L1 tables stands. */
struct qcow2_l2_walk {
    uint32_t active;   /* next in check->l1 */
    uint64_t snapshot; /* next cluster to look at in tables */
};
/* check_l1.c: the next table in the order of the file; false at the end. */
bool qcow2_l2_walk_next(const struct qcow2_check *check,
                        struct qcow2_l2_walk *walk,
                        struct qcow2_l2_visit *visit);

struct qcow2_ahead {
    struct qcow2_check *check;
    struct img_reader *reader;
    const struct img_piece *piece; /* the one that was handed out last */
    struct qcow2_l2_walk walk;     /* of what was asked for */
    struct qcow2_l2_visit pending; /* the next to ask for, if there is one */
    bool has_pending;
    bool is_over; /* all was handed out */
    /* Holes: may there be any; [RUN_BEGIN, RUN_END) is one, or is none. */
    bool is_sparse, is_hole;
    uint64_t run_begin, run_end;
};

int qcow2_ahead_init(struct qcow2_ahead *ahead, struct qcow2_check *check,
                     struct img_error *err);
/* Accepts a zeroed one. */
void qcow2_ahead_fini(struct qcow2_ahead *ahead);
/*
 * The table of VISIT, which is the next one of the walk that begins in a
 * cluster inside the file, and what was seen in it; borrowed until the next
 * call. NULL: it lies in a hole of the file.
 */
int qcow2_ahead_get(struct qcow2_ahead *ahead,
                    const struct qcow2_l2_visit *visit, const uint8_t **out,
                    struct qcow2_l2_scan *scan, struct img_error *err);
/* Threads for a pass over LEN bytes of tables; 0: it is done here. */
unsigned qcow2_check_threads(const struct qcow2_check *check, uint64_t len);
/* Pieces of at most MAX_LEN bytes, of LEN in all, that are under way then. */
unsigned qcow2_check_depth(size_t max_len, uint64_t len, unsigned threads);
/* Is the table one that is read ahead? */
bool qcow2_ahead_has(const struct qcow2_check *check, uint64_t l2_off);

/* check_blocks.c: what refcount blocks say at a glance */
struct qcow2_block_seen {
    bool is_equal;    /* just what was counted, for all of its clusters */
    uint64_t highest; /* of them that is in use; 0: none */
};

void qcow2_blocks_init(struct qcow2_blocks *blocks, struct qcow2_check *check);
/* Accepts a zeroed one, and may be used again: it begins anew. */
void qcow2_blocks_fini(struct qcow2_blocks *blocks);
/*
 * Block IDX, which comes after those that were asked for before; borrowed
 * until the next call. NULL: there is none, or so few that they are read one
 * by one.
 */
int qcow2_blocks_get(struct qcow2_blocks *blocks, uint64_t idx,
                     const uint8_t **out, struct qcow2_block_seen *seen,
                     struct img_error *err);
/*
 * How many of NR clusters from FIRST on, within one chunk, have the refcount
 * that was counted, as far as a glance at BLOCK of 16-bit refcounts tells.
 * *highest: the last of them that is in use, if one is.
 */
uint64_t qcow2_run_equal(const struct qcow2_check *check, const uint8_t *block,
                         uint64_t first, uint64_t nr, uint64_t *highest);

/* check_compare.c: stored against counted, with owners named. */
int qcow2_check_compare(struct qcow2_check *check, struct img_error *err);

#endif
