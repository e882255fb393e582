/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine, private: what both engines share.
 *
 * The dispatcher (engine.c) keeps the requests that were submitted but not
 * begun in a queue; an implementation takes them from there. A request that
 * is finished early waits in a second queue to be handed back.
 */
#ifndef ENGINE_IMPL_H
#define ENGINE_IMPL_H

#include <stdbool.h>

#include <img/engine.h>

struct img_request_queue {
    struct img_request *head, *tail;
    unsigned nr;
};

void img_request_queue_push(struct img_request_queue *queue,
                            struct img_request *request);
/* NULL if it is empty. */
struct img_request *img_request_queue_pop(struct img_request_queue *queue);

struct img_engine_ops {
    /* The next finished request; one is under way. */
    int (*wait)(struct img_engine *engine, struct img_request **out,
                struct img_error *err);
    /* Lets nothing go on in the background, frees the struct. */
    void (*free)(struct img_engine *engine);
};

/* Implementations embed this as their first member. */
struct img_engine {
    const struct img_engine_ops *ops;
    enum img_engine_kind kind;
    unsigned depth;
    unsigned in_flight;             /* submitted and not handed back */
    struct img_request_queue queue; /* not begun */
};

int img_engine_sync_new(struct img_engine **out, struct img_error *err);
/* IMG_UNSUPPORTED when the kernel has no io_uring for us. STOCK: NULL or where
   a ring is looked for first. */
int img_engine_uring_new(unsigned depth, struct img_ring_stock *stock,
                         struct img_engine **out, struct img_error *err);

/* A part of a request for a file descriptor: what a kernel is asked. */
struct img_request_step {
    enum img_request_op op;
    int fd;
    void *buf; /* a write leaves it as it is */
    uint32_t len;
    uint64_t off; /* in the descriptor */
};

/* Has the file no descriptor? */
bool img_request_needs_sync(const struct img_request *request);
/* Read or write all that is missing now and set the result. */
void img_request_finish_sync(struct img_request *request);
/*
 * The next step that REQUEST needs. False: it is finished (result is set).
 * Allocates the bounce buffer if the step is not aligned.
 */
bool img_request_next_step(struct img_request *request,
                           struct img_request_step *step);
/*
 * The kernel answered the last step with RES (bytes or a negative errno).
 * False: the request is finished.
 */
bool img_request_take_result(struct img_request *request, int res);
/* Drop the bounce buffer. */
void img_request_release(struct img_request *request);

#endif
