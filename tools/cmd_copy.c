/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy: a chain's contents as one image, or its active layer alone over the
 * same backing file.
 */
#include <chain/copy.h>
#include <img/memory.h>
#include <img/size.h>
#include <time.h>
#include <unistd.h>

#include "choices.h"
#include "command.h"
#include "image_opts.h"
#include "made.h"
#include "message.h"
#include "session.h"
#include "sheet.h"
#include "signals.h"
#include "terminal.h"
#include "values.h"
#include "verdict.h"

static bool is_shallow(const struct copy_values *values)
{
    return values->shallow || values->change.backing_name;
}

/* NULL: as qemu-img, raw; with -n what DEST is. */
static const char *dest_format(const struct copy_values *values)
{
    if (!values->dest_format && is_shallow(values) && !values->no_create) {
        return "qcow2";
    }
    return values->dest_format;
}

int copy_choices(const void *opaque)
{
    return choices_create(dest_format(opaque));
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct copy_values *values)
{
    static const char *const texts[] = {
        "--target-is-zero goes with --no-create (-n)",
        "--skip-broken-bitmaps goes with --bitmaps",
        "--backing-format (-F) goes with --backing (-B)",
        "--compress-effort goes with --compress (-c)",
    };
    const struct change_values *change = &values->change;
    const bool is_wrong[] = {
        values->target_is_zero && !values->no_create,
        values->skip_broken_bitmaps && !values->bitmaps,
        change->backing_format && !change->backing_name,
        values->effort != 0 && !values->compress,
    };

    for (size_t i = 0; i < sizeof(is_wrong) / sizeof(is_wrong[0]); i++) {
        if (is_wrong[i]) {
            message_failed("%s", texts[i]);
            return false;
        }
    }
    if (change->options.nr > 0 && values->no_create) {
        message_note("--options (-o) has no effect with --no-create (-n)");
    }
    return true;
}

static void fill_request(const struct copy_values *values, const char *source,
                         const char *dest, struct chain_copy_request *out)
{
    const struct change_values *change = &values->change;
    const struct common_values *common = &change->common;

    chain_copy_request_init(out);
    out->source = source;
    out->source_format = common->format;
    out->source_snapshot = values->snapshot;
    out->dest.path = dest;
    out->dest.format = dest_format(values);
    out->dest.options = (const char *const *)change->options.at;
    out->dest.options_nr = change->options.nr;
    out->dest.backing_name = change->backing_name;
    out->dest.backing_format = change->backing_format;
    out->dest.style = change->style;
    out->dest.force_share = common->force_share;
    out->dest.allow_probe = common->allow_probe;
    out->dest.dry_run = change->dry_run;
    out->dest.roots = common->roots;
    out->shallow = is_shallow(values);
    out->compress = values->compress;
    out->effort = values->effort;
    out->into_existing = values->no_create;
    out->target_is_zero = values->target_is_zero;
    if (values->has_sparse) {
        out->sparse_len = values->sparse_len;
    }
    out->bitmaps = values->bitmaps;
    out->skip_broken_bitmaps = values->skip_broken_bitmaps;
    out->source_cache = change->source_cache;
    out->dest_cache = change->dest_cache;
    out->no_share = values->no_reflink;
    out->verify = change->verify;
    out->force_share = common->force_share;
    out->allow_probe = common->allow_probe;
    out->max_depth = common->max_depth;
    out->threads = values->threads;
    out->engine = (int)common->engine;
    out->budget_len = common->max_memory;
    out->cancel = signals_catch();
    out->dest.cancel = out->cancel;
    out->progress = change_on_phase;
}

static const char *operation(const struct copy_values *values)
{
    return is_shallow(values) ? "shallow-copy" : "copy";
}

static struct img_json *result_json(const struct copy_values *values,
                                    const struct chain_copy_request *request,
                                    const struct chain_copy_result *result,
                                    double seconds)
{
    struct img_json *json =
        change_json(&values->change, operation(values), request->dest.path);

    img_json_set_string(json, "source", request->source);
    made_json(json, &result->made);
    img_json_set_u64(json, "data-len", result->data_len);
    img_json_set_u64(json, "zero-len", result->zero_len);
    img_json_set_u64(json, "needed-len", result->needed_len);
    if (result->space_left != UINT64_MAX) {
        img_json_set_u64(json, "space-left", result->space_left);
    }
    if (!values->change.dry_run) {
        img_json_set_u64(json, "read-len", result->read_len);
        img_json_set_u64(json, "written-len", result->written_len);
        img_json_set_u64(json, "shared-len", result->shared_len);
        img_json_set_bool(json, "verified", result->is_verified);
        img_json_set(json, "seconds", img_json_double(seconds));
    }
    if (result->engine) {
        img_json_set_string(json, "engine", result->engine);
        img_json_set_bool(json, "source-direct", result->is_source_direct);
        img_json_set_bool(json, "dest-direct", result->is_dest_direct);
    }
    return json;
}

static void put_speed(struct output *out,
                      const struct chain_copy_result *result, double seconds)
{
    char speed[IMG_SIZE_TEXT_LEN];

    if (seconds > 0 && result->data_len > 0) {
        img_size_short((uint64_t)((double)result->data_len / seconds), speed);
        sheet_row(out, "time", "%.2f s, %s/s of data", seconds, speed);
    } else {
        sheet_row(out, "time", "%.2f s", seconds);
    }
}

static void put_result(struct output *out, const struct copy_values *values,
                       const struct chain_copy_request *request,
                       const struct chain_copy_result *result, double seconds)
{
    change_head(out, &values->change, "copied", "copy", request->source);
    sheet_text(out, "to", request->dest.path);
    made_sheet(out, &result->made);
    sheet_size(out, "data", result->data_len);
    sheet_size(out, "zeros", result->zero_len);
    if (values->change.dry_run) {
        sheet_size(out, "takes at most", result->needed_len);
        if (result->space_left != UINT64_MAX) {
            sheet_size(out, "space left", result->space_left);
        }
        return;
    }
    sheet_size(out, "read", result->read_len);
    sheet_size(out, "written", result->written_len);
    if (result->shared_len > 0) {
        sheet_size(out, "shared on disk", result->shared_len);
    }
    put_speed(out, result, seconds);
    if (result->is_verified) {
        sheet_text(out, "verified", "both show the same, by reading");
    }
}

static int show(const struct copy_values *values,
                const struct chain_copy_request *request,
                const struct chain_copy_result *result, double seconds)
{
    const struct common_values *common = &values->change.common;
    struct img_error err;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (session_output(common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    if (result->engine) {
        message_detail("engine %s, source %s, destination %s", result->engine,
                       result->is_source_direct ? "direct" : "cached",
                       result->is_dest_direct ? "direct" : "cached");
    }
    if (common->output == OUTPUT_JSON) {
        output_json(out, result_json(values, request, result, seconds));
    } else {
        put_result(out, values, request, result, seconds);
    }
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

/* The existing destination is not fit: the same sheet as validate's. */
static int show_refusal(const struct copy_values *values,
                        const struct chain_copy_request *request,
                        const struct chain_report *report)
{
    const struct common_values *common = &values->change.common;
    struct verdict verdict = {
        .report = report,
        .operation = is_shallow(values) ? CHAIN_OP_SHALLOW_COPY : CHAIN_OP_COPY,
        .source = request->source,
        .dest = request->dest.path,
    };
    struct img_error err;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (session_output(common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    if (common->output == OUTPUT_JSON) {
        output_json(out, verdict_json(&verdict));
    } else {
        verdict_sheet(out, &verdict, terminal_width(STDOUT_FILENO),
                      common->verbose);
    }
    return session_finish(out, EXIT_FAILED, EXIT_FAILED);
}

static double now(void)
{
    struct timespec time;

    return clock_gettime(CLOCK_MONOTONIC, &time) < 0
               ? 0
               : (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int copy(const struct copy_values *values, const char *source,
                const char *dest)
{
    struct chain_copy_result result = {.engine = NULL};
    struct chain_copy_request request;
    struct img_error err;
    double begin = now();
    int rc, code;

    fill_request(values, source, dest, &request);
    change_begin(&values->change.common, "check");
    rc = change_end(chain_copy(&request, &result, &err));
    if (rc < 0) {
        code = session_fail(&err, EXIT_FAILED);
        if (result.report) {
            code = show_refusal(values, &request, result.report);
        }
    } else {
        code = show(values, &request, &result, now() - begin);
    }
    chain_copy_result_fini(&result);
    return code;
}

int cmd_copy(void *opaque, char **operands, int nr)
{
    const struct copy_values *values = opaque;
    const char *source = operands[0];
    struct img_error err;
    IMG_AUTO(img_free_ptr) char *name = NULL;
    IMG_AUTO(img_free_ptr) char *dest = NULL;

    if (nr > 2) {
        message_failed("copy: found %d operands, expected SOURCE DEST: "
                       "several sources are not put together",
                       nr);
        return EXIT_USAGE;
    }
    if (!is_sane(values)) {
        return EXIT_USAGE;
    }
    if (values->change.common.image_opts) {
        name = image_opts_name(source, &err);
        source = name;
    }
    if (!source) {
        return session_fail(&err, EXIT_USAGE);
    }
    return change_path(operands[1], &dest, &err) < 0
               ? session_fail(&err, EXIT_FAILED)
               : copy(values, source, dest);
}
