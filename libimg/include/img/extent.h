/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extents: runs of guest bytes and where they lie. The one value that maps,
 * views and comparisons speak in.
 */
#ifndef IMG_EXTENT_H
#define IMG_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct img_file;

enum img_extent_kind {
    IMG_EXTENT_UNALLOCATED, /* the layer says nothing: look below */
    IMG_EXTENT_ZERO,        /* reads as zeros */
    IMG_EXTENT_DATA,        /* the bytes at host_off of file */
    IMG_EXTENT_COMPRESSED,  /* part of a compressed cluster */
};

/*
 * A run of guest bytes of one kind that lie, when they have a place, at
 * contiguous host offsets. Runs are as long as the layer allows within what
 * was asked for; compressed runs cover at most one cluster.
 */
struct img_extent {
    enum img_extent_kind kind;
    uint64_t guest_off;
    uint64_t len;
    bool has_host;      /* host_off is valid: data, preallocated zeros,
                           unallocated subclusters of a host cluster */
    bool reads_as_hole; /* data that lies in a hole of its file, where the
                           image keeps preallocated metadata: QEMU reports
                           such a range as zero as well */
    uint64_t host_off;
    struct img_file *file; /* borrowed; where host_off is; NULL: no place */
    /* IMG_EXTENT_COMPRESSED: the whole cluster this is a part of. */
    uint64_t unit_guest_off; /* where it begins for the guest */
    uint32_t unit_len;       /* bytes it inflates to */
    uint32_t host_len;       /* stored bytes at host_off, at most */
};

#ifdef __cplusplus
}
#endif
#endif
