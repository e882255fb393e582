/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The counting half of a check: refcounts recomputed from everything that
 * refers to a cluster, compared with the stored ones. Changes nothing.
 */
#ifndef QCOW2_CHECK_H
#define QCOW2_CHECK_H

#include <img/engine.h>
#include <img/image.h>

enum qcow2_problem_kind {
    QCOW2_PROBLEM_CORRUPTION, /* counts as one of QEMU's corruptions */
    QCOW2_PROBLEM_LEAK,       /* counts as one of QEMU's leaks */
    QCOW2_PROBLEM_ERROR,      /* something could not be checked */
};

struct qcow2_problem {
    enum qcow2_problem_kind kind;
    const char *id; /* what is wrong, for programs; static, stays the same */
    uint64_t off;   /* in the file, of what the problem is about */
    /*
     * What the bytes belong to, or what refers to the cluster: "header",
     * "l1-table", "l2-table", "data", "compressed-data", "snapshot-table",
     * "snapshot-l1-table", "snapshot-l2-table", "snapshot-data",
     * "refcount-table", "refcount-block", "encryption-header",
     * "bitmap-directory", "bitmap-table", "bitmap-data", "data-file". Static;
     * NULL: nothing, or it was not looked for.
     */
    const char *owner;
    bool has_guest_off;
    uint64_t guest_off;  /* what the owner maps: one of the active tables */
    const char *message; /* one line, escaped; only valid in the callback */
};

struct qcow2_check_options {
    /* Called for each problem, up to max_problems; NULL: only count. */
    void (*problem)(void *opaque, const struct qcow2_problem *problem);
    void *opaque;
    uint64_t max_problems;        /* 0: no limit */
    uint64_t max_memory;          /* for the count array; 0: by the file,
                                     see qcow2_check_memory */
    enum img_engine_kind engine;  /* for what is read ahead */
    struct img_ring_stock *rings; /* see qcow2_check_rings; NULL: none */
    /*
     * Threads that read tables and see through them: 0: one a processor, at
     * most 8, and none for a small image; 1: none but the calling one. What
     * is found, and in which order, does not depend on it.
     */
    unsigned threads;
    const volatile int *cancel; /* stops with IMG_CANCELLED when set */
    /* Called now and then with 0..1; may be NULL. */
    void (*progress)(void *opaque, double fraction);
};

/* QEMU's ImageCheck counts. */
struct qcow2_check_result {
    uint64_t corruptions;
    uint64_t beyond_qemu; /* of these: such as QEMU's check has no eye for */
    uint64_t leaks;
    uint64_t check_errors;
    uint64_t total_clusters; /* guest clusters */
    uint64_t allocated_clusters;
    uint64_t fragmented_clusters;
    uint64_t compressed_clusters;
    uint64_t image_end_off;
};

/*
 * Check a qcow2 image, opened for a check or not (qcow2_options). An external
 * data file that the image was given is looked at, too. What QEMU's check has
 * no eye for, but no reading of the image accepts, is a corruption here
 * (docs/security.md lists it). 0 when the whole image was looked at, whatever
 * was found; -1 when it could not be (IMG_LIMIT, IMG_IO, IMG_MEMORY,
 * IMG_CANCELLED). Memory: one byte per host cluster in use, in pieces, within
 * max_memory.
 */
int qcow2_check(struct img_image *image,
                const struct qcow2_check_options *options,
                struct qcow2_check_result *out, struct img_error *err);

/*
 * Bytes of memory that a check or a repair of the image in FILE may take for
 * counting, unless told otherwise: 48 MiB and half of what the file really
 * holds, holes aside, but at most 512 MiB. A cluster is counted in one byte,
 * and what refers to it is an entry of eight.
 */
uint64_t qcow2_check_memory(const struct img_file *file);

/*
 * The rings of a check with OPTIONS (engine, threads), made ahead of need by a
 * process that will not be allowed to make any later; IS_DIRECT: of a file that
 * is read past the page cache. NULL when it uses none. Free with
 * img_ring_stock_free.
 */
int qcow2_check_rings(const struct qcow2_check_options *options, bool is_direct,
                      struct img_ring_stock **out, struct img_error *err);

#endif
