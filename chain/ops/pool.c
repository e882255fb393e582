/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffers: see pool.h.
 */
#include "pool.h"

#include <stdlib.h>

#include <img/checked.h>
#include <img/memory.h>

void chain_pool_fini(struct chain_pool *pool)
{
    while (pool->nr > 0) {
        free(pool->spare[--pool->nr]);
    }
}

uint8_t *chain_pool_get(struct chain_pool *pool, size_t len,
                        struct img_error *err)
{
    if (len <= pool->buffer_len && pool->nr > 0) {
        return pool->spare[--pool->nr];
    }
    return img_alloc_aligned(img_max(len, pool->buffer_len), err);
}

void chain_pool_put(struct chain_pool *pool, uint8_t *buf, size_t len)
{
    if (buf && len <= pool->buffer_len && pool->nr < CHAIN_POOL_MAX) {
        pool->spare[pool->nr++] = buf;
    } else {
        free(buf);
    }
}
