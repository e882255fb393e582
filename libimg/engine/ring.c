/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine: making a ring: see ring.h.
 *
 * It is made disabled, restricted to plain reads and writes and then enabled,
 * where the kernel can (5.10): whatever gets hold of it can open nothing.
 */
#include "ring.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* Only plain reads, and writes where USE has them. */
static int restrict_ring(const struct io_uring *ring, enum img_ring_use use)
{
    struct io_uring_restriction allowed[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE},
    };

    return register_call(ring, IORING_REGISTER_RESTRICTIONS, allowed,
                         use == IMG_RING_READ_WRITE ? 2 : 1);
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
static int make_ring(unsigned depth, unsigned flags, enum img_ring_use use,
                     struct io_uring *ring)
{
    int rc = io_uring_queue_init(depth, ring, flags);

    if (rc < 0) {
        return rc;
    }
    if (flags & IORING_SETUP_R_DISABLED) {
        rc = restrict_ring(ring, use);
        /* A ring of an engine's own goes without where it must. */
        if (rc == 0 || use == IMG_RING_READ_WRITE) {
            rc = register_call(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        }
    } else {
        rc = use == IMG_RING_READ_WRITE ? check_operations(ring) : -EOPNOTSUPP;
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
int img_ring_new(unsigned depth, enum img_ring_use use, struct io_uring *ring)
{
    static const unsigned flags[] = {
        IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN,
        IORING_SETUP_R_DISABLED,
        0,
    };
    int rc = -EINVAL;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        rc = make_ring(depth, flags[i], use, ring);
        if (rc != -EINVAL) {
            break;
        }
    }
    return rc;
}
