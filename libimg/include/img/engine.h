/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine: many reads and writes in flight from one thread.
 *
 * An engine belongs to one thread at a time, and stays with it while requests
 * are in flight (own ring, own queue). Requests are the
 * caller's memory and must stay valid until img_engine_wait hands them back.
 * Two implementations behind the one interface: io_uring, and a synchronous
 * twin (pread, pwrite) for kernels without it and for tests; both give the same
 * results. Files without a descriptor (memory, faults) are always read
 * and written synchronously. Requests are not ordered among each other.
 */
#ifndef IMG_ENGINE_H
#define IMG_ENGINE_H

#include <img/error.h>
#include <img/file.h>

enum img_engine_kind {
    IMG_ENGINE_AUTO, /* io_uring if the kernel lets us, else sync */
    IMG_ENGINE_URING,
    IMG_ENGINE_SYNC,
};

struct img_engine;

enum img_request_op {
    IMG_REQUEST_READ,
    IMG_REQUEST_WRITE, /* the file must be open for writing; it may grow */
};

/*
 * LEN bytes at OFF, into BUF or from it. Reading: bytes past the end of the
 * file are zeroed. After img_engine_wait RESULT is 0 or a negative errno. With
 * a file opened direct, requests that are not aligned are served through a
 * bounce buffer.
 */
struct img_request {
    struct img_file *file; /* borrowed */
    enum img_request_op op;
    void *buf; /* a write leaves it as it is */
    size_t len;
    uint64_t off;
    int result;
    void *owner; /* the caller's */
    /* the engine's: */
    size_t done_;
    void *bounce_;
    struct img_request *next_;
};

/*
 * DEPTH requests may be under way at once (1 to 4096). IMG_ENGINE_AUTO never
 * fails for want of io_uring; IMG_ENGINE_URING is then IMG_UNSUPPORTED.
 */
int img_engine_new(enum img_engine_kind kind, unsigned depth,
                   struct img_engine **out, struct img_error *err);

/*
 * Rings made ahead of need, for a process that will not be allowed to make
 * any later. They are restricted to plain reads, so that writes of an engine
 * that took one fail. At most NR of DEPTH each: as many as the kernel grants,
 * perhaps none. The stock must outlive the engines made from it.
 */
struct img_ring_stock;
int img_ring_stock_new(unsigned nr, unsigned depth, struct img_ring_stock **out,
                       struct img_error *err);
/* NULL is fine. */
void img_ring_stock_free(struct img_ring_stock *stock);
/* How many are there to be taken. */
unsigned img_ring_stock_nr(struct img_ring_stock *stock);
/* The descriptor of the one at IDX of these; -1 past the end. */
int img_ring_stock_fd(struct img_ring_stock *stock, unsigned idx);
/* As img_engine_new, with a ring of STOCK (may be NULL) if it has one. */
int img_engine_new_from(struct img_ring_stock *stock, enum img_engine_kind kind,
                        unsigned depth, struct img_engine **out,
                        struct img_error *err);

/* Waits for what is in flight (buffers must still be valid), then frees. */
void img_engine_free(struct img_engine *engine);
/* IMG_ENGINE_URING or IMG_ENGINE_SYNC: what was chosen. */
enum img_engine_kind img_engine_kind(const struct img_engine *engine);

/*
 * Queue a request. Fails with IMG_LIMIT when DEPTH are in flight already: wait
 * first. What is queued is handed to the kernel together at the next wait.
 */
int img_engine_submit(struct img_engine *engine, struct img_request *request,
                      struct img_error *err);
/* The next finished request, in any order; NULL in *out if none is queued. */
int img_engine_wait(struct img_engine *engine, struct img_request **out,
                    struct img_error *err);
unsigned img_engine_in_flight(const struct img_engine *engine);

#endif
