/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * compare: do two chains show the guest the same bytes? Prints the verdict,
 * where they differ, and how much was settled in which way.
 */
#include <chain/view.h>
#include <img/checked.h>
#include <img/memory.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "output.h"
#include "progress.h"
#include "proof.h"
#include "sandbox.h"
#include "session.h"
#include "signals.h"
#include "values.h"

enum {
    COMPARE_SAME = 0,
    COMPARE_DIFFERENT = 1,
    COMPARE_NOT_JUDGED = 2,
    COMPARE_NO_MAP = 3,
    COMPARE_NO_READ = 4,
};

const struct option_spec compare_options[] = {
    {'f', "format", "FMT", "format of A; without it the file is probed",
     option_text, offsetof(struct compare_values, common.format)},
    {'F', "b-format", "FMT", "format of B; without it the file is probed",
     option_text, offsetof(struct compare_values, b_format)},
    {'l', "snapshot", "NAME", "compare an internal snapshot of A", option_text,
     offsetof(struct compare_values, a_snapshot)},
    {'L', "b-snapshot", "NAME", "compare an internal snapshot of B",
     option_text, offsetof(struct compare_values, b_snapshot)},
    {'s', "strict", NULL, "images of different sizes are different",
     option_flag, offsetof(struct compare_values, strict)},
    {0, "all", NULL, "list all differences, not only the first", option_flag,
     offsetof(struct compare_values, all)},
    {'T', "cache", "CACHE", "none: read past the page cache", option_cache,
     offsetof(struct compare_values, direct)},
    {0, "image-opts", NULL, "A and B are KEY=VALUE,... as QEMU has it",
     option_flag, offsetof(struct compare_values, common.image_opts)},
    {0, NULL, NULL, NULL, NULL, 0},
};

struct side {
    struct chain *chain;
    struct chain_view *view;
};

static void side_fini(struct side *side)
{
    chain_view_free(side->view);
    chain_free(side->chain);
}

static int side_open(struct side *side, const struct common_values *common,
                     const char *operand, const struct chain_options *options,
                     struct img_error *err)
{
    if (session_open(common, operand, options, &side->chain, err) < 0) {
        return -1;
    }
    return chain_view_new(side->chain, 0, &side->view, err);
}

/* Differences in the form of the output, kept until the verdict is known. */
struct list {
    struct output *out;
    bool is_json;
    bool is_first;
};

static void on_difference(void *opaque, uint64_t off, uint64_t len)
{
    struct list *list = opaque;

    if (list->is_json) {
        output_text(list->out, list->is_first ? "\n" : ",\n");
        output_text(list->out, "    {\"start\": ");
        output_u64(list->out, off);
        output_text(list->out, ", \"length\": ");
        output_u64(list->out, len);
        output_text(list->out, "}");
    } else {
        if (list->is_first) {
            output_text(list->out, "Offset              Length\n");
        }
        output_printf(list->out, "%-20" PRIu64 "%" PRIu64 "\n", off, len);
    }
    list->is_first = false;
}

/* One opaque pointer serves both callbacks. */
static void on_progress(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque;
    progress_update(done, total);
}

static const char *verdict_name(enum chain_verdict verdict)
{
    switch (verdict) {
    case CHAIN_IDENTICAL:
        return "identical";
    case CHAIN_DIFFERENT:
        return "different";
    case CHAIN_UNPROVEN:
        break;
    }
    return "unproven";
}

static struct img_json *result_json(const struct chain_compare_result *result,
                                    const struct side sides[2])
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "result", verdict_name(result->verdict));
    if (result->has_difference) {
        img_json_set_u64(json, "first-difference", result->first_difference);
    }
    if (result->is_size_different) {
        img_json_set_bool(json, "size-different", true);
    }
    if (result->why.code != IMG_OK) {
        char why[IMG_ERROR_PATH_MAX + IMG_ERROR_TEXT_MAX + 64];

        img_error_format(&result->why, why, sizeof(why));
        img_json_set_string(json, "reason", why);
        img_json_set_string(json, "reason-code",
                            img_code_name(result->why.code));
    }
    img_json_set_u64(json, "virtual-size", result->len);
    img_json_set_u64(json, "virtual-size-a", chain_view_len(sides[0].view));
    img_json_set_u64(json, "virtual-size-b", chain_view_len(sides[1].view));
    img_json_set(json, "proof", proof_json(&result->proof));
    return json;
}

/*
 * The list of differences can be longer than memory: it is put before the
 * object's last brace from where it was collected.
 */
static int print_json(struct output *out, struct list *list, bool has_list,
                      const struct chain_compare_result *result,
                      const struct side sides[2], struct img_error *err)
{
    struct img_json *json = result_json(result, sides);
    char *text = img_json_text(json, true, err);
    char *brace = text ? strrchr(text, '}') : NULL;

    img_json_free(json);
    if (!brace) {
        return -1;
    }
    while (brace > text && (brace[-1] == '\n' || brace[-1] == ' ')) {
        brace--;
    }
    output_bytes(out, text, (size_t)(brace - text));
    free(text);
    if (has_list) {
        output_text(out, ",\n  \"differences\": [");
        output_append(out, list->out);
        output_text(out, list->is_first ? "]" : "\n  ]");
    }
    output_text(out, "\n}\n");
    return 0;
}

static bool is_end_judged(const struct chain_compare_result *result,
                          uint64_t common_len, bool is_longer)
{
    return is_longer && !result->is_size_different &&
           (result->has_difference ? result->first_difference >= common_len
                                   : result->verdict == CHAIN_IDENTICAL);
}

static void print_human(struct output *out, struct list *list,
                        const struct chain_compare_result *result,
                        const struct side sides[2])
{
    uint64_t a = chain_view_len(sides[0].view);
    uint64_t b = chain_view_len(sides[1].view);

    /* As qemu-img: said once all that both have is known to be equal. */
    if (is_end_judged(result, img_min(a, b), a != b)) {
        output_text(out, "Warning: Image size mismatch!\n");
    }
    if (result->verdict == CHAIN_IDENTICAL) {
        output_text(out, "Images are identical.\n");
    } else if (result->has_difference) {
        output_printf(out, "Content mismatch at offset %" PRIu64 "!\n",
                      result->first_difference);
    } else if (result->is_size_different) {
        output_text(out, "Strict mode: Image size mismatch!\n");
    } else {
        output_text(out, "Unproven: it is not known whether the images are "
                         "identical.\n");
    }
    if (a != b) {
        output_printf(out, "Sizes differ: %" PRIu64 " and %" PRIu64 " bytes.\n",
                      a, b);
    }
    output_append(out, list->out);
    proof_print(out, &result->proof);
}

/*
 * Was it a table that could not be read, or the data? A walk without the
 * data tells.
 */
static bool is_mappable(struct chain_view *view)
{
    struct chain_extent extent;
    struct img_error unused;
    uint64_t end = chain_view_len(view);

    for (uint64_t pos = 0; pos < end; pos += extent.e.len) {
        if (chain_view_at(view, pos, end - pos, &extent, &unused) < 0) {
            return false;
        }
    }
    return true;
}

static int code_of(const struct chain_compare_result *result,
                   const struct side sides[2])
{
    if (result->verdict == CHAIN_IDENTICAL) {
        return COMPARE_SAME;
    }
    if (result->verdict == CHAIN_DIFFERENT) {
        return COMPARE_DIFFERENT;
    }
    if (result->why.code != IMG_IO && result->why.code != IMG_CORRUPT) {
        return COMPARE_NOT_JUDGED;
    }
    return is_mappable(sides[0].view) && is_mappable(sides[1].view)
               ? COMPARE_NO_READ
               : COMPARE_NO_MAP;
}

/* What one run works with. */
struct work {
    const struct compare_values *values;
    struct chain_compare_options options;
    struct output *out;
    struct list list;
};

static int compare(struct work *work, const struct side sides[2],
                   struct img_error *err)
{
    const struct compare_values *values = work->values;
    struct chain_compare_options *options = &work->options;
    struct list *list = &work->list;
    struct chain_compare_result result;
    int rc;

    options->strict_size = values->strict;
    options->all = values->all;
    options->cancel = signals_catch();
    options->progress = on_progress;
    options->difference = values->all ? on_difference : NULL;
    options->opaque = list;
    progress_begin(values->common.quiet ? PROGRESS_NONE
                                        : values->common.progress,
                   "compare");
    rc = chain_compare(sides[0].view, sides[1].view, options, &result, err);
    progress_end();
    if (rc < 0) {
        return -1;
    }
    if (list->is_json) {
        if (print_json(work->out, list, values->all, &result, sides, err) < 0) {
            return -1;
        }
    } else {
        print_human(work->out, list, &result, sides);
    }
    if (result.why.code != IMG_OK) {
        message_error(&result.why);
    }
    return code_of(&result, sides);
}

/* What is written is opened, rings are made, and the process is confined. */
static int begin(struct work *work, struct img_error *err)
{
    const struct common_values *common = &work->values->common;

    if (output_new(common->quiet ? OUTPUT_NOWHERE : OUTPUT_WHOLE,
                   &work->list.out, err) < 0) {
        return -1;
    }
    if (work->values->all && sandbox_is_wanted(common)) {
        output_prepare(work->list.out);
    }
    session_compare_options(common, &work->options);
    return session_rings(common, &work->options, err) < 0
               ? -1
               : session_begin(common, 0, &work->out, err);
}

static int open_sides(const struct compare_values *values,
                      const char *const *files, struct side sides[2],
                      struct img_error *err)
{
    struct chain_options options;

    session_chain_options(&values->common, &options);
    options.direct = values->direct;
    options.snapshot = values->a_snapshot;
    if (side_open(&sides[0], &values->common, files[0], &options, err) < 0) {
        return -1;
    }
    options.format = values->b_format;
    options.snapshot = values->b_snapshot;
    options.fd = -1;
    return side_open(&sides[1], &values->common, files[1], &options, err);
}

static int run(struct work *work, const char *const *files,
               struct side sides[2], struct img_error *err)
{
    int code;

    if (begin(work, err) < 0 ||
        open_sides(work->values, files, sides, err) < 0 ||
        sandbox_seal(err) < 0) {
        return -1;
    }
    code = compare(work, sides, err);
    return code < 0 ? -1 : session_finish(work->out, code, COMPARE_NOT_JUDGED);
}

int cmd_compare(void *opaque, char **operands, int nr)
{
    struct side sides[2] = {{.chain = NULL}, {.chain = NULL}};
    const struct compare_values *values = opaque;
    struct work work = {
        .values = values,
        .list = {.is_json = values->common.output == OUTPUT_JSON,
                 .is_first = true},
    };
    struct img_error err;
    char name[IMG_ERROR_PATH_MAX];
    const char *files[2];
    int code;

    /* With --fd and one operand the descriptor is A. */
    files[0] =
        session_operand(&values->common, operands, nr - 1, name, sizeof(name));
    files[1] = operands[nr - 1];
    code = run(&work, files, sides, &err);
    side_fini(&sides[0]);
    side_fini(&sides[1]);
    session_rings_free(&work.options);
    output_free(work.list.out);
    output_free(work.out);
    return code < 0 ? session_fail(&err, COMPARE_NOT_JUDGED) : code;
}
