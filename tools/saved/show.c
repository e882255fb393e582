/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has become of saved images, on paper: see saved.h. */
#include <img/memory.h>
#include <string.h>
#include <unistd.h>

#include "message.h"
#include "saved.h"
#include "sheet.h"
#include "terminal.h"
#include "verdict.h"

static struct verdict verdict_of(const struct saved_plan *plan)
{
    return (struct verdict){
        .report = plan->report,
        .command = "saved-image",
        .operation = "saved-image",
        .dest = plan->path,
        .subject = plan->path,
    };
}

static struct img_json *moves_json(const struct saved_plan *plan)
{
    struct img_json *list = img_json_array();

    for (size_t i = 0; i < plan->moves_nr; i++) {
        struct img_json *json = img_json_object();

        img_json_set_string(json, "place", plan->moves[i].place);
        img_json_set_string(json, "from", plan->moves[i].from);
        img_json_set_string(json, "to", plan->moves[i].to);
        img_json_push(list, json);
    }
    return list;
}

static struct img_json *plan_json(const struct saved_plan *plan)
{
    struct verdict verdict = verdict_of(plan);
    struct img_json *json = img_json_object();

    img_json_set_string(json, "filename", plan->path);
    img_json_set_bool(json, "changed", plan->is_changed);
    img_json_set_bool(json, "was-running", plan->was_running);
    img_json_set_u64(json, "xml-length", strlen(plan->xml));
    img_json_set_u64(json, "data-length", plan->saved->header.data_len);
    img_json_set(json, "moves", moves_json(plan));
    img_json_set(json, "report", verdict_json(&verdict));
    return json;
}

static void put_plan(struct output *out, const struct change_values *change,
                     const struct saved_plan *plan)
{
    if (!plan->is_changed) {
        sheet_text(out, "unchanged", plan->path);
        return;
    }
    change_head(out, change, "defined", "define", plan->path);
    for (size_t i = 0; i < plan->moves_nr; i++) {
        sheet_text(out, plan->moves[i].place, plan->moves[i].from);
        sheet_text(out, "  now", plan->moves[i].to);
    }
    if (plan->was_running != (plan->saved->header.was_running != 0)) {
        sheet_text(out, "restored as",
                   plan->was_running ? "running" : "paused");
    }
}

void saved_show_plans(struct output *out, const struct change_values *change,
                      const struct saved_plan *plans, size_t nr)
{
    struct img_json *json, *list;

    if (change->common.output != OUTPUT_JSON) {
        for (size_t i = 0; i < nr; i++) {
            put_plan(out, change, &plans[i]);
        }
        return;
    }
    json = img_json_object();
    list = img_json_array();
    img_json_set_string(json, "operation", "define");
    img_json_set_bool(json, "dry-run", change->dry_run);
    for (size_t i = 0; i < nr; i++) {
        img_json_push(list, plan_json(&plans[i]));
    }
    img_json_set(json, "images", list);
    output_json(out, json);
}

void saved_show_refusal(struct output *out, const struct saved_plan *plan,
                        const struct common_values *common)
{
    struct verdict verdict = verdict_of(plan);

    verdict_sheet(out, &verdict, terminal_width(STDOUT_FILENO),
                  common->verbose);
}

/* A line on stderr for each check of RESULT; as an error, if it is one. */
static void tell(const struct saved_plan *plan, enum chain_check_result result,
                 bool is_error)
{
    for (size_t i = 0; i < chain_report_len(plan->report); i++) {
        const struct chain_check *check = chain_report_at(plan->report, i);
        const char *image = check->image ? check->image : plan->path;
        char shown[IMG_ERROR_PATH_MAX];

        if (check->result != result) {
            continue;
        }
        img_escape(image, strlen(image), shown, sizeof(shown));
        if (is_error) {
            message_failed("%s: %s", shown, check->message);
        } else {
            message_note("%s: %s", shown, check->message);
        }
    }
}

void saved_tell_refusal(const struct saved_plan *plan)
{
    tell(plan, CHAIN_CHECK_FAIL, true);
    tell(plan, CHAIN_CHECK_UNPROVEN, true);
}

void saved_tell_warnings(const struct saved_plan *plan)
{
    tell(plan, CHAIN_CHECK_WARN, false);
}
