/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rebase: another backing file under an image whose guest sees the same at
 * every instant; other names for the backing files of a whole chain; and the
 * way back.
 */
#include <chain/rebase.h>
#include <img/memory.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "proof.h"
#include "session.h"
#include "sheet.h"
#include "signals.h"
#include "values.h"

#define AT(field) offsetof(struct rebase_values, field)

const struct option_spec rebase_options[] = {
    {'b', "backing", "BACKING", "the new backing file; \"\": none", option_text,
     AT(change.backing_name)},
    {'F', "backing-format", "FMT", "its format, to be recorded", option_text,
     AT(change.backing_format)},
    {'u', "backing-unsafe", NULL, "only change the header; read nothing",
     option_flag, AT(unsafe)},
    {0, "force", NULL, "with -u: even where it makes no sense", option_flag,
     AT(force)},
    {0, "relative", NULL, "record relative paths; without -b: in all layers",
     option_relative, AT(change.style)},
    {0, "absolute", NULL, "record absolute paths; without -b: in all layers",
     option_absolute, AT(change.style)},
    {0, "no-undo", NULL, "keep no record of the old header", option_flag,
     AT(no_undo)},
    {0, "undo", "RECORD", "put back the header that RECORD keeps", option_text,
     AT(undo)},
    {0, "verify", NULL, "compare everything before the header changes",
     option_flag, AT(change.verify)},
    {'T', "backing-cache", "CACHE", "none: read past the page cache",
     option_cache_mode, AT(change.source_cache)},
    {'t', "cache", "CACHE", "no effect: FILE is flushed where it matters",
     option_cache_mode, AT(change.dest_cache)},
    {'U', "force-share", NULL, "read backing files that a process writes",
     option_flag, AT(change.common.force_share)},
    {0, "image-opts", NULL, "FILE is KEY=VALUE,... as QEMU has it", option_flag,
     AT(change.common.image_opts)},
    {0, "dry-run", NULL, "show what would be done and write nothing",
     option_flag, AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct rebase_values *values)
{
    const struct change_values *change = &values->change;
    const char *text = NULL;

    if (values->undo) {
        if (change->backing_name || change->backing_format || values->unsafe ||
            change->style != CHAIN_NAME_AS_GIVEN) {
            text = "--undo goes without options that say what is new";
        }
    } else if (values->force && !values->unsafe) {
        text = "--force goes with --backing-unsafe (-u)";
    } else if (!change->backing_name && !change->backing_format &&
               change->style == CHAIN_NAME_AS_GIVEN) {
        text = "option --backing (-b) is missing: the new backing file, or "
               "\"\" for none";
    } else if (change->backing_name && !change->backing_name[0] &&
               (change->backing_format ||
                change->style != CHAIN_NAME_AS_GIVEN)) {
        text = "no backing file (-b \"\") has neither format nor path";
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

static void fill_request(const struct rebase_values *values, const char *path,
                         const char *format, struct chain_rebase_request *out)
{
    const struct change_values *change = &values->change;
    const struct common_values *common = &change->common;

    *out = (struct chain_rebase_request){
        .path = path,
        .format = format,
        .backing_name = change->backing_name,
        .backing_format = change->backing_format,
        .style = change->style,
        .unsafe = values->unsafe,
        .force = values->force,
        .dry_run = change->dry_run,
        .no_undo = values->no_undo,
        .verify = change->verify,
        .force_share = common->force_share,
        .allow_probe = common->allow_probe,
        .source_cache = change->source_cache,
        .max_depth = common->max_depth,
        .engine = (int)common->engine,
        .budget_len = common->max_memory,
        .roots = common->roots,
        .cancel = signals_catch(),
        .progress = change_on_phase,
    };
}

static struct img_json *result_json(const struct change_values *change,
                                    const char *path,
                                    const struct chain_rebase_result *result)
{
    struct img_json *json = change_json(change, "rebase", path);

    if (result->backing_name) {
        img_json_set_string(json, "backing-filename", result->backing_name);
    }
    if (result->backing_format) {
        img_json_set_string(json, "backing-filename-format",
                            result->backing_format);
    }
    if (result->undo_path) {
        img_json_set_string(json, "undo-filename", result->undo_path);
    }
    img_json_set_bool(json, "header-only", result->is_header_only);
    img_json_set_u64(json, "read-len", result->read_len);
    img_json_set_u64(json, "written-len", result->written_len);
    img_json_set(json, "proof", proof_json(&result->proof));
    return json;
}

static void put_result(struct output *out, const struct change_values *change,
                       const char *path,
                       const struct chain_rebase_result *result)
{
    change_head(out, change, "rebased", "rebase", path);
    sheet_text(out, "backing file",
               result->backing_name ? result->backing_name : "none");
    if (result->backing_name) {
        sheet_text(out, "backing format",
                   result->backing_format ? result->backing_format
                                          : "not recorded");
    }
    sheet_size(out, change->dry_run ? "read at most" : "read",
               result->read_len);
    if (result->is_header_only) {
        sheet_text(out, "written", "nothing but the header");
    } else {
        sheet_size(out, change->dry_run ? "written at most" : "written",
                   result->written_len);
    }
    if (result->undo_path) {
        sheet_text(out, "undo record", result->undo_path);
    }
}

/* Is the trouble with the new backing file, not with FILE or its record? */
static bool is_of_backing(const struct chain_rebase_request *request,
                          const struct img_error *err)
{
    size_t len = strlen(request->path);

    return err->path[0] && (strncmp(err->path, request->path, len) != 0 ||
                            (strcmp(err->path + len, "") != 0 &&
                             strcmp(err->path + len, ".imgchain-undo") != 0));
}

/* What -u refuses about another file can be insisted on. */
static void hint_force(const struct chain_rebase_request *request,
                       struct img_error *err)
{
    size_t used = strlen(err->text);

    if (request->unsafe && !request->force && is_of_backing(request, err) &&
        err->code != IMG_CANCELLED) {
        (void)snprintf(err->text + used, sizeof(err->text) - used,
                       "; --force records it all the same");
    }
}

static int rebase(const struct change_values *change,
                  const struct chain_rebase_request *request,
                  struct output *out, struct img_error *err)
{
    struct chain_rebase_result result = {.backing_name = NULL};

    change_begin(&change->common, "check");
    if (change_end(chain_rebase(request, &result, err)) < 0) {
        hint_force(request, err);
        change_tell_state(err, request->path,
                          "its backing file is the old one, and the guest "
                          "sees what it saw");
        return -1;
    }
    if (change->common.output == OUTPUT_JSON) {
        output_json(out, result_json(change, request->path, &result));
    } else {
        put_result(out, change, request->path, &result);
    }
    chain_rebase_result_fini(&result);
    return 0;
}

/* Headers that were rewritten, in the form of the output. */
struct renames {
    struct output *out;
    struct img_json *list; /* NULL: human output */
    const char *done;
    size_t nr;
};

static void on_rename(void *opaque, const char *path, const char *from,
                      const char *to)
{
    struct renames *renames = opaque;

    renames->nr++;
    if (renames->list) {
        struct img_json *one = img_json_object();

        img_json_set_string(one, "filename", path);
        img_json_set_string(one, "from", from);
        img_json_set_string(one, "to", to);
        img_json_push(renames->list, one);
        return;
    }
    sheet_text(renames->out, renames->done, path);
    sheet_text(renames->out, "  from", from);
    sheet_text(renames->out, "  to", to);
}

static int rename_all(const struct change_values *change,
                      const struct chain_rebase_request *asked,
                      struct output *out, struct img_error *err)
{
    struct chain_rebase_request request = *asked;
    bool is_json = change->common.output == OUTPUT_JSON;
    struct renames renames = {
        .out = out,
        .list = is_json ? img_json_array() : NULL,
        .done = change->dry_run ? "would rename in" : "renamed in",
    };

    request.opaque = &renames;
    if (chain_rename_backings(&request, on_rename, err) < 0) {
        img_json_free(renames.list);
        return -1;
    }
    if (is_json) {
        struct img_json *json = change_json(change, "rebase", request.path);

        img_json_set(json, "changes", renames.list);
        output_json(out, json);
    } else if (renames.nr == 0) {
        sheet_text(out, "unchanged", request.path);
    }
    return 0;
}

static int undo(const struct rebase_values *values,
                const struct chain_rebase_request *request, struct output *out,
                struct img_error *err)
{
    const struct change_values *change = &values->change;

    if (chain_rebase_undo(request, values->undo, err) < 0) {
        return -1;
    }
    if (change->common.output == OUTPUT_JSON) {
        struct img_json *json = change_json(change, "undo", request->path);

        img_json_set_string(json, "undo-filename", values->undo);
        output_json(out, json);
    } else {
        change_head(out, change, "restored", "restore", request->path);
        sheet_text(out, "from", values->undo);
    }
    return 0;
}

int cmd_rebase(void *opaque, char **operands, int nr)
{
    const struct rebase_values *values = opaque;
    const struct change_values *change = &values->change;
    struct chain_rebase_request request;
    struct img_error err;
    const char *format;
    int rc;
    IMG_AUTO(img_free_ptr) char *path = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    (void)nr;
    if (!is_sane(values)) {
        return EXIT_USAGE;
    }
    message_written(operands[0]);
    if (change_target(change, operands[0], &path, &format, &err) < 0 ||
        session_output(&change->common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    message_written(path);
    fill_request(values, path, format, &request);
    if (values->undo) {
        rc = undo(values, &request, out, &err);
    } else if (!change->backing_name && !change->backing_format) {
        rc = rename_all(change, &request, out, &err);
    } else {
        rc = rebase(change, &request, out, &err);
    }
    return rc < 0 ? session_fail(&err, EXIT_FAILED)
                  : change_finish(change, out);
}
