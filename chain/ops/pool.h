/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffers of one length, the one used last handed out first: it is still in
 * the processor's cache, and no more are touched than are needed at once.
 * One thread at a time.
 */
#ifndef CHAIN_OPS_POOL_H
#define CHAIN_OPS_POOL_H

#include <stddef.h>
#include <stdint.h>

#include <img/error.h>

#define CHAIN_POOL_MAX 64u

struct chain_pool {
    size_t buffer_len;
    uint8_t *spare[CHAIN_POOL_MAX];
    unsigned nr;
};

void chain_pool_fini(struct chain_pool *pool);

/* At least LEN bytes, fit for direct I/O; one of its own for a LEN above
   buffer_len. */
uint8_t *chain_pool_get(struct chain_pool *pool, size_t len,
                        struct img_error *err);
/* Give back what chain_pool_get gave for LEN. NULL is fine. */
void chain_pool_put(struct chain_pool *pool, uint8_t *buf, size_t len);

#endif
