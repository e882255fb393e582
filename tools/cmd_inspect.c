/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inspect: is a stranger's image safe to import? The rules are
 * chain/inspect.h's; here a request is put together and the report is shown.
 */
#include <img/memory.h>
#include <img/roots.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "message.h"
#include "outfile.h"
#include "sandbox.h"
#include "session.h"
#include "signals.h"
#include "values.h"
#include "verdict.h"

#define RATIO_MAX 1000000000u

static int option_policy(void *field, const char *arg, struct img_error *err)
{
    enum chain_inspect_policy *policy = field;

    if (strcmp(arg, "self-contained") == 0) {
        *policy = CHAIN_INSPECT_SELF_CONTAINED;
    } else if (strcmp(arg, "chain") == 0) {
        *policy = CHAIN_INSPECT_CHAIN;
    } else {
        return img_fail(err, IMG_USAGE, "is none of self-contained, chain");
    }
    return 0;
}

static int option_word(void *field, const char *arg, struct img_error *err)
{
    return words_push(field, img_strndup(arg, strlen(arg), err), err);
}

static bool is_profile(const char *name)
{
    const char *known, *summary;

    for (size_t i = 0; (known = chain_profile_at(i, &summary)) != NULL; i++) {
        if (strcmp(known, name) == 0) {
            return true;
        }
    }
    return false;
}

static int option_profile(void *field, const char *arg, struct img_error *err)
{
    char names[512] = "";
    const char *known, *summary;
    size_t used = 0;

    if (is_profile(arg)) {
        return option_word(field, arg, err);
    }
    for (size_t i = 0; (known = chain_profile_at(i, &summary)) != NULL &&
                       used < sizeof(names) - 64;
         i++) {
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
                                 i > 0 ? ", " : "", known);
    }
    return img_fail(err, IMG_USAGE, "is none of %s", names);
}

static int option_ratio(void *field, const char *arg, struct img_error *err)
{
    uint64_t *ratio = field;
    unsigned number = 0;

    if (option_number(arg, RATIO_MAX, &number, err) < 0) {
        return -1;
    }
    if (number == 0) {
        return img_fail(err, IMG_USAGE, "is no ratio: expected 1 or more");
    }
    *ratio = number;
    return 0;
}

#define AT(field) offsetof(struct inspect_values, field)

const struct option_spec inspect_options[] = {
    {0, "policy", "POLICY", "self-contained (default) or chain", option_policy,
     AT(policy)},
    {0, "max-virtual-size", "SIZE", "refuse a larger disk", option_size,
     AT(max_virtual_len)},
    {0, "max-actual-size", "SIZE", "refuse a longer file", option_size,
     AT(max_actual_len)},
    {0, "max-ratio", "N", "refuse more than N guest bytes per byte",
     option_ratio, AT(max_ratio)},
    {0, "profile", "NAME", "it must be read by NAME, as qemu-7 (repeatable)",
     option_profile, AT(profiles)},
    {0, "allow-format", "FMT", "a format to accept, too (repeatable)",
     option_word, AT(allowed)},
    {0, "report", "KIND=FILE", "a report, too; KIND: junit, sarif",
     option_report, AT(reports)},
    {0, NULL, NULL, NULL, NULL, 0},
};

void inspect_fini(void *values)
{
    struct inspect_values *inspect = values;

    words_fini(&inspect->profiles);
    words_fini(&inspect->allowed);
}

/* The words as an array that NULL ends; free with free(). */
static const char **ended(const struct words *words, struct img_error *err)
{
    const char **array = img_calloc(words->nr + 1, sizeof(*array), err);

    for (size_t i = 0; array && i < words->nr; i++) {
        array[i] = words->at[i];
    }
    return array;
}

/* The folder that PATH stands in is one of ROOTS. */
static int add_folder(struct img_roots *roots, const char *path,
                      struct img_error *err)
{
    const char *slash = strrchr(path, '/');
    IMG_AUTO(img_free_ptr)
    char *folder = slash ? img_strndup(path, (size_t)(slash - path) + 1, err)
                         : img_strndup(".", 1, err);

    return folder ? img_roots_add(roots, folder, err) : -1;
}

/*
 * Without --root a chain is confined to the folder of FILE: the sandbox's
 * first step has to know it, and where a link leads to.
 */
static int begin_in_folder(const struct inspect_values *values,
                           struct img_error *err)
{
    struct common_values common = values->common;
    struct img_roots *roots = NULL;
    IMG_AUTO(img_free_ptr) char *real = realpath(values->path, NULL);
    int rc = img_roots_new(&roots, err);

    if (rc == 0) {
        rc = add_folder(roots, values->path, err);
    }
    if (rc == 0 && real) {
        rc = add_folder(roots, real, err);
    }
    if (rc == 0) {
        common.roots = roots;
        rc = sandbox_begin(&common, 0, err);
    }
    img_roots_free(roots);
    return rc;
}

static int begin(const struct inspect_values *values, struct img_error *err)
{
    return values->policy == CHAIN_INSPECT_CHAIN && values->path &&
                   !values->common.roots
               ? begin_in_folder(values, err)
               : sandbox_begin(&values->common, 0, err);
}

static int on_stage(void *opaque, enum chain_stage stage, struct img_error *err)
{
    const struct inspect_values *values = opaque;

    return stage == CHAIN_STAGE_OPENING ? begin(values, err)
                                        : sandbox_seal(err);
}

/* What is written is opened before images are. */
static int prepare(const struct common_values *common,
                   const struct verdict_files *files, struct output **out,
                   struct img_error *err)
{
    const char *const paths[] = {files->junit, files->sarif};

    if (session_output(common, out, err) < 0) {
        return -1;
    }
    if (!sandbox_is_wanted(common)) {
        return 0;
    }
    output_prepare(*out);
    return outfile_prepare(paths, sizeof(paths) / sizeof(paths[0]), err);
}

static int run(const struct inspect_values *values,
               struct chain_inspect_request *request)
{
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct chain_inspect_facts facts;
    struct chain_report *report = NULL;
    struct img_error err;
    IMG_AUTO(img_free_ptr)
    const char **profiles = ended(&values->profiles, &err);
    IMG_AUTO(img_free_ptr)
    const char **allowed = profiles ? ended(&values->allowed, &err) : NULL;

    if (!profiles || !allowed) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    request->profiles = profiles;
    request->allowed_formats = allowed;
    if (prepare(&values->common, &values->reports, &out, &err) < 0 ||
        chain_inspect(request, &report, &facts, &err) < 0) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    const struct verdict verdict = {
        .report = report,
        .command = "inspect",
        .operation =
            request->policy == CHAIN_INSPECT_CHAIN ? "chain" : "self-contained",
        .dest = request->path,
        .facts = &facts,
    };
    int code = verdict_show(&values->common, &values->reports, &verdict, out);
    chain_report_free(report);
    return code;
}

int cmd_inspect(void *opaque, char **operands, int nr)
{
    struct inspect_values *values = opaque;
    const struct common_values *common = &values->common;
    char name[IMG_ERROR_PATH_MAX];
    struct chain_inspect_request request = {
        .policy = values->policy,
        .path = session_operand(common, operands, nr, name, sizeof(name)),
        .fd = common->fd,
        .format = common->format,
        .max_virtual_len = values->max_virtual_len,
        .max_actual_len = values->max_actual_len,
        .max_ratio = values->max_ratio,
        .force_share = common->force_share,
        .roots = common->roots,
        .max_depth = common->max_depth,
        .cancel = signals_catch(),
        .confine = on_stage,
        .confine_opaque = values,
    };

    if (common->image_opts || common->allow_probe) {
        message_failed("--%s makes no sense for a stranger's image",
                       common->image_opts ? "image-opts" : "allow-probe");
        return EXIT_USAGE;
    }
    if (verdict_files_hit(&values->reports, request.path)) {
        message_failed("a report would replace the image that is judged");
        return EXIT_USAGE;
    }
    if (nr > 0 && common->fd < 0 && strcmp(request.path, "-") == 0) {
        request.path = "standard input";
        request.fd = STDIN_FILENO;
    }
    values->path = request.fd < 0 ? request.path : NULL;
    return run(values, &request);
}
