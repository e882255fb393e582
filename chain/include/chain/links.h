/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Do the layers of a chain fit together? What each layer says of the one
 * below it, against what that one is.
 */
#ifndef CHAIN_LINKS_H
#define CHAIN_LINKS_H

#include <chain/chain.h>

enum chain_link_kind {
    CHAIN_LINK_NOTE,       /* works, but worth knowing */
    CHAIN_LINK_CORRUPTION, /* the guest does not see what it should */
    CHAIN_LINK_ERROR,      /* what is below cannot be opened */
};

struct chain_link_problem {
    enum chain_link_kind kind;
    const char *id;      /* for programs; static, stays the same */
    uint64_t off;        /* in the upper file: what names the lower one */
    const char *message; /* one line, escaped; only valid in the callback */
};

/*
 * Call TOLD for each problem of the link from layer IDX to the one below it,
 * and where the chain is broken there (chain_broken) for what broke it. Reads
 * no more than the headers.
 */
int chain_link_check(const struct chain *chain, size_t idx,
                     void (*told)(void *opaque,
                                  const struct chain_link_problem *problem),
                     void *opaque, struct img_error *err);

#endif
