/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room engine, private: rings, and a stock of rings made ahead. */
#ifndef IMG_ENGINE_RING_H
#define IMG_ENGINE_RING_H

#include <liburing.h>
#include <stdbool.h>

#include <img/engine.h>

enum img_ring_use {
    IMG_RING_READ_WRITE, /* restricted where the kernel can */
    IMG_RING_READ_ONLY,  /* restricted to that, or none */
};

/* 0 or a negative errno, with which nothing is left behind. */
int img_ring_new(unsigned depth, enum img_ring_use use, struct io_uring *ring);

/* A ring with room for DEPTH requests. False: none is left. Any thread. */
bool img_ring_stock_take(struct img_ring_stock *stock, unsigned depth,
                         struct io_uring *ring);
/* Put back a ring that has nothing in flight. Any thread. */
void img_ring_stock_return(struct img_ring_stock *stock,
                           const struct io_uring *ring);

#endif
