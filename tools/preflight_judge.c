/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The judgement over all disks of a request: the rules of validate for each,
 * and what is asked of all of them together.
 */
#include <chain/checks.h>
#include <stdlib.h>

#include "preflight.h"
#include "sandbox.h"
#include "session.h"

/* What the library calls back about. */
struct stage {
    struct preflight *pre;
    struct chain_access_user *user; /* as whom QEMU runs */
    bool is_confined, is_begun, is_last;
};

static void chain_options(const struct preflight *pre,
                          struct chain_options *out)
{
    session_chain_options(&pre->values->common, out);
    out->format = NULL;
}

/* The first step of the sandbox, and what is to be opened in it for all disks
   together. */
static int begin(struct stage *stage, struct img_error *err)
{
    struct preflight *pre = stage->pre;
    struct chain_options options;

    stage->is_begun = true;
    if (stage->is_confined &&
        sandbox_begin(&pre->values->common, SANDBOX_NAMES, err) < 0) {
        return -1;
    }
    chain_options(pre, &options);
    return chain_preflight_files(&pre->request, pre->plan, &options, err);
}

static int on_stage(void *opaque, enum chain_stage which, struct img_error *err)
{
    struct stage *stage = opaque;

    if (which == CHAIN_STAGE_OPENING) {
        return stage->is_begun ? 0 : begin(stage, err);
    }
    /* The files of the disks to come are still to be opened. */
    return stage->is_confined && stage->is_last ? sandbox_seal(err) : 0;
}

static enum chain_operation operation(enum chain_preflight_kind kind)
{
    switch (kind) {
    case CHAIN_PREFLIGHT_SNAPSHOT:
        return CHAIN_OP_SNAPSHOT;
    case CHAIN_PREFLIGHT_COPY:
        return CHAIN_OP_COPY;
    case CHAIN_PREFLIGHT_SHALLOW_COPY:
        break;
    }
    return CHAIN_OP_SHALLOW_COPY;
}

static int validate(struct stage *stage,
                    const struct chain_preflight_task *task,
                    const struct chain_compare_options *compare,
                    struct img_error *err)
{
    const struct preflight_values *values = stage->pre->values;
    struct chain_report *report = NULL;
    struct chain_validate_request request = {
        .operation = operation(task->kind),
        .source = task->source,
        .source_format = task->source_format,
        .dest = task->dest,
        .dest_format = task->dest_format,
        .dest_fd = -1,
        .is_explicit = true,
        .is_live = stage->pre->domain->is_active,
        .force_share = stage->pre->domain->is_active,
        .allow_larger = values->allow_larger,
        .allow_data_file = values->allow_data_file,
        .synchronous_writes = values->synchronous_writes,
        .allow_probe = values->common.allow_probe,
        .as_user = values->as_user,
        .user = stage->user,
        .qemu_version = values->qemu_version,
        .roots = values->common.roots,
        .max_depth = values->common.max_depth,
        .compare = *compare,
        .confine = on_stage,
        .confine_opaque = stage,
    };

    if (chain_validate(&request, &report, err) < 0) {
        return -1;
    }
    chain_report_append(stage->pre->plan->report, report, task->disk->target);
    return 0;
}

static bool is_validated(const struct chain_preflight_task *task)
{
    return task->is_reused && task->source && task->dest &&
           task->dest[0] == '/';
}

static int validate_all(struct stage *stage,
                        const struct chain_compare_options *compare,
                        struct img_error *err)
{
    const struct chain_preflight *plan = stage->pre->plan;
    size_t left = 0;

    for (size_t i = 0; i < plan->tasks_nr; i++) {
        left += is_validated(&plan->tasks[i]);
    }
    for (size_t i = 0; i < plan->tasks_nr; i++) {
        if (!is_validated(&plan->tasks[i])) {
            continue;
        }
        stage->is_last = --left == 0;
        if (validate(stage, &plan->tasks[i], compare, err) < 0) {
            return -1;
        }
    }
    return stage->is_begun ? 0 : begin(stage, err);
}

int preflight_judge(struct preflight *pre,
                    const struct chain_compare_options *compare, bool confine,
                    struct img_error *err)
{
    struct stage stage = {.pre = pre, .is_confined = confine};
    int rc = chain_access_user_new(pre->values->as_user, &stage.user, err);

    if (rc == 0) {
        rc = validate_all(&stage, compare, err);
    }
    free(stage.user);
    return rc;
}
