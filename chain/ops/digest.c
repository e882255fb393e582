/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The digest of a view: see chain/digest.h. The mover brings the bytes to a
 * sink that writes nothing.
 */
#include <chain/digest.h>

#include <img/checked.h>
#include <img/memory.h>

#include "sink_digest.h"

/* So much is pushed between two looks at cancelling and progress. */
#define STEP_LEN (1ull << 30)

struct digestion {
    const struct chain_digest_options *options;
    uint64_t total;
};

static void tell(void *opaque, uint64_t done)
{
    const struct digestion *digestion = opaque;
    const struct chain_digest_options *options = digestion->options;

    options->progress(options->opaque, done, digestion->total);
}

static int push_all(struct chain_mover *mover, struct chain_view *view,
                    struct img_error *err)
{
    uint64_t end = chain_view_len(view);

    for (uint64_t off = 0; off < end;) {
        uint64_t len = img_min(end - off, STEP_LEN);

        if (chain_mover_push_range(mover, view, off, len, false, err) != 0) {
            return -1;
        }
        off += len;
    }
    return chain_mover_sync(mover, err);
}

static void mover_free(struct chain_mover **mover)
{
    chain_mover_free(*mover);
}

static int run(struct chain_digest_sink *sink, struct chain_view *view,
               const struct chain_digest_options *options,
               struct chain_digest_result *out, struct img_error *err)
{
    struct digestion digestion = {options, chain_view_len(view)};
    bool is_blocks = options->kind == CHAIN_DIGEST_BLOCKS;
    struct chain_mover_options moving = {
        .engine = (enum img_engine_kind)options->engine,
        .rings = options->rings,
        .threads = options->threads,
        .budget_len = options->budget_len,
        /* Zeros are found much faster than they are digested. */
        .sparse_len = is_blocks ? CHAIN_DIGEST_BLOCK_LEN : 0,
        .digest = is_blocks,
        .cancel = options->cancel,
        .progress = options->progress ? tell : NULL,
        .opaque = &digestion,
    };
    IMG_AUTO(mover_free) struct chain_mover *mover = NULL;

    if (chain_mover_new(&sink->sink, &moving, &mover, err) != 0 ||
        push_all(mover, view, err) != 0) {
        return -1;
    }
    out->zero_len = chain_mover_moved(mover)->zero_len;
    out->read_len = chain_mover_moved(mover)->read_len;
    return 0;
}

int chain_digest_rings(const struct chain_digest_options *options,
                       struct img_ring_stock **out, struct img_error *err)
{
    *out = NULL;
    return options->engine == IMG_ENGINE_SYNC
               ? 0
               : img_ring_stock_new(1, CHAIN_MOVER_DEPTH, out, err);
}

int chain_digest(struct chain_view *view,
                 const struct chain_digest_options *options,
                 struct chain_digest_result *out, struct img_error *err)
{
    IMG_AUTO(chain_digest_sink_fini) struct chain_digest_sink sink = {0};

    *out = (struct chain_digest_result){.len = chain_view_len(view)};
    if (chain_digest_sink_init(&sink, options->kind, options->cancel, err) !=
            0 ||
        run(&sink, view, options, out, err) != 0 ||
        chain_check_unchanged(chain_view_chain(view), err) != 0) {
        return -1;
    }
    chain_digest_sink_final(&sink, out->digest);
    return 0;
}
