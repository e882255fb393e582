/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot: offline external snapshots of several disks at once; and what a
 * run that was killed left behind.
 */
#include <chain/snapshot.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "choices.h"
#include "command.h"
#include "made.h"
#include "message.h"
#include "session.h"
#include "sheet.h"
#include "signals.h"
#include "terminal.h"
#include "values.h"
#include "verdict.h"

/* libvirt's drives of all buses together; a bound for a command line. */
#define DISKS_MAX 4096u

static int option_disk(void *field, const char *arg, struct img_error *err)
{
    struct words *disks = field;

    if (disks->nr >= DISKS_MAX) {
        return img_fail(err, IMG_USAGE, "is over the limit of %u disks",
                        DISKS_MAX);
    }
    return words_push(disks, img_strndup(arg, strlen(arg), err), err);
}

static int option_recover(void *field, const char *arg, struct img_error *err)
{
    const char **folder = field;

    if (*folder) {
        return img_fail(err, IMG_USAGE, "is the second one, expected one");
    }
    *folder = arg;
    return 0;
}

#define AT(field) offsetof(struct snapshot_values, field)

const struct option_spec snapshot_options[] = {
    {0, "disk", "ACTIVE=NEW[,...]",
     "NEW becomes the overlay of ACTIVE (repeatable)", option_disk, AT(disks)},
    {'o', "options", "OPTS", "NAME=VALUE,... for all new overlays",
     option_options, 0},
    {0, "relative", NULL, "record relative paths (default)", option_relative,
     AT(change.style)},
    {0, "absolute", NULL, "record absolute paths", option_absolute,
     AT(change.style)},
    {0, "atomic", NULL, "all or none, whatever happens", option_flag,
     AT(atomic)},
    {0, "reuse-external", NULL, "the overlays are there: judge, make none",
     option_flag, AT(reuse_external)},
    {0, "recover", "FOLDER", "finish or undo what a killed run left there",
     option_recover, AT(recover)},
    {0, "dry-run", NULL, "check everything and write nothing", option_flag,
     AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

int snapshot_choices(const void *opaque)
{
    (void)opaque;
    return choices_create("qcow2");
}

void snapshot_fini(void *values)
{
    struct snapshot_values *snapshot = values;

    words_fini(&snapshot->disks);
    change_fini(values);
}

/* The disks of the options; all that they point to is in WORDS. */
struct disks {
    struct chain_snapshot_disk *at;
    size_t nr;
    struct words words;
};

static void disks_fini(struct disks *disks)
{
    free(disks->at);
    words_fini(&disks->words);
}

/*
 * Cut TEXT at its first '=' that is not doubled; doubled ones before it become
 * single. Returns what stands behind it, NULL when there is none.
 */
static char *cut_active(char *text)
{
    char *in = text, *out = text;

    while (*in && (in[0] != '=' || in[1] == '=')) {
        in += *in == '=' ? 1 : 0;
        *out++ = *in++;
    }
    if (!*in) {
        return NULL;
    }
    *out = '\0';
    return in + 1;
}

/* "backing=TEXT", "format=FMT": WORD stays in use. */
static int disk_set(struct chain_snapshot_disk *disk, const char *word,
                    struct img_error *err)
{
    if (strncmp(word, "backing=", 8) == 0 && word[8]) {
        disk->backing_name = word + 8;
    } else if (strncmp(word, "format=", 7) == 0 && word[7]) {
        disk->active_format = word + 7;
    } else {
        char shown[256];

        img_escape(word, strlen(word), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "--disk: found '%s', expected backing=TEXT or "
                        "format=FMT",
                        shown);
    }
    return 0;
}

static int disk_parse(const char *text, struct chain_snapshot_disk *disk,
                      struct words *words, struct img_error *err)
{
    char shown[256], *word, *overlay, *path;
    const char *rest = words_take(text, &word, err);

    if (words_push(words, word, err) < 0) {
        return -1;
    }
    overlay = cut_active(word);
    if (!overlay || !word[0] || !overlay[0]) {
        img_escape(text, strlen(text), shown, sizeof(shown));
        return img_fail(err, IMG_USAGE,
                        "--disk: '%s' is not ACTIVE=NEW[,backing=TEXT]"
                        "[,format=FMT]",
                        shown);
    }
    if (change_path(overlay, &path, err) < 0 ||
        words_push(words, path, err) < 0) {
        return -1;
    }
    *disk = (struct chain_snapshot_disk){.active = word, .overlay = path};
    while (*rest) {
        rest = words_take(rest + 1, &word, err);
        if (words_push(words, word, err) < 0 || disk_set(disk, word, err) < 0) {
            return -1;
        }
    }
    return 0;
}

static int disks_parse(const struct snapshot_values *values, struct disks *out,
                       struct img_error *err)
{
    *out = (struct disks){.nr = values->disks.nr};
    out->at = img_calloc(out->nr, sizeof(*out->at), err);
    if (!out->at) {
        return -1;
    }
    for (size_t i = 0; i < out->nr; i++) {
        if (disk_parse(values->disks.at[i], &out->at[i], &out->words, err) <
            0) {
            return -1;
        }
    }
    return 0;
}

static const char *verdict_word(const struct chain_snapshot_result *result)
{
    return result->is_refused ? "refused" : "accepted";
}

static struct verdict verdict_of(const struct chain_snapshot_request *request,
                                 const struct chain_snapshot_result *result,
                                 size_t idx)
{
    return verdict_of_validate(result->reports[idx], CHAIN_OP_SNAPSHOT,
                               request->disks[idx].active,
                               request->disks[idx].overlay);
}

static struct img_json *disk_json(const struct chain_snapshot_request *request,
                                  const struct chain_snapshot_result *result,
                                  size_t idx)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "source", request->disks[idx].active);
    img_json_set_string(json, "filename", request->disks[idx].overlay);
    if (result->made && result->made[idx].path) {
        made_json(json, &result->made[idx]);
    }
    if (result->reports && result->reports[idx]) {
        struct verdict verdict = verdict_of(request, result, idx);

        img_json_set(json, "report", verdict_json(&verdict));
    }
    return json;
}

static struct img_json *
result_json(const struct snapshot_values *values,
            const struct chain_snapshot_request *request,
            const struct chain_snapshot_result *result)
{
    struct img_json *json = img_json_object(), *list = img_json_array();

    img_json_set_string(json, "operation", "snapshot");
    img_json_set_bool(json, "dry-run", values->change.dry_run);
    img_json_set_bool(json, "atomic", values->atomic);
    img_json_set_bool(json, "reuse-external", values->reuse_external);
    img_json_set_string(json, "verdict", verdict_word(result));
    for (size_t i = 0; i < result->nr; i++) {
        img_json_push(list, disk_json(request, result, i));
    }
    img_json_set(json, "disks", list);
    return json;
}

static void put_disk(struct output *out, const struct snapshot_values *values,
                     const struct chain_snapshot_request *request,
                     const struct chain_snapshot_result *result, size_t idx)
{
    const struct chain_snapshot_disk *disk = &request->disks[idx];
    const struct chain_report *report =
        result->reports ? result->reports[idx] : NULL;

    if (report && chain_report_judgement(report) != CHAIN_ACCEPTED) {
        struct verdict verdict = verdict_of(request, result, idx);

        verdict_sheet(out, &verdict, terminal_width(STDOUT_FILENO),
                      values->change.common.verbose);
        return;
    }
    if (result->is_refused) {
        return;
    }
    if (idx > 0) {
        output_text(out, "\n");
    }
    if (values->reuse_external) {
        sheet_text(out, "accepted", disk->overlay);
    } else {
        change_head(out, &values->change, "created", "create", disk->overlay);
    }
    sheet_text(out, "overlay of", disk->active);
    if (result->made && result->made[idx].path) {
        made_sheet(out, &result->made[idx]);
    }
}

static void put_result(struct output *out, const struct snapshot_values *values,
                       const struct chain_snapshot_request *request,
                       const struct chain_snapshot_result *result)
{
    if (values->change.common.output == OUTPUT_JSON) {
        output_json(out, result_json(values, request, result));
        return;
    }
    for (size_t i = 0; i < result->nr; i++) {
        put_disk(out, values, request, result, i);
    }
    if (result->is_refused) {
        output_text(out, "\nNothing was done.\n");
    }
}

static int snapshot(const struct snapshot_values *values,
                    const struct disks *disks, struct output *out,
                    struct img_error *err)
{
    const struct change_values *change = &values->change;
    struct chain_snapshot_request request = {
        .disks = disks->at,
        .disks_nr = disks->nr,
        .options = (const char *const *)change->options.at,
        .options_nr = change->options.nr,
        .style = change->style,
        .reuse_external = values->reuse_external,
        .atomic = values->atomic,
        .dry_run = change->dry_run,
        .allow_probe = change->common.allow_probe,
        .max_depth = change->common.max_depth,
        .roots = change->common.roots,
        .engine = (int)change->common.engine,
        .cancel = signals_catch(),
    };
    struct chain_snapshot_result result = {.nr = 0};

    for (size_t i = 0; i < disks->nr; i++) {
        if (!disks->at[i].active_format) {
            change_note_probed(disks->at[i].active, "format=");
        }
    }
    int rc = chain_snapshot(&request, &result, err), code = EXIT_DONE;

    if (rc < 0) {
        change_tell_state(err, request.disks[0].overlay, "none was made");
        code = session_fail(err, EXIT_FAILED);
    }
    if (rc == 0 || result.is_refused) {
        put_result(out, values, &request, &result);
        code = rc < 0 || result.is_refused
                   ? session_finish(out, EXIT_FAILED, EXIT_FAILED)
                   : change_finish(change, out);
    }
    chain_snapshot_result_fini(&result);
    return code;
}

/* What became of files that a killed run left. */
struct recovery {
    struct output *out;
    struct img_json *list; /* NULL: human output */
    size_t nr;
};

static void on_recovered(void *opaque, const char *path, const char *what)
{
    struct recovery *recovery = opaque;

    recovery->nr++;
    if (recovery->list) {
        struct img_json *one = img_json_object();

        img_json_set_string(one, "filename", path);
        img_json_set_string(one, "result", what);
        img_json_push(recovery->list, one);
    } else {
        sheet_text(recovery->out, what, path);
    }
}

static int recover(const struct snapshot_values *values, struct output *out,
                   struct img_error *err)
{
    bool is_json = values->change.common.output == OUTPUT_JSON;
    struct recovery recovery = {
        .out = out,
        .list = is_json ? img_json_array() : NULL,
    };
    int rc =
        chain_snapshot_recover(values->recover, on_recovered, &recovery, err);

    if (is_json && rc == 0) {
        struct img_json *json =
            change_json(&values->change, "recover", values->recover);

        img_json_set(json, "files", recovery.list);
        output_json(out, json);
    } else {
        img_json_free(recovery.list);
    }
    if (!is_json && recovery.nr == 0 && rc == 0) {
        sheet_text(out, "nothing to do in", values->recover);
    }
    /* What was done until then is told, too. */
    return rc < 0 ? session_finish(out, session_fail(err, EXIT_FAILED),
                                   EXIT_FAILED)
                  : session_finish(out, EXIT_DONE, EXIT_FAILED);
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct snapshot_values *values)
{
    const char *text = NULL;

    if (values->recover) {
        if (values->disks.nr > 0 || values->change.dry_run ||
            values->change.common.roots) {
            text = "--recover goes alone";
        }
    } else if (values->disks.nr == 0) {
        text = "option --disk is missing: ACTIVE=NEW";
    } else if (values->reuse_external && values->change.options.nr > 0) {
        text = "--options (-o) does not go with --reuse-external: the "
               "overlays are there";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

int cmd_snapshot(void *opaque, char **operands, int nr)
{
    const struct snapshot_values *values = opaque;
    struct disks disks = {.at = NULL};
    struct img_error err;
    int code;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    (void)operands;
    (void)nr;
    if (!is_sane(values)) {
        return EXIT_USAGE;
    }
    if (session_output(&values->change.common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    if (values->recover) {
        return recover(values, out, &err);
    }
    code = disks_parse(values, &disks, &err) < 0
               ? session_fail(&err, EXIT_USAGE)
               : snapshot(values, &disks, out, &err);
    disks_fini(&disks);
    return code;
}
