/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What several commands do with the common options. */
#include "session.h"

#include <img/engine.h>
#include <img/memory.h>
#include <qcow2/check.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image_opts.h"
#include "message.h"
#include "sandbox.h"

void session_chain_options(const struct common_values *common,
                           struct chain_options *out)
{
    chain_options_init(out);
    out->format = common->format;
    out->fd = common->fd;
    out->force_share = common->force_share;
    out->allow_probe = common->allow_probe;
    out->max_depth = common->max_depth;
    out->roots = common->roots;
}

void session_compare_options(const struct common_values *common,
                             struct chain_compare_options *out)
{
    memset(out, 0, sizeof(*out));
    out->engine = (int)common->engine;
    out->budget_len = common->max_memory;
}

/* The sandbox lets the rings of STOCK be used. */
static void allow_rings(struct img_ring_stock *stock)
{
    int fd;

    for (unsigned i = 0; stock && (fd = img_ring_stock_fd(stock, i)) >= 0;
         i++) {
        sandbox_allow_ring(fd);
    }
}

int session_rings(const struct common_values *common,
                  struct chain_compare_options *options, struct img_error *err)
{
    if (sandbox_is_wanted(common) &&
        chain_compare_rings(options, &options->rings, err) < 0) {
        return -1;
    }
    allow_rings(options->rings);
    return 0;
}

int session_digest_rings(const struct common_values *common,
                         struct chain_digest_options *options,
                         struct img_error *err)
{
    if (sandbox_is_wanted(common) &&
        chain_digest_rings(options, &options->rings, err) < 0) {
        return -1;
    }
    allow_rings(options->rings);
    return 0;
}

int session_check_rings(const struct common_values *common,
                        const struct qcow2_check_options *options,
                        bool is_direct, struct img_ring_stock **out,
                        struct img_error *err)
{
    *out = NULL;
    if (sandbox_is_wanted(common) &&
        qcow2_check_rings(options, is_direct, out, err) < 0) {
        return -1;
    }
    allow_rings(*out);
    return 0;
}

void session_rings_free(struct chain_compare_options *options)
{
    img_ring_stock_free(options->rings);
    options->rings = NULL;
}

const char *session_operand(const struct common_values *common, char **operands,
                            int nr, char *buf, size_t size)
{
    char link[64];
    ssize_t len;

    if (nr > 0) {
        return operands[0];
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", common->fd);
    len = readlink(link, buf, size - 1);
    if (len > 0 && buf[0] == '/') {
        buf[len] = '\0';
    } else {
        (void)snprintf(buf, size, "/dev/fd/%d", common->fd);
    }
    return buf;
}

void session_chain_free(struct chain **chain)
{
    chain_free(*chain);
}

void session_view_free(struct chain_view **view)
{
    chain_view_free(*view);
}

int session_open(const struct common_values *common, const char *path,
                 const struct chain_options *options, struct chain **out,
                 struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *name = NULL;

    if (common->image_opts) {
        name = image_opts_name(path, err);
        path = name;
    }
    if (!path || chain_open(path, options, out, err) < 0) {
        return -1;
    }
    for (size_t i = 0; i < chain_depth(*out); i++) {
        const struct chain_layer *layer = chain_layer_at(*out, i);
        const char *layer_path = chain_layer_path(layer);
        char shown[IMG_ERROR_PATH_MAX];

        img_escape(layer_path, strlen(layer_path), shown, sizeof(shown));
        message_detail("%s: layer %zu, %s%s", shown, i,
                       chain_layer_format(layer),
                       chain_layer_is_probed(layer) ? " (probed)" : "");
    }
    return 0;
}

int session_output(const struct common_values *common, struct output **out,
                   struct img_error *err)
{
    enum output_mode mode =
        common->output == OUTPUT_HUMAN ? OUTPUT_STREAM : OUTPUT_WHOLE;

    return output_new(common->quiet ? OUTPUT_NOWHERE : mode, out, err);
}

int session_begin(const struct common_values *common, unsigned needs,
                  struct output **out, struct img_error *err)
{
    if (session_output(common, out, err) < 0) {
        return -1;
    }
    if (sandbox_is_wanted(common)) {
        output_prepare(*out);
    }
    return sandbox_begin(common, needs, err);
}

int session_fail(const struct img_error *err, int code)
{
    message_error(err);
    return code;
}

int session_finish(struct output *output, int code, int fail_code)
{
    struct img_error err;

    if (output_finish(output, &err) < 0) {
        return session_fail(&err, fail_code);
    }
    return code;
}
