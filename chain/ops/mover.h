/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mover: brings guest bytes from where a view says they lie to where a
 * sink wants them. Copy, rebase and commit move bytes by it and nothing else.
 *
 * The calling thread walks (it pushes extents, ascending), keeps reads and
 * writes in flight through one engine, and asks the sink for places, in guest
 * order: with the same input the output is the same, whatever the timing.
 * Other threads only compute: inflate, deflate, digest, look for zeros. A byte
 * budget bounds what is in flight. Where threads cannot be had the calling one
 * computes.
 */
#ifndef CHAIN_OPS_MOVER_H
#define CHAIN_OPS_MOVER_H

#include <chain/view.h>
#include <img/engine.h>
#include <qcow2/deflate.h>
#include <qcow2/edit.h>

/* Reads and writes that the engine may have at once. */
#define CHAIN_MOVER_DEPTH 256u

/*
 * Where bytes are to go. Implementations embed this as their first member.
 * Called from the thread that owns the mover, offsets ascending.
 */
struct chain_sink {
    const struct chain_sink_ops *ops;
    uint32_t granule;  /* data and zeros are told apart in this unit */
    uint32_t unit_len; /* guest bytes of a unit to be compressed, or digested;
                          0: it cannot */
};

struct chain_sink_ops {
    /* [OFF, OFF + LEN) is data: the place of its first bytes. */
    int (*data)(struct chain_sink *sink, uint64_t off, uint64_t len,
                struct qcow2_place *out, struct img_error *err);
    /* It reads as zeros: the sink does what is needed for that. *as_data:
       nothing was done, zeros must be stored as data. */
    int (*zero)(struct chain_sink *sink, uint64_t off, uint64_t len,
                bool *as_data, struct img_error *err);
    /* The unit at OFF is stored as LEN bytes. NULL where unit_len is 0. */
    int (*compressed)(struct chain_sink *sink, uint64_t off, uint32_t len,
                      struct qcow2_place *out, struct img_error *err);
    /* NULL, or instead of data and compressed: nothing is written, the sink
       has the BYTES of [OFF, OFF + LEN) for the time of the call, or what a
       unit became. */
    int (*take)(struct chain_sink *sink, uint64_t off, uint64_t len,
                const void *bytes, size_t bytes_len, struct img_error *err);
};

/* sink_fresh.c, sink_raw.c, sink_edit.c. SINK is the caller's memory. */
struct chain_fresh_sink {
    struct chain_sink sink;
    struct qcow2_fresh *fresh; /* borrowed */
    struct img_file *file;     /* borrowed; of the image itself */
    bool has_backing;
};
/* HAS_BACKING: zeros must be said. UNIT_LEN: the cluster, to be compressed; 0:
   not. */
void chain_fresh_sink_init(struct chain_fresh_sink *sink,
                           struct qcow2_fresh *fresh, struct img_file *file,
                           bool has_backing, uint32_t unit_len);

struct chain_raw_sink {
    struct chain_sink sink;
    struct img_file *file; /* borrowed */
    bool is_zero; /* the file reads as zeros where nothing is written */
};
void chain_raw_sink_init(struct chain_raw_sink *sink, struct img_file *file,
                         bool is_zero);

struct chain_edit_sink {
    struct chain_sink sink;
    struct qcow2_edit *edit; /* borrowed */
    uint64_t whole_off;      /* the cluster that was placed whole last */
    bool is_zero_below;      /* nothing shows through: zeros are given up */
};
void chain_edit_sink_init(struct chain_edit_sink *sink,
                          struct qcow2_edit *edit);
/*
 * With subclusters: does the cluster of OFF, not all of which is data, get a
 * place for all of it nevertheless? Zeros in it must then be said.
 */
int chain_edit_sink_is_whole(struct chain_edit_sink *sink, uint64_t off,
                             bool *out, struct img_error *err);

struct chain_mover_options {
    enum img_engine_kind engine;
    struct img_ring_stock *rings; /* NULL, or where the engine's ring may be
                                     taken from: then nothing is written */
    unsigned threads;             /* that compute; 0: one per core, at most 8 */
    uint64_t budget_len;          /* buffers in flight; 0: 64 MiB */
    uint64_t sparse_len; /* so many zeros in a row, aligned, are zeros and not
                            data (qemu-img -S), rounded up to a power of two,
                            at most 2 MiB; 0: data is never looked at */
    bool share;          /* let blocks be shared where the file systems can;
                            these are not looked at */
    bool compress;       /* the sink's units, with COMPRESSION and EFFORT */
    enum qcow2_compression compression;
    enum qcow2_effort effort;
    bool digest; /* the sink's units become their SHA-256 */
    const volatile int *cancel;
    /* Guest bytes pushed that are done; from the calling thread. */
    void (*progress)(void *opaque, uint64_t done);
    void *opaque;
};

struct chain_moved {
    uint64_t read_len;       /* from source files, compressed as stored */
    uint64_t written_len;    /* to the sink's files */
    uint64_t zero_len;       /* guest bytes that became zeros */
    uint64_t found_zero_len; /* of these: were data at the source */
    uint64_t shared_len;     /* blocks shared, not written */
};

struct chain_mover;

int chain_mover_new(struct chain_sink *sink,
                    const struct chain_mover_options *options,
                    struct chain_mover **out, struct img_error *err);
/* Ends all threads; waits for what is in flight. NULL is fine. */
void chain_mover_free(struct chain_mover *mover);

/*
 * The guest bytes of EXTENT, which VIEW showed, are to be moved; may wait for
 * room. Extents ascend and begin and end at multiples of the sink's granule
 * but for the disk's end (with compress: of its unit), when neighbouring ones
 * are put together. Fails with the first error of any piece: the text names
 * the file that could not be read or written. IMG_CANCELLED.
 */
int chain_mover_push(struct chain_mover *mover, struct chain_view *view,
                     const struct chain_extent *extent, struct img_error *err);
/*
 * Push all of [OFF, OFF + LEN) that VIEW shows; what it does not have (not
 * present) is skipped when SKIP_ABSENT, else zeros.
 */
int chain_mover_push_range(struct chain_mover *mover, struct chain_view *view,
                           uint64_t off, uint64_t len, bool skip_absent,
                           struct img_error *err);
/* All that was pushed is written (not flushed). */
int chain_mover_sync(struct chain_mover *mover, struct img_error *err);
const struct chain_moved *chain_mover_moved(const struct chain_mover *mover);
/* What its engine is: IMG_ENGINE_URING or IMG_ENGINE_SYNC. */
enum img_engine_kind chain_mover_engine(const struct chain_mover *mover);

#endif
