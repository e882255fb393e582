/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check -r: what a repair does, what it could not save, and how the image is
 * afterwards, in qemu-img's words and keys; and the way back.
 */
#include "check_repair.h"

#include <chain/formats.h>
#include <img/memory.h>
#include <img/write.h>
#include <inttypes.h>
#include <limits.h>
#include <qcow2/repair.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "change.h"
#include "check_problem.h"
#include "message.h"
#include "progress.h"
#include "session.h"
#include "sheet.h"
#include "signals.h"
#include "terminal.h"

enum {
    CHECK_NOT_DONE = 1,
    CHECK_NO_SUPPORT = 63,
};

/* More than anybody reads; the counts go on. */
#define LINES_MAX 10000u
/* Records of so many repairs may lie next to an image. */
#define RECORDS_MAX 1000u

bool check_wants_repair(const struct check_values *values)
{
    return values->repair || values->undo || values->dry_run || values->no_undo;
}

/* One run. */
struct job {
    const struct check_values *values;
    const char *path;
    struct output *out;
    struct img_json *repairs, *problems; /* NULL: human output */
    unsigned width;
};

static const char *kind_name(enum qcow2_repair_kind kind)
{
    static const char *const names[] = {
        [QCOW2_REPAIR_HEADER] = "header",
        [QCOW2_REPAIR_TABLE] = "l1-entry",
        [QCOW2_REPAIR_ENTRY] = "l2-entry",
        [QCOW2_REPAIR_MOVE] = "move",
        [QCOW2_REPAIR_SNAPSHOT] = "snapshot",
        [QCOW2_REPAIR_BITMAP] = "bitmap",
        [QCOW2_REPAIR_REFCOUNTS] = "refcounts",
        [QCOW2_REPAIR_FLAGS] = "copied-flags",
    };

    return names[kind];
}

static void put_line(struct job *job, enum output_style style,
                     const char *label, const char *text)
{
    progress_clear();
    output_style(job->out, style);
    output_text(job->out, label);
    output_style(job->out, STYLE_PLAIN);
    output_text(job->out, ": ");
    sheet_wrap(job->out, job->width, (unsigned)strlen(label) + 2, text);
}

static void put_step(struct job *job, const struct qcow2_repair_step *step)
{
    struct img_error ignored;
    const char *label = step->is_lost          ? "not saved"
                        : job->values->dry_run ? "would repair"
                                               : "repair";
    IMG_AUTO(img_free_ptr) char *text = NULL;

    text = step->guest_len > 0
               ? img_text(&ignored,
                          "%s (offset %" PRIu64 ", guest bytes %" PRIu64
                          " to %" PRIu64 ")",
                          step->message, step->off, step->guest_off,
                          step->guest_off + step->guest_len)
               : img_text(&ignored, "%s (offset %" PRIu64 ")", step->message,
                          step->off);
    put_line(job, step->is_lost ? STYLE_BAD : STYLE_WARN, label,
             text ? text : step->message);
}

static void on_step(void *opaque, const struct qcow2_repair_step *step)
{
    struct job *job = opaque;
    struct img_json *one;

    if (!job->repairs) {
        put_step(job, step);
        return;
    }
    one = img_json_object();
    img_json_set_string(one, "kind", kind_name(step->kind));
    img_json_set_u64(one, "offset", step->off);
    img_json_set_string(one, "message", step->message);
    img_json_set_bool(one, "lost", step->is_lost);
    if (step->guest_len > 0) {
        img_json_set_u64(one, "guest-offset", step->guest_off);
        img_json_set_u64(one, "guest-length", step->guest_len);
    }
    img_json_push(job->repairs, one);
}

static void on_problem(void *opaque, const struct qcow2_problem *problem)
{
    struct job *job = opaque;
    struct check_sink sink = {
        .out = job->out,
        .problems = job->problems,
        .width = check_line_width(),
    };

    check_put_problem(&sink, problem);
}

static void on_progress(void *opaque, double fraction)
{
    (void)opaque;
    progress_update((uint64_t)(fraction * 10000), 10000);
}

static void put_json(struct job *job, const struct qcow2_repair_result *result,
                     const char *undo_path)
{
    const struct qcow2_check_result *after = &result->after;
    struct img_json *json = img_json_object();

    img_json_set_string(json, "filename", job->path);
    img_json_set_string(json, "format", "qcow2");
    img_json_set_u64(json, "check-errors", after->check_errors);
    img_json_set_u64(json, "corruptions", after->corruptions);
    img_json_set_u64(json, "corruptions-beyond-qemu", after->beyond_qemu);
    img_json_set_u64(json, "leaks", after->leaks);
    img_json_set_u64(json, "corruptions-fixed", result->corruptions_fixed);
    img_json_set_u64(json, "leaks-fixed", result->leaks_fixed);
    img_json_set_u64(json, "total-clusters", after->total_clusters);
    img_json_set_u64(json, "allocated-clusters", after->allocated_clusters);
    img_json_set_u64(json, "fragmented-clusters", after->fragmented_clusters);
    img_json_set_u64(json, "compressed-clusters", after->compressed_clusters);
    img_json_set_u64(json, "image-end-offset", after->image_end_off);
    img_json_set_bool(json, "dry-run", job->values->dry_run);
    img_json_set_u64(json, "written-len", result->written_len);
    img_json_set_u64(json, "lost", result->lost_nr);
    img_json_set_u64(json, "lost-guest-len", result->lost_guest_len);
    img_json_set_bool(json, "marked-clean", result->is_marked_clean);
    if (result->has_undo) {
        img_json_set_string(json, "undo-filename", undo_path);
    }
    img_json_set(json, "repairs", img_steal(&job->repairs));
    img_json_set(json, "problems", img_steal(&job->problems));
    output_json(job->out, json);
}

static void put_human(struct job *job, const struct qcow2_repair_result *result,
                      const char *undo_path)
{
    struct output *out = job->out;
    bool is_dry = job->values->dry_run;

    if (result->leaks_fixed > 0 || result->corruptions_fixed > 0) {
        output_printf(out,
                      "The following inconsistencies were found and %s:\n\n"
                      "    %" PRIu64 " leaked clusters\n"
                      "    %" PRIu64 " corruptions\n\n"
                      "%s...\n",
                      is_dry ? "would be repaired" : "repaired",
                      result->leaks_fixed, result->corruptions_fixed,
                      is_dry ? "What a check would find then"
                             : "Double checking the fixed image now");
    }
    check_repair_summary(out, &result->after);
    if (result->lost_nr > 0) {
        output_printf(out,
                      "%" PRIu64 " things could not be saved; %" PRIu64
                      " bytes of the guest's disk that could not be read "
                      "%szeros.\n",
                      result->lost_nr, result->lost_guest_len,
                      is_dry ? "would become " : "are ");
    }
    if (result->has_undo) {
        output_text(out, "Undo record: ");
        output_escaped(out, undo_path);
        output_text(out, "\n");
    }
}

/* A name for the undo record that nobody has. */
static int record_path(const struct job *job, char **out, struct img_error *err)
{
    struct img_stamp stamp;
    struct img_error why;

    for (unsigned i = 1; i <= RECORDS_MAX; i++) {
        IMG_AUTO(img_free_ptr)
        char *path = i == 1
                         ? img_text(err, "%s.imgchain-repair", job->path)
                         : img_text(err, "%s.imgchain-repair.%u", job->path, i);

        if (!path) {
            return -1;
        }
        if (img_path_stamp(path, job->values->common.roots, &stamp, &why) < 0 &&
            why.code == IMG_NOT_FOUND) {
            *out = img_steal(&path);
            return 0;
        }
    }
    img_fail(err, IMG_LIMIT,
             "found %u undo records next to it, expected fewer: remove some, "
             "or --no-undo",
             RECORDS_MAX);
    img_error_set_path(err, job->path);
    return -1;
}

static void put_result(struct job *job,
                       const struct qcow2_repair_result *result,
                       const char *undo_path)
{
    if (job->repairs) {
        put_json(job, result, undo_path);
    } else {
        put_human(job, result, undo_path);
    }
}

static int repair(struct job *job, struct img_file *file, struct img_error *err)
{
    const struct check_values *values = job->values;
    bool has_record = !values->dry_run && !values->no_undo &&
                      img_file_kind(file) == IMG_FILE_REGULAR;
    IMG_AUTO(img_free_ptr) char *undo_path = NULL;
    struct qcow2_repair_result result;
    int rc;

    if (has_record && record_path(job, &undo_path, err) < 0) {
        return -1;
    }
    const struct qcow2_repair_options options = {
        .mode = strcmp(values->repair, "all") == 0 ? QCOW2_REPAIR_ALL
                                                   : QCOW2_REPAIR_LEAKS,
        .dry_run = values->dry_run,
        .undo_path = undo_path,
        .roots = values->common.roots,
        .step = on_step,
        .problem = on_problem,
        .opaque = job,
        .max_steps = LINES_MAX,
        .max_problems = LINES_MAX,
        .max_memory = values->common.max_memory,
        .threads = values->threads,
        .cancel = signals_catch(),
        .progress = on_progress,
    };

    change_begin(&values->common, "repair");
    rc = change_end(qcow2_repair(file, &options, &result, err));
    if (rc < 0) {
        if (result.has_undo) {
            message_note("the repair was cut short; what it changed is kept "
                         "in %s",
                         undo_path);
        }
        change_tell_state(err, job->path, "nothing was written");
        return -1;
    }
    put_result(job, &result, undo_path);
    return check_repair_code(&result.after);
}

static int undo(struct job *job, struct img_file *file, struct img_error *err)
{
    const struct check_values *values = job->values;
    const struct img_open_options options = {
        .lock = IMG_LOCK_NONE,
        .roots = values->common.roots,
    };
    IMG_AUTO(img_file_unref_ptr) struct img_file *record = NULL;
    uint64_t len = 0;

    if (img_file_open(values->undo, &options, &record, err) < 0 ||
        qcow2_repair_undo(file, record, values->dry_run, &len, err) < 0) {
        return -1;
    }
    if (job->repairs) {
        struct img_json *json = img_json_object();

        img_json_set_string(json, "operation", "undo");
        img_json_set_string(json, "filename", job->path);
        img_json_set_bool(json, "dry-run", values->dry_run);
        img_json_set_string(json, "undo-filename", values->undo);
        img_json_set_u64(json, "restored-len", len);
        output_json(job->out, json);
        return 0;
    }
    sheet_text(job->out, values->dry_run ? "would restore" : "restored",
               job->path);
    sheet_text(job->out, "from", values->undo);
    sheet_size(job->out, "bytes that differ", len);
    return 0;
}

/* Only qcow2 keeps refcounts: 0, or an exit code after a message. */
static int check_format(struct job *job, struct img_file *file,
                        struct img_error *err)
{
    const char *format = job->values->common.format;
    struct chain_probe probe;
    char shown[IMG_ERROR_PATH_MAX];

    if (format && !chain_format_find(format)) {
        img_fail(err, IMG_USAGE, "unknown format '%s'", format);
        img_error_set_path(err, job->path);
        return session_fail(err, CHECK_NOT_DONE);
    }
    if (!format) {
        if (chain_probe(file, &probe, err) < 0) {
            return session_fail(err, CHECK_NOT_DONE);
        }
        format = probe.format->name;
        if (strcmp(format, "qcow2") == 0) {
            img_escape(job->path, strlen(job->path), shown, sizeof(shown));
            message_note("%s: no format was said (-f); probed as qcow2", shown);
        }
    }
    if (strcmp(format, "qcow2") == 0) {
        return 0;
    }
    img_fail(err, IMG_UNSUPPORTED,
             "this image format (%s) does not support checks", format);
    img_error_set_path(err, job->path);
    return session_fail(err, CHECK_NO_SUPPORT);
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct check_values *values)
{
    const char *text = NULL;

    if (values->undo && (values->repair || values->no_undo)) {
        text = "option --undo goes without -r and --no-undo";
    } else if (!values->undo && !values->repair) {
        text = "options --dry-run and --no-undo go with -r";
    } else if (values->repair && strcmp(values->repair, "leaks") != 0 &&
               strcmp(values->repair, "all") != 0) {
        message_failed("option --repair (-r): found '%s', expected leaks or "
                       "all",
                       values->repair);
        return false;
    } else if (values->backing_chain) {
        text = "option --backing-chain does not go with -r: one file at a time";
    } else if (values->common.force_share) {
        text = "option --force-share (-U) does not go with -r: a file in use "
               "is never written";
    } else if (values->common.fd >= 0) {
        text = "option --fd does not go with -r: a file is written by its name";
    } else if (values->common.image_opts) {
        text = "option --image-opts does not go with -r: FILE is a path";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

static int run(struct job *job, struct img_error *err)
{
    const struct check_values *values = job->values;
    const struct img_open_options options = {
        .lock = values->dry_run ? IMG_LOCK_READER : IMG_LOCK_WRITER,
        .writable = !values->dry_run,
        .roots = values->common.roots,
    };
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    int code;

    if (img_file_open(job->path, &options, &file, err) < 0) {
        return -1;
    }
    code = check_format(job, file, err);
    if (code != 0) {
        job->out = NULL;
        return code;
    }
    return values->undo ? undo(job, file, err) : repair(job, file, err);
}

int check_repair(const struct check_values *values, char **operands)
{
    struct job job = {.values = values};
    struct img_error err;
    int code;
    IMG_AUTO(img_free_ptr) char *path = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (!is_sane(values)) {
        return CHECK_NOT_DONE;
    }
    message_without_share();
    if (change_path(operands[0], &path, &err) < 0 ||
        session_output(&values->common, &out, &err) < 0) {
        return session_fail(&err, CHECK_NOT_DONE);
    }
    job.path = path;
    job.out = out;
    job.width =
        isatty(STDOUT_FILENO) ? terminal_width(STDOUT_FILENO) : UINT_MAX;
    if (values->common.output == OUTPUT_JSON) {
        job.repairs = img_json_array();
        job.problems = img_json_array();
    }
    code = run(&job, &err);
    img_json_free(job.repairs);
    img_json_free(job.problems);
    if (code < 0) {
        return session_fail(&err, CHECK_NOT_DONE);
    }
    return job.out ? session_finish(out, code, CHECK_NOT_DONE) : code;
}
