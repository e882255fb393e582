/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Handing a pre-created file to a running QEMU, over QMP: its disk goes on in
 * that file, with the guest running. docs/pivot.md has the order of the
 * commands, and what remains after which failure.
 *
 * Nothing is judged here but what only the running QEMU knows: that is
 * chain/validate.h's work, before. One thread at a time.
 */
#ifndef CHAIN_PIVOT_H
#define CHAIN_PIVOT_H

#include <chain/chain.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A connection to a running QEMU. */
struct chain_live;

/*
 * Connect to the QMP socket at that path, or the inherited one of "fd:N".
 * TIMEOUT_MS: for each answer; 0: half a minute. IMG_NOT_FOUND, IMG_DENIED,
 * IMG_SYSTEM, IMG_IO: it cannot be reached; IMG_FORMAT, IMG_LIMIT: what answers
 * is no QMP server; IMG_UNSUPPORTED: a QEMU older than 5.0.
 */
IMG_PUBLIC int chain_live_open(const char *name, unsigned timeout_ms,
                               struct chain_live **out, struct img_error *err);
/* NULL is fine. */
IMG_PUBLIC void chain_live_close(struct chain_live *live);
IMG_PUBLIC void chain_live_version(const struct chain_live *live,
                                   unsigned *major, unsigned *minor);

/* A layer of a disk as QEMU runs it. */
struct chain_live_layer {
    char *node, *storage;    /* node names: of the format, of what it lies on */
    char *format;            /* QEMU's driver name */
    char *path;              /* of the file, from here */
    uint64_t dev, ino, rdev; /* of what is there now; rdev: of a device */
    uint64_t virtual_len;
    bool is_read_only;
    bool is_held; /* the file at that path is open in QEMU: its descriptors,
                     or its locks, say so */
};

/* Zeroed is empty. */
struct chain_live_disk {
    struct chain_live_layer *layers; /* the active one first */
    size_t nr;
    char *root; /* the node above all filters of the active layer */
    char *job;  /* a block job that has one of them; NULL: none */
};

/*
 * The disk of DEVICE (its id, QOM path or drive name), or if that is NULL the
 * one whose active layer is, or is under, node NODE. IMG_NOT_FOUND: there is
 * none; IMG_UNSUPPORTED: a layer is no local file. Free with
 * chain_live_disk_fini.
 */
IMG_PUBLIC int chain_live_disk_find(struct chain_live *live, const char *device,
                                    const char *node,
                                    struct chain_live_disk *out,
                                    struct img_error *err);
IMG_PUBLIC void chain_live_disk_fini(struct chain_live_disk *disk);

/*
 * Is what QEMU runs what the files' headers say? File by file (device and
 * inode), format and virtual size. With TOP_ONLY only the active layer is
 * looked at. IMG_CHANGED where it is not.
 */
IMG_PUBLIC int chain_live_disk_check(const struct chain_live_disk *disk,
                                     const struct img_roots *roots,
                                     bool top_only, struct img_error *err);

enum chain_pivot_kind {
    CHAIN_PIVOT_SNAPSHOT,     /* dest becomes the overlay of the disk */
    CHAIN_PIVOT_COPY,         /* the whole disk is copied into dest */
    CHAIN_PIVOT_SHALLOW_COPY, /* its active layer is; dest has a backing file */
};

/* A file under the destination. */
struct chain_pivot_backing {
    const char *path;
    const char *format;
};

struct chain_pivot_disk {
    const char *device, *node; /* see chain_live_disk_find */
    const char *dest;          /* an absolute path; QEMU is told it as it is */
    const char *dest_format;
    /*
     * Shallow copies: what the destination stands on or will, from the top
     * down, where that is other files than the disk stands on. The caller has
     * shown that they show the same.
     */
    const struct chain_pivot_backing *backings;
    size_t backings_nr;
};

enum chain_pivot_outcome {
    CHAIN_PIVOT_PLANNED, /* a dry run */
    CHAIN_PIVOT_TAKEN,
    CHAIN_PIVOT_FAILED,
};

struct chain_pivot_request {
    enum chain_pivot_kind kind;
    const struct chain_pivot_disk *disks; /* several: snapshots only */
    size_t disks_nr;
    uint64_t bandwidth; /* bytes a second that a copy may take; 0: any */
    bool no_pivot;      /* copies: leave the job when it is ready */
    bool dry_run;       /* ask, but change nothing */
    const struct img_roots *roots;
    const volatile int *cancel;
    /* Called with OPAQUE; each may be NULL. */
    void *opaque;
    /*
     * Is disk IDX still as it was judged? Called right before its file is
     * given to QEMU, and again right before a copy is ended.
     */
    int (*check)(void *opaque, size_t idx, struct img_error *err);
    /* A command that changes something: JSON, and why it failed, or NULL. */
    void (*command)(void *opaque, const char *text,
                    enum chain_pivot_outcome outcome,
                    const struct img_error *why);
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
};

/* What the guest runs on. */
enum chain_pivot_state {
    CHAIN_PIVOT_ON_SOURCE,
    CHAIN_PIVOT_READY, /* the same; the copy is complete, and kept so */
    CHAIN_PIVOT_ON_DEST,
    CHAIN_PIVOT_UNKNOWN, /* QEMU can no longer be asked */
};

struct chain_pivot_result {
    enum chain_pivot_state state;
    bool is_resumed; /* a copy that an earlier run had begun */
    char **remains;  /* nodes and jobs that QEMU holds and nobody uses */
    size_t remains_nr;
};
IMG_PUBLIC void chain_pivot_result_fini(struct chain_pivot_result *result);

/* What an earlier run of this program has left in QEMU for a destination. */
enum chain_pivot_left {
    CHAIN_PIVOT_NOTHING,
    CHAIN_PIVOT_NODES,   /* nodes that nobody uses */
    CHAIN_PIVOT_COPYING, /* a copy of this kind, which can be gone on with */
    CHAIN_PIVOT_STALE,   /* a job that can only be cancelled */
    CHAIN_PIVOT_OVER,    /* the disk runs on the destination */
};
/* Of disk IDX of REQUEST. A destination that is not there has left nothing. */
IMG_PUBLIC int chain_pivot_look(struct chain_live *live,
                                const struct chain_pivot_request *request,
                                size_t idx, enum chain_pivot_left *out,
                                struct img_error *err);
/*
 * Cancel its job, and remove its nodes as far as nobody uses them. A NULL dest
 * stands for that of the copy under way; IMG_NOT_FOUND: there is none.
 */
IMG_PUBLIC int chain_pivot_abort(struct chain_live *live,
                                 const struct chain_pivot_request *request,
                                 size_t idx, struct chain_pivot_result *out,
                                 struct img_error *err);

/*
 * Pivot: all disks or none. A copy of the same kind that an earlier run has
 * left in QEMU is gone on with. On failure the job is cancelled and the nodes
 * are removed that were added; OUT then says how things stand, and has to be
 * freed in any case (chain_pivot_result_fini). IMG_REFUSED: QEMU says no, or a
 * job of its failed, with its words. IMG_CANCELLED; IMG_CHANGED; IMG_LOCKED: a
 * block job has the disk; IMG_USAGE: sizes differ, and the like.
 */
IMG_PUBLIC int chain_pivot(struct chain_live *live,
                           const struct chain_pivot_request *request,
                           struct chain_pivot_result *out,
                           struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
