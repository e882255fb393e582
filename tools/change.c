/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the commands that write images have in common: see change.h. */
#include "change.h"

#include <chain/formats.h>
#include <chain/name.h>
#include <img/image.h>
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "image_opts.h"
#include "message.h"
#include "progress.h"
#include "session.h"
#include "sheet.h"

int option_options(void *field, const char *arg, struct img_error *err)
{
    struct change_values *values = field;

    return words_add_options(&values->options, arg,
                             &values->common.wants_choices, err);
}

int option_relative(void *field, const char *arg, struct img_error *err)
{
    enum chain_name_style_wish *style = field;

    (void)arg;
    if (*style == CHAIN_MAKE_ABSOLUTE) {
        return img_fail(err, IMG_USAGE, "does not go with --absolute");
    }
    *style = CHAIN_MAKE_RELATIVE;
    return 0;
}

int option_absolute(void *field, const char *arg, struct img_error *err)
{
    enum chain_name_style_wish *style = field;

    (void)arg;
    if (*style == CHAIN_MAKE_RELATIVE) {
        return img_fail(err, IMG_USAGE, "does not go with --relative");
    }
    *style = CHAIN_MAKE_ABSOLUTE;
    return 0;
}

int option_cache_mode(void *field, const char *arg, struct img_error *err)
{
    enum chain_cache *cache = field;
    bool is_direct;

    if (option_cache(&is_direct, arg, err) < 0) {
        return -1;
    }
    *cache = is_direct ? CHAIN_CACHE_DIRECT : CHAIN_CACHE_CACHED;
    return 0;
}

int option_rate_limit(void *field, const char *arg, struct img_error *err)
{
    (void)field;
    (void)arg;
    return img_fail(err, IMG_USAGE, "is refused: rates are not limited");
}

void change_fini(void *values)
{
    struct change_values *change = values;

    words_fini(&change->options);
}

static int fail_more(struct img_error *err)
{
    return img_fail(err, IMG_UNSUPPORTED,
                    "names more than a file: found options, expected the path "
                    "of what is to be written");
}

/* The path that OPERAND names, and as what: *format, which is static (NULL: it
   says nothing of it). */
static char *parse_file(const char *operand, const char **format,
                        struct img_error *err)
{
    struct chain_ref ref = {.path = NULL};
    const struct img_format *found = NULL;
    char *path = NULL;
    int rc = chain_operand_parse(operand, &ref, err);

    if (rc == 0 && (ref.has_slice || ref.backing || ref.is_backing_null)) {
        rc = fail_more(err);
    }
    if (rc == 0 && ref.format) {
        found = chain_format_find(ref.format);
        rc = found ? 0
                   : img_fail(err, IMG_UNSUPPORTED,
                              "the driver that it names is not known");
    }
    *format = found ? found->name : NULL;
    if (rc == 0) {
        path = img_steal(&ref.path);
    } else {
        img_error_set_path(err, operand);
    }
    chain_ref_fini(&ref);
    return path;
}

int change_path(const char *operand, char **out, struct img_error *err)
{
    const char *format;

    *out = parse_file(operand, &format, err);
    if (*out && format) {
        free(*out);
        *out = NULL;
        fail_more(err);
        img_error_set_path(err, operand);
    }
    return *out ? 0 : -1;
}

static int settle_format(const struct change_values *values, const char *path,
                         const char **out, struct img_error *err)
{
    const struct common_values *common = &values->common;
    struct chain_options options;
    char shown[IMG_ERROR_PATH_MAX];
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;

    session_chain_options(common, &options);
    options.force_share = false;
    options.top_only = true;
    /* With the locks of the real thing: who must be kept out, is named. */
    options.write_top = !values->dry_run;
    if (chain_open(path, &options, &chain, err) < 0) {
        return -1;
    }
    *out = chain_layer_image(chain_layer_at(chain, 0))->format;
    if (strcmp(*out, "qcow2") != 0) {
        img_fail(err, IMG_USAGE,
                 "probed as %s, and a file that is written in place is only "
                 "taken for qcow2 unasked: its format must be said (-f)",
                 *out);
        img_error_set_path(err, path);
        return -1;
    }
    img_escape(path, strlen(path), shown, sizeof(shown));
    message_note("%s: no format was said (-f); probed as qcow2", shown);
    return 0;
}

static int fail_formats(const char *asked, const char *named,
                        const char *operand, struct img_error *err)
{
    img_fail(err, IMG_USAGE, "is named as %s, and -f says %s", named, asked);
    img_error_set_path(err, operand);
    return -1;
}

int change_target(const struct change_values *values, const char *operand,
                  char **path, const char **format, struct img_error *err)
{
    const char *asked = values->common.format;
    IMG_AUTO(img_free_ptr) char *name = NULL;

    if (values->common.image_opts) {
        name = image_opts_name(operand, err);
        operand = name;
    }
    *path = operand ? parse_file(operand, format, err) : NULL;
    if (!*path) {
        return -1;
    }
    if (asked && *format && strcmp(asked, *format) != 0) {
        return fail_formats(asked, *format, operand, err);
    }
    if (asked) {
        *format = asked;
    }
    return *format ? 0 : settle_format(values, *path, format, err);
}

void change_note_probed(const char *path, const char *option)
{
    char shown[IMG_ERROR_PATH_MAX];

    img_escape(path, strlen(path), shown, sizeof(shown));
    message_note("%s: no format was said (%s); it is probed", shown, option);
}

void change_begin(const struct common_values *common, const char *phase)
{
    progress_begin(common->quiet ? PROGRESS_NONE : common->progress, phase);
}

void change_on_progress(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque;
    progress_update(done, total);
}

void change_on_phase(void *opaque, enum chain_phase phase, uint64_t done,
                     uint64_t total)
{
    static const char *const names[] = {
        [CHAIN_PHASE_CHECK] = "check",
        [CHAIN_PHASE_COPY] = "copy",
        [CHAIN_PHASE_FLUSH] = "flush",
        [CHAIN_PHASE_VERIFY] = "verify",
    };

    (void)opaque;
    progress_phase(names[phase], done, total);
}

int change_end(int rc)
{
    if (rc == 0) {
        progress_complete();
    }
    progress_end();
    return rc;
}

void change_tell_state(struct img_error *err, const char *path,
                       const char *state)
{
    if (err->code != IMG_CANCELLED) {
        return;
    }
    if (strcmp(err->text, "cancelled") == 0) {
        (void)snprintf(err->text, sizeof(err->text), "cancelled; %s", state);
    }
    img_error_set_path(err, path);
}

int change_unreported(const struct change_values *values,
                      const struct img_error *err)
{
    struct img_error said = *err;

    if (!values->dry_run) {
        (void)snprintf(said.text, sizeof(said.text),
                       "%.900s; what was to be done is done, only the report"
                       " is not whole",
                       err->text);
    }
    return session_fail(&said, EXIT_FAILED);
}

int change_finish(const struct change_values *values, struct output *out)
{
    struct img_error err;

    return output_finish(out, &err) < 0 ? change_unreported(values, &err)
                                        : EXIT_DONE;
}

struct img_json *change_json(const struct change_values *values,
                             const char *operation, const char *path)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "operation", operation);
    img_json_set_string(json, "filename", path);
    img_json_set_bool(json, "dry-run", values->dry_run);
    return json;
}

void change_head(struct output *out, const struct change_values *values,
                 const char *done, const char *work, const char *path)
{
    char label[32];

    (void)snprintf(label, sizeof(label), "would %s", work);
    sheet_text(out, values->dry_run ? label : done, path);
}
