/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room: qcow2/fresh. The writer's parts.
 *
 * Host clusters are handed out in ascending order and never given back
 * (host.c). Guest clusters are dealt with in ascending order, too (place.c),
 * so that one L2 table after the other is filled, and one refcount block.
 */
#ifndef FRESH_IMPL_H
#define FRESH_IMPL_H

#include <img/write.h>
#include <qcow2/bitmap.h>
#include <qcow2/entry.h>
#include <qcow2/extensions.h>
#include <qcow2/fresh.h>
#include <qcow2/refcount.h>

/* ---- host.c: host clusters and their refcounts. */

/*
 * A refcount block counts a span of host clusters. It is set aside with the
 * first cluster that is taken of its span, and written when the last one has
 * been: blocks are thus met where they are needed, and only one is held.
 */
struct fresh_host {
    struct img_file *file;             /* borrowed */
    const struct qcow2_header *header; /* borrowed */
    uint64_t next_idx;                 /* of the first cluster not taken */
    uint64_t end_idx;                  /* there are no clusters from here on */
    uint64_t span_clusters;
    uint8_t *block; /* the counts of span block_idx */
    uint64_t block_idx;
    uint64_t *block_offs; /* the refcount table, in host byte order */
    uint64_t blocks_nr, blocks_room;
    /* The rest of the host cluster that compressed data is put into; 0: none */
    uint64_t packed_off, packed_left;
};

int fresh_host_init(struct fresh_host *host, struct img_file *file,
                    const struct qcow2_header *header, struct img_error *err);
void fresh_host_fini(struct fresh_host *host);
/* NR clusters in a row, each with one user; where they begin in *off. */
int fresh_host_take(struct fresh_host *host, uint64_t nr, uint64_t *off,
                    struct img_error *err);
/* How many clusters in a row can be had without a refcount block between
   them; at least 1. */
uint64_t fresh_host_run(const struct fresh_host *host);
/* LEN bytes, less than a cluster, next to those taken before where there is
   room and the refcount can tell. */
int fresh_host_pack(struct fresh_host *host, uint32_t len, uint64_t *off,
                    struct img_error *err);
/* The refcount table and the last block; nothing can be taken any more. Sets
   the fields of HEADER that tell the table. */
int fresh_host_finish(struct fresh_host *host, struct qcow2_header *header,
                      struct img_error *err);

/* ---- tables.c: L2 tables, gathered and written in batches; the L1 table. */

struct fresh_tables {
    struct fresh_host *host; /* borrowed */
    uint8_t *l1;             /* as it is stored, padded to clusters */
    uint64_t l1_off, l1_len;
    uint8_t *batch; /* tables that are not written yet, the last one open */
    uint64_t *l1_idx;
    uint32_t batch_nr, batch_room;
};

int fresh_tables_init(struct fresh_tables *tables, struct fresh_host *host,
                      struct img_error *err);
void fresh_tables_fini(struct fresh_tables *tables);
/* The stored entry of the cluster at GUEST_OFF, whose table is the last one
   or comes after it. Valid until the next call. */
int fresh_tables_entry(struct fresh_tables *tables, uint64_t guest_off,
                       uint8_t **out, struct img_error *err);
int fresh_tables_finish(struct fresh_tables *tables, struct img_error *err);

/* ---- bitmaps.c */

struct fresh_bitmaps {
    struct qcow2_bitmap *entries; /* names are own copies */
    uint32_t nr;
};

/* The directory; sets what header and extensions have to tell of it. */
int fresh_bitmaps_finish(struct qcow2_fresh *fresh, struct img_error *err);
void fresh_bitmaps_fini(struct fresh_bitmaps *bitmaps);

/* ---- place.c */

/*
 * Guest clusters before OFF that nothing was said about are left out, or get
 * a place where the options want that.
 */
int fresh_advance(struct qcow2_fresh *fresh, uint64_t off,
                  struct img_error *err);

/* ---- fresh.c */

struct qcow2_fresh {
    struct img_file *file;      /* own reference */
    struct img_file *data_file; /* own reference or NULL */
    struct qcow2_header header;
    struct qcow2_extensions extensions;
    enum qcow2_prealloc prealloc;
    struct fresh_host host;
    struct fresh_tables tables;
    struct fresh_bitmaps bitmaps;
    uint64_t pos;         /* guest bytes before it have been dealt with */
    uint64_t settled_off; /* so have clusters before it: a multiple of them */
    bool is_broken;       /* a call failed half-way */
    bool is_finished;
    uint8_t *first;             /* the first cluster */
    const volatile int *cancel; /* NULL: nobody asks */
};

/* IMG_USAGE after a failure and after the end. */
int fresh_check_open(const struct qcow2_fresh *fresh, struct img_error *err);
/*
 * Whatever may be in FILE there reads as zeros. New files are empty where
 * nothing was written; only devices have something to forget.
 */
int fresh_wipe(const struct qcow2_fresh *fresh, struct img_file *file,
               uint64_t off, uint64_t len, struct img_error *err);
/* The first cluster as it is now, in fresh->first. */
int fresh_encode(struct qcow2_fresh *fresh, struct img_error *err);

#endif
