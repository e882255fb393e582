/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Do two chains show the guest the same bytes? With proof.
 *
 * Two views are walked in lockstep. A piece is settled, in this order: same
 * file, same host offset and same kind; both read as zeros; both lie in
 * physical extents that the file system shares (FIEMAP); read and compared.
 */
#ifndef CHAIN_COMPARE_H
#define CHAIN_COMPARE_H

#include <chain/chain.h>
#include <chain/report.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chain_view;
struct img_ring_stock;

enum chain_verdict {
    CHAIN_IDENTICAL,
    CHAIN_DIFFERENT,
    CHAIN_UNPROVEN,
};

struct chain_compare_options {
    bool strict_size;           /* other sizes are different (qemu-img -s) */
    bool all;                   /* go on after the first difference */
    bool no_identity;           /* read even what identity would settle */
    bool no_shared;             /* do not ask for physical extents */
    int engine;                 /* 0: io_uring if possible, 1: io_uring,
                                   2: one read after the other */
    unsigned threads;           /* 0: one per core, at most 8; never
                                   more than 64 */
    uint64_t start_off;         /* compare from this guest offset on */
    uint64_t limit_len;         /* compare only so many bytes; 0: all */
    uint64_t budget_len;        /* bytes in flight over all; 0: 64 MiB */
    const volatile int *cancel; /* IMG_CANCELLED when it becomes non-zero */
    /* For a process that may make no io_uring any more (chain_compare_rings);
       NULL: they are made as they are needed. Borrowed. */
    struct img_ring_stock *rings;
    /* Called from the calling thread, now and then. May be NULL. */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    /* With ALL: a differing range, ascending, neighbours merged, called from
       the calling thread. May be NULL. */
    void (*difference)(void *opaque, uint64_t off, uint64_t len);
    /* Is what begins at OFF of no interest (true)? *len, at first all that is
       left, is how far the answer goes, at least 1. What is of no interest
       stands nowhere in the result. From the calling thread. May be NULL. */
    bool (*skip)(void *opaque, uint64_t off, uint64_t *len);
    void *opaque;
};

struct chain_compare_result {
    enum chain_verdict verdict;
    bool has_difference;
    uint64_t first_difference; /* guest offset */
    bool is_size_different;    /* strict_size and the sizes differ */
    uint64_t len;              /* from start_off to the longer end, at
                                  most limit_len */
    struct chain_proof proof;
    /* CHAIN_UNPROVEN, or 0 returned with a doubt: why, with the path. */
    struct img_error why;
};

/*
 * As many rings as a comparison with OPTIONS can use, made now; none (NULL)
 * when it uses none. Free with img_ring_stock_free.
 */
int chain_compare_rings(const struct chain_compare_options *options,
                        struct img_ring_stock **out, struct img_error *err);

/*
 * Compare two views (chain/view.h) up to the longer end; the shorter one
 * reads as zeros past its end. Differences are exact to the byte with ALL;
 * without it the first difference is exact. Returns -1 only when comparing
 * could not begin or was cancelled; a read or format error half-way is
 * CHAIN_UNPROVEN with WHY filled in, unless a difference was found. A file
 * that either view shows and that changed makes it unproven, too. Which side
 * failed: why.path.
 */
IMG_PUBLIC int chain_compare(struct chain_view *a, struct chain_view *b,
                             const struct chain_compare_options *options,
                             struct chain_compare_result *out,
                             struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
