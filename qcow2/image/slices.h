/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small cache of pieces of L2 tables; private to qcow2/image.
 *
 * A slice is at most 64 KiB of one table, so that the memory of an image
 * stays the same whatever its cluster size: QCOW2_SLICES_NR times 64 KiB,
 * each allocated when it is first used. The slice that was not used for the
 * longest time makes room.
 */
#ifndef QCOW2_IMAGE_SLICES_H
#define QCOW2_IMAGE_SLICES_H

#include <img/error.h>
#include <img/file.h>

#define QCOW2_SLICES_NR 4u
#define QCOW2_SLICE_MAX_LEN (64u << 10)

struct qcow2_slice {
    uint64_t off;     /* in the file */
    uint64_t used_at; /* 0: empty */
    uint8_t *bytes;
};

struct qcow2_slices {
    struct qcow2_slice slot[QCOW2_SLICES_NR];
    uint64_t clock;
    uint32_t len; /* of every slice */
};

/* For tables of TABLE_LEN bytes. Zeroed is empty; needs no memory yet. */
void qcow2_slices_init(struct qcow2_slices *slices, uint32_t table_len);
void qcow2_slices_fini(struct qcow2_slices *slices);

/*
 * The slice that begins at OFF of FILE; *bytes is borrowed until the next
 * call. What lies past the end of the file is zeros. *is_fresh: it was read
 * just now.
 */
int qcow2_slices_get(struct qcow2_slices *slices, struct img_file *file,
                     uint64_t off, const uint8_t **bytes, bool *is_fresh,
                     struct img_error *err);

/*
 * Tell the kernel that LEN bytes at OFF of FILE will be read soon. Costs
 * little when they are cached; does nothing for files without a descriptor.
 */
void qcow2_prefetch(struct img_file *file, uint64_t off, uint64_t len);

#endif
