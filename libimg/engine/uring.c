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
 *
 * The ring is made disabled, restricted to plain reads and writes and then
 * enabled, where the kernel can (5.10): whatever gets hold of it can open
 * nothing.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <img/memory.h>

#include "engine_impl.h"

struct uring_engine {
    struct img_engine engine;
    struct io_uring ring;
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
        io_uring_queue_exit(&uring->ring);
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

/*
 * liburing's io_uring_register_restrictions and io_uring_enable_rings are
 * declared but not exported by its version 2.3. 0 or a negative
 * errno.
 */
static int register_call(const struct io_uring *ring, unsigned opcode,
                         const void *arg, unsigned nr)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, opcode, arg, nr) < 0
               ? -errno
               : 0;
}

/* Only plain reads and writes. Kernels that cannot restrict go without. */
static void restrict_ring(const struct io_uring *ring)
{
    struct io_uring_restriction allowed[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE},
    };

    (void)register_call(ring, IORING_REGISTER_RESTRICTIONS, allowed,
                        sizeof(allowed) / sizeof(allowed[0]));
}

/* IORING_OP_READ and its twin are younger (5.6) than rings (5.1). */
static int check_operations(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool has_both = probe && io_uring_opcode_supported(probe, IORING_OP_READ) &&
                    io_uring_opcode_supported(probe, IORING_OP_WRITE);

    io_uring_free_probe(probe);
    return has_both ? 0 : -EOPNOTSUPP;
}

/* 0 or a negative errno, with which nothing is left behind. */
static int make_ring(unsigned depth, unsigned flags, struct io_uring *ring)
{
    int rc = io_uring_queue_init(depth, ring, flags);

    if (rc < 0) {
        return rc;
    }
    if (flags & IORING_SETUP_R_DISABLED) {
        restrict_ring(ring);
        rc = register_call(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    } else {
        rc = check_operations(ring);
    }
    if (rc < 0) {
        io_uring_queue_exit(ring);
    }
    return rc < 0 ? rc : 0;
}

/*
 * From the newest kernel's flags (5.19, 5.10) to none. A single issuer with
 * deferred task work (6.1) was measured to be no faster, and would tie the
 * ring to the thread that made it.
 */
static int make_best_ring(unsigned depth, struct io_uring *ring)
{
    static const unsigned flags[] = {
        IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN,
        IORING_SETUP_R_DISABLED,
        0,
    };
    int rc = -EINVAL;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        rc = make_ring(depth, flags[i], ring);
        if (rc != -EINVAL) {
            break;
        }
    }
    return rc;
}

int img_engine_uring_new(unsigned depth, struct img_engine **out,
                         struct img_error *err)
{
    struct uring_engine *uring = img_calloc(1, sizeof(*uring), err);
    int rc;

    if (!uring) {
        return -1;
    }
    uring->engine.ops = &uring_ops;
    uring->engine.kind = IMG_ENGINE_URING;
    uring->batch = depth / 4 > 0 ? depth / 4 : 1;
    rc = make_best_ring(depth, &uring->ring);
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
