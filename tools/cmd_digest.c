/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* digest: a hash of what the guest sees, whatever the format and chain. */
#include <chain/digest.h>
#include <chain/view.h>
#include <img/engine.h>
#include <img/hash.h>
#include <img/memory.h>
#include <stddef.h>

#include "command.h"
#include "output.h"
#include "progress.h"
#include "sandbox.h"
#include "session.h"
#include "signals.h"
#include "values.h"

const struct option_spec digest_options[] = {
    {0, "flat", NULL, "the hash of all bytes, as sha256sum has it", option_flag,
     offsetof(struct digest_values, flat)},
    {'l', "snapshot", "NAME", "the view of an internal snapshot of FILE",
     option_text, offsetof(struct digest_values, snapshot)},
    {'T', "cache", "CACHE", "none: read past the page cache", option_cache,
     offsetof(struct digest_values, direct)},
    {0, "image-opts", NULL, "FILE is KEY=VALUE,... as QEMU has it", option_flag,
     offsetof(struct digest_values, common.image_opts)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static void on_progress(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque;
    progress_update(done, total);
}

static int digest(const struct digest_values *values, struct chain_view *view,
                  struct chain_digest_options *options,
                  struct chain_digest_result *result, struct img_error *err)
{
    int rc;

    options->cancel = signals_catch();
    options->progress = on_progress;
    progress_begin(values->common.quiet ? PROGRESS_NONE
                                        : values->common.progress,
                   "digest");
    rc = chain_digest(view, options, result, err);
    progress_end();
    return rc;
}

static struct img_json *result_json(const struct chain *chain,
                                    const struct chain_digest_result *result,
                                    const char *text, bool is_flat)
{
    const struct chain_layer *top = chain_layer_at(chain, 0);
    struct img_json *json = img_json_object();

    img_json_set_string(json, "filename", chain_layer_path(top));
    img_json_set_string(json, "format", chain_layer_format(top));
    img_json_set_u64(json, "virtual-size", result->len);
    img_json_set_string(json, "algorithm", "sha256");
    if (!is_flat) {
        img_json_set_u64(json, "block-size", CHAIN_DIGEST_BLOCK_LEN);
    }
    img_json_set_string(json, "digest", text);
    img_json_set_u64(json, "zero-len", result->zero_len);
    img_json_set_u64(json, "read-len", result->read_len);
    return json;
}

static void put(struct output *out, const struct digest_values *values,
                const struct chain *chain,
                const struct chain_digest_result *result)
{
    char text[IMG_SHA256_TEXT_LEN];

    img_sha256_text(result->digest, text);
    if (values->common.output == OUTPUT_JSON) {
        output_json(out, result_json(chain, result, text, values->flat));
        return;
    }
    output_printf(out, "%s  ", text);
    output_escaped(out, chain_layer_path(chain_layer_at(chain, 0)));
    output_text(out, "\n");
}

static int run(const struct digest_values *values, const char *name,
               struct chain_digest_options *how, struct img_error *err)
{
    struct chain_digest_result result;
    struct chain_options options;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    IMG_AUTO(session_chain_free) struct chain *chain = NULL;
    IMG_AUTO(session_view_free) struct chain_view *view = NULL;

    session_chain_options(&values->common, &options);
    options.snapshot = values->snapshot;
    options.direct = values->direct;
    if (session_digest_rings(&values->common, how, err) < 0 ||
        session_begin(&values->common, 0, &out, err) < 0 ||
        session_open(&values->common, name, &options, &chain, err) < 0 ||
        sandbox_seal(err) < 0 || chain_view_new(chain, 0, &view, err) < 0 ||
        digest(values, view, how, &result, err) < 0) {
        return session_fail(err, EXIT_FAILED);
    }
    put(out, values, chain, &result);
    return session_finish(out, EXIT_DONE, EXIT_FAILED);
}

int cmd_digest(void *opaque, char **operands, int nr)
{
    const struct digest_values *values = opaque;
    struct chain_digest_options how = {
        .kind = values->flat ? CHAIN_DIGEST_FLAT : CHAIN_DIGEST_BLOCKS,
        .engine = (int)values->common.engine,
        .budget_len = values->common.max_memory,
    };
    struct img_error err;
    char name[IMG_ERROR_PATH_MAX];
    int code =
        run(values,
            session_operand(&values->common, operands, nr, name, sizeof(name)),
            &how, &err);

    img_ring_stock_free(how.rings);
    return code;
}
