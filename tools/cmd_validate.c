/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * validate: may a pre-created file be handed to libvirt with REUSE_EXT? The
 * rules are chain/validate.h's; here a request is put together and the
 * report is shown.
 */
#include <img/memory.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "outfile.h"
#include "progress.h"
#include "sandbox.h"
#include "session.h"
#include "signals.h"
#include "values.h"
#include "verdict.h"

static int option_require(void *field, const char *arg, struct img_error *err)
{
    enum chain_name_requirement *require = field;

    if (strcmp(arg, "relative") == 0) {
        *require = CHAIN_REQUIRE_RELATIVE;
    } else if (strcmp(arg, "absolute") == 0) {
        *require = CHAIN_REQUIRE_ABSOLUTE;
    } else {
        return img_fail(err, IMG_USAGE, "is none of relative, absolute");
    }
    return 0;
}

#define AT(field) offsetof(struct validate_values, field)

/* A row, so that several tables can share rows. */
#define ROW(letter, name, arg, help, parse, at)                                \
    {                                                                          \
        letter, name, arg, help, parse, at                                     \
    }

#define FILE_OPTIONS                                                           \
    ROW(0, "source", "ACTIVE", "the disk's active layer", option_text,         \
        AT(source)),                                                           \
        ROW(0, "source-format", "FMT", "its format; else it is probed",        \
            option_text, AT(source_format)),                                   \
        ROW(0, "dest", "FILE", "the pre-created file", option_text, AT(dest)), \
        ROW('f', "dest-format", "FMT", "the format that the request names",    \
            option_text, AT(dest_format)),                                     \
        ROW(0, "backing-name", "TEXT", "the backing name FILE must record",    \
            option_text, AT(backing_name)),                                    \
        ROW(0, "require", "HOW", "its backing name: relative or absolute",     \
            option_require, AT(require))

#define OTHER_OPTIONS                                                          \
    ROW(0, "live", NULL, "a guest runs on ACTIVE and writes it (implies -U)",  \
        option_flag, AT(is_live)),                                             \
        ROW(0, "allow-data-file", NULL, "an external data file is wanted",     \
            option_flag, AT(allow_data_file)),                                 \
        ROW(0, "as", "USER", "judge access for USER, as whom QEMU runs",       \
            option_text, AT(as_user)),                                         \
        ROW(0, "qemu-version", "V", "the QEMU that will use FILE",             \
            option_text, AT(qemu_version)),                                    \
        ROW(0, "stamp", "FILE", "write down what was judged", option_text,     \
            AT(stamp)),                                                        \
        ROW(0, "report", "KIND=FILE", "a report, too; KIND: junit, sarif",     \
            option_report, AT(reports)),                                       \
        ROW(0, NULL, NULL, NULL, NULL, 0)

const struct option_spec validate_snapshot_options[] = {
    FILE_OPTIONS,
    {0, "allow-larger", NULL, "a larger overlay is wanted", option_flag,
     AT(allow_larger)},
    OTHER_OPTIONS,
};

const struct option_spec validate_copy_options[] = {
    FILE_OPTIONS,
    {0, "shallow", NULL, "only the active layer is copied", option_flag,
     AT(shallow)},
    {0, "raw", NULL, "as --dest-format raw (COPY_RAW)", option_flag, AT(raw)},
    {0, "target-is-zero", NULL, "FILE is trusted to read as zeros", option_flag,
     AT(target_is_zero)},
    {0, "synchronous-writes", NULL, "the copy is asked for so", option_flag,
     AT(synchronous_writes)},
    OTHER_OPTIONS,
};

static void on_progress(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque;
    progress_update(done, total);
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct validate_values *values)
{
    const char *const judged[] = {values->source, values->dest};

    if (!values->source) {
        message_failed("option --source is missing: the disk's active layer");
        return false;
    }
    if (!values->dest && values->common.fd < 0) {
        message_failed("option --dest is missing: the pre-created file");
        return false;
    }
    if (values->raw && values->dest_format &&
        strcmp(values->dest_format, "raw") != 0) {
        message_failed("--raw and --dest-format name different formats");
        return false;
    }
    for (size_t i = 0; i < sizeof(judged) / sizeof(judged[0]); i++) {
        if (verdict_files_hit(&values->reports, judged[i]) ||
            (values->stamp && judged[i] &&
             outfile_is_same(values->stamp, judged[i]))) {
            message_failed("a report or stamp would replace an image that is "
                           "judged");
            return false;
        }
    }
    return true;
}

static void fill_request(const struct validate_values *values,
                         enum chain_operation operation, const char *dest,
                         struct chain_validate_request *out)
{
    *out = (struct chain_validate_request){
        .operation = operation,
        .source = values->source,
        .source_format = values->source_format,
        .dest = dest,
        .dest_format = values->raw ? "raw" : values->dest_format,
        .dest_fd = values->common.fd,
        .backing_name = values->backing_name,
        .require = values->require,
        .allow_larger = values->allow_larger,
        .allow_data_file = values->allow_data_file,
        .target_is_zero = values->target_is_zero,
        .synchronous_writes = values->synchronous_writes,
        .force_share = values->common.force_share || values->is_live,
        .is_live = values->is_live,
        .allow_probe = values->common.allow_probe,
        .as_user = values->as_user,
        .qemu_version = values->qemu_version,
        .roots = values->common.roots,
        .max_depth = values->common.max_depth,
    };
    session_compare_options(&values->common, &out->compare);
    out->compare.cancel = signals_catch();
    out->compare.progress = on_progress;
}

/* What is written is opened and rings are made before it begins. */
static int prepare(const struct validate_values *values,
                   struct chain_validate_request *request, struct output **out,
                   struct img_error *err)
{
    const char *const files[] = {values->reports.junit, values->reports.sarif,
                                 values->stamp};
    const struct common_values *common = &values->common;

    if (session_output(common, out, err) < 0) {
        return -1;
    }
    if (!sandbox_is_wanted(common)) {
        return 0;
    }
    output_prepare(*out);
    if (outfile_prepare(files, sizeof(files) / sizeof(files[0]), err) < 0) {
        return -1;
    }
    return session_rings(common, &request->compare, err);
}

static int on_stage(void *opaque, enum chain_stage stage, struct img_error *err)
{
    const struct validate_values *values = opaque;

    return stage == CHAIN_STAGE_OPENING
               ? sandbox_begin(&values->common, SANDBOX_NAMES, err)
               : sandbox_seal(err);
}

static int write_stamp(const struct chain_report *report, const char *path,
                       struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *text = chain_report_stamp(report, err);
    struct outfile file;

    if (!text || outfile_open(&file, path, err) < 0) {
        return -1;
    }
    (void)fprintf(file.stream, "%s\n", text);
    return outfile_commit(&file, err);
}

static int validate(struct validate_values *values,
                    enum chain_operation operation)
{
    struct chain_validate_request request;
    struct chain_report *report = NULL;
    struct img_error err;
    char name[IMG_ERROR_PATH_MAX];
    const char *dest = values->dest;
    struct verdict verdict;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    int rc, code;

    if (!is_sane(values)) {
        return EXIT_NOT_JUDGED;
    }
    if (!dest) {
        dest = session_operand(&values->common, NULL, 0, name, sizeof(name));
    }
    fill_request(values, operation, dest, &request);
    request.confine = on_stage;
    request.confine_opaque = values;
    if (prepare(values, &request, &out, &err) < 0) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    progress_begin(values->common.quiet ? PROGRESS_NONE
                                        : values->common.progress,
                   "validate");
    rc = chain_validate(&request, &report, &err);
    progress_end();
    session_rings_free(&request.compare);
    if (rc < 0) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    verdict = verdict_of_validate(report, operation, values->source, dest);
    if (values->stamp && write_stamp(report, values->stamp, &err) < 0) {
        code = session_fail(&err, EXIT_NOT_JUDGED);
    } else {
        code = verdict_show(&values->common, &values->reports, &verdict, out);
    }
    chain_report_free(report);
    return code;
}

int cmd_validate_snapshot(void *opaque, char **operands, int nr)
{
    (void)operands;
    (void)nr;
    return validate(opaque, CHAIN_OP_SNAPSHOT);
}

int cmd_validate_copy(void *opaque, char **operands, int nr)
{
    struct validate_values *values = opaque;

    (void)operands;
    (void)nr;
    return validate(values,
                    values->shallow ? CHAIN_OP_SHALLOW_COPY : CHAIN_OP_COPY);
}
