/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest view: a chain as a stream of extents over the guest's addresses.
 *
 * This is the one walker: map prints it, compare walks two of them. A view
 * borrows its chain and belongs to one thread; any number of views may be
 * made of one chain as long as they are used by the same thread.
 */
#ifndef CHAIN_VIEW_H
#define CHAIN_VIEW_H

#include <chain/chain.h>
#include <img/extent.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_view;

/* An extent of the view: never IMG_EXTENT_UNALLOCATED. */
struct chain_extent {
    struct img_extent e; /* e.host_off counts from where e.file begins, which
                            for a slice is not where the file on disk does
                            (img_file_fd tells by how much) */
    size_t layer;        /* index of the layer that decides what is seen */
    bool is_present;     /* the layer owns it; false: no layer does, it reads as
                            zeros because nothing is there */
};

/*
 * A view of the layers from FIRST down (0: what the guest of the whole chain
 * sees; 1: what its backing file shows). FIRST == chain_depth is a view of
 * zeros of length 0. Every layer must be readable (IMG_UNSUPPORTED, naming
 * file and reason).
 */
IMG_PUBLIC int chain_view_new(const struct chain *chain, size_t first,
                              struct chain_view **out, struct img_error *err);
IMG_PUBLIC void chain_view_free(struct chain_view *view);
/* Guest bytes: the virtual size of layer FIRST. */
IMG_PUBLIC uint64_t chain_view_len(const struct chain_view *view);
IMG_PUBLIC const struct chain *chain_view_chain(const struct chain_view *view);
/* chain_check_unchanged of the layers that it shows. */
int chain_view_check_unchanged(const struct chain_view *view,
                               struct img_error *err);

/*
 * The extent at OFF, at most LEN bytes, LEN > 0. Past the end of the view
 * everything reads as zeros (layer FIRST, not present). Extents are as long
 * as the layers allow: neighbours that are alike (kind, layer and contiguous
 * host offsets) come as one, across metadata tables; but what one call does
 * is bounded, so that two extents in a row may be alike, and parts of
 * different compressed clusters always are two. A layer that is shorter
 * than the one above reads as zeros past its end, at the depth QEMU reports
 * (the layer above). Going forward is cheap: a layer is asked again only
 * where its last answer ended.
 */
IMG_PUBLIC int chain_view_at(struct chain_view *view, uint64_t off,
                             uint64_t len, struct chain_extent *out,
                             struct img_error *err);

/* Read and inflate, one request at a time: for small reads and tests. */
IMG_PUBLIC int chain_view_read(struct chain_view *view, void *buf, size_t len,
                               uint64_t off, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
