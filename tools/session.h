/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What several commands do with the common options. */
#ifndef SESSION_H
#define SESSION_H

#include <chain/chain.h>
#include <chain/compare.h>
#include <chain/digest.h>
#include <chain/view.h>
#include <qcow2/check.h>

#include "options.h"
#include "output.h"

/* The chain options that the common options ask for. */
void session_chain_options(const struct common_values *common,
                           struct chain_options *out);
/* Engine and memory bound of a comparison. */
void session_compare_options(const struct common_values *common,
                             struct chain_compare_options *out);

/*
 * Rings for a comparison that is made in the sandbox, which may make none; to
 * be called before session_begin. Nothing without a sandbox.
 */
int session_rings(const struct common_values *common,
                  struct chain_compare_options *options, struct img_error *err);
void session_rings_free(struct chain_compare_options *options);
/* The same for checks, one at a time; free it with img_ring_stock_free. */
int session_check_rings(const struct common_values *common,
                        const struct qcow2_check_options *options,
                        bool is_direct, struct img_ring_stock **out,
                        struct img_error *err);
/* The same for a digest; free them with img_ring_stock_free. */
int session_digest_rings(const struct common_values *common,
                         struct chain_digest_options *options,
                         struct img_error *err);

/*
 * The first of the NR operands. With --fd it may be missing: then the name by
 * which the kernel knows the descriptor stands in for it, kept in BUF.
 */
const char *session_operand(const struct common_values *common, char **operands,
                            int nr, char *buf, size_t size);

/* chain_open of a FILE as given; with -v every layer is told on stderr. */
int session_open(const struct common_values *common, const char *path,
                 const struct chain_options *options, struct chain **out,
                 struct img_error *err);

/* For IMG_AUTO. */
void session_chain_free(struct chain **chain);
void session_view_free(struct chain_view **view);

/* The output that -q and --output ask for. */
int session_output(const struct common_values *common, struct output **out,
                   struct img_error *err);

/*
 * The same, and the first step of the sandbox (sandbox.h has NEEDS); before
 * any image is opened. sandbox_seal is the second.
 */
int session_begin(const struct common_values *common, unsigned needs,
                  struct output **out, struct img_error *err);

/* Print ERR; returns CODE. */
int session_fail(const struct img_error *err, int code);
/* Finish OUTPUT; CODE, or FAIL_CODE with a message when stdout failed. */
int session_finish(struct output *output, int code, int fail_code);

#endif
