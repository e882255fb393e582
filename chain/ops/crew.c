/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The workers of one comparison: see crew.h.
 */
#include "crew.h"

#include <string.h>

#include <img/checked.h>
#include <img/engine.h>

#define BUDGET_DEFAULT_LEN (64ull << 20)
/* A piece's usual length: both sides of it stay in the second-level cache
   together, and a slow device still gets large reads. */
#define TARGET_MAX_LEN (256ull << 10)
#define TARGET_MIN_LEN (64ull << 10)
/* So many pieces a worker should be able to keep in flight. */
#define TARGET_PIECES 16ull
/* Pieces waiting before one more worker is worth its start. */
#define BACKLOG_MIN 2u

void chain_crew_init(struct chain_crew *crew, struct chain_queue *queue,
                     const struct chain_compare_options *options)
{
    uint64_t budget =
        options->budget_len ? options->budget_len : BUDGET_DEFAULT_LEN;

    memset(crew, 0, sizeof(*crew));
    crew->queue = queue;
    crew->max = img_threads_nr(options->threads);
    crew->options.engine = (enum img_engine_kind)options->engine;
    crew->options.rings = options->rings;
    crew->options.all = options->all;
    crew->options.budget_len = budget / crew->max;
    uint64_t target = budget / (2 * TARGET_PIECES);
    target = img_max(TARGET_MIN_LEN, img_min(target, TARGET_MAX_LEN));
    crew->options.target_len = (uint32_t)img_align_down(target, TARGET_MIN_LEN);
}

int chain_compare_rings(const struct chain_compare_options *options,
                        struct img_ring_stock **out, struct img_error *err)
{
    *out = NULL;
    if (options->engine == IMG_ENGINE_SYNC) {
        return 0;
    }
    return img_ring_stock_new(img_threads_nr(options->threads),
                              CHAIN_WORKER_DEPTH, out, err);
}

static int add_worker(struct chain_crew *crew, struct img_error *err)
{
    if (chain_worker_new(crew->queue, &crew->options, &crew->workers[crew->nr],
                         err) != 0) {
        return -1;
    }
    crew->nr++;
    return 0;
}

int chain_crew_hire(struct chain_crew *crew, struct img_error *err)
{
    struct img_error ignored;

    if (crew->is_full || crew->nr == crew->max ||
        chain_queue_backlog(crew->queue) < BACKLOG_MIN) {
        return 0;
    }
    if (add_worker(crew, crew->nr == 0 ? err : &ignored) != 0) {
        crew->is_full = true;
        return crew->nr == 0 ? -1 : 0;
    }
    if (chain_worker_start(crew->workers[crew->nr - 1], &ignored) == 0) {
        crew->has_threads = true;
        return 0;
    }
    crew->is_full = true;
    if (crew->has_threads) {
        /* Go on with those there are. */
        chain_worker_free(crew->workers[--crew->nr]);
    }
    return 0;
}

int chain_crew_work(struct chain_crew *crew, struct img_error *err)
{
    if (crew->has_threads || chain_queue_backlog(crew->queue) == 0) {
        return 0;
    }
    if (crew->nr == 0 && add_worker(crew, err) != 0) {
        return -1;
    }
    chain_worker_drain(crew->workers[0]);
    return 0;
}

void chain_crew_fini(struct chain_crew *crew)
{
    while (crew->nr > 0) {
        chain_worker_free(crew->workers[--crew->nr]);
    }
}
