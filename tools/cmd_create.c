/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * create: an empty image, an overlay, or exactly what validate accepts as the
 * destination of an operation on a disk.
 */
#include <chain/create.h>
#include <img/memory.h>
#include <string.h>

#include "choices.h"
#include "command.h"
#include "made.h"
#include "message.h"
#include "session.h"
#include "signals.h"
#include "values.h"

static int option_for(void *field, const char *arg, struct img_error *err)
{
    struct create_values *values = field;

    if (strcmp(arg, "snapshot") == 0) {
        values->operation = CHAIN_OP_SNAPSHOT;
    } else if (strcmp(arg, "copy") == 0) {
        values->operation = CHAIN_OP_COPY;
    } else if (strcmp(arg, "shallow-copy") == 0) {
        values->operation = CHAIN_OP_SHALLOW_COPY;
    } else {
        return img_fail(err, IMG_USAGE,
                        "is none of snapshot, copy, shallow-copy");
    }
    values->has_for = true;
    return 0;
}

#define AT(field) offsetof(struct create_values, field)

const struct option_spec create_options[] = {
    {'f', "format", "FMT", "qcow2 or raw (default; qcow2 with --for)",
     option_text, AT(change.common.format)},
    {'o', "options", "OPTS", "NAME=VALUE,... of the format; -o help lists them",
     option_options, 0},
    {'b', "backing", "BACKING", "make an overlay of BACKING", option_text,
     AT(change.backing_name)},
    {'F', "backing-format", "FMT", "format of BACKING, to be recorded",
     option_text, AT(change.backing_format)},
    {'u', "backing-unsafe", NULL, "do not open BACKING", option_flag,
     AT(backing_unsafe)},
    {0, "relative", NULL, "record BACKING relative to FILE's folder",
     option_relative, AT(change.style)},
    {0, "absolute", NULL, "record BACKING's absolute path", option_absolute,
     AT(change.style)},
    {0, "for", "OPERATION", "snapshot, copy or shallow-copy, of the disk ...",
     option_for, 0},
    {0, "source", "ACTIVE", "... whose active layer is ACTIVE", option_text,
     AT(source)},
    {0, "source-format", "FMT", "its format; else it is probed", option_text,
     AT(source_format)},
    {0, "dry-run", NULL, "check everything and write nothing", option_flag,
     AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

int create_choices(const void *opaque)
{
    const struct create_values *values = opaque;
    const char *format = values->change.common.format;

    return choices_create(!format && values->has_for ? "qcow2" : format);
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct create_values *values, int nr)
{
    const struct change_values *change = &values->change;

    if (!values->has_for) {
        if (values->source || values->source_format) {
            message_failed("--source goes with --for");
            return false;
        }
        return true;
    }
    if (!values->source) {
        message_failed("option --source is missing: the disk's active layer");
        return false;
    }
    if (change->backing_name || change->backing_format ||
        values->backing_unsafe || nr > 1) {
        message_failed("--for takes size and backing file from ACTIVE: found "
                       "%s, expected none",
                       nr > 1                   ? "SIZE"
                       : change->backing_name   ? "--backing"
                       : change->backing_format ? "--backing-format"
                                                : "--backing-unsafe");
        return false;
    }
    return true;
}

static int fill_request(const struct create_values *values, const char *path,
                        const char *size, struct chain_create_request *out,
                        struct img_error *err)
{
    const struct change_values *change = &values->change;

    *out = (struct chain_create_request){
        .path = path,
        .format = change->common.format,
        .options = (const char *const *)change->options.at,
        .options_nr = change->options.nr,
        .has_size = size,
        .backing_name = change->backing_name,
        .backing_format = change->backing_format,
        .style = change->style,
        .unchecked_backing = values->backing_unsafe,
        .force_share = change->common.force_share,
        .allow_probe = change->common.allow_probe,
        .dry_run = change->dry_run,
        .roots = change->common.roots,
        .cancel = signals_catch(),
    };
    return size ? size_operand(size, &out->size, err) : 0;
}

static int show(const struct change_values *change,
                const struct chain_made *made, struct img_error *err)
{
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    if (session_output(&change->common, &out, err) < 0) {
        return change_unreported(change, err);
    }
    if (change->common.output == OUTPUT_JSON) {
        struct img_json *json = change_json(change, "create", made->path);

        made_json(json, made);
        output_json(out, json);
    } else {
        change_head(out, change, "created", "create", made->path);
        made_sheet(out, made);
    }
    return change_finish(change, out);
}

int cmd_create(void *opaque, char **operands, int nr)
{
    const struct create_values *values = opaque;
    struct chain_create_request request;
    struct chain_made made = {.path = NULL};
    struct img_error err;
    int rc, code;
    IMG_AUTO(img_free_ptr) char *path = NULL;

    if (!is_sane(values, nr)) {
        return EXIT_USAGE;
    }
    if (change_path(operands[0], &path, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    if (fill_request(values, path, nr > 1 ? operands[1] : NULL, &request,
                     &err) < 0) {
        return session_fail(&err, EXIT_USAGE);
    }
    if (values->has_for && !values->source_format) {
        change_note_probed(values->source, "--source-format");
    }
    rc = values->has_for
             ? chain_create_for(values->operation, values->source,
                                values->source_format, &request, &made, &err)
             : chain_create(&request, &made, &err);
    if (rc < 0) {
        change_tell_state(&err, path, "nothing was made");
        code = session_fail(&err, EXIT_FAILED);
    } else {
        code = show(&values->change, &made, &err);
    }
    chain_made_fini(&made);
    return code;
}
