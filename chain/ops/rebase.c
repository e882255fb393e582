/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rebase: see chain/rebase.h.
 *
 * Two views of the overlay, over its old and over its new backing file, are
 * walked together. What the overlay owns is the same place in both and shared
 * layers are, too, so that only what is under the overlay and not shared is
 * read. Window by window: plan, compare what must be read, move what differs.
 * Everything is stable before the header changes.
 */
#include <chain/rebase.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <chain/compare.h>
#include <chain/formats.h>
#include <chain/name.h>
#include <img/checked.h>
#include <img/memory.h>

#include "batch.h"
#include "overlay.h"
#include "rebase_plan.h"
#include "rebase_sink.h"

/* What the guest sees over one backing file, for the planner and the mover. */
struct rebase_side {
    struct chain *chain;
    struct chain_view *plan, *move;
};

struct rebase {
    const struct chain_rebase_request *request;
    struct chain_rebase_result *result;
    struct chain_overlay overlay;
    struct chain_backing backing;
    struct rebase_side old, next;
    struct qcow2_edit *edit; /* NULL: dry run */
    struct chain_rebase_sink sink;
    struct chain_mover *mover;
    struct chain_batch batch;
    struct chain_rebase_planner planner;
};

void chain_rebase_result_fini(struct chain_rebase_result *result)
{
    free(result->backing_name);
    free(result->backing_format);
    free(result->undo_path);
    *result = (struct chain_rebase_result){0};
}

static int side_open(const struct rebase *r, const char *name,
                     const char *format, struct rebase_side *out,
                     struct img_error *err)
{
    return chain_overlay_chain(&r->overlay, name, format, &out->chain, err) <
                       0 ||
                   chain_view_new(out->chain, 0, &out->plan, err) < 0 ||
                   chain_view_new(out->chain, 0, &out->move, err) < 0
               ? -1
               : 0;
}

static void side_close(struct rebase_side *side)
{
    chain_view_free(side->plan);
    chain_view_free(side->move);
    chain_free(side->chain);
    *side = (struct rebase_side){0};
}

/* ---- Progress: a window counts half when it is compared, half when what
   differs in it was moved. */

static void tell(struct rebase *r, enum chain_phase phase, uint64_t done,
                 uint64_t total)
{
    const struct chain_rebase_request *request = r->request;
    const struct chain_rebase_window *window = &r->planner.window;
    uint64_t half_len = (window->end - window->off) / 2;
    uint64_t at = window->off + (phase == CHAIN_PHASE_COPY ? half_len : 0);

    if (request->progress) {
        double part = total > 0 ? (double)done / (double)total : 1.0;
        request->progress(request->opaque, phase,
                          at + (uint64_t)(part * (double)half_len),
                          r->planner.walk.end);
    }
}

static void on_compared(void *opaque, uint64_t done, uint64_t total)
{
    tell(opaque, CHAIN_PHASE_CHECK, done, total);
}

/* ---- Comparing. */

static bool on_skip(void *opaque, uint64_t off, uint64_t *len)
{
    struct rebase *r = opaque;
    uint64_t run_off = off, run_len;

    if (!chain_rebase_plan_run(&r->planner, r->planner.window.unsure, &run_off,
                               &run_len)) {
        return true;
    }
    bool is_skipped = run_off > off;
    *len = img_min(*len, is_skipped ? run_off - off : run_len);
    return is_skipped;
}

static void on_difference(void *opaque, uint64_t off, uint64_t len)
{
    struct rebase *r = opaque;

    chain_rebase_plan_differ(&r->planner, off, len);
}

static void fill_compare(struct rebase *r, struct chain_compare_options *out)
{
    const struct chain_rebase_request *request = r->request;

    *out = (struct chain_compare_options){
        .no_shared = true, /* the planner has asked */
        .engine = request->engine,
        .threads = request->threads,
        .budget_len = request->budget_len,
        .cancel = request->cancel,
        .opaque = r,
    };
}

/* What was found to differ goes to the window's bits. */
static int compare_window(struct rebase *r, struct img_error *err)
{
    const struct chain_rebase_window *window = &r->planner.window;
    struct chain_compare_options options;
    struct chain_compare_result result;
    uint64_t off = window->off, len;

    if (!chain_rebase_plan_run(&r->planner, window->unsure, &off, &len)) {
        return 0;
    }
    fill_compare(r, &options);
    options.all = true;
    options.start_off = window->off;
    options.limit_len = window->end - window->off;
    options.skip = on_skip;
    options.difference = on_difference;
    options.progress = on_compared;
    if (chain_compare(r->old.move, r->next.move, &options, &result, err) < 0) {
        return -1;
    }
    r->result->proof.read_len += result.proof.read_len;
    if (result.why.code != IMG_OK) {
        *err = result.why;
        return -1;
    }
    return 0;
}

/* ---- Moving. */

static int move_window(struct rebase *r, struct img_error *err)
{
    const struct chain_rebase_window *window = &r->planner.window;
    uint64_t off = window->off, len;

    while (chain_rebase_plan_run(&r->planner, window->differ, &off, &len)) {
        if (chain_batch_push(&r->batch, off, len, err) < 0) {
            return -1;
        }
        off += len;
        tell(r, CHAIN_PHASE_COPY, off - window->off, window->end - window->off);
    }
    return 0;
}

static int open_mover(struct rebase *r, struct img_error *err)
{
    const struct chain_rebase_request *request = r->request;

    chain_rebase_sink_init(&r->sink, r->edit, r->next.move);
    const struct chain_mover_options options = {
        .engine = (enum img_engine_kind)request->engine,
        .threads = request->threads,
        .budget_len = request->budget_len,
        .sparse_len = r->sink.sink.granule,
        .cancel = request->cancel,
    };
    if (chain_mover_new(&r->sink.sink, &options, &r->mover, err) < 0) {
        return -1;
    }
    r->batch = (struct chain_batch){
        .mover = r->mover,
        .edit = r->edit,
        .file = r->overlay.data_file ? r->overlay.data_file : r->overlay.file,
        .granule = r->sink.sink.granule,
        .from = r->old.move,
    };
    return 0;
}

/* ---- The whole. */

static int check_cancel(const struct rebase *r, struct img_error *err)
{
    const volatile int *cancel = r->request->cancel;

    return cancel && *cancel ? img_fail(err, IMG_CANCELLED, "cancelled") : 0;
}

static int walk(struct rebase *r, struct img_error *err)
{
    struct chain_rebase_planner *planner = &r->planner;

    if (chain_rebase_planner_init(planner, r->old.plan, r->next.plan,
                                  r->overlay.header, err) < 0) {
        return -1;
    }
    while (planner->walk.off < planner->walk.end) {
        if (check_cancel(r, err) < 0 ||
            chain_rebase_plan_next(planner, err) < 0) {
            return -1;
        }
        if (r->edit &&
            (compare_window(r, err) < 0 || move_window(r, err) < 0)) {
            return -1;
        }
        tell(r, CHAIN_PHASE_COPY, 1, 1);
    }
    return 0;
}

/* Read everything, over the overlay as it is now. */
static int verify(struct rebase *r, struct img_error *err)
{
    struct chain_compare_options options;
    struct chain_compare_result result;
    struct rebase_side old = {0}, next = {0};

    fill_compare(r, &options);
    options.no_identity = true;
    int rc =
        side_open(r, NULL, NULL, &old, err) < 0 ||
                side_open(r, r->backing.name ? r->backing.name : "",
                          r->backing.format, &next, err) < 0 ||
                chain_compare(old.plan, next.plan, &options, &result, err) < 0
            ? -1
            : 0;
    side_close(&old);
    side_close(&next);
    if (rc == 0 && result.verdict == CHAIN_UNPROVEN) {
        *err = result.why;
        return -1;
    }
    if (rc == 0 && result.verdict == CHAIN_DIFFERENT) {
        img_fail(err, IMG_CORRUPT,
                 "verifying found that the guest would see something else at "
                 "guest offset %" PRIu64,
                 result.first_difference);
        img_error_set_path(err, r->overlay.path);
        return -1;
    }
    return rc;
}

/* What was planned; of a real run, what was done. */
static void account(struct rebase *r)
{
    const struct chain_rebase_planner *planner = &r->planner;
    struct chain_rebase_result *result = r->result;
    uint64_t compared_len = result->proof.read_len;

    result->proof = planner->settled;
    result->proof.read_len = compared_len;
    result->read_len = planner->compare_len;
    if (r->mover) {
        const struct chain_moved *moved = chain_mover_moved(r->mover);
        result->read_len += moved->read_len;
        result->written_len = moved->written_len;
        result->is_header_only = !r->sink.is_used;
        return;
    }
    result->read_len += planner->move_len;
    result->written_len = planner->move_len;
    result->is_header_only = planner->work_granules == 0;
}

/* Say what a failure leaves behind. */
static void explain(const struct rebase *r, struct img_error *err)
{
    struct img_error said = *err;

    if (r->batch.committed_len == 0) {
        return;
    }
    img_fail(err, said.code,
             "%.700s; its backing file is the old one, and the guest sees what "
             "it saw (%" PRIu64 " bytes were copied into it)",
             said.text, r->batch.committed_len);
    err->sys_errno = said.sys_errno;
    err->has_off = said.has_off;
    err->off = said.off;
    img_error_set_path(err, said.path);
}

/* An overlay that need not change is not touched. */
static int finish(struct rebase *r, struct img_error *err)
{
    if (chain_mover_sync(r->mover, err) < 0) {
        return -1;
    }
    return r->sink.is_used ? chain_batch_commit(&r->batch, err) : 0;
}

static int copy_differences(struct rebase *r, struct img_error *err)
{
    if (r->edit && open_mover(r, err) < 0) {
        return -1;
    }
    if (walk(r, err) < 0 || (r->edit && finish(r, err) < 0)) {
        explain(r, err);
        return -1;
    }
    account(r);
    if (!r->edit) {
        return 0;
    }
    if ((r->request->verify && verify(r, err) < 0) ||
        chain_check_unchanged(r->old.chain, err) < 0 ||
        chain_check_unchanged(r->next.chain, err) < 0) {
        explain(r, err);
        return -1;
    }
    return 0;
}

/* A probed format is recorded as what it was read as. */
static int settle_format(struct chain_backing *backing,
                         const struct chain *chain, struct img_error *err)
{
    if (!backing->name || backing->format) {
        return 0;
    }
    const char *format = chain_layer_format(chain_layer_at(chain, 1));
    backing->format = img_strndup(format, strlen(format), err);
    return backing->format ? 0 : -1;
}

static int rebase_safely(struct rebase *r, struct img_error *err)
{
    const char *name = r->backing.name ? r->backing.name : "";

    return side_open(r, NULL, NULL, &r->old, err) < 0 ||
                   side_open(r, name, r->backing.format, &r->next, err) < 0 ||
                   settle_format(&r->backing, r->next.chain, err) < 0 ||
                   copy_differences(r, err) < 0
               ? -1
               : 0;
}

/* ---- Unsafe: nothing but the header, if it makes sense. */

static int rebase_unsafely(struct rebase *r, struct img_error *err)
{
    const struct chain_rebase_request *request = r->request;
    struct chain_backing *backing = &r->backing;
    struct chain *chain = NULL;
    int rc = 0;

    r->result->is_header_only = true;
    if (!backing->name || (request->force && backing->format)) {
        return 0;
    }
    if (chain_overlay_chain(&r->overlay, backing->name, backing->format, &chain,
                            err) < 0 ||
        settle_format(backing, chain, err) < 0 ||
        (!request->force &&
         chain_backing_check_raw(chain, backing->format, err) < 0)) {
        rc = -1;
    }
    chain_free(chain);
    return rc;
}

static int run(struct rebase *r, struct img_error *err)
{
    const struct chain_rebase_request *request = r->request;
    bool is_real = !request->dry_run;

    if (chain_overlay_open(request, is_real, &r->overlay, err) < 0 ||
        chain_overlay_wish(&r->overlay, &r->backing, err) < 0 ||
        (is_real && chain_overlay_edit(&r->overlay, &r->edit, err) < 0)) {
        return -1;
    }
    if ((request->unsafe ? rebase_unsafely(r, err) : rebase_safely(r, err)) <
        0) {
        return -1;
    }
    if (is_real && !chain_overlay_has(&r->overlay, &r->backing) &&
        chain_overlay_switch(&r->overlay, r->edit, &r->backing,
                             &r->result->undo_path, err) < 0) {
        return -1;
    }
    r->result->backing_name = img_steal(&r->backing.name);
    r->result->backing_format = img_steal(&r->backing.format);
    return 0;
}

int chain_rebase(const struct chain_rebase_request *request,
                 struct chain_rebase_result *out, struct img_error *err)
{
    struct rebase r = {.request = request, .result = out};

    *out = (struct chain_rebase_result){0};
    int rc = run(&r, err);
    chain_mover_free(r.mover);
    chain_rebase_planner_fini(&r.planner);
    side_close(&r.old);
    side_close(&r.next);
    qcow2_edit_free(r.edit);
    chain_backing_fini(&r.backing);
    chain_overlay_fini(&r.overlay);
    if (rc < 0) {
        chain_rebase_result_fini(out);
    }
    return rc;
}
