/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The piece of an L2 table that the map looks at; private to qcow2/image.
 *
 * A slice is at most 64 KiB of one table, so that the memory of an image
 * stays the same whatever its cluster size. One is kept: the map is walked
 * forward, and a chain of 200 layers has 200 of them. It is allocated when it
 * is first used.
 */
#ifndef QCOW2_IMAGE_SLICE_H
#define QCOW2_IMAGE_SLICE_H

#include <stdbool.h>

#include <img/error.h>
#include <img/file.h>

#define QCOW2_SLICE_MAX_LEN (64u << 10)

struct qcow2_slice {
    uint8_t *bytes;
    uint32_t len;
    bool is_loaded;
    uint64_t off; /* in the file */
};

/* For tables of TABLE_LEN bytes. Zeroed is empty; needs no memory yet. */
void qcow2_slice_init(struct qcow2_slice *slice, uint32_t table_len);
void qcow2_slice_fini(struct qcow2_slice *slice);

/*
 * The slice that begins at OFF of FILE; *bytes is borrowed until the next
 * call. What lies past the end of the file is zeros. *is_fresh: it was read
 * just now.
 */
int qcow2_slice_get(struct qcow2_slice *slice, struct img_file *file,
                    uint64_t off, const uint8_t **bytes, bool *is_fresh,
                    struct img_error *err);

/*
 * Tell the kernel that LEN bytes at OFF of FILE will be read soon. Costs
 * little when they are cached; does nothing for files without a descriptor.
 */
void qcow2_prefetch(struct img_file *file, uint64_t off, uint64_t len);

#endif
