/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* amend: options of an image that can be changed after it was made. */
#include <chain/amend.h>
#include <img/memory.h>

#include "choices.h"
#include "command.h"
#include "message.h"
#include "session.h"
#include "sheet.h"
#include "signals.h"
#include "values.h"

#define AT(field) offsetof(struct amend_values, field)

const struct option_spec amend_options[] = {
    {'o', "options", "OPTS", "NAME=VALUE,... to be changed; -o help lists them",
     option_options, 0},
    {'t', "cache", "CACHE", "no effect: FILE is flushed where it matters",
     option_cache_mode, AT(change.dest_cache)},
    {0, "force", NULL, "no effect: there is nothing unsafe to be done",
     option_flag, AT(is_accepted)},
    {0, "image-opts", NULL, "FILE is KEY=VALUE,... as QEMU has it", option_flag,
     AT(change.common.image_opts)},
    {0, "dry-run", NULL, "check everything and write nothing", option_flag,
     AT(change.dry_run)},
    {0, NULL, NULL, NULL, NULL, 0},
};

int amend_choices(const void *opaque)
{
    const struct amend_values *values = opaque;

    return choices_amend(values->change.common.format);
}

static void put_result(struct output *out, const struct change_values *change,
                       const char *path)
{
    const struct words *words = &change->options;

    if (change->common.output == OUTPUT_JSON) {
        struct img_json *json = change_json(change, "amend", path);
        struct img_json *list = img_json_array();

        for (size_t i = 0; i < words->nr; i++) {
            img_json_push(list, img_json_string(words->at[i]));
        }
        img_json_set(json, "options", list);
        output_json(out, json);
        return;
    }
    change_head(out, change, "amended", "amend", path);
    for (size_t i = 0; i < words->nr; i++) {
        sheet_text(out, i == 0 ? "options" : "", words->at[i]);
    }
}

int cmd_amend(void *opaque, char **operands, int nr)
{
    const struct amend_values *values = opaque;
    const struct change_values *change = &values->change;
    struct chain_amend_request request = {
        .options = (const char *const *)change->options.at,
        .options_nr = change->options.nr,
        .dry_run = change->dry_run,
        .allow_probe = change->common.allow_probe,
        .roots = change->common.roots,
        .progress = change_on_progress,
    };
    struct img_error err;
    IMG_AUTO(img_free_ptr) char *path = NULL;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;

    (void)nr;
    if (change->options.nr == 0) {
        message_failed("option --options (-o) is missing: what to change");
        return EXIT_USAGE;
    }
    if (change_target(change, operands[0], &path, &request.format, &err) < 0 ||
        session_output(&change->common, &out, &err) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    request.path = path;
    request.cancel = signals_catch();
    change_begin(&change->common, "amend");
    if (change_end(chain_amend(&request, &err)) < 0) {
        change_tell_state(&err, path,
                          "the image is whole, but not all was changed");
        return session_fail(&err, EXIT_FAILED);
    }
    put_result(out, change, path);
    return change_finish(change, out);
}
