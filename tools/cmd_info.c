/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * info: what the headers of an image, or of all images of a chain, say. Only
 * --backing-chain opens more than the one file.
 */
#include <img/memory.h>

#include "command.h"
#include "info.h"
#include "sandbox.h"
#include "session.h"
#include "values.h"

const struct option_spec info_options[] = {
    {0, "backing-chain", NULL, "all images of the chain, active layer first",
     option_flag, offsetof(struct info_values, backing_chain)},
    {0, "image-opts", NULL, "FILE is KEY=VALUE,... as QEMU has it", option_flag,
     offsetof(struct info_values, common.image_opts)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static int print_json(struct output *out, const struct chain *chain,
                      bool as_list, struct img_error *err)
{
    struct img_json *list = NULL;

    if (as_list) {
        list = img_json_array();
    }
    for (size_t i = 0; i < chain_depth(chain); i++) {
        struct img_json *one = info_json(chain_layer_at(chain, i), err);

        if (!one) {
            img_json_free(list);
            return -1;
        }
        if (!as_list) {
            output_json(out, one);
            return 0;
        }
        img_json_push(list, one);
    }
    output_json(out, list);
    return 0;
}

static int print_sheets(struct output *out, const struct chain *chain,
                        struct img_error *err)
{
    for (size_t i = 0; i < chain_depth(chain); i++) {
        output_text(out, i > 0 ? "\n" : "");
        if (info_sheet(out, chain_layer_at(chain, i), err) < 0) {
            return -1;
        }
    }
    return 0;
}

int cmd_info(void *opaque, char **operands, int nr)
{
    const struct info_values *values = opaque;
    bool is_json = values->common.output == OUTPUT_JSON;
    struct chain_options options;
    struct img_error err;
    char name[IMG_ERROR_PATH_MAX];
    const struct img_error *broken;
    int code = EXIT_DONE;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;

    session_chain_options(&values->common, &options);
    options.top_only = !values->backing_chain;
    /* People see how far a chain goes; programs get all of it or nothing. */
    options.keep_broken = !is_json;
    if (session_begin(&values->common, SANDBOX_BRIEF, &out, &err) < 0 ||
        session_open(
            &values->common,
            session_operand(&values->common, operands, nr, name, sizeof(name)),
            &options, &chain, &err) < 0 ||
        sandbox_seal(&err) < 0 ||
        (is_json ? print_json(out, chain, values->backing_chain, &err)
                 : print_sheets(out, chain, &err)) < 0) {
        return session_fail(&err, EXIT_FAILED);
    }
    code = session_finish(out, code, EXIT_FAILED);
    broken = chain_broken(chain);
    if (broken && code == EXIT_DONE) {
        code = session_fail(broken, EXIT_FAILED);
    }
    return code;
}
