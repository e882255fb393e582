/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the judging commands do with their report: files, output, exit code. */
#include <string.h>
#include <unistd.h>

#include "outfile.h"
#include "session.h"
#include "terminal.h"
#include "verdict.h"

int option_report(void *field, const char *arg, struct img_error *err)
{
    struct verdict_files *files = field;

    if (strncmp(arg, "junit=", 6) == 0 && arg[6]) {
        files->junit = arg + 6;
    } else if (strncmp(arg, "sarif=", 6) == 0 && arg[6]) {
        files->sarif = arg + 6;
    } else {
        return img_fail(err, IMG_USAGE, "is none of junit=FILE, sarif=FILE");
    }
    return 0;
}

bool verdict_files_hit(const struct verdict_files *files, const char *path)
{
    return path && ((files->junit && outfile_is_same(files->junit, path)) ||
                    (files->sarif && outfile_is_same(files->sarif, path)));
}

static int write_files(const struct verdict_files *files,
                       const struct verdict *verdict, struct img_error *err)
{
    if (files->junit && verdict_junit(verdict, files->junit, err) < 0) {
        return -1;
    }
    return files->sarif ? verdict_sarif(verdict, files->sarif, err) : 0;
}

int verdict_show(const struct common_values *common,
                 const struct verdict_files *files,
                 const struct verdict *verdict, struct output *out)
{
    int failed = verdict_code(CHAIN_NOT_JUDGED);
    int code = verdict_code(chain_report_judgement(verdict->report));
    struct img_error err;

    if (write_files(files, verdict, &err) < 0) {
        return session_fail(&err, failed);
    }
    if (common->output == OUTPUT_JSON) {
        output_json(out, verdict_json(verdict));
    } else {
        verdict_sheet(out, verdict, terminal_width(STDOUT_FILENO),
                      common->verbose);
    }
    return session_finish(out, code, failed);
}
