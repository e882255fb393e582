/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a copy: see copy_impl.h.
 */
#include "copy_impl.h"

#include <img/checked.h>

#include "batch.h"

static void tell(const struct chain_copying *copying, enum chain_phase phase,
                 uint64_t done, uint64_t total)
{
    const struct chain_copy_request *request = copying->request;

    if (request->progress) {
        request->progress(request->opaque, phase, done, total);
    }
}

static void tell_copied(void *opaque, uint64_t done)
{
    const struct chain_copying *copying = opaque;
    uint64_t total = copying->survey.push_len;

    /* Units that are filled up from the backing file count for more. */
    tell(copying, CHAIN_PHASE_COPY, img_min(done, total), total);
}

/* BATCH NULL: places need no commits. */
static int push_all(struct chain_copying *copying, struct chain_mover *mover,
                    struct chain_batch *batch, uint32_t unit_len,
                    struct img_error *err)
{
    uint64_t off = 0, len;

    for (;;) {
        if (chain_copy_next(copying, unit_len, &off, &len, err) != 0) {
            return -1;
        }
        if (len == 0) {
            break;
        }
        int r = batch ? chain_batch_push(batch, off, len, err)
                      : chain_mover_push_range(mover, copying->view, off, len,
                                               false, err);
        if (r != 0) {
            return -1;
        }
        off += len;
    }
    return chain_mover_sync(mover, err);
}

/* BATCH NULL, or all but the mover of one. */
static int move(struct chain_copying *copying, struct chain_sink *sink,
                struct chain_batch *batch, struct img_error *err)
{
    const struct chain_copy_request *request = copying->request;
    struct chain_copy_result *result = copying->result;
    struct chain_mover_options options = {
        .engine = (enum img_engine_kind)request->engine,
        .threads = request->threads,
        .budget_len = request->budget_len,
        .sparse_len = request->sparse_len,
        .share = !request->no_share && !request->compress,
        .compress = request->compress,
        .compression = copying->plan.qcow2.compression,
        .effort = (enum qcow2_effort)request->effort,
        .cancel = request->cancel,
        .progress = tell_copied,
        .opaque = copying,
    };
    uint32_t unit_len = request->compress ? sink->unit_len : sink->granule;
    struct chain_mover *mover;

    if (chain_mover_new(sink, &options, &mover, err) != 0) {
        return -1;
    }
    if (batch) {
        batch->mover = mover;
    }
    result->engine =
        chain_mover_engine(mover) == IMG_ENGINE_URING ? "io_uring" : "sync";
    int r = push_all(copying, mover, batch, unit_len, err);
    const struct chain_moved *moved = chain_mover_moved(mover);
    result->read_len = moved->read_len;
    result->written_len = moved->written_len;
    result->shared_len = moved->shared_len;
    chain_mover_free(mover);
    return r;
}

static int flush(struct chain_copying *copying, struct img_error *err)
{
    if (img_file_flush(copying->creation.file, err) != 0) {
        img_error_set_path(err, copying->dest.path);
        return -1;
    }
    return 0;
}

/* Is what was read still what the source holds? */
static int check_unchanged(struct chain_copying *copying, struct img_error *err)
{
    tell(copying, CHAIN_PHASE_FLUSH, 0, 1);
    return chain_check_unchanged(copying->source, err);
}

static int run_raw(struct chain_copying *copying, struct img_error *err)
{
    struct img_file *file = copying->creation.file;
    bool is_new = copying->creation.newfile != NULL;
    struct chain_raw_sink sink;

    if (!copying->is_existing &&
        chain_creation_write_raw(&copying->plan, file, err) != 0) {
        return -1;
    }
    chain_raw_sink_init(&sink, file,
                        is_new || copying->request->target_is_zero);
    if (move(copying, &sink.sink, NULL, err) != 0 ||
        check_unchanged(copying, err) != 0) {
        return -1;
    }
    return flush(copying, err);
}

/*
 * Direct writes that make a file longer wait for each other: it is as long as
 * it can become from the start. A hint: what is not to be had costs time only.
 */
static void make_long(const struct chain_copying *copying)
{
    const struct chain_create_plan *plan = &copying->plan;
    struct img_file *file = copying->creation.file;
    struct img_error ignored;

    if (img_file_direct_align(file) == 1 ||
        img_file_kind(file) != IMG_FILE_REGULAR || plan->data_file_path) {
        return;
    }
    uint64_t len =
        qcow2_fresh_measure(&plan->qcow2, copying->survey.clusters_len);
    (void)img_file_resize(file, len, &ignored);
}

/* Cut what it was made too long. */
static int make_short(const struct chain_copying *copying,
                      struct img_error *err)
{
    struct img_file *file = copying->creation.file;
    uint64_t end = qcow2_fresh_end(copying->fresh);

    if (img_file_kind(file) == IMG_FILE_BLOCK || img_file_len(file) <= end) {
        return 0;
    }
    return img_file_resize(file, end, err);
}

static int run_qcow2(struct chain_copying *copying, struct img_error *err)
{
    const struct chain_create_plan *plan = &copying->plan;
    struct chain_creation *creation = &copying->creation;
    struct chain_fresh_sink sink;

    if (qcow2_fresh_new(creation->file, creation->data_file, &plan->qcow2,
                        &copying->fresh, err) != 0) {
        return -1;
    }
    qcow2_fresh_cancel_by(copying->fresh, copying->request->cancel);
    make_long(copying);
    chain_fresh_sink_init(
        &sink, copying->fresh, creation->file, plan->qcow2.backing_name != NULL,
        copying->request->compress ? plan->qcow2.cluster_len : 0);
    if (move(copying, &sink.sink, NULL, err) != 0 ||
        chain_copy_bitmaps(copying, err) != 0 ||
        check_unchanged(copying, err) != 0) {
        return -1;
    }
    if (qcow2_fresh_finish(copying->fresh, err) != 0 ||
        make_short(copying, err) != 0) {
        return -1;
    }
    return flush(copying, err);
}

/* Into an image that is there: at every instant it is one, with clusters of
   the old contents and of the new. */
static int run_edit(struct chain_copying *copying, struct img_error *err)
{
    const struct qcow2_edit_options options = {.cancel =
                                                   copying->request->cancel};
    struct chain_creation *creation = &copying->creation;
    struct chain_edit_sink sink;
    struct qcow2_edit *edit;

    if (qcow2_edit_open(creation->file, creation->data_file, &options, &edit,
                        err) != 0) {
        return -1;
    }
    chain_edit_sink_init(&sink, edit);
    sink.is_zero_below =
        !copying->plan.qcow2.backing_name && !copying->plan.qcow2.data_file_raw;
    struct chain_batch batch = {
        .edit = edit,
        .file = creation->data_file ? creation->data_file : creation->file,
        .granule = sink.sink.granule,
        .from = copying->view,
    };
    int r = move(copying, &sink.sink, &batch, err);
    if (r == 0) {
        r = check_unchanged(copying, err);
    }
    if (r == 0) {
        r = qcow2_edit_commit(edit, err);
    }
    qcow2_edit_free(edit);
    return r;
}

static int run(struct chain_copying *copying, struct img_error *err)
{
    if (copying->plan.is_raw) {
        return run_raw(copying, err);
    }
    return copying->is_edited ? run_edit(copying, err)
                              : run_qcow2(copying, err);
}

int chain_copy_run(struct chain_copying *copying, struct img_error *err)
{
    tell(copying, CHAIN_PHASE_COPY, 0, copying->survey.push_len);
    copying->is_begun = true;
    int r = run(copying, err);
    qcow2_fresh_free(copying->fresh);
    copying->fresh = NULL;
    if (r != 0) {
        img_error_set_path(err, copying->dest.path);
        return -1;
    }
    tell(copying, CHAIN_PHASE_FLUSH, 1, 1);
    return 0;
}

/* ---- Afterwards. */

static void tell_verified(void *opaque, uint64_t done, uint64_t total)
{
    tell(opaque, CHAIN_PHASE_VERIFY, done, total);
}

/* The destination as who comes next will see it, through its descriptor. */
static int open_dest(struct chain_copying *copying, struct chain **chain,
                     struct img_error *err)
{
    struct chain_options options;

    chain_options_init(&options);
    options.format = copying->plan.is_raw ? "raw" : "qcow2";
    options.file = copying->creation.file;
    options.force_share = copying->request->force_share;
    options.allow_probe = copying->request->allow_probe;
    options.max_depth = copying->request->max_depth;
    options.roots = copying->dest.roots;
    return chain_open(copying->dest.path, &options, chain, err);
}

static int judge(const struct chain_copying *copying,
                 const struct chain_compare_result *result,
                 struct img_error *err)
{
    switch (result->verdict) {
    case CHAIN_IDENTICAL:
        return 0;
    case CHAIN_UNPROVEN:
        *err = result->why;
        return -1;
    case CHAIN_DIFFERENT:
        break;
    }
    img_fail(err, IMG_CORRUPT,
             "the copy shows other contents than its source: the first "
             "difference is at guest offset %llu",
             (unsigned long long)result->first_difference);
    img_error_set_path(err, copying->dest.path);
    return -1;
}

int chain_copy_verify(struct chain_copying *copying, struct img_error *err)
{
    const struct chain_copy_request *request = copying->request;
    struct chain_compare_options options = {
        .no_identity = true,
        .no_shared = true,
        /* What a device has beyond is nobody's business. */
        .limit_len = chain_view_len(copying->view),
        .engine = request->engine,
        .threads = request->threads,
        .budget_len = request->budget_len,
        .cancel = request->cancel,
        .progress = tell_verified,
        .opaque = copying,
    };
    struct chain_compare_result result;
    struct chain *chain = NULL;
    struct chain_view *view = NULL;

    int r = open_dest(copying, &chain, err);
    if (r == 0) {
        r = chain_view_new(chain, 0, &view, err);
    }
    if (r == 0 && options.limit_len > 0) {
        r = chain_compare(copying->view, view, &options, &result, err);
        if (r == 0) {
            r = judge(copying, &result, err);
        }
    }
    copying->result->is_verified = r == 0;
    chain_view_free(view);
    chain_free(chain);
    return r;
}
