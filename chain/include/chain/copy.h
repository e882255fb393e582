/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying a chain's contents: full (flattened) or shallow (the active layer
 * over the same backing file).
 */
#ifndef CHAIN_COPY_H
#define CHAIN_COPY_H

#include <chain/create.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chain_cache {
    CHAIN_CACHE_AUTO,   /* whatever was measured to be fastest */
    CHAIN_CACHE_CACHED, /* through the page cache */
    CHAIN_CACHE_DIRECT, /* O_DIRECT */
};

enum chain_phase {
    CHAIN_PHASE_CHECK, /* of the destination or the plan */
    CHAIN_PHASE_COPY,
    CHAIN_PHASE_FLUSH,
    CHAIN_PHASE_VERIFY,
};

struct chain_copy_request {
    const char *source;
    const char *source_format;        /* NULL: probe */
    const char *source_snapshot;      /* internal one, or NULL */
    struct chain_create_request dest; /* path, format, options, style,
                                         backing_name and _format to record
                                         for a shallow copy other than the
                                         source's own (NULL: the source's) */
    bool shallow;
    bool compress;
    int effort;          /* 0 default, 1 fast, 2 best */
    bool into_existing;  /* -n: must pass chain_validate as a copy; dest's
                            options and format are as they are there */
    bool target_is_zero; /* only with into_existing, not with shallow; checked
                            first */
    uint64_t sparse_len; /* -S; 0: never look for zeros, and a new full copy is
                            allocated throughout; default 4096 */
    bool bitmaps;        /* persistent bitmaps of the active layer, too */
    bool skip_broken_bitmaps; /* those that were not closed */
    /* ... each of which is told: any bytes, for the time of the call. */
    void (*skipped_bitmap)(void *opaque, const char *name);
    enum chain_cache source_cache, dest_cache; /* -T, -t */
    bool no_share;                             /* no reflinks */
    bool verify; /* compare afterwards, reading everything */
    bool force_share, allow_probe;
    unsigned max_depth;
    unsigned threads;
    int engine; /* as in chain_compare_options */
    uint64_t budget_len;
    const volatile int *cancel;
    void (*progress)(void *opaque, enum chain_phase phase, uint64_t done,
                     uint64_t total);
    void *opaque;
};

struct chain_copy_result {
    struct chain_made made;
    uint64_t data_len; /* guest bytes that are data in the source */
    uint64_t zero_len; /* guest bytes that read as zeros */
    uint64_t read_len, written_len, shared_len;
    uint64_t needed_len; /* bytes of the destination's file system, at most */
    uint64_t space_left; /* UINT64_MAX: unknown */
    const char *engine;  /* "io_uring", "sync" */
    bool is_source_direct, is_dest_direct;
    bool is_verified;
    /* With into_existing, when it is refused: why. NULL else. */
    struct chain_report *report;
};
IMG_PUBLIC void chain_copy_request_init(struct chain_copy_request *request);
IMG_PUBLIC void chain_copy_result_fini(struct chain_copy_result *result);

/*
 * Copy. A new destination appears under its name when it is complete and
 * flushed; after a failure or IMG_CANCELLED nothing is left of it. One that
 * existed and was written into is named in the text with the state it is in.
 * With dest.dry_run only the plan is made. IMG_SYSTEM with ENOSPC before
 * anything is written when it cannot fit.
 */
IMG_PUBLIC int chain_copy(const struct chain_copy_request *request,
                          struct chain_copy_result *out, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
