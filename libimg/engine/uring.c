/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine: io_uring.
 *
 * Requests are handed over together: when nothing finished is at hand, or
 * when a quarter of the depth has piled up. The ring has an entry for each
 * request of the depth, so that neither of its queues can overflow.
 *
 * A request is in one of three places: the dispatcher's queue, the ring
 * (ring_nr: prepared and not answered), or done (finished, not handed back).
 * Those without a descriptor go from the queue to done as they are, and are
 * done as they are handed back: the kernel works meanwhile.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "engine_impl.h"
#include "ring.h"

struct uring_engine {
    struct img_engine engine;
    struct io_uring ring;
    struct img_ring_stock *stock; /* where the ring came from, or NULL */
    bool has_ring;
    unsigned ring_nr;
    unsigned batch;
    struct img_request_queue done;
};

/* Put the next step of REQUEST into the ring, or finish it. */
static void advance(struct uring_engine *uring, struct img_request *request)
{
    struct img_request_step step;
    struct io_uring_sqe *sqe;

    if (!img_request_next_step(request, &step)) {
        img_request_queue_push(&uring->done, request);
        return;
    }
    sqe = io_uring_get_sqe(&uring->ring);
    if (!sqe) { /* never: the ring has a place for each of the depth */
        img_request_finish_sync(request);
        img_request_queue_push(&uring->done, request);
        return;
    }
    if (step.op == IMG_REQUEST_WRITE) {
        io_uring_prep_write(sqe, step.fd, step.buf, step.len, step.off);
    } else {
        io_uring_prep_read(sqe, step.fd, step.buf, step.len, step.off);
    }
    io_uring_sqe_set_data(sqe, request);
    uring->ring_nr++;
}

static void take_queue(struct uring_engine *uring)
{
    struct img_request *request;

    while ((request = img_request_queue_pop(&uring->engine.queue))) {
        if (img_request_needs_sync(request)) {
            img_request_queue_push(&uring->done, request);
        } else {
            advance(uring, request);
        }
    }
}

/* Take over what the kernel has answered; asks it nothing. */
static void take_answers(struct uring_engine *uring)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&uring->ring, &cqe) == 0 && cqe) {
        struct img_request *request = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        io_uring_cqe_seen(&uring->ring, cqe);
        uring->ring_nr--;
        if (img_request_take_result(request, res)) {
            advance(uring, request);
        } else {
            img_request_queue_push(&uring->done, request);
        }
    }
}

/* Neither at work on a request nor with an answer that was not taken. */
static bool is_kernel_idle(const struct uring_engine *uring)
{
    return uring->ring_nr == io_uring_sq_ready(&uring->ring);
}

/* Hand everything over and, if MUST_WAIT, wait for an answer. */
static int enter(struct uring_engine *uring, bool must_wait,
                 struct img_error *err)
{
    struct io_uring_cqe *cqe;
    int rc;

    do {
        rc = io_uring_submit_and_wait(&uring->ring, must_wait ? 1 : 0);
    } while (rc == -EINTR);
    if (rc >= 0) {
        return 0;
    }
    if ((rc != -EAGAIN && rc != -EBUSY) || is_kernel_idle(uring)) {
        return img_fail_sys(err, -rc, "cannot submit requests to io_uring");
    }
    /* Short of resources: the rest is accepted after some answers. */
    while (must_wait && io_uring_wait_cqe(&uring->ring, &cqe) == -EINTR) {
    }
    return 0;
}

static int make_progress(struct uring_engine *uring, struct img_error *err)
{
    take_queue(uring);
    if (uring->ring_nr == 0) {
        return 0;
    }
    if (enter(uring, uring->done.nr == 0, err)) {
        return -1;
    }
    take_answers(uring);
    return 0;
}

static int uring_wait(struct img_engine *engine, struct img_request **out,
                      struct img_error *err)
{
    struct uring_engine *uring = (struct uring_engine *)engine;

    take_answers(uring);
    if (engine->queue.nr >= uring->batch && make_progress(uring, err)) {
        return -1;
    }
    while (uring->done.nr == 0) {
        if (make_progress(uring, err)) {
            return -1;
        }
    }
    *out = img_request_queue_pop(&uring->done);
    if (img_request_needs_sync(*out)) {
        img_request_finish_sync(*out);
    }
    img_request_release(*out);
    return 0;
}

static void uring_free(struct img_engine *engine)
{
    struct uring_engine *uring = (struct uring_engine *)engine;
    struct img_request *request;
    struct img_error err;

    if (uring->has_ring) {
        while (uring->ring_nr > 0 && enter(uring, true, &err) == 0) {
            take_answers(uring);
        }
        if (uring->stock && uring->ring_nr == 0) {
            img_ring_stock_return(uring->stock, &uring->ring);
        } else {
            io_uring_queue_exit(&uring->ring);
        }
    }
    while ((request = img_request_queue_pop(&uring->done))) {
        img_request_release(request);
    }
    free(uring);
}

static const struct img_engine_ops uring_ops = {
    .wait = uring_wait,
    .free = uring_free,
};

int img_engine_uring_new(unsigned depth, struct img_ring_stock *stock,
                         struct img_engine **out, struct img_error *err)
{
    struct uring_engine *uring = img_calloc(1, sizeof(*uring), err);
    int rc = 0;

    if (!uring) {
        return -1;
    }
    uring->engine.ops = &uring_ops;
    uring->engine.kind = IMG_ENGINE_URING;
    uring->batch = depth / 4 > 0 ? depth / 4 : 1;
    if (stock && img_ring_stock_take(stock, depth, &uring->ring)) {
        uring->stock = stock;
    } else {
        rc = img_ring_new(depth, IMG_RING_READ_WRITE, &uring->ring);
    }
    if (rc < 0) {
        free(uring);
        img_fail_sys(err, -rc, "cannot use io_uring");
        err->code = IMG_UNSUPPORTED;
        return -1;
    }
    uring->has_ring = true;
    *out = &uring->engine;
    return 0;
}
