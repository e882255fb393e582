/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commit: see chain/rebase.h.
 *
 * What the layers above the base decide is walked once and moved into the
 * base, in place. The overlay goes on showing it from its own clusters until
 * the base is stable; only then it is emptied.
 */
#include <chain/rebase.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <chain/compare.h>
#include <img/checked.h>
#include <img/memory.h>

#include "batch.h"
#include "commit_target.h"

struct commit {
    const struct chain_commit_request *request;
    struct chain_commit_result *result;
    struct chain_commit_target target;
    struct chain_view *walk;   /* the overlay, to see what is to be moved */
    struct chain_view *from;   /* the same, to move it */
    struct chain_view *beyond; /* the base, for what it has past the overlay */
    union {
        struct chain_raw_sink raw;
        struct chain_edit_sink edit;
    } sink;
    struct chain_mover *mover;
    struct chain_batch batch;
};

void chain_commit_result_fini(struct chain_commit_result *result)
{
    for (size_t i = 0; i < result->stale_nr; i++) {
        free(result->stale[i]);
    }
    free(result->stale);
    free(result->base);
    *result = (struct chain_commit_result){0};
}

static void tell(const struct commit *c, enum chain_phase phase, uint64_t done,
                 uint64_t total)
{
    const struct chain_commit_request *request = c->request;

    if (request->progress) {
        request->progress(request->opaque, phase, done, total);
    }
}

static int check_cancel(const struct commit *c, struct img_error *err)
{
    const volatile int *cancel = c->request->cancel;

    return cancel && *cancel ? img_fail(err, IMG_CANCELLED, "cancelled") : 0;
}

static int open_views(struct commit *c, struct img_error *err)
{
    const struct chain *chain = c->target.chain;

    return chain_view_new(chain, 0, &c->walk, err) < 0 ||
                   chain_view_new(chain, 0, &c->from, err) < 0 ||
                   chain_view_new(chain, c->target.base, &c->beyond, err) < 0
               ? -1
               : 0;
}

static int open_mover(struct commit *c, struct img_error *err)
{
    const struct chain_commit_request *request = c->request;
    struct chain_commit_target *target = &c->target;
    const struct chain_mover_options options = {
        .engine = (enum img_engine_kind)request->engine,
        .threads = request->threads,
        .budget_len = request->budget_len,
        .cancel = request->cancel,
    };

    if (target->base_edit) {
        chain_edit_sink_init(&c->sink.edit, target->base_edit);
    } else {
        chain_raw_sink_init(&c->sink.raw, target->base_file, false);
    }
    struct chain_sink *sink =
        target->base_edit ? &c->sink.edit.sink : &c->sink.raw.sink;
    if (chain_mover_new(sink, &options, &c->mover, err) < 0) {
        return -1;
    }
    struct img_file *data_file = target->base_image->data_file;
    c->batch = (struct chain_batch){
        .mover = c->mover,
        .edit = target->base_edit,
        .file = data_file ? data_file : target->base_file,
        .granule = sink->granule,
        .from = c->from,
        .beyond = c->beyond,
    };
    return 0;
}

/*
 * Must EXTENT be written into the base? Zeros also where no layer has them but
 * one between is too short; past its own old end the base has zeros anyway.
 */
static bool is_wanted(const struct commit *c, const struct chain_extent *extent)
{
    return extent->layer < c->target.base &&
           (extent->e.kind != IMG_EXTENT_ZERO ||
            extent->e.guest_off < chain_view_len(c->beyond));
}

/* What may have to be written whole to change any of it. */
static uint64_t base_granule(const struct commit *c)
{
    const struct qcow2_header *header =
        qcow2_image_header(c->target.base_image);
    struct chain_raw_sink sink;

    if (header) {
        return header->cluster_len;
    }
    chain_raw_sink_init(&sink, c->target.base_file, false);
    return sink.sink.granule;
}

static bool stores_zeros(const struct commit *c)
{
    const struct qcow2_header *header =
        qcow2_image_header(c->target.base_image);

    return header && header->version == 2;
}

/* Of a dry run: an upper bound of what EXTENT costs. */
static void count(struct commit *c, const struct chain_extent *extent)
{
    struct chain_commit_result *result = c->result;
    uint64_t granule = base_granule(c);
    uint64_t off = extent->e.guest_off, end = off + extent->e.len;
    uint64_t len = img_align_up(end, granule) - img_align_down(off, granule);

    if (extent->e.kind == IMG_EXTENT_ZERO) {
        result->zero_len += extent->e.len;
    }
    if (extent->e.kind == IMG_EXTENT_ZERO && !stores_zeros(c)) {
        uint64_t first = img_align_up(off, granule);
        uint64_t last = img_align_down(end, granule);
        len -= first < last ? last - first : 0;
    }
    result->read_len += len;
    result->written_len += len;
}

static int walk(struct commit *c, struct img_error *err)
{
    uint64_t total = chain_view_len(c->walk);
    uint64_t base_len = chain_view_len(c->beyond);
    struct chain_extent extent;

    for (uint64_t off = 0; off < total; off += extent.e.len) {
        uint64_t end = off < base_len ? img_min(base_len, total) : total;
        if (check_cancel(c, err) < 0 ||
            chain_view_at(c->walk, off, end - off, &extent, err) < 0) {
            return -1;
        }
        if (!is_wanted(c, &extent)) {
            continue;
        }
        if (!c->mover) {
            count(c, &extent);
        } else if (chain_batch_push(&c->batch, off, extent.e.len, err) < 0) {
            return -1;
        }
        tell(c, CHAIN_PHASE_COPY, off + extent.e.len, total);
    }
    return 0;
}

static int write_base(struct commit *c, struct img_error *err)
{
    struct chain_commit_target *target = &c->target;

    if (chain_commit_target_grow(target, chain_view_len(c->walk), err) < 0 ||
        open_mover(c, err) < 0 || walk(c, err) < 0) {
        return -1;
    }
    tell(c, CHAIN_PHASE_FLUSH, 0, 0);
    if (chain_batch_commit(&c->batch, err) < 0) {
        return -1;
    }
    const struct chain_moved *moved = chain_mover_moved(c->mover);
    c->result->read_len = moved->read_len;
    c->result->written_len = moved->written_len;
    c->result->zero_len = moved->zero_len;
    if (!target->is_base_raw) {
        return 0;
    }
    if (img_file_flush(target->base_file, err) < 0) {
        img_error_set_path(err, target->base_path);
        return -1;
    }
    return 0;
}

static void on_verified(void *opaque, uint64_t done, uint64_t total)
{
    tell(opaque, CHAIN_PHASE_VERIFY, done, total);
}

static int compare(struct commit *c, struct chain_view *top,
                   struct chain_view *base, struct img_error *err)
{
    const struct chain_commit_request *request = c->request;
    const struct chain_compare_options options = {
        .no_identity = true,
        .no_shared = true,
        .engine = request->engine,
        .threads = request->threads,
        .budget_len = request->budget_len,
        .limit_len = chain_view_len(top),
        .cancel = request->cancel,
        .progress = on_verified,
        .opaque = c,
    };
    struct chain_compare_result result;

    if (chain_view_len(top) == 0) {
        return 0;
    }
    if (chain_compare(top, base, &options, &result, err) < 0) {
        return -1;
    }
    if (result.verdict == CHAIN_UNPROVEN) {
        *err = result.why;
        return -1;
    }
    if (result.verdict == CHAIN_DIFFERENT) {
        img_fail(err, IMG_CORRUPT,
                 "verifying found that it differs from the overlay at guest "
                 "offset %" PRIu64,
                 result.first_difference);
        img_error_set_path(err, c->target.base_path);
        return -1;
    }
    return 0;
}

static int verify(struct commit *c, struct img_error *err)
{
    struct chain *chain = NULL;
    struct chain_view *top = NULL, *base = NULL;
    int r =
        chain_commit_target_reopen(c->request, &c->target, &chain, err) < 0 ||
                chain_view_new(chain, 0, &top, err) < 0 ||
                chain_view_new(chain, c->target.base, &base, err) < 0 ||
                compare(c, top, base, err) < 0
            ? -1
            : 0;

    chain_view_free(base);
    chain_view_free(top);
    chain_free(chain);
    return r;
}

static int copy_path(const struct chain *chain, size_t idx, char **out,
                     struct img_error *err)
{
    const char *path = chain_layer_path(chain_layer_at(chain, idx));

    *out = img_strndup(path, strlen(path), err);
    return *out ? 0 : -1;
}

static int name_layers(struct commit *c, struct img_error *err)
{
    struct chain_commit_result *result = c->result;
    const struct chain *chain = c->target.chain;
    size_t base = c->target.base;

    if (copy_path(chain, base, &result->base, err) < 0) {
        return -1;
    }
    result->stale = img_calloc(base, sizeof(char *), err);
    for (size_t i = 1; result->stale && i < base; i++) {
        if (copy_path(chain, i, &result->stale[i - 1], err) < 0) {
            return -1;
        }
        result->stale_nr++;
    }
    return result->stale ? 0 : -1;
}

/* Say what a failure leaves behind. */
static void explain(const struct commit *c, struct img_error *err)
{
    struct img_error said = *err;
    char shown[256];

    if (!c->mover || chain_mover_moved(c->mover)->written_len +
                             chain_mover_moved(c->mover)->zero_len ==
                         0) {
        return;
    }
    img_escape(c->target.base_path, strlen(c->target.base_path), shown,
               sizeof(shown));
    img_fail(err, said.code,
             "%.500s; the overlay is whole and shows what it did, but \"%s\" "
             "has a part of it already: commit again",
             said.text, shown);
    err->sys_errno = said.sys_errno;
    err->has_off = said.has_off;
    err->off = said.off;
    img_error_set_path(err, said.path);
}

/* The base is stable and the overlay of no further use. */
static int empty_overlay(struct commit *c, struct img_error *err)
{
    struct qcow2_edit *edit = c->target.top_edit;

    if (!edit) {
        return 0;
    }
    if (qcow2_edit_make_empty(edit, err) < 0) {
        struct img_error said = *err;
        img_fail(err, said.code,
                 "%.600s; all of it is in the base, but it could not be "
                 "emptied",
                 said.text);
        err->sys_errno = said.sys_errno;
        img_error_set_path(err, said.path);
        img_error_set_path(err, c->request->path);
        return -1;
    }
    c->result->is_overlay_emptied = true;
    return 0;
}

static int change(struct commit *c, struct img_error *err)
{
    if (write_base(c, err) < 0 || (c->request->verify && verify(c, err) < 0) ||
        chain_check_unchanged(c->target.chain, err) < 0) {
        explain(c, err);
        return -1;
    }
    return empty_overlay(c, err);
}

static int run(struct commit *c, struct img_error *err)
{
    if (chain_commit_target_open(c->request, &c->target, err) < 0 ||
        open_views(c, err) < 0 || name_layers(c, err) < 0) {
        return -1;
    }
    c->result->is_base_grown =
        chain_view_len(c->beyond) < chain_view_len(c->walk);
    if (c->request->dry_run) {
        c->result->is_overlay_emptied = c->target.is_emptied;
        return walk(c, err);
    }
    return change(c, err);
}

int chain_commit(const struct chain_commit_request *request,
                 struct chain_commit_result *out, struct img_error *err)
{
    struct commit c = {.request = request, .result = out};

    *out = (struct chain_commit_result){0};
    int r = run(&c, err);
    chain_mover_free(c.mover);
    chain_view_free(c.walk);
    chain_view_free(c.from);
    chain_view_free(c.beyond);
    chain_commit_target_close(&c.target);
    if (r < 0) {
        chain_commit_result_fini(out);
    }
    return r;
}
