/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A qcow2 image that is open for reading: header, tables, snapshots,
 * bitmaps, and the map from guest offsets to where the bytes lie.
 */
#ifndef QCOW2_IMAGE_H
#define QCOW2_IMAGE_H

#include <img/format.h>
#include <qcow2/bitmap.h>
#include <qcow2/extensions.h>
#include <qcow2/header.h>
#include <qcow2/snapshot.h>

/* The qcow2 driver for the list of formats. */
extern const struct img_format qcow2_format;

struct qcow2_options {
    /* Read the state of this internal snapshot (id, then name); or NULL. */
    const char *snapshot;
    /*
     * Open for a check or a repair: with qcow2_header_decode_lenient. The
     * image's contents are not to be read.
     */
    bool is_for_check;
};

/*
 * Open FILE (takes its own reference). An image with an external data file
 * comes back with wants_data_file set: give it one (img_image_set_data_file)
 * before mapping. An encrypted image opens with is_readable false. A corrupt
 * or dirty bit only sets is_corrupt, is_dirty. Errors: as the decoders;
 * IMG_NOT_FOUND for an unknown snapshot.
 */
int qcow2_open(struct img_file *file, const struct qcow2_options *options,
               struct img_image **out, struct img_error *err);

/*
 * The same without the snapshot table (image.snapshots stays empty): only the
 * first cluster is read, for files of which not all is at hand.
 */
int qcow2_open_first(struct img_file *file, struct img_image **out,
                     struct img_error *err);

/* NULL when IMAGE is no qcow2 image. All borrowed. */
const struct qcow2_header *qcow2_image_header(const struct img_image *image);
const struct qcow2_extensions *
qcow2_image_extensions(const struct img_image *image);

/*
 * The bitmap directory, decoded: NULL and 0 when there is none or the
 * autoclear bit does not vouch for it. A broken directory is IMG_CORRUPT
 * here (QEMU refuses such an image whole); opening the image does not load
 * it.
 */
struct qcow2_bitmap_info {
    char *name; /* NUL-terminated */
    uint64_t granularity;
    uint32_t flags;
    uint64_t table_off;
    uint32_t table_entries;
};
int qcow2_image_bitmaps(struct img_image *image,
                        const struct qcow2_bitmap_info **out, size_t *nr,
                        struct img_error *err);

/* Where snapshot IDX (of img_image.snapshots) has its L1 table. */
void qcow2_image_snapshot_l1(const struct img_image *image, size_t idx,
                             uint64_t *l1_off, uint32_t *l1_entries);
/* Bytes of the snapshot table, padding included; 0 without snapshots. */
uint64_t qcow2_image_snapshot_table_len(const struct img_image *image);

/* Clusters that the active L1 table owns, by kind (one pass over it). */
struct qcow2_usage {
    uint64_t data_clusters; /* also subclustered ones */
    uint64_t zero_clusters; /* plain and preallocated */
    uint64_t compressed_clusters;
    uint64_t first_guest_off; /* of the first such cluster */
};
int qcow2_image_usage(struct img_image *image, struct qcow2_usage *out,
                      struct img_error *err);

/*
 * What the active tables of a stranger's image claim, in one pass that visits
 * each L2 table once, and none that lies in a hole of the file: the work is
 * bounded by what the file really stores, memory by the L1 table.
 */
struct qcow2_survey {
    uint64_t l1_used;         /* L1 entries that name a table */
    uint64_t tables;          /* different tables that they name */
    uint64_t tables_absent;   /* those in holes of the file: all zeros */
    uint64_t mapped_clusters; /* data and compressed, as the guest sees them */
    uint64_t compressed_clusters; /* entries, each once */
    uint64_t stored_len;     /* bytes that compressed entries name, each once */
    bool is_broken;          /* an entry breaks the format: */
    struct img_error broken; /* the first one */
    bool is_cut_off; /* an entry names what begins past the file's end */
    uint64_t cut_off_entry, cut_off_at; /* where it stands, what it names */
    bool is_last_partial; /* a cluster passes the end by a part of it */
    bool has_overlap;     /* a cluster lies on header, L1, refcount or
                             snapshot table: */
    uint64_t overlap_entry, overlap_at;
};
/*
 * Findings are no errors: -1 only when the image could not be looked at.
 * Clusters in an external data file are not looked for.
 */
int qcow2_image_survey(struct img_image *image, struct qcow2_survey *out,
                       struct img_error *err);

#endif
