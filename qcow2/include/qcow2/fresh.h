/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fresh writer: a new qcow2 image in one ascending pass.
 *
 * The caller says in ascending guest order what each range is to be, and gets
 * the place for data, in ascending host order; it writes the bytes itself,
 * with as many requests in flight as it likes. L2 tables and refcount blocks
 * go out in large writes as they are complete and are forgotten; only the L1
 * table and the refcount table are held. The header goes last: until
 * qcow2_fresh_finish has returned, the file is no image. The same calls give
 * the same file.
 *
 * One thread at a time.
 */
#ifndef QCOW2_FRESH_H
#define QCOW2_FRESH_H

#include <img/write.h>
#include <qcow2/create.h>

struct qcow2_fresh;

/*
 * Begin in FILE (writable; own reference). What FILE holds is overwritten: a
 * header that is there is destroyed and flushed first, a regular file is cut
 * to nothing. With a data file DATA_FILE (writable, own reference) takes the
 * data, at its guest offsets; else NULL. Errors as qcow2_create_options_check
 * and of the files.
 */
int qcow2_fresh_new(struct img_file *file, struct img_file *data_file,
                    const struct qcow2_create_options *options,
                    struct qcow2_fresh **out, struct img_error *err);
/* Also of one that was not finished: what is in the file is no image then. */
void qcow2_fresh_free(struct qcow2_fresh *fresh);

/* Reserving space, which can take long, is IMG_CANCELLED when *CANCEL. */
void qcow2_fresh_cancel_by(struct qcow2_fresh *fresh,
                           const volatile int *cancel);

/* Guest offsets and lengths below are multiples of this, but for the end of
   the disk: the cluster, or the subcluster with extended L2. */
uint32_t qcow2_fresh_granule(const struct qcow2_fresh *fresh);

/* Where bytes go. */
struct qcow2_place {
    struct img_file *file; /* borrowed */
    uint64_t host_off;
    uint64_t len; /* of guest bytes that go there in one piece */
};

/*
 * [OFF, OFF + LEN) is data. *out says where its first bytes go, as far as
 * they are contiguous; call again for the rest. The caller must have written
 * them before qcow2_fresh_finish. Where a cluster begins or ends amid the
 * range or beyond the disk, what is not written reads as zeros.
 */
int qcow2_fresh_data(struct qcow2_fresh *fresh, uint64_t off, uint64_t len,
                     struct qcow2_place *out, struct img_error *err);
/*
 * The cluster at OFF is stored compressed, as LEN bytes, less than a cluster,
 * at *host_off (any byte). Several share a host cluster.
 */
int qcow2_fresh_compressed(struct qcow2_fresh *fresh, uint64_t off,
                           uint32_t len, uint64_t *host_off,
                           struct img_error *err);
/*
 * [OFF, OFF + LEN) reads as zeros though a backing file might say otherwise.
 * Version 2 has no such entries: IMG_UNSUPPORTED with a backing file (the
 * caller then stores zeros as data), else nothing needs to be done.
 */
int qcow2_fresh_zero(struct qcow2_fresh *fresh, uint64_t off, uint64_t len,
                     struct img_error *err);

/*
 * A persistent bitmap of the new image: the serialised bits, BITS_LEN bytes,
 * LSB first, one for each GRANULARITY guest bytes. At any time before finish.
 */
struct qcow2_fresh_bitmap {
    const char *name;
    uint64_t granularity;
    uint32_t flags; /* QCOW2_BITMAP_FLAG_AUTO */
    const uint8_t *bits;
    uint64_t bits_len;
};
int qcow2_fresh_bitmap_add(struct qcow2_fresh *fresh,
                           const struct qcow2_fresh_bitmap *bitmap,
                           struct img_error *err);

/*
 * The image is complete: remaining tables, flush of data and metadata, the
 * header, flush. Preallocation is done here for what was not placed before.
 */
int qcow2_fresh_finish(struct qcow2_fresh *fresh, struct img_error *err);

/* Where the image ends in its file, as far as it has been placed. A file that
   was made longer for the sake of speed can be cut there when it is finished.
 */
uint64_t qcow2_fresh_end(const struct qcow2_fresh *fresh);

/*
 * An upper bound of the file length that an image with these options needs
 * for DATA_LEN bytes of data, counted in clusters that they touch (as qemu-img
 * measure reckons; bitmaps come on top); for checks of space and progress.
 */
uint64_t qcow2_fresh_measure(const struct qcow2_create_options *options,
                             uint64_t data_len);

#endif
