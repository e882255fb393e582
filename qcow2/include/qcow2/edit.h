/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The in-place writer: changes an existing qcow2 image so that a crash at any
 * instant leaves an image that opens, whose guest contents are, cluster by
 * cluster, the old or the new, and whose refcounts are never too low.
 *
 * Changes are gathered and made stable in batches (qcow2_edit_commit), in this
 * order, with a flush between the steps: refcounts that grow, and new refcount
 * blocks and tables before what points to them; data and new L2 tables; L2
 * entries; L1 entries; then only, refcounts that shrink. A cluster that was
 * given up is not used again before the edit is closed, so that a reader of
 * the same file that was opened before still finds what its tables say; its
 * space is given back to the file system when the edit is closed. Before each
 * write of metadata it is checked that nothing else lies there (IMG_CORRUPT,
 * and the corrupt bit is set).
 *
 * One thread at a time. Specification: "Host cluster management", "Cluster
 * mapping".
 */
#ifndef QCOW2_EDIT_H
#define QCOW2_EDIT_H

#include <img/write.h>
#include <qcow2/fresh.h>
#include <qcow2/image.h>

struct qcow2_edit;

struct qcow2_edit_options {
    uint64_t max_memory;  /* for tables; 0: 32 MiB */
    bool is_content_kept; /* what will be written shows the guest what it sees
                             already (rebase): bitmaps need not know */
    const volatile int *cancel;
};

/*
 * Edit the image in FILE (opened writable, locked; own reference), with its
 * external DATA_FILE or NULL. The header and tables are loaded strictly.
 * IMG_CORRUPT for an image whose corrupt bit is set, IMG_UNSUPPORTED for one
 * that is dirty (its refcounts must be repaired first; the text has the
 * command), encrypted, or has unknown incompatible features. Nothing is
 * written yet. Before the first change unknown autoclear bits are cleared,
 * and that flushed.
 */
int qcow2_edit_open(struct img_file *file, struct img_file *data_file,
                    const struct qcow2_edit_options *options,
                    struct qcow2_edit **out, struct img_error *err);
/* Without qcow2_edit_commit what was not committed is not done: clusters that
   were set aside are given back where nothing points to them, and the file is
   as long as before. Nobody may be writing to it. NULL is fine. */
void qcow2_edit_free(struct qcow2_edit *edit);

/* The header and extensions as they will be after the next commit. Borrowed. */
const struct qcow2_header *qcow2_edit_header(const struct qcow2_edit *edit);
const struct qcow2_extensions *
qcow2_edit_extensions(const struct qcow2_edit *edit);

/* The unit of writing: cluster, or subcluster with extended L2. */
uint32_t qcow2_edit_granule(const struct qcow2_edit *edit);

/*
 * To change [OFF, OFF + LEN) the caller must write at least [*span_off,
 * *span_off + *span_len), whole, with the guest's contents around what it
 * changes: granules that have no place of their own yet (unallocated, zero,
 * compressed, shared with a snapshot) are written whole. Never beyond the end
 * of the disk.
 */
int qcow2_edit_span(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                    uint64_t *span_off, uint64_t *span_len,
                    struct img_error *err);

/*
 * Where the bytes of [OFF, OFF + LEN), a span as above, go: *out says it for
 * the first of them, as far as contiguous (one cluster after another); call
 * again for the rest. Clusters that had no place get one; the caller writes
 * the bytes before it commits. What a new cluster has beyond the end of the
 * disk is zeroed here.
 */
int qcow2_edit_place(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                     struct qcow2_place *out, struct img_error *err);

/*
 * [OFF, OFF + LEN), whole granules (or to the end of the disk), reads as zeros
 * after the next commit; at once in an external data file that is raw. A
 * cluster keeps its place when KEEP, else it is given up. Long ranges: piece
 * by piece, qcow2_edit_is_full between them. IMG_UNSUPPORTED, the caller then
 * writes zeros: in version 2, where no entry says zero, with a backing file
 * (or one to come: is_content_kept); for a part of a compressed cluster.
 */
int qcow2_edit_zero(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                    bool keep, struct img_error *err);
/*
 * The same range is the image's no more after the next commit: what the
 * backing file has is seen again (zeros without one). IMG_UNSUPPORTED for a
 * part of a compressed cluster.
 */
int qcow2_edit_discard(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                       struct img_error *err);

/*
 * Give up everything: as qcow2_edit_discard of the whole disk, but by a new
 * empty L1 table where there are no snapshots and bitmaps; the file is cut to
 * what is left. Commits. Readers that were opened before find nothing any
 * more.
 */
int qcow2_edit_make_empty(struct qcow2_edit *edit, struct img_error *err);

/* Has so much been gathered that committing is due? */
bool qcow2_edit_is_full(const struct qcow2_edit *edit);

/*
 * Make everything stable that was asked for since the last commit; all data
 * that was placed must have been written to the file (flushed or not). After a
 * failure nothing more can be done with EDIT: the image is as after a crash,
 * old or new, at worst with leaked clusters.
 */
int qcow2_edit_commit(struct qcow2_edit *edit, struct img_error *err);

/* ---- The header. Each of these is atomic, commits, and ends with a flush. */

/*
 * Record BACKING_NAME (NULL: none) and BACKING_FORMAT (NULL: none). The name
 * and the extensions go to unused bytes of the first cluster and are flushed
 * before the one sector that points to them is written. Where both states
 * have no room in the cluster the feature name table is dropped; where even
 * that is not enough: IMG_LIMIT, nothing changed.
 */
int qcow2_edit_set_backing(struct qcow2_edit *edit, const char *backing_name,
                           const char *backing_format, struct img_error *err);

/*
 * Another virtual size. Growing enlarges the L1 table where needed; what is
 * new reads as zeros even where a backing file is longer. Shrinking gives up
 * what lies beyond. PREALLOC as in create, for what is new. Bitmaps and the
 * external data file follow. The size itself changes in one sector. IMG_
 * UNSUPPORTED where QEMU refuses (version 2 with snapshots, or over a longer
 * backing file; a bitmap that is inconsistent).
 */
int qcow2_edit_resize(struct qcow2_edit *edit, uint64_t virtual_len,
                      enum qcow2_prealloc prealloc, struct img_error *err);

/* The same with what the caller knows of the backing file. */
struct qcow2_resize {
    uint64_t virtual_len;
    enum qcow2_prealloc prealloc;
    uint64_t backing_len; /* UINT64_MAX: unknown, but there is one */
    /* LEN bytes at OFF, inside backing_len; NULL: it cannot be read. Needed
       where the image ends within a cluster that it does not own. */
    int (*read_backing)(void *opaque, void *buf, size_t len, uint64_t off,
                        struct img_error *err);
    void *opaque;
};
int qcow2_edit_resize_over(struct qcow2_edit *edit,
                           const struct qcow2_resize *resize,
                           struct img_error *err);
/* Only what would be refused; writes nothing. */
int qcow2_edit_resize_check(struct qcow2_edit *edit,
                            const struct qcow2_resize *resize,
                            struct img_error *err);

/* What qcow2_edit_amend changes; a field that is not set stays. */
struct qcow2_amend_options {
    uint32_t version;       /* 0: as it is */
    uint32_t refcount_bits; /* 0: as it is */
    int lazy_refcounts;     /* -1: as it is */
    int data_file_raw;      /* -1: as it is; 1 is IMG_USAGE, as in QEMU */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};
/* All that go together, as qemu-img amend does: version 2 needs 16-bit
   refcounts, no feature of version 3, zero clusters are written out. */
int qcow2_edit_amend(struct qcow2_edit *edit,
                     const struct qcow2_amend_options *options,
                     struct img_error *err);
/* Only what would be refused; writes nothing. */
int qcow2_edit_amend_check(struct qcow2_edit *edit,
                           const struct qcow2_amend_options *options,
                           struct img_error *err);

/* Record another name for the external data file (NULL: none), which the image
   must have. */
int qcow2_edit_set_data_file(struct qcow2_edit *edit, const char *name,
                             struct img_error *err);

/*
 * The guest bytes [OFF, OFF + LEN) change: enabled persistent bitmaps mark
 * them. The marks are stable before the data that they stand for can be
 * (next commit). Done by place, zero, discard unless is_content_kept; callers
 * that write into places that were there before use place, too.
 */
int qcow2_edit_bitmaps_mark(struct qcow2_edit *edit, uint64_t off, uint64_t len,
                            struct img_error *err);

/*
 * An undo record: the first cluster and what tells this file, as bytes to be
 * stored (free with free()); and the way back. Restoring is atomic, and
 * refused (IMG_CHANGED) when tables other than backing name, format and
 * feature names differ from the record, or it belongs to another file.
 */
int qcow2_edit_undo_record(struct qcow2_edit *edit, uint8_t **out, size_t *len,
                           struct img_error *err);
int qcow2_edit_undo(struct qcow2_edit *edit, const uint8_t *record, size_t len,
                    struct img_error *err);

#endif
