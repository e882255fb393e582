/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an open qcow2 image is made of; private to qcow2/image.
 *
 * Only the header, the extensions and the snapshot table are loaded when an
 * image is opened. The L1 table, the bitmap directory and the answer to "was
 * this image preallocated" are found when they are first needed.
 */
#ifndef QCOW2_IMAGE_STATE_H
#define QCOW2_IMAGE_STATE_H

#include <qcow2/entry.h>
#include <qcow2/image.h>

#include "slice.h"

/* The parts of a snapshot that img_image.snapshots has no room for. */
struct qcow2_stored_snapshot {
    uint64_t off; /* of the entry in the snapshot table */
    uint64_t l1_off;
    uint32_t l1_entries;
    uint32_t extra_len;
};

enum qcow2_preallocation {
    QCOW2_PREALLOCATION_UNKNOWN,
    QCOW2_PREALLOCATION_NO,
    QCOW2_PREALLOCATION_YES,
};

struct qcow2_image {
    struct img_image image; /* first */
    struct qcow2_header header;
    struct qcow2_extensions extensions;

    struct qcow2_stored_snapshot *stored; /* image.snapshots_nr of them */
    uint64_t snapshot_table_len;          /* bytes, padding included */

    /* The L1 table that is read through: the active or a snapshot's. */
    uint64_t l1_off;
    uint32_t l1_entries;
    uint8_t *l1; /* as stored; NULL until it is needed */
    struct qcow2_slice slice;
    struct img_extent ahead; /* looked up by map already; len 0: nothing */
    enum qcow2_preallocation preallocation;

    bool has_bitmaps_loaded;
    struct qcow2_bitmap_info *bitmaps;
    size_t bitmaps_nr;
};

/* The ops say whether an image is one of ours. */
extern const struct img_image_ops qcow2_image_ops;

static inline struct qcow2_image *qcow2_image_of(struct img_image *image)
{
    return (struct qcow2_image *)image;
}

/* The file that data clusters lie in; NULL: one that is not open. */
static inline struct img_file *qcow2_data_file(const struct qcow2_image *q)
{
    return q->header.has_data_file ? q->image.data_file : q->image.file;
}

/* snapshots.c: the snapshot table into image.snapshots and stored. */
int qcow2_snapshots_load(struct qcow2_image *q, struct img_error *err);
/* Read through snapshot ID_OR_NAME from now on; IMG_NOT_FOUND. */
int qcow2_snapshots_select(struct qcow2_image *q, const char *id_or_name,
                           struct img_error *err);

/* tables.c */

/* A table of big-endian 64-bit words as stored; free with free(). */
int qcow2_table_load(struct qcow2_image *q, uint64_t off, uint64_t entries,
                     uint8_t **out, struct img_error *err);
/* How many of the NR words at P are WORD (in stored byte order). */
size_t qcow2_words_equal(const uint8_t *p, size_t nr, uint64_t word);
/* Set the offset of the entry that ERR is about; returns -1. */
int qcow2_fail_entry(struct img_error *err, uint64_t off);
/*
 * The entries of the active L1 table that are not 0, ordered by the L2 table
 * they name, then by index: what visits each L2 table once however many
 * entries name it. 12 bytes for each entry, whatever their order was.
 */
struct qcow2_l1_order {
    uint64_t *entries;
    uint32_t *idx; /* where each stands in the table */
    uint32_t nr;
};

static inline uint64_t qcow2_l1_order_off(const struct qcow2_l1_order *order,
                                          uint32_t i)
{
    return order->entries[i] & QCOW2_ENTRY_OFFSET_MASK;
}

int qcow2_l1_order_load(struct qcow2_image *q, struct qcow2_l1_order *out,
                        struct img_error *err);
/* Accepts a zeroed one. */
void qcow2_l1_order_fini(struct qcow2_l1_order *order);

/* map.c */
int qcow2_image_map(struct img_image *image, uint64_t off, uint64_t len,
                    struct img_extent *out, struct img_error *err);

/* sparse.c: cut EXTENT (data) where its file changes between hole and data. */
int qcow2_sparse_split(struct qcow2_image *q, struct img_extent *extent,
                       struct img_error *err);

/* describe.c */
int qcow2_image_describe(struct img_image *image, struct img_json **out,
                         struct img_error *err);

/* bitmaps.c */
void qcow2_bitmaps_free(struct qcow2_image *q);

#endif
