/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two images that a commit changes, open in one chain: the base, which is
 * written, and the overlay on top, which may be emptied.
 */
#ifndef CHAIN_OPS_COMMIT_TARGET_H
#define CHAIN_OPS_COMMIT_TARGET_H

#include <chain/rebase.h>
#include <img/image.h>
#include <qcow2/edit.h>

struct chain_commit_target {
    struct chain *chain;
    size_t base; /* index of the layer */
    struct img_file *base_file;
    struct img_image *base_image; /* as it was when it was opened */
    const char *base_path;
    bool is_base_raw;
    bool is_emptied;              /* the overlay is to be */
    struct qcow2_edit *base_edit; /* NULL: raw, or a dry run */
    struct qcow2_edit *top_edit;  /* NULL: not to be emptied, or a dry run */
};

/* Open what REQUEST names; but for a dry run, for writing. */
int chain_commit_target_open(const struct chain_commit_request *request,
                             struct chain_commit_target *out,
                             struct img_error *err);
void chain_commit_target_close(struct chain_commit_target *target);

/* Let the base be at least LEN bytes long: what is new reads as zeros. */
int chain_commit_target_grow(struct chain_commit_target *target, uint64_t len,
                             struct img_error *err);

/* The chain once more, as it is now on disk, for reading beside the one that
   is open. */
int chain_commit_target_reopen(const struct chain_commit_request *request,
                               const struct chain_commit_target *target,
                               struct chain **out, struct img_error *err);

#endif
