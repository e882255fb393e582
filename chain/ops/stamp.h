/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was judged, file by file: see chain_report_stamp. */
#ifndef CHAIN_OPS_STAMP_H
#define CHAIN_OPS_STAMP_H

#include <chain/chain.h>
#include <chain/checks.h>

/* What the top of a chain is. */
enum chain_stamp_top {
    CHAIN_STAMP_SOURCE,
    CHAIN_STAMP_MOVING, /* a source that a guest writes */
    CHAIN_STAMP_DEST,
};

/*
 * Note every file of CHAIN (external data files too) that is not noted yet.
 * CHAIN may be NULL.
 */
int chain_stamp_chain(struct chain_report *report, const struct chain *chain,
                      enum chain_stamp_top top, struct img_error *err);
/*
 * Look at the same files again through CHAIN: IMG_CHANGED, naming the file,
 * when one is no longer as it was noted. Those of layer BUT (-1: none) may be
 * other than they were.
 */
int chain_stamp_recheck(const struct chain_report *report,
                        const struct chain *chain, int but,
                        struct img_error *err);

#endif
