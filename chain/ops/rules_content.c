/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules about contents: content-equal, content-empty, content-stale.
 *
 * An empty overlay on the right file is proved by that alone; everything else
 * is compared.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/checked.h>
#include <img/memory.h>
#include <img/size.h>

#include "judge.h"
#include "remedy.h"

/* A raw file that holds no more than this is asked whether it is zeros. */
#define READ_FOR_ZEROS_MAX (UINT64_C(1) << 20)

/* What the destination's own layer holds. */
static int load_usage(struct chain_judge *judge, struct qcow2_usage *out,
                      struct img_error *err)
{
    memset(out, 0, sizeof(*out));
    if (!qcow2_image_header(judge->dest_image)) {
        return img_fail(err, IMG_UNSUPPORTED, "not a qcow2 image");
    }
    return qcow2_image_usage(judge->dest_image, out, err);
}

static bool is_empty(const struct qcow2_usage *usage)
{
    return usage->data_clusters == 0 && usage->zero_clusters == 0 &&
           usage->compressed_clusters == 0;
}

static bool is_same_layer(const struct chain_layer *a,
                          const struct chain_layer *b)
{
    const struct img_file *x = chain_layer_file(a), *y = chain_layer_file(b);
    uint64_t x_base = 0, y_base = 0;

    (void)img_file_fd(x, &x_base);
    (void)img_file_fd(y, &y_base);
    /* A file that is in use may have grown between the two openings. */
    return img_file_is_same(x, y) && x_base == y_base &&
           img_file_fd_len(x) == img_file_fd_len(y) &&
           chain_layer_image(a)->virtual_len ==
               chain_layer_image(b)->virtual_len &&
           strcmp(chain_layer_image(a)->format, chain_layer_image(b)->format) ==
               0;
}

/*
 * The destination's own layer holds nothing and what is under it is, file by
 * file, what is to be shown: the source's layers from FIRST on.
 */
static bool is_proved_by_chain(struct chain_judge *judge, size_t first)
{
    size_t nr = chain_depth(judge->source) - first;
    struct qcow2_usage usage;
    struct img_error ignored;

    if (chain_depth(judge->dest) != nr + 1 || chain_broken(judge->dest) ||
        chain_broken(judge->source) || judge->dest_image->data_file ||
        load_usage(judge, &usage, &ignored) != 0 || !is_empty(&usage)) {
        return false;
    }
    for (size_t i = 0; i < nr; i++) {
        if (!is_same_layer(chain_layer_at(judge->dest, i + 1),
                           chain_layer_at(judge->source, i + first))) {
            return false;
        }
    }
    return true;
}

/* The destination's view against that of OTHER from layer FIRST on. */
static int compare_dest(const struct chain_judge *judge,
                        const struct chain *other, size_t first,
                        uint64_t limit_len, struct chain_compare_result *result,
                        struct img_error *err)
{
    struct chain_compare_options options = judge->request->compare;
    struct chain_view *dest = NULL, *view = NULL;

    options.all = false;
    options.strict_size = false;
    options.difference = NULL;
    options.limit_len = limit_len;
    int rc = chain_view_new(judge->dest, 0, &dest, err);
    if (rc == 0) {
        rc = chain_view_new(other, first, &view, err);
    }
    if (rc == 0) {
        rc = chain_compare(dest, view, &options, result, err);
    }
    chain_view_free(dest);
    chain_view_free(view);
    return rc;
}

static int compare_with_source(const struct chain_judge *judge, size_t first,
                               struct chain_compare_result *result,
                               struct img_error *err)
{
    /* A backing file may be longer than what the active layer shows. */
    uint64_t limit_len = img_max(judge->source_image->virtual_len,
                                 judge->dest_image->virtual_len);

    return compare_dest(judge, judge->source, first, limit_len, result, err);
}

static void take_result(struct chain_judge *judge,
                        const struct chain_compare_result *result)
{
    judge->report->proof = result->proof;
    switch (result->verdict) {
    case CHAIN_IDENTICAL:
        judge->content = CONTENT_EQUAL;
        return;
    case CHAIN_DIFFERENT:
        judge->content = CONTENT_DIFFERENT;
        judge->first_difference = result->first_difference;
        return;
    case CHAIN_UNPROVEN:
        break;
    }
    judge->content = CONTENT_UNPROVEN;
    judge->content_why = result->why;
}

enum content_state chain_judge_content(struct chain_judge *judge)
{
    struct chain_compare_result result;
    size_t first = judge->effective == FOR_S ? 0 : 1;

    if (judge->content != CONTENT_NOT_JUDGED) {
        return judge->content;
    }
    if (is_proved_by_chain(judge, first)) {
        judge->report->proof.same_file_len = judge->dest_image->virtual_len;
        judge->content = CONTENT_EQUAL;
    } else if (judge->request->is_live && judge->effective == FOR_S) {
        judge->content = CONTENT_UNPROVEN;
        img_fail(&judge->content_why, IMG_CHANGED,
                 "only an empty overlay of the active layer is known to show "
                 "what a running guest will have written");
    } else if (compare_with_source(judge, first, &result, judge->err) == 0) {
        take_result(judge, &result);
    } else {
        judge->content = CONTENT_UNPROVEN;
        judge->content_why = *judge->err;
        if (judge->err->code == IMG_CANCELLED) {
            chain_judge_give_up(judge);
        }
    }
    return judge->content;
}

void chain_rule_content_equal(struct chain_judge *judge)
{
    const char *what = judge->effective == FOR_S
                           ? "the active layer's contents"
                           : "the contents of the active layer's backing file";

    if (judge->dest_image->backing_name && !judge->has_backing_ref) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "not judged, because of backing-portable");
        return;
    }
    switch (chain_judge_content(judge)) {
    case CONTENT_EQUAL:
        chain_judge_say(judge, CHAIN_CHECK_PASS, "the guest sees exactly %s",
                        what);
        return;
    case CONTENT_DIFFERENT:
        chain_judge_say(judge, CHAIN_CHECK_FAIL,
                        "the guest would not see %s: first difference at guest "
                        "offset %" PRIu64,
                        what, judge->first_difference);
        chain_judge_found(judge, "other bytes at %" PRIu64,
                          judge->first_difference);
        chain_judge_expected(judge, "%s", what);
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
        return;
    case CONTENT_UNPROVEN:
    case CONTENT_NOT_JUDGED:
        break;
    }
    chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &judge->content_why);
}

static uint64_t clusters(const struct qcow2_usage *usage)
{
    return usage->data_clusters + usage->zero_clusters +
           usage->compressed_clusters;
}

void chain_rule_content_empty(struct chain_judge *judge)
{
    struct qcow2_usage usage;
    struct img_error error;

    if (!qcow2_image_header(judge->dest_image)) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "not judged: only a qcow2 image tells what it holds");
    } else if (load_usage(judge, &usage, &error) != 0) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &error);
    } else if (is_empty(&usage)) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "it holds no clusters of its own");
    } else {
        chain_judge_say(
            judge,
            judge->request->is_live ? CHAIN_CHECK_FAIL : CHAIN_CHECK_WARN,
            "a new overlay is meant to be empty, but it holds clusters "
            "of its own%s, the first at guest offset %" PRIu64,
            judge->request->is_live
                ? ", which nothing proves to be what the guest will have "
                  "written there"
                : "",
            usage.first_guest_off);
        chain_judge_found(judge,
                          "%" PRIu64 " data, %" PRIu64 " zero, %" PRIu64
                          " compressed clusters",
                          usage.data_clusters, usage.zero_clusters,
                          usage.compressed_clusters);
        chain_judge_expected(judge, "none");
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    }
}

/* A view from below the base shows nothing but zeros. */
static int compare_with_zeros(const struct chain_judge *judge,
                              struct chain_compare_result *result,
                              struct img_error *err)
{
    return compare_dest(judge, judge->dest, chain_depth(judge->dest), 0, result,
                        err);
}

static void judge_trusted_zeros(struct chain_judge *judge)
{
    struct chain_compare_result result;

    if (compare_with_zeros(judge, &result, judge->err) != 0) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, judge->err);
        if (judge->err->code == IMG_CANCELLED) {
            chain_judge_give_up(judge);
        }
        return;
    }
    judge->report->proof = result.proof;
    if (result.verdict == CHAIN_IDENTICAL) {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        "it reads as zeros, as the request trusts");
    } else if (result.verdict == CHAIN_UNPROVEN) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &result.why);
    } else {
        chain_judge_say(
            judge, CHAIN_CHECK_FAIL,
            "the request trusts it to read as zeros, but it holds data "
            "at guest offset %" PRIu64,
            result.first_difference);
        chain_judge_found(judge, "data at %" PRIu64, result.first_difference);
        chain_judge_expected(judge, "zeros");
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    }
}

/*
 * How much a file without tables holds. qemu-img allocates the first block
 * of a new raw file: so little is read rather than taken for old data.
 */
static int raw_held_len(struct chain_judge *judge, uint64_t *out,
                        struct img_error *err)
{
    struct chain_compare_result result;

    *out = img_file_kind(judge->dest_file) == IMG_FILE_BLOCK
               ? 0
               : img_file_allocated_len(judge->dest_file);
    if (*out == 0 || *out > READ_FOR_ZEROS_MAX) {
        return 0;
    }
    if (compare_with_zeros(judge, &result, err) != 0) {
        return -1;
    }
    if (result.verdict == CHAIN_IDENTICAL) {
        *out = 0;
    }
    return 0;
}

/* How much the image holds, in bytes. */
static int held_len(struct chain_judge *judge, uint64_t *out,
                    struct img_error *err)
{
    const struct img_image *image = judge->dest_image;
    struct qcow2_usage usage;

    *out = 0;
    if (!qcow2_image_header(image)) {
        return raw_held_len(judge, out, err);
    }
    if (load_usage(judge, &usage, err) != 0) {
        return -1;
    }
    *out = clusters(&usage) * image->cluster_len;
    return 0;
}

void chain_rule_content_stale(struct chain_judge *judge)
{
    struct img_error error;
    char text[IMG_SIZE_TEXT_LEN];
    uint64_t held;

    if (judge->request->target_is_zero) {
        judge_trusted_zeros(judge);
    } else if (held_len(judge, &held, &error) != 0) {
        chain_judge_say_error(judge, CHAIN_CHECK_UNPROVEN, &error);
    } else if (held > 0) {
        chain_judge_say(judge, CHAIN_CHECK_WARN,
                        "it holds old data, which the copy overwrites");
        chain_judge_found(judge, "%s", img_size_exact(held, text));
        chain_judge_expected(judge, "an empty image");
        chain_judge_remedy(judge, chain_remedy_recreate(judge));
    } else {
        chain_judge_say(judge, CHAIN_CHECK_PASS,
                        img_file_kind(judge->dest_file) == IMG_FILE_BLOCK
                            ? "a device: whatever it holds is overwritten"
                            : "it holds no old data");
    }
}
