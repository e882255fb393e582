/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Planning a rebase: see rebase_plan.h.
 *
 * Where the new chain has zeros by its tables and the old one has data, the
 * data is to be moved anyway unless it is all zeros, which the mover finds out
 * while it has it: such granules are not compared first. A granule that is
 * only in part like this is; and so are subclusters of a cluster that the
 * overlay may have something in, as all of it may have to be moved with them.
 */
#include "rebase_plan.h"

#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

#include "diff.h"

/* Of one window; three bits each: 1.5 MiB. */
#define WINDOW_GRANULES (4u << 20)
/* Guest bytes that must be compared or moved before a window ends. */
#define WINDOW_WORK_LEN (512ull << 20)

static void set_bits(uint8_t *bits, size_t first, size_t end)
{
    for (; first < end && first % 8 != 0; first++) {
        bits[first / 8] |= (uint8_t)(1u << (first % 8));
    }
    size_t bytes = first < end ? (end - first) / 8 : 0;
    memset(bits + first / 8, 0xff, bytes);
    for (first += bytes * 8; first < end; first++) {
        bits[first / 8] |= (uint8_t)(1u << (first % 8));
    }
}

int chain_rebase_planner_init(struct chain_rebase_planner *planner,
                              struct chain_view *old, struct chain_view *next,
                              const struct qcow2_header *header,
                              struct img_error *err)
{
    struct chain_rebase_window *window = &planner->window;

    memset(planner, 0, sizeof(*planner));
    chain_lockstep_init(&planner->walk, old, next, 0, 0);
    planner->header = header;
    uint64_t granules = img_min(
        WINDOW_GRANULES, img_div_up(planner->walk.end, header->subcluster_len));
    /* Whole clusters of 32 subclusters. */
    size_t bytes = (size_t)img_align_up(granules, 32) / 8 + 1;
    window->unsure = img_calloc(bytes, 3, err);
    if (!window->unsure) {
        return -1;
    }
    window->differ = window->unsure + bytes;
    window->data = window->differ + bytes;
    planner->settler.physical = chain_physical_new(err);
    return planner->settler.physical ? 0 : -1;
}

void chain_rebase_planner_fini(struct chain_rebase_planner *planner)
{
    chain_physical_free(planner->settler.physical);
    free(planner->window.unsure);
    memset(planner, 0, sizeof(*planner));
}

static size_t granule_of(const struct chain_rebase_planner *planner,
                         uint64_t off)
{
    return (size_t)((off - planner->window.off) /
                    planner->header->subcluster_len);
}

static void set_range(const struct chain_rebase_planner *planner, uint8_t *bits,
                      uint64_t off, uint64_t len)
{
    set_bits(bits, granule_of(planner, off),
             granule_of(planner, off + len - 1) + 1);
}

static uint64_t stored_len(const struct chain_stretch *stretch, uint64_t len)
{
    return stretch->e.kind == IMG_EXTENT_ZERO ? 0 : len;
}

/* LEN bytes are not settled: BOTH is what the two sides show. */
static void note_unsettled(struct chain_rebase_planner *planner,
                           const struct chain_stretch *both, uint64_t len)
{
    struct chain_rebase_window *window = &planner->window;
    uint64_t off = planner->walk.off;

    if (both[1].e.kind == IMG_EXTENT_ZERO) {
        set_range(planner, window->differ, off, len);
        return;
    }
    set_range(planner, window->unsure, off, len);
    planner->compare_len +=
        stored_len(&both[0], len) + stored_len(&both[1], len);
}

static void note_settled(struct chain_rebase_planner *planner,
                         enum chain_settled how, uint64_t len)
{
    struct chain_proof *proof = &planner->settled;

    if (how == CHAIN_SETTLED_SAME_FILE) {
        proof->same_file_len += len;
    } else if (how == CHAIN_SETTLED_BOTH_ZERO) {
        proof->both_zero_len += len;
    } else {
        proof->shared_extents_len += len;
    }
}

/* One stretch, not beyond the window's end. *work: bytes it left to do. */
static int step(struct chain_rebase_planner *planner, uint64_t *work,
                struct img_error *err)
{
    struct chain_stretch both[CHAIN_SIDES];
    enum chain_settled how;
    uint64_t left_len = planner->window.end - planner->walk.off;
    uint64_t len;

    if (chain_lockstep_load(&planner->walk, both, err) < 0) {
        return -1;
    }
    for (unsigned side = 0; side < CHAIN_SIDES; side++) {
        both[side].e.len = img_min(both[side].e.len, left_len);
    }
    if (chain_settle(&planner->settler, &both[0], &both[1], &how, &len, err) <
        0) {
        return -1;
    }
    if (both[0].e.kind != IMG_EXTENT_ZERO) {
        set_range(planner, planner->window.data, planner->walk.off, len);
    }
    if (how == CHAIN_SETTLED_NOT) {
        note_unsettled(planner, both, len);
        *work += len;
    } else {
        note_settled(planner, how, len);
    }
    chain_lockstep_advance(&planner->walk, len);
    return 0;
}

/* The bits of NR granules from bit AT on, which begins a byte. */
static uint32_t take_bits(const uint8_t *bits, size_t at, size_t nr)
{
    uint32_t taken = 0;

    for (size_t i = 0; i * 8 < nr; i++) {
        taken |= (uint32_t)bits[at / 8 + i] << (i * 8);
    }
    return taken;
}

static void put_bits(uint8_t *bits, size_t at, size_t nr, uint32_t value)
{
    for (size_t i = 0; i * 8 < nr; i++) {
        bits[at / 8 + i] = (uint8_t)(value >> (i * 8));
    }
}

static unsigned count_bits(uint32_t bits)
{
    return (unsigned)__builtin_popcount(bits);
}

/* NR granules, bit AT on: eight clusters, or all of one that has subclusters.
   What is in part to be compared is to be compared; and count. */
static void finish_granules(struct chain_rebase_planner *planner, size_t at,
                            size_t nr)
{
    const struct qcow2_header *header = planner->header;
    struct chain_rebase_window *window = &planner->window;
    uint64_t granule = header->subcluster_len;
    uint32_t unsure = take_bits(window->unsure, at, nr);
    uint32_t differ = take_bits(window->differ, at, nr) & ~unsure;
    uint32_t work = unsure | differ;
    uint32_t moved = work;

    if (header->version >= 3) {
        moved &= take_bits(window->data, at, nr);
    }
    planner->work_granules += count_bits(work);
    planner->move_len += count_bits(moved) * granule;
    if (header->has_extended_l2 && work != 0 && count_bits(work) < nr) {
        planner->compare_len += count_bits(differ) * granule;
        planner->move_len += header->cluster_len - count_bits(moved) * granule;
        unsure = work;
        differ = 0;
    }
    put_bits(window->unsure, at, nr, unsure);
    put_bits(window->differ, at, nr, differ);
}

static void finish_window(struct chain_rebase_planner *planner)
{
    struct chain_rebase_window *window = &planner->window;
    size_t step = planner->header->has_extended_l2 ? 32 : 8;

    window->granules = (size_t)img_div_up(window->end - window->off,
                                          planner->header->subcluster_len);
    for (size_t at = 0; at < window->granules; at += step) {
        finish_granules(planner, at, img_min(step, window->granules - at));
    }
}

int chain_rebase_plan_next(struct chain_rebase_planner *planner,
                           struct img_error *err)
{
    struct chain_rebase_window *window = &planner->window;
    struct chain_lockstep *walk = &planner->walk;
    uint64_t max_len =
        (uint64_t)WINDOW_GRANULES * planner->header->subcluster_len;
    uint64_t work = 0;

    memset(window->unsure, 0, (size_t)(window->data - window->unsure) / 2 * 3);
    window->off = walk->off;
    window->end = walk->off + img_min(max_len, walk->end - walk->off);
    while (walk->off < window->end) {
        if (step(planner, &work, err) < 0) {
            return -1;
        }
        if (work >= WINDOW_WORK_LEN) {
            window->end =
                img_min(window->end,
                        img_align_up(walk->off, planner->header->cluster_len));
        }
    }
    finish_window(planner);
    return 0;
}

void chain_rebase_plan_differ(struct chain_rebase_planner *planner,
                              uint64_t off, uint64_t len)
{
    set_range(planner, planner->window.differ, off, len);
}

bool chain_rebase_plan_run(const struct chain_rebase_planner *planner,
                           const uint8_t *bits, uint64_t *off, uint64_t *len)
{
    const struct chain_rebase_window *window = &planner->window;
    size_t first, nr;

    if (*off >= window->end ||
        !chain_diff_next_run(bits, granule_of(planner, *off), window->granules,
                             &first, &nr)) {
        return false;
    }
    uint64_t granule = planner->header->subcluster_len;
    uint64_t end = window->off + (uint64_t)(first + nr) * granule;
    *off = img_max(*off, window->off + (uint64_t)first * granule);
    *len = img_min(end, window->end) - *off;
    return true;
}
