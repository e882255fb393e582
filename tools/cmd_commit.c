/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* commit: an overlay's contents go into its backing file, or a lower layer. */
#include <chain/rebase.h>
#include <img/memory.h>
#include <string.h>

#include "command.h"
#include "session.h"
#include "sheet.h"
#include "signals.h"
#include "values.h"

#define AT(field) offsetof(struct commit_values, field)

const struct option_spec commit_options[] = {
    {'b', "base", "BASE", "commit into this layer (the backing file)",
     option_text, AT(base)},
    {'d', "drop", NULL, "do not empty FILE, which is to be dropped",
     option_flag, AT(keep_overlay)},
    {0, "verify", NULL, "compare everything before FILE is emptied",
     option_flag, AT(change.verify)},
    {'t', "cache", "CACHE", "none: read past the page cache", option_cache_mode,
     AT(change.source_cache)},
    {'r', "rate-limit", "RATE", "refused: rates are not limited",
     option_rate_limit, 0},
    {0, "image-opts", NULL, "FILE is KEY=VALUE,... as QEMU has it", option_flag,
     AT(change.common.image_opts)},
    {0, "dry-run", NULL, "show what would be done and write nothing",
     option_flag, AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static void fill_request(const struct commit_values *values, const char *path,
                         const char *format, struct chain_commit_request *out)
{
    const struct change_values *change = &values->change;
    const struct common_values *common = &change->common;

    *out = (struct chain_commit_request){
        .path = path,
        .format = format,
        .base = values->base,
        .keep_overlay = values->keep_overlay,
        .dry_run = change->dry_run,
        .verify = change->verify,
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

/*
 * The layers above BASE and below FILE, which show other contents once BASE
 * is written. They are found before that: afterwards FILE may be in use again.
 */
static int find_between(const struct commit_values *values, const char *path,
                        const char *format, struct words *out,
                        struct img_error *err)
{
    const struct common_values *common = &values->change.common;
    struct chain_options options;
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;

    if (!values->base) {
        return 0;
    }
    session_chain_options(common, &options);
    options.format = format;
    if (session_open(common, path, &options, &chain, err) < 0) {
        return -1;
    }
    for (size_t i = 1; i < chain_depth(chain); i++) {
        const char *layer = chain_layer_path(chain_layer_at(chain, i));

        if (words_push(out, img_strndup(layer, strlen(layer), err), err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Is layer IDX of LAYERS, top down, the BASE, or none? */
static bool is_reached(const struct words *layers, size_t idx, const char *base)
{
    return idx >= layers->nr || strcmp(layers->at[idx], base) == 0;
}

static struct img_json *result_json(const struct change_values *change,
                                    const char *path,
                                    const struct chain_commit_result *result,
                                    const struct words *layers)
{
    struct img_json *list = img_json_array();
    struct img_json *json = change_json(change, "commit", path);

    img_json_set_string(json, "base", result->base);
    img_json_set_bool(json, "base-grown", result->is_base_grown);
    img_json_set_bool(json, "overlay-emptied", result->is_overlay_emptied);
    img_json_set_u64(json, "read-len", result->read_len);
    img_json_set_u64(json, "written-len", result->written_len);
    img_json_set_u64(json, "zero-len", result->zero_len);
    for (size_t i = 0; !is_reached(layers, i, result->base); i++) {
        img_json_push(list, img_json_string(layers->at[i]));
    }
    img_json_set(json, "invalid-layers", list);
    return json;
}

static void put_result(struct output *out, const struct change_values *change,
                       const char *path,
                       const struct chain_commit_result *result,
                       const struct words *layers)
{
    bool is_dry = change->dry_run;

    change_head(out, change, "committed", "commit", path);
    sheet_text(out, "into", result->base);
    if (result->is_base_grown) {
        sheet_text(out, "", is_dry ? "which grows" : "which was made larger");
    }
    sheet_size(out, is_dry ? "read at most" : "read", result->read_len);
    sheet_size(out, is_dry ? "written at most" : "written",
               result->written_len);
    sheet_size(out, "zeros", result->zero_len);
    if (!is_dry) {
        sheet_text(out, "overlay",
                   result->is_overlay_emptied ? "emptied" : "kept as it was");
    }
    for (size_t i = 0; !is_reached(layers, i, result->base); i++) {
        sheet_text(out, is_dry ? "invalid then" : "invalid now", layers->at[i]);
    }
}

static int commit(const struct commit_values *values, const char *path,
                  const char *format, struct words *layers, struct output *out,
                  struct img_error *err)
{
    const struct change_values *change = &values->change;
    struct chain_commit_result result = {.base = NULL};
    struct chain_commit_request request;

    if (find_between(values, path, format, layers, err) < 0) {
        return -1;
    }
    fill_request(values, path, format, &request);
    change_begin(&change->common, "check");
    if (change_end(chain_commit(&request, &result, err)) < 0) {
        change_tell_state(err, path, "nothing was committed");
        return -1;
    }
    if (change->common.output == OUTPUT_JSON) {
        output_json(out, result_json(change, path, &result, layers));
    } else {
        put_result(out, change, path, &result, layers);
    }
    chain_commit_result_fini(&result);
    return 0;
}

int cmd_commit(void *opaque, char **operands, int nr)
{
    const struct commit_values *values = opaque;
    struct words layers = {.at = NULL};
    struct img_error err;
    const char *format;
    int rc;
    IMG_AUTO(img_free_ptr) char *path = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    (void)nr;
    if (change_target(&values->change, operands[0], &path, &format, &err) < 0 ||
        session_output(&values->change.common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    rc = commit(values, path, format, &layers, out, &err);
    words_fini(&layers);
    return rc < 0 ? session_fail(&err, EXIT_FAILED)
                  : change_finish(&values->change, out);
}
