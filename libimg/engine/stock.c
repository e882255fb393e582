/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room engine: rings that were made ahead.
 *
 * A process that confines itself gives up the call that makes rings: through
 * a new ring it could do what its filter of system calls does not see. The
 * rings of a stock were made before, can do nothing but read, and go from one
 * engine to the next.
 */
#include <pthread.h>
#include <stdlib.h>

#include <img/memory.h>

#include "ring.h"

struct img_ring_stock {
    pthread_mutex_t lock; /* engines may be freed by their own threads */
    unsigned depth;       /* of each ring */
    unsigned nr, room;
    struct io_uring rings[];
};

int img_ring_stock_new(unsigned nr, unsigned depth, struct img_ring_stock **out,
                       struct img_error *err)
{
    struct img_ring_stock *stock =
        img_calloc(1, sizeof(*stock) + nr * sizeof(stock->rings[0]), err);

    if (!stock) {
        return -1;
    }
    if (pthread_mutex_init(&stock->lock, NULL) != 0) {
        free(stock);
        return img_fail_memory(err);
    }
    stock->depth = depth;
    stock->room = nr;
    while (stock->nr < nr && img_ring_new(depth, IMG_RING_READ_ONLY,
                                          &stock->rings[stock->nr]) == 0) {
        stock->nr++;
    }
    *out = stock;
    return 0;
}

void img_ring_stock_free(struct img_ring_stock *stock)
{
    if (!stock) {
        return;
    }
    while (stock->nr > 0) {
        io_uring_queue_exit(&stock->rings[--stock->nr]);
    }
    pthread_mutex_destroy(&stock->lock);
    free(stock);
}

unsigned img_ring_stock_nr(struct img_ring_stock *stock)
{
    unsigned nr;

    pthread_mutex_lock(&stock->lock);
    nr = stock->nr;
    pthread_mutex_unlock(&stock->lock);
    return nr;
}

int img_ring_stock_fd(struct img_ring_stock *stock, unsigned idx)
{
    int fd;

    pthread_mutex_lock(&stock->lock);
    fd = idx < stock->nr ? stock->rings[idx].ring_fd : -1;
    pthread_mutex_unlock(&stock->lock);
    return fd;
}

bool img_ring_stock_take(struct img_ring_stock *stock, unsigned depth,
                         struct io_uring *ring)
{
    bool is_taken = false;

    pthread_mutex_lock(&stock->lock);
    if (stock->nr > 0 && depth <= stock->depth) {
        *ring = stock->rings[--stock->nr];
        is_taken = true;
    }
    pthread_mutex_unlock(&stock->lock);
    return is_taken;
}

void img_ring_stock_return(struct img_ring_stock *stock,
                           const struct io_uring *ring)
{
    pthread_mutex_lock(&stock->lock);
    /* There is room: it was taken from here. */
    stock->rings[stock->nr++] = *ring;
    pthread_mutex_unlock(&stock->lock);
}
