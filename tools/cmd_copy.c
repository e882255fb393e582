/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy: a chain's contents as one image, or its active layer alone over the
 * same backing file.
 */
#include <chain/copy.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "choices.h"
#include "command.h"
#include "copy_report.h"
#include "image_opts.h"
#include "message.h"
#include "session.h"
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

void copy_fini(void *values)
{
    struct copy_values *copy = values;

    free(copy->backing_word);
    free(copy->format_word);
    change_fini(values);
}

/* qemu-img's older spelling of -B and -F; those go before. */
static void take_backing(struct copy_values *values)
{
    struct change_values *change = &values->change;

    values->backing_word = words_extract(&change->options, "backing_file");
    values->format_word = words_extract(&change->options, "backing_fmt");
    if (values->backing_word && !change->backing_name) {
        change->backing_name = strchr(values->backing_word, '=') + 1;
    }
    if (values->format_word && !change->backing_format) {
        change->backing_format = strchr(values->format_word, '=') + 1;
    }
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

/* When did what begin? In seconds; 0: not yet. */
struct timing {
    double begin, verify;
};

static double now(void)
{
    struct timespec time;

    return clock_gettime(CLOCK_MONOTONIC, &time) < 0
               ? 0
               : (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void on_phase(void *opaque, enum chain_phase phase, uint64_t done,
                     uint64_t total)
{
    struct timing *timing = opaque;

    if (phase == CHAIN_PHASE_VERIFY && timing->verify == 0) {
        timing->verify = now();
    }
    change_on_phase(NULL, phase, done, total);
}

static void on_skipped_bitmap(void *opaque, const char *name)
{
    char shown[256];

    (void)opaque;
    img_escape(name, strlen(name), shown, sizeof(shown));
    message_note("the bitmap \"%s\" is inconsistent and was not copied", shown);
}

static void fill_request(const struct copy_values *values, const char *source,
                         const char *dest, struct timing *timing,
                         struct chain_copy_request *out)
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
    out->skipped_bitmap = on_skipped_bitmap;
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
    out->progress = on_phase;
    out->opaque = timing;
}

static int show(const struct copy_report *report)
{
    const struct common_values *common = &report->change->common;
    const struct chain_copy_result *result = report->result;
    struct img_error err;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (session_output(common, &out, &err) < 0) {
        return change_unreported(report->change, &err);
    }
    if (result->engine) {
        message_detail("engine %s, source %s, destination %s", result->engine,
                       result->is_source_direct ? "direct" : "cached",
                       result->is_dest_direct ? "direct" : "cached");
    }
    if (common->output == OUTPUT_JSON) {
        output_json(out, copy_report_json(report));
    } else {
        copy_report_sheet(out, report);
    }
    return change_finish(report->change, out);
}

/* The existing destination is not fit: the same sheet as validate's. */
static int show_refusal(const struct copy_values *values,
                        const struct chain_copy_request *request,
                        const struct chain_report *report)
{
    const struct common_values *common = &values->change.common;
    struct verdict verdict = verdict_of_validate(
        report, is_shallow(values) ? CHAIN_OP_SHALLOW_COPY : CHAIN_OP_COPY,
        request->source, request->dest.path);
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

static int copy(const struct copy_values *values, const char *source,
                const char *dest)
{
    struct chain_copy_result result = {.engine = NULL};
    struct chain_copy_request request;
    struct img_error err;
    struct timing timing = {.begin = now()};
    struct copy_report report = {
        .change = &values->change, .request = &request, .result = &result};
    int rc, code;

    fill_request(values, source, dest, &timing, &request);
    change_begin(&values->change.common, "check");
    rc = change_end(chain_copy(&request, &result, &err));
    if (rc < 0) {
        change_tell_state(&err, dest,
                          "nothing is left of the copy, and what was there "
                          "before is as it was");
        code = session_fail(&err, EXIT_FAILED);
        if (result.report) {
            code = show_refusal(values, &request, result.report);
        }
    } else {
        double end = now();

        timing.verify = timing.verify > 0 ? timing.verify : end;
        report.copy_sec = timing.verify - timing.begin;
        report.verify_sec = end - timing.verify;
        code = show(&report);
    }
    chain_copy_result_fini(&result);
    return code;
}

int cmd_copy(void *opaque, char **operands, int nr)
{
    struct copy_values *values = opaque;
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
    if (!values->no_create) {
        take_backing(values);
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
