/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest view: walking the layers. Room: chain/graph.
 *
 * Each layer has a cursor with its last answer. At an offset the layers above
 * the one that decides have answered "unallocated" up to some end; the
 * deciding one is the first whose answer is anything else. The tree of ends
 * leads straight to the first layer that is one or the other: decides, or has
 * to be asked again. So a layer is asked once per answer, and a step costs
 * the logarithm of the depth.
 *
 * What an extent says about itself where nothing is allocated follows QEMU's
 * bdrv_co_block_status, so that a map of it is qemu-img's: past the end of a
 * shorter backing file the overlay above it is the layer that decides, below
 * the base it is the base.
 */
#include "view_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>

/*
 * A layer is asked for no less than this (up to its end), so that many short
 * requests in a row do not ask each layer each time. Clusters, because what a
 * long answer costs is the table entries that it is read from; a raw file has
 * none.
 */
#define VIEW_MIN_ASK_CLUSTERS 4096u
#define VIEW_MIN_ASK_RAW_LEN (1u << 30)
/* Answers that one call puts together at most. */
#define VIEW_MAX_MERGES 1024u

static struct chain_layer *layer_of(const struct chain_view *view, size_t idx)
{
    return view->chain->layers[view->first + idx];
}

/* Everything that must be there to read a layer is there. */
static int check_layer(const struct chain *chain,
                       const struct chain_layer *layer, struct img_error *err)
{
    const struct img_image *image = layer->image;

    if (!image->is_readable) {
        img_fail(err, IMG_UNSUPPORTED, "%s",
                 image->unreadable_why ? image->unreadable_why
                                       : "its contents cannot be read");
        img_error_set_path(err, layer->path);
        return -1;
    }
    if (chain->is_top_only &&
        (chain_layer_wants_backing(layer) || image->wants_data_file)) {
        img_fail(err, IMG_USAGE,
                 "it was opened without the other files of its chain");
        img_error_set_path(err, layer->path);
        return -1;
    }
    return 0;
}

int chain_view_new(const struct chain *chain, size_t first,
                   struct chain_view **out, struct img_error *err)
{
    if (chain_broken(chain)) {
        *err = *chain_broken(chain);
        return -1;
    }
    if (first > chain->nr) {
        return img_fail(err, IMG_USAGE,
                        "a view from layer %zu on, but the chain has %zu",
                        first, chain->nr);
    }
    for (size_t i = first; i < chain->nr; i++) {
        if (check_layer(chain, chain->layers[i], err) < 0) {
            return -1;
        }
    }
    struct chain_view *view = img_calloc(1, sizeof(*view), err);
    if (!view) {
        return -1;
    }
    view->chain = chain;
    view->first = first;
    view->nr = chain->nr - first;
    view->len = view->nr ? layer_of(view, 0)->image->virtual_len : 0;
    view->cursors = img_calloc(view->nr + 1, sizeof(view->cursors[0]), err);
    if (!view->cursors || chain_ends_init(&view->ends, view->nr, err) < 0) {
        chain_view_free(view);
        return -1;
    }
    *out = view;
    return 0;
}

void chain_view_free(struct chain_view *view)
{
    if (!view) {
        return;
    }
    chain_view_unit_fini(&view->unit);
    chain_ends_fini(&view->ends);
    free(view->cursors);
    free(view);
}

uint64_t chain_view_len(const struct chain_view *view)
{
    return view->len;
}

const struct chain *chain_view_chain(const struct chain_view *view)
{
    return view->chain;
}

int chain_view_check_unchanged(const struct chain_view *view,
                               struct img_error *err)
{
    return chain_check_unchanged_from(view->chain, view->first, err);
}

/*
 * Take over what layer IDX said at OFF. Unallocated falls through to the next
 * layer, as far as that one reaches; where there is none it reads as zeros.
 */
static void cursor_set(struct chain_view *view, size_t idx,
                       const struct img_extent *said)
{
    struct chain_view_cursor *cursor = &view->cursors[idx];
    uint64_t below_len =
        idx + 1 < view->nr ? layer_of(view, idx + 1)->image->virtual_len : 0;
    bool is_own = said->kind != IMG_EXTENT_UNALLOCATED;

    cursor->answer = (struct chain_extent){
        .e = *said,
        .layer = view->first + idx,
        .is_present = is_own,
    };
    cursor->end = said->guest_off + said->len;
    if (!is_own && said->guest_off < below_len) {
        cursor->end = img_min(cursor->end, below_len);
        chain_ends_set(&view->ends, idx, cursor->end);
        return;
    }
    if (!is_own) {
        cursor->answer.e.kind = IMG_EXTENT_ZERO;
    }
    chain_ends_set(&view->ends, idx, 0);
}

/* Ask layer IDX, which reaches beyond OFF, what it has there. */
static int cursor_ask(struct chain_view *view, size_t idx, uint64_t off,
                      uint64_t len, struct img_error *err)
{
    const struct chain_layer *layer = layer_of(view, idx);
    uint64_t min_len = layer->image->cluster_len
                           ? layer->image->cluster_len * VIEW_MIN_ASK_CLUSTERS
                           : VIEW_MIN_ASK_RAW_LEN;
    uint64_t ask_len =
        img_min(img_max(len, min_len), layer->image->virtual_len - off);
    struct img_extent said;

    if (img_image_map(layer->image, off, ask_len, &said, err) < 0) {
        img_error_set_path(err, layer->path);
        return -1;
    }
    if (said.guest_off != off || said.len == 0 || said.len > ask_len) {
        img_fail(err, IMG_CORRUPT,
                 "its map makes no progress at guest offset %" PRIu64, off);
        img_error_set_path(err, layer->path);
        return -1;
    }
    cursor_set(view, idx, &said);
    return 0;
}

/* Cut the extent to what of it begins at OFF and has at most LEN bytes. */
static void extent_cut(struct chain_extent *extent, uint64_t off, uint64_t len)
{
    struct img_extent *e = &extent->e;
    uint64_t skipped = off - e->guest_off;

    if (e->has_host && e->kind != IMG_EXTENT_COMPRESSED) {
        e->host_off += skipped;
    }
    e->guest_off = off;
    e->len = img_min(e->len - skipped, len);
}

/* The extent at OFF as far as one answer of each layer goes. */
static int view_step(struct chain_view *view, uint64_t off, uint64_t len,
                     struct chain_extent *out, struct img_error *err)
{
    size_t idx = chain_ends_first_at_most(&view->ends, off);

    view->asked_off = off;
    /* At an end in the tree there is the layer that decides, or one whose
       answer does not reach here. */
    while (view->cursors[idx].end <= off) {
        if (cursor_ask(view, idx, off, len, err) < 0) {
            return -1;
        }
        idx = chain_ends_first_at_most(&view->ends, off);
    }
    uint64_t end = img_min(view->cursors[idx].end,
                           chain_ends_least_before(&view->ends, idx));
    *out = view->cursors[idx].answer;
    extent_cut(out, off, end - off);
    return 0;
}

static bool can_merge(const struct chain_extent *a,
                      const struct chain_extent *b)
{
    const struct img_extent *first = &a->e, *second = &b->e;

    if (a->layer != b->layer || a->is_present != b->is_present ||
        first->kind != second->kind || first->file != second->file ||
        first->has_host != second->has_host ||
        first->reads_as_hole != second->reads_as_hole) {
        return false;
    }
    if (first->kind == IMG_EXTENT_COMPRESSED) {
        return first->host_off == second->host_off &&
               first->unit_guest_off == second->unit_guest_off;
    }
    return !first->has_host || first->host_off + first->len == second->host_off;
}

/* Fill in view->last from OFF on, LEN bytes if they are alike. */
static int view_find(struct chain_view *view, uint64_t off, uint64_t len,
                     struct img_error *err)
{
    struct chain_extent *last = &view->last;
    struct chain_extent next;
    struct img_error later;

    if (off < view->asked_off) {
        chain_ends_clear(&view->ends);
        memset(view->cursors, 0, view->nr * sizeof(view->cursors[0]));
    }
    last->e.len = 0;
    if (view_step(view, off, len, last, err) < 0) {
        last->e.len = 0;
        return -1;
    }
    for (unsigned i = 0; i < VIEW_MAX_MERGES && last->e.len < len; i++) {
        /* What fails further on is told when it is asked for. */
        if (view_step(view, off + last->e.len, len - last->e.len, &next,
                      &later) < 0 ||
            !can_merge(last, &next)) {
            break;
        }
        last->e.len += next.e.len;
    }
    return 0;
}

int chain_view_at(struct chain_view *view, uint64_t off, uint64_t len,
                  struct chain_extent *out, struct img_error *err)
{
    const struct img_extent *last = &view->last.e;

    if (off >= view->len) {
        *out = (struct chain_extent){
            .e = {.kind = IMG_EXTENT_ZERO, .guest_off = off, .len = len},
            .layer = view->first,
        };
        return 0;
    }
    len = img_min(len, view->len - off);
    if ((off < last->guest_off || off - last->guest_off >= last->len) &&
        view_find(view, off, len, err) < 0) {
        return -1;
    }
    *out = view->last;
    extent_cut(out, off, len);
    return 0;
}
