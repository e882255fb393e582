/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sink that writes nothing: what reaches it, in guest order, goes into a
 * digest. See chain/digest.h for the two constructions.
 */
#ifndef CHAIN_OPS_SINK_DIGEST_H
#define CHAIN_OPS_SINK_DIGEST_H

#include <chain/digest.h>
#include <img/hash.h>

#include "mover.h"

struct chain_digest_sink {
    struct chain_sink sink;
    enum chain_digest_kind kind;
    struct img_sha256 *hash;
    const volatile int *cancel; /* or NULL */
    uint8_t *zeros;             /* a block of them, or of their digests */
    uint64_t len;               /* guest bytes that came */
};

int chain_digest_sink_init(struct chain_digest_sink *sink,
                           enum chain_digest_kind kind,
                           const volatile int *cancel, struct img_error *err);
/* Accepts a zeroed one. */
void chain_digest_sink_fini(struct chain_digest_sink *sink);
/* All has come. */
void chain_digest_sink_final(struct chain_digest_sink *sink,
                             uint8_t out[CHAIN_DIGEST_LEN]);

#endif
