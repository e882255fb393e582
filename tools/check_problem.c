/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How check shows what it found: see check_problem.h. */
#include "check_problem.h"

#include <img/json.h>
#include <img/memory.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"
#include "sheet.h"
#include "terminal.h"

struct shown {
    const char *kind;
    enum output_style style;
    const struct qcow2_problem *problem;
};

unsigned check_line_width(void)
{
    return isatty(STDOUT_FILENO) ? terminal_width(STDOUT_FILENO) : UINT_MAX;
}

static void put_json(struct check_sink *sink, const struct shown *shown)
{
    const struct qcow2_problem *problem = shown->problem;
    struct img_json *one = img_json_object();

    img_json_set_string(one, "kind", shown->kind);
    img_json_set_string(one, "id", problem->id);
    img_json_set_u64(one, "offset", problem->off);
    if (problem->owner) {
        img_json_set_string(one, "owner", problem->owner);
    }
    if (problem->has_guest_off) {
        img_json_set_u64(one, "guest-offset", problem->guest_off);
    }
    img_json_set_string(one, "message", problem->message);
    img_json_push(sink->problems, one);
}

static void put_line(struct check_sink *sink, const struct shown *shown)
{
    const struct qcow2_problem *problem = shown->problem;
    struct img_error ignored;
    IMG_AUTO(img_free_ptr)
    char *text = img_text(&ignored, "%s (offset %" PRIu64 ")", problem->message,
                          problem->off);

    progress_clear();
    output_style(sink->out, shown->style);
    output_text(sink->out, shown->kind);
    output_style(sink->out, STYLE_PLAIN);
    output_text(sink->out, ": ");
    sheet_wrap(sink->out, sink->width, (unsigned)strlen(shown->kind) + 2,
               text ? text : problem->message);
}

static void put(struct check_sink *sink, const struct shown *shown)
{
    if (sink->problems) {
        put_json(sink, shown);
    } else {
        put_line(sink, shown);
    }
}

void check_put_problem(void *opaque, const struct qcow2_problem *problem)
{
    struct shown shown = {"error", STYLE_BAD, problem};

    switch (problem->kind) {
    case QCOW2_PROBLEM_CORRUPTION:
        shown.kind = "corruption";
        break;
    case QCOW2_PROBLEM_LEAK:
        shown.kind = "leak";
        shown.style = STYLE_WARN;
        break;
    case QCOW2_PROBLEM_ERROR:
        break;
    }
    put(opaque, &shown);
}

void check_put_link(void *opaque, const struct chain_link_problem *problem)
{
    struct check_sink *sink = opaque;
    const struct qcow2_problem as_problem = {
        .id = problem->id,
        .off = problem->off,
        .owner = "header",
        .message = problem->message,
    };
    struct shown shown = {"error", STYLE_BAD, &as_problem};

    switch (problem->kind) {
    case CHAIN_LINK_NOTE:
        shown.kind = "note";
        shown.style = STYLE_WARN;
        break;
    case CHAIN_LINK_CORRUPTION:
        shown.kind = "corruption";
        sink->result->corruptions++;
        sink->result->beyond_qemu++;
        break;
    case CHAIN_LINK_ERROR:
        sink->result->check_errors++;
        break;
    }
    put(sink, &shown);
}

void check_put_failure(struct check_sink *sink, const struct img_error *err)
{
    check_put_link(sink, &(struct chain_link_problem){
                             .kind = CHAIN_LINK_ERROR,
                             .id = "not-checked",
                             .off = err->has_off ? err->off : 0,
                             .message = err->text,
                         });
}
