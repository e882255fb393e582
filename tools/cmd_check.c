/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check: the refcounts of a qcow2 image against what really refers to its
 * clusters. Exit codes and JSON keys are those of qemu-img check.
 */
#include <chain/chain.h>
#include <img/image.h>
#include <img/memory.h>
#include <inttypes.h>
#include <qcow2/check.h>
#include <qcow2/image.h>

#include "check_problem.h"
#include "check_repair.h"
#include "command.h"
#include "message.h"
#include "output.h"
#include "progress.h"
#include "sandbox.h"
#include "session.h"
#include "signals.h"
#include "values.h"

enum {
    CHECK_CLEAN = 0,
    CHECK_NOT_DONE = 1,
    CHECK_CORRUPT = 2,
    CHECK_LEAKS = 3,
    CHECK_NO_SUPPORT = 63,
};

/* More problems than anybody reads; the counts go on. */
#define PROBLEMS_MAX 10000u

const struct option_spec check_options[] = {
    {'r', "repair", "leaks|all", "put right what is wrong, and check again",
     option_text, offsetof(struct check_values, repair)},
    {0, "dry-run", NULL, "with -r or --undo: show what would be done",
     option_flag, offsetof(struct check_values, dry_run)},
    {0, "no-undo", NULL, "with -r: keep no record of what is changed",
     option_flag, offsetof(struct check_values, no_undo)},
    {0, "undo", "RECORD", "put back what a repair changed", option_text,
     offsetof(struct check_values, undo)},
    {0, "backing-chain", NULL, "check every qcow2 image of the chain",
     option_flag, offsetof(struct check_values, backing_chain)},
    {'T', "cache", "CACHE", "none: read past the page cache", option_cache,
     offsetof(struct check_values, direct)},
    {'m', "parallel", "N", "threads that read tables (one a core, at most 8)",
     option_threads, offsetof(struct check_values, threads)},
    {0, "image-opts", NULL, "FILE is KEY=VALUE,... as QEMU has it", option_flag,
     offsetof(struct check_values, common.image_opts)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static void on_progress(void *opaque, double fraction)
{
    (void)opaque;
    /* In ten-thousandths: a check counts clusters of several tables. */
    progress_update((uint64_t)(fraction * 10000), 10000);
}

static struct img_json *result_json(const struct chain_layer *layer,
                                    const struct qcow2_check_result *result,
                                    struct img_json *problems)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "filename", chain_layer_path(layer));
    img_json_set_string(json, "format", chain_layer_image(layer)->format);
    img_json_set_u64(json, "check-errors", result->check_errors);
    img_json_set_u64(json, "corruptions", result->corruptions);
    img_json_set_u64(json, "corruptions-beyond-qemu", result->beyond_qemu);
    img_json_set_u64(json, "leaks", result->leaks);
    img_json_set_u64(json, "corruptions-fixed", 0);
    img_json_set_u64(json, "leaks-fixed", 0);
    img_json_set_u64(json, "total-clusters", result->total_clusters);
    img_json_set_u64(json, "allocated-clusters", result->allocated_clusters);
    img_json_set_u64(json, "fragmented-clusters", result->fragmented_clusters);
    img_json_set_u64(json, "compressed-clusters", result->compressed_clusters);
    img_json_set_u64(json, "image-end-offset", result->image_end_off);
    img_json_set(json, "problems", problems);
    return json;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0.0;
}

/* qemu-img's words, which scripts look for. */
static void put_summary(struct output *out,
                        const struct qcow2_check_result *result)
{
    if (result->corruptions == 0 && result->leaks == 0 &&
        result->check_errors == 0) {
        output_text(out, "No errors were found on the image.\n");
    }
    if (result->corruptions > 0) {
        output_printf(out,
                      "\n%" PRIu64 " errors were found on the image.\n"
                      "Data may be corrupted, or further writes to the "
                      "image may corrupt it.\n",
                      result->corruptions);
    }
    if (result->leaks > 0) {
        output_printf(out,
                      "\n%" PRIu64 " leaked clusters were found on the "
                      "image.\nThis means waste of disk space, but no harm "
                      "to data.\n",
                      result->leaks);
    }
    if (result->check_errors > 0) {
        output_printf(out,
                      "\n%" PRIu64 " internal errors have occurred during "
                      "the check.\n",
                      result->check_errors);
    }
    if (result->total_clusters > 0 && result->allocated_clusters > 0) {
        output_printf(
            out,
            "%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% "
            "fragmented, %0.2f%% compressed clusters\n",
            result->allocated_clusters, result->total_clusters,
            share(result->allocated_clusters, result->total_clusters),
            share(result->fragmented_clusters, result->allocated_clusters),
            share(result->compressed_clusters, result->allocated_clusters));
    }
    if (result->image_end_off > 0) {
        output_printf(out, "Image end offset: %" PRIu64 "\n",
                      result->image_end_off);
    }
}

static int code_of(const struct qcow2_check_result *result)
{
    /* As qemu-img: what could not be checked goes before what was found. */
    if (result->check_errors > 0) {
        return CHECK_NOT_DONE;
    }
    if (result->corruptions > 0) {
        return CHECK_CORRUPT;
    }
    return result->leaks > 0 ? CHECK_LEAKS : CHECK_CLEAN;
}

int check_repair_code(const struct qcow2_check_result *result)
{
    return code_of(result);
}

void check_repair_summary(struct output *out,
                          const struct qcow2_check_result *result)
{
    put_summary(out, result);
}

/* What one run works with. */
struct work {
    const struct check_values *values;
    struct img_ring_stock *rings; /* for one check at a time, or NULL */
    struct output *out;
};

static bool is_qcow2(const struct chain_layer *layer)
{
    return qcow2_image_header(chain_layer_image(layer)) != NULL;
}

/* The image of LAYER; what keeps it from being checked is a problem, too. */
static int image_check(const struct work *work, const struct chain_layer *layer,
                       struct check_sink *sink, struct img_error *err)
{
    const struct check_values *values = work->values;
    struct qcow2_check_options options = {
        .problem = check_put_problem,
        .opaque = sink,
        .max_problems = PROBLEMS_MAX,
        .max_memory = values->common.max_memory,
        .engine = values->common.engine,
        .rings = work->rings,
        .threads = values->threads,
        .cancel = signals_catch(),
        .progress = on_progress,
    };
    int rc;

    progress_begin(values->common.quiet ? PROGRESS_NONE
                                        : values->common.progress,
                   "check");
    rc = qcow2_check(chain_layer_image(layer), &options, sink->result, err);
    progress_end();
    if (rc < 0 && values->backing_chain && err->code != IMG_CANCELLED &&
        err->code != IMG_MEMORY) {
        check_put_failure(sink, err);
        return 0;
    }
    return rc;
}

/*
 * Layer IDX of CHAIN and how it fits the one below; the exit code that it
 * asks for. A layer without refcounts is shown only when that does not fit.
 */
static int check_layer(const struct work *work, const struct chain *chain,
                       size_t idx, struct img_json **json,
                       struct img_error *err)
{
    const struct check_values *values = work->values;
    struct output *out = work->out;
    const struct chain_layer *layer = chain_layer_at(chain, idx);
    bool is_json = values->common.output == OUTPUT_JSON;
    struct qcow2_check_result result = {0};
    struct check_sink sink = {
        .out = out,
        .problems = is_json ? img_json_array() : NULL,
        .width = check_line_width(),
        .result = &result,
    };

    if (!is_json && values->backing_chain && is_qcow2(layer)) {
        output_escaped(out, chain_layer_path(layer));
        output_text(out, ":\n");
    }
    if ((is_qcow2(layer) && image_check(work, layer, &sink, err) < 0) ||
        chain_link_check(chain, idx, check_put_link, &sink, err) < 0) {
        img_json_free(sink.problems);
        img_error_set_path(err, chain_layer_path(layer));
        return -1;
    }
    if (is_json && (is_qcow2(layer) || code_of(&result) != CHECK_CLEAN)) {
        *json = result_json(layer, &result, sink.problems);
    } else if (is_json) {
        img_json_free(sink.problems);
    } else if (is_qcow2(layer)) {
        put_summary(out, &result);
    }
    return code_of(&result);
}

/* The worse of two exit codes: not done, corrupt, leaks, clean. */
static int worse(int a, int b)
{
    static const unsigned char rank[] = {[CHECK_CLEAN] = 0,
                                         [CHECK_LEAKS] = 1,
                                         [CHECK_CORRUPT] = 2,
                                         [CHECK_NOT_DONE] = 3};

    return rank[a] >= rank[b] ? a : b;
}

static int fail_no_support(const struct chain_layer *layer,
                           struct img_error *err)
{
    img_fail(err, IMG_UNSUPPORTED,
             "this image format (%s) does not support checks",
             chain_layer_format(layer));
    img_error_set_path(err, chain_layer_path(layer));
    return session_fail(err, CHECK_NO_SUPPORT);
}

static int check_chain(const struct work *work, const struct chain *chain,
                       struct img_error *err)
{
    const struct check_values *values = work->values;
    struct output *out = work->out;
    struct img_json *list = img_json_array();
    int code = CHECK_CLEAN;
    bool is_any = false;

    for (size_t i = 0; i < chain_depth(chain); i++) {
        struct img_json *one = NULL;
        int layer_code = check_layer(work, chain, i, &one, err);

        if (layer_code < 0) {
            img_json_free(list);
            return -1;
        }
        is_any = is_any || is_qcow2(chain_layer_at(chain, i));
        code = worse(code, layer_code);
        if (one && !values->backing_chain) {
            output_json(out, one);
        } else if (one) {
            img_json_push(list, one);
        }
    }
    if (!is_any) {
        img_json_free(list);
        return fail_no_support(chain_layer_at(chain, 0), err);
    }
    if (values->backing_chain && values->common.output == OUTPUT_JSON) {
        output_json(out, list);
    } else {
        img_json_free(list);
    }
    return code;
}

static int run(struct work *work, const char *name)
{
    const struct check_values *values = work->values;
    const struct qcow2_check_options how = {
        .engine = values->common.engine,
        .threads = values->threads,
    };
    struct chain_options options;
    struct img_error err;
    int code;
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;

    session_chain_options(&values->common, &options);
    options.top_only = !values->backing_chain;
    options.for_check = true;
    options.keep_broken = true;
    options.direct = values->direct;
    if (session_check_rings(&values->common, &how, values->direct, &work->rings,
                            &err) < 0 ||
        session_begin(&values->common, 0, &work->out, &err) < 0 ||
        session_open(&values->common, name, &options, &chain, &err) < 0 ||
        sandbox_seal(&err) < 0) {
        return session_fail(&err, CHECK_NOT_DONE);
    }
    code = check_chain(work, chain, &err);
    if (code < 0) {
        return session_fail(&err, CHECK_NOT_DONE);
    }
    if (code == CHECK_NO_SUPPORT) {
        return code;
    }
    return session_finish(work->out, code, CHECK_NOT_DONE);
}

int cmd_check(void *opaque, char **operands, int nr)
{
    const struct check_values *values = opaque;
    struct work work = {.values = values};
    char name[IMG_ERROR_PATH_MAX];
    int code;

    if (check_wants_repair(values)) {
        return check_repair(values, operands);
    }
    code = run(&work, session_operand(&values->common, operands, nr, name,
                                      sizeof(name)));
    output_free(work.out);
    img_ring_stock_free(work.rings);
    return code;
}
