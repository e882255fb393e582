/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * saved-image check: would these saved domains come back? The rules are
 * chain/saved_check.h's.
 */
#include <img/memory.h>
#include <stdio.h>

#include "message.h"
#include "outfile.h"
#include "sandbox.h"
#include "saved.h"
#include "session.h"
#include "signals.h"
#include "verdict.h"

#define AT(field) offsetof(struct saved_check_values, field)

const struct option_spec saved_check_options[] = {
    {0, "report", "KIND=FILE", "a report, too; KIND: junit, sarif",
     option_report, AT(reports)},
    {0, NULL, NULL, NULL, NULL, 0},
};

static void free_report(struct chain_report **report)
{
    chain_report_free(*report);
}

/* What is written is opened before images are. */
static int begin(const struct saved_check_values *values, struct output **out,
                 struct img_error *err)
{
    const char *const files[] = {values->reports.junit, values->reports.sarif};

    if (session_output(&values->common, out, err) < 0) {
        return -1;
    }
    if (sandbox_is_wanted(&values->common)) {
        output_prepare(*out);
        if (outfile_prepare(files, sizeof(files) / sizeof(files[0]), err) < 0) {
            return -1;
        }
    }
    (void)chain_virt_xml_version(); /* loaded while it can be */
    return sandbox_begin(&values->common, SANDBOX_NAMES, err);
}

static int judge(const struct saved_check_values *values, char **operands,
                 int nr, struct chain_report *report, struct img_error *err)
{
    struct chain_options options;

    session_chain_options(&values->common, &options);
    for (int i = 0; i < nr; i++) {
        if (chain_saved_check(operands[i], &options, report, err) < 0) {
            return -1;
        }
    }
    if (report->is_out_of_memory) {
        return img_fail_memory(err);
    }
    return sandbox_seal(err);
}

static int show(const struct saved_check_values *values, char **operands,
                int nr, const struct chain_report *report, struct output *out)
{
    char subject[64];
    const struct verdict verdict = {
        .report = report,
        .command = "saved-image",
        .operation = "saved-image",
        .dest = operands[0],
        .subject = nr == 1 ? operands[0] : subject,
    };

    (void)snprintf(subject, sizeof(subject), "%d saved images", nr);
    return verdict_show(&values->common, &values->reports, &verdict, out);
}

int cmd_saved_check(void *opaque, char **operands, int nr)
{
    const struct saved_check_values *values = opaque;
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    IMG_AUTO(free_report) struct chain_report *report = NULL;
    struct img_error err;

    for (int i = 0; i < nr; i++) {
        if (verdict_files_hit(&values->reports, operands[i])) {
            message_failed("a report would replace an image that is judged");
            return EXIT_USAGE;
        }
        saved_tell_pending(operands[i]);
    }
    report = chain_report_new(&err);
    if (!report || begin(values, &out, &err) < 0 ||
        judge(values, operands, nr, report, &err) < 0) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    return show(values, operands, nr, report, out);
}
