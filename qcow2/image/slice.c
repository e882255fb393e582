/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The L2 slice at hand: see slice.h. Room: qcow2/image. */
#include "slice.h"

#include <fcntl.h>
#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

void qcow2_slice_init(struct qcow2_slice *slice, uint32_t table_len)
{
    *slice = (struct qcow2_slice){
        .len = (uint32_t)img_min(table_len, QCOW2_SLICE_MAX_LEN),
    };
}

void qcow2_slice_fini(struct qcow2_slice *slice)
{
    free(slice->bytes);
    *slice = (struct qcow2_slice){0};
}

int qcow2_slice_get(struct qcow2_slice *slice, struct img_file *file,
                    uint64_t off, const uint8_t **bytes, bool *is_fresh,
                    struct img_error *err)
{
    *is_fresh = !slice->is_loaded || slice->off != off;
    if (!slice->bytes) {
        slice->bytes = img_calloc(1, slice->len, err);
        if (!slice->bytes) {
            return -1;
        }
    }
    if (*is_fresh) {
        slice->is_loaded = false;
        if (img_file_read_padded(file, slice->bytes, slice->len, off, NULL,
                                 err)) {
            return -1;
        }
        slice->off = off;
        slice->is_loaded = true;
    }
    *bytes = slice->bytes;
    return 0;
}

void qcow2_prefetch(struct img_file *file, uint64_t off, uint64_t len)
{
    uint64_t base = 0;
    uint64_t start;
    int fd = img_file_fd(file, &base);

    if (fd >= 0 && len <= IMG_OFF_MAX && img_add(base, off, &start)) {
        (void)posix_fadvise(fd, (off_t)start, (off_t)len, POSIX_FADV_WILLNEED);
    }
}
