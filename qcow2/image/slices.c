/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache of L2 slices: see slices.h. Room: qcow2/image. */
#include "slices.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

void qcow2_slices_init(struct qcow2_slices *slices, uint32_t table_len)
{
    memset(slices, 0, sizeof(*slices));
    slices->len = (uint32_t)img_min(table_len, QCOW2_SLICE_MAX_LEN);
}

void qcow2_slices_fini(struct qcow2_slices *slices)
{
    for (size_t i = 0; i < QCOW2_SLICES_NR; i++) {
        free(slices->slot[i].bytes);
    }
    memset(slices, 0, sizeof(*slices));
}

static struct qcow2_slice *slice_oldest(struct qcow2_slices *slices)
{
    struct qcow2_slice *oldest = &slices->slot[0];

    for (size_t i = 1; i < QCOW2_SLICES_NR; i++) {
        if (slices->slot[i].used_at < oldest->used_at) {
            oldest = &slices->slot[i];
        }
    }
    return oldest;
}

int qcow2_slices_get(struct qcow2_slices *slices, struct img_file *file,
                     uint64_t off, const uint8_t **bytes, bool *is_fresh,
                     struct img_error *err)
{
    *is_fresh = false;
    for (size_t i = 0; i < QCOW2_SLICES_NR; i++) {
        struct qcow2_slice *slot = &slices->slot[i];

        if (slot->used_at != 0 && slot->off == off) {
            slot->used_at = ++slices->clock;
            *bytes = slot->bytes;
            return 0;
        }
    }

    struct qcow2_slice *slot = slice_oldest(slices);

    if (!slot->bytes) {
        slot->bytes = img_calloc(1, slices->len, err);
        if (!slot->bytes) {
            return -1;
        }
    }
    slot->used_at = 0;
    if (img_file_read_padded(file, slot->bytes, slices->len, off, NULL, err)) {
        return -1;
    }
    slot->off = off;
    slot->used_at = ++slices->clock;
    *bytes = slot->bytes;
    *is_fresh = true;
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
