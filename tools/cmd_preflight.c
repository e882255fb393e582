/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * preflight: the judgement of validate for an operation that libvirt is to do,
 * over all its disks, after what libvirt itself would refuse
 * (chain/preflight.h).
 */
#include <img/memory.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "outfile.h"
#include "preflight.h"
#include "progress.h"
#include "sandbox.h"
#include "session.h"
#include "signals.h"

static int option_diskspec(void *field, const char *arg, struct img_error *err)
{
    return words_push(field, img_strndup(arg, strlen(arg), err), err);
}

static int option_granularity(void *field, const char *arg,
                              struct img_error *err)
{
    struct preflight_values *values = field;

    values->has_granularity = true;
    return size_parse(arg, &values->granularity, err);
}

#define AT(field) offsetof(struct preflight_values, field)

const struct option_spec preflight_options[] = {
    {0, "domain", "XML", "the domain, as virsh dumpxml prints it", option_text,
     AT(domain)},
    {0, "connect", "URI", "or its name at the libvirt there", option_text,
     AT(connect)},
    {0, "snapshot", "XML", "the <domainsnapshot> that is asked for",
     option_text, AT(snapshot)},
    {0, "diskspec", "SPEC", "or its disks, as virsh has them (repeatable)",
     option_diskspec, AT(diskspecs)},
    {0, "name", "NAME", "its name, with --diskspec", option_text, AT(name)},
    {0, "memspec", "SPEC", "its memory, as virsh has it", option_text,
     AT(memspec)},
    {0, "copy-disk", "XML", "the <disk> that is copied to", option_text,
     AT(copy_disk)},
    {0, "dest", "FILE", "or its path, as blockcopy --dest", option_text,
     AT(dest)},
    {'f', "format", "FMT", "its format, with --dest", option_text,
     AT(common.format)},
    {0, "raw", NULL, "as --format raw", option_flag, AT(raw)},
    {0, "blockdev", NULL, "--dest is a block device", option_flag,
     AT(blockdev)},
    {0, "target", "DEV", "the disk that is copied: vda, or its path",
     option_text, AT(target)},
    {0, "reuse-external", NULL, "the destinations are there", option_flag,
     AT(reuse_external)},
    {0, "disk-only", NULL, "snapshot: without memory", option_flag,
     AT(disk_only)},
    {0, "atomic", NULL, "snapshot: all disks or none", option_flag, AT(atomic)},
    {0, "quiesce", NULL, "snapshot: the guest's agent freezes file systems",
     option_flag, AT(quiesce)},
    {0, "no-metadata", NULL, "snapshot: libvirt keeps no record", option_flag,
     AT(no_metadata)},
    {0, "redefine", NULL, "snapshot: only put it on record", option_flag,
     AT(redefine)},
    {0, "current", NULL, "snapshot: with --redefine, make it current",
     option_flag, AT(current)},
    {0, "halt", NULL, "snapshot: stop the domain afterwards", option_flag,
     AT(halt)},
    {0, "live", NULL, "snapshot: memory while the guest runs", option_flag,
     AT(live)},
    {0, "validate", NULL, "snapshot: XML by libvirt's schema", option_flag,
     AT(validate)},
    {0, "shallow", NULL, "copy: the active layer only", option_flag,
     AT(shallow)},
    {0, "transient-job", NULL, "copy: the job is not kept over a restart",
     option_flag, AT(transient_job)},
    {0, "synchronous-writes", NULL, "copy: writes go to both at once",
     option_flag, AT(synchronous_writes)},
    {0, "granularity", "SIZE", "copy: unit of what is copied again",
     option_granularity, 0},
    {0, "transient", NULL, "the domain has no persistent definition",
     option_flag, AT(is_transient)},
    {0, "allow-larger", NULL, "a larger overlay is wanted", option_flag,
     AT(allow_larger)},
    {0, "allow-data-file", NULL, "an external data file is wanted", option_flag,
     AT(allow_data_file)},
    {0, "as", "USER", "judge access for USER, as whom QEMU runs", option_text,
     AT(as_user)},
    {0, "qemu-version", "V", "the QEMU that will use the files", option_text,
     AT(qemu_version)},
    {0, "report", "KIND=FILE", "a report, too; KIND: junit, sarif",
     option_report, AT(reports)},
    {0, NULL, NULL, NULL, NULL, 0},
};

void preflight_fini(void *values)
{
    struct preflight_values *preflight = values;

    words_fini(&preflight->diskspecs);
}

/* ---- What is asked for. */

static const char *copy_fault(const struct preflight_values *values)
{
    if (!values->target) {
        return "option --target is missing: the disk that is copied";
    }
    if (values->copy_disk &&
        (values->common.format || values->raw || values->blockdev)) {
        return "--format, --raw and --blockdev go with --dest: --copy-disk "
               "says all";
    }
    if (values->raw && values->common.format &&
        strcmp(values->common.format, "raw") != 0) {
        return "--raw and --format name different formats";
    }
    return values->disk_only || values->atomic || values->quiesce ||
                   values->no_metadata || values->redefine || values->current ||
                   values->halt || values->live || values->validate
               ? "a flag of snapshots does not go with a copy"
               : NULL;
}

static const char *snapshot_fault(const struct preflight_values *values)
{
    if (values->snapshot && (values->name || values->memspec)) {
        return "--name and --memspec go with --diskspec: --snapshot says all";
    }
    return values->shallow || values->transient_job ||
                   values->synchronous_writes || values->has_granularity ||
                   values->target || values->raw || values->blockdev ||
                   values->common.format
               ? "an option of copies does not go with a snapshot"
               : NULL;
}

/* What getopt cannot tell. Returns false after a message. */
static bool is_sane(const struct preflight_values *values)
{
    bool is_spoken = values->diskspecs.nr > 0 || values->name;
    int ways = (values->snapshot != NULL) + is_spoken +
               (values->copy_disk != NULL) + (values->dest != NULL);
    const char *text = NULL;

    if (!values->domain) {
        text = "option --domain is missing: the domain's XML";
    } else if (ways == 0) {
        text = "expected one of --snapshot, --diskspec, --copy-disk, --dest: "
               "what is to be done";
    } else if (ways > 1 && !(ways == 2 && values->snapshot && values->name)) {
        text = "expected one of --snapshot, --diskspec, --copy-disk, --dest";
    } else {
        text = values->copy_disk || values->dest ? copy_fault(values)
                                                 : snapshot_fault(values);
    }
    if (text) {
        message_failed("%s", text);
    }
    return !text;
}

static bool hits_image(const struct preflight *pre)
{
    const struct verdict_files *files = &pre->values->reports;

    for (size_t i = 0; i < pre->plan->tasks_nr; i++) {
        const struct chain_preflight_task *task = &pre->plan->tasks[i];

        if (verdict_files_hit(files, task->source) ||
            verdict_files_hit(files, task->dest)) {
            message_failed("a report would replace an image that is judged");
            return true;
        }
    }
    return false;
}

/* ---- Judging. */

static void on_progress(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque;
    progress_update(done, total);
}

/* What is written is opened and rings are made before it begins. */
static int prepare(const struct preflight_values *values,
                   struct chain_compare_options *compare, struct output **out,
                   struct img_error *err)
{
    const char *const files[] = {values->reports.junit, values->reports.sarif};

    if (session_output(&values->common, out, err) < 0) {
        return -1;
    }
    session_compare_options(&values->common, compare);
    compare->cancel = signals_catch();
    compare->progress = on_progress;
    if (!sandbox_is_wanted(&values->common)) {
        return 0;
    }
    output_prepare(*out);
    return outfile_prepare(files, sizeof(files) / sizeof(files[0]), err) < 0
               ? -1
               : session_rings(&values->common, compare, err);
}

static int judge(struct preflight *pre, struct output **out,
                 struct img_error *err)
{
    const struct preflight_values *values = pre->values;
    struct chain_compare_options compare;
    int rc;

    if (prepare(values, &compare, out, err) < 0) {
        return -1;
    }
    progress_begin(values->common.quiet ? PROGRESS_NONE
                                        : values->common.progress,
                   "preflight");
    rc = preflight_judge(pre, &compare, true, err);
    progress_end();
    session_rings_free(&compare);
    return rc;
}

static int show(struct preflight *pre, struct output *out)
{
    const struct preflight_values *values = pre->values;
    struct img_error err;
    IMG_AUTO(img_free_ptr) char *line = preflight_virsh(pre, &err);
    IMG_AUTO(img_free_ptr) char *subject = NULL;

    if (line) {
        subject =
            img_text(&err, "the %s of domain %s%s%s", preflight_operation(pre),
                     pre->domain->name ? pre->domain->name : "",
                     values->target ? ", disk " : "",
                     values->target ? values->target : "");
    }
    if (!subject) {
        return session_fail(&err, EXIT_NOT_JUDGED);
    }
    const struct verdict verdict = {
        .report = pre->plan->report,
        .command = "preflight",
        .operation = preflight_operation(pre),
        .dest = values->domain,
        .subject = subject,
        .ask = line,
        .extend = preflight_extend,
        .opaque = pre,
    };
    return verdict_show(&values->common, &values->reports, &verdict, out);
}

int cmd_preflight(void *opaque, char **operands, int nr)
{
    struct preflight pre = {.values = opaque};
    IMG_AUTO(output_free_ptr) struct output *out = NULL;
    struct img_error err;
    int code;

    (void)operands;
    (void)nr;
    if (!is_sane(opaque)) {
        return EXIT_NOT_JUDGED;
    }
    if (preflight_read(&pre, &err) < 0 ||
        chain_preflight(&pre.request, &pre.plan, &err) < 0) {
        code = session_fail(&err, EXIT_NOT_JUDGED);
    } else if (hits_image(&pre)) {
        code = EXIT_NOT_JUDGED;
    } else {
        code = judge(&pre, &out, &err) < 0 ? session_fail(&err, EXIT_NOT_JUDGED)
                                           : show(&pre, out);
    }
    preflight_release(&pre);
    return code;
}
