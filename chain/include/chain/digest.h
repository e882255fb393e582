/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A digest of what a view shows: the same for every format, compression and
 * layout of a chain that shows the guest the same bytes.
 */
#ifndef CHAIN_DIGEST_H
#define CHAIN_DIGEST_H

#include <chain/view.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHAIN_DIGEST_LEN 32u
#define CHAIN_DIGEST_BLOCK_LEN (64u << 10)

enum chain_digest_kind {
    /*
     * SHA-256 of the SHA-256 of each block of 64 KiB (the last one may be
     * short), one after another, and of the length in bytes as a little
     * endian number of 64 bits. Blocks of zeros cost nothing, and blocks are
     * digested on all cores.
     */
    CHAIN_DIGEST_BLOCKS,
    /* SHA-256 of all bytes: what sha256sum says of a raw image. */
    CHAIN_DIGEST_FLAT,
};

struct img_ring_stock;

struct chain_digest_options {
    enum chain_digest_kind kind;
    int engine; /* enum img_engine_kind; 0 chooses by itself */
    struct img_ring_stock *rings; /* see chain_digest_rings; NULL: none */
    unsigned threads;             /* that compute; 0: one per core, at most 8 */
    uint64_t budget_len;          /* bytes in flight; 0: 64 MiB */
    const volatile int *cancel;   /* stops with IMG_CANCELLED when set */
    /* Guest bytes that are done, of TOTAL; from the calling thread. */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

struct chain_digest_result {
    uint8_t digest[CHAIN_DIGEST_LEN];
    uint64_t len;      /* guest bytes, all that the view shows */
    uint64_t zero_len; /* of these: known or found to be zeros */
    uint64_t read_len; /* from files, compressed as stored */
};

/*
 * Digest all of VIEW. IMG_IO and IMG_CORRUPT name the file that could not be
 * read; IMG_CHANGED: a file of the chain changed meanwhile.
 */
IMG_PUBLIC int chain_digest(struct chain_view *view,
                            const struct chain_digest_options *options,
                            struct chain_digest_result *out,
                            struct img_error *err);

/*
 * The ring of a digest with OPTIONS, made ahead of need by a process that will
 * not be allowed to make any later; NULL when it uses none. Free with
 * img_ring_stock_free.
 */
int chain_digest_rings(const struct chain_digest_options *options,
                       struct img_ring_stock **out, struct img_error *err);

#ifdef __cplusplus
}
#endif
#endif
