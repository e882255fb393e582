/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a redefinition, and what libvirt says to them. */
#include <img/memory.h>
#include <string.h>

#include "message.h"
#include "redefine.h"

static const char *kind_of(const struct chain_moment *moment)
{
    return moment->snapshot ? "snapshot" : "checkpoint";
}

/* ---- For people. */

static void put_step(struct output *out, const struct chain_redefine_step *step)
{
    output_printf(out, "%s ", kind_of(step->moment));
    output_style(out, STYLE_BOLD);
    output_escaped(out, step->moment->name);
    output_style(out, STYLE_PLAIN);
    if (step->moment->parent_name) {
        output_text(out, "  on ");
        output_escaped(out, step->moment->parent_name);
    }
    if (step->is_replacing) {
        output_text(out, "  replaces the one that is there");
    }
    if (step->is_current) {
        output_text(out, "  current");
    }
    output_text(out, "\n");
}

static void tell(const struct chain_check *check)
{
    char image[IMG_ERROR_PATH_MAX] = "";

    if (check->image) {
        img_escape(check->image, strlen(check->image), image, sizeof(image));
    }
    message_failed("%s%s%s%s%s%s%s%s%s", image, image[0] ? ": " : "",
                   check->disk ? check->disk : "", check->disk ? ": " : "",
                   check->message, check->found ? ": found " : "",
                   check->found ? check->found : "",
                   check->expected ? ", expected " : "",
                   check->expected ? check->expected : "");
}

static void tell_all(const struct chain_report *report)
{
    for (size_t i = 0; i < chain_report_len(report); i++) {
        tell(chain_report_at(report, i));
    }
    if (chain_report_len(report) > 0) {
        message_failed("nothing is done");
    }
}

/* ---- For programs. */

static struct img_json *step_json(const struct chain_redefine_step *step)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "kind", kind_of(step->moment));
    img_json_set_string(json, "name", step->moment->name);
    img_json_set_string(json, "parent", step->moment->parent_name);
    img_json_set_bool(json, "current", step->is_current);
    img_json_set_bool(json, "replaces", step->is_replacing);
    return json;
}

static void set(struct img_json *json, const char *key, const char *text)
{
    if (text) {
        img_json_set_string(json, key, text);
    }
}

static struct img_json *check_json(const struct chain_check *check)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "id", check->id);
    img_json_set_string(json, "result",
                        check->result == CHAIN_CHECK_FAIL ? "fail" : "warn");
    set(json, "image", check->image);
    set(json, "disk", check->disk);
    set(json, "message", check->message);
    set(json, "found", check->found);
    set(json, "expected", check->expected);
    return json;
}

static void put_json(const struct redefining *run, struct output *out)
{
    const struct chain_redefine_plan *plan = run->plan;
    struct img_json *json = img_json_object();
    struct img_json *steps = img_json_array();
    struct img_json *checks = img_json_array();
    size_t nr = chain_report_len(plan->report);

    for (size_t i = 0; i < plan->nr; i++) {
        img_json_push(steps, step_json(&plan->steps[i]));
    }
    for (size_t i = 0; i < nr; i++) {
        img_json_push(checks, check_json(chain_report_at(plan->report, i)));
    }
    img_json_set_string(json, "verdict", nr > 0 ? "refused" : "accepted");
    img_json_set_bool(json, "done", nr == 0 && !run->values->dry_run);
    set(json, "domain", plan->domain_name);
    set(json, "uuid", plan->uuid);
    img_json_set(json, "steps", steps);
    img_json_set(json, "checks", checks);
    output_json(out, json);
}

void redefine_show(const struct redefining *run, struct output *out)
{
    if (run->values->source.common.output == OUTPUT_JSON) {
        put_json(run, out);
        return;
    }
    tell_all(run->plan->report);
    if (chain_report_len(run->plan->report) > 0) {
        return;
    }
    for (size_t i = 0; i < run->plan->nr; i++) {
        put_step(out, &run->plan->steps[i]);
    }
}
