/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a copy did, or would do: see copy_report.h. */
#include "copy_report.h"

#include <img/size.h>

#include "change.h"
#include "made.h"
#include "sheet.h"

static const char *operation(const struct chain_copy_request *request)
{
    return request->shallow ? "shallow-copy" : "copy";
}

struct img_json *copy_report_json(const struct copy_report *report)
{
    const struct chain_copy_request *request = report->request;
    const struct chain_copy_result *result = report->result;
    struct img_json *json =
        change_json(report->change, operation(request), request->dest.path);

    img_json_set_string(json, "source", request->source);
    made_json(json, &result->made);
    img_json_set_u64(json, "data-len", result->data_len);
    img_json_set_u64(json, "zero-len", result->zero_len);
    img_json_set_u64(json, "needed-len", result->needed_len);
    if (result->space_left != UINT64_MAX) {
        img_json_set_u64(json, "space-left", result->space_left);
    }
    if (!report->change->dry_run) {
        img_json_set_u64(json, "read-len", result->read_len);
        img_json_set_u64(json, "written-len", result->written_len);
        img_json_set_u64(json, "shared-len", result->shared_len);
        img_json_set(json, "seconds", img_json_double(report->copy_sec));
        img_json_set_bool(json, "verified", result->is_verified);
    }
    if (result->is_verified) {
        img_json_set(json, "verify-seconds",
                     img_json_double(report->verify_sec));
    }
    if (result->engine) {
        img_json_set_string(json, "engine", result->engine);
        img_json_set_bool(json, "source-direct", result->is_source_direct);
        img_json_set_bool(json, "dest-direct", result->is_dest_direct);
    }
    return json;
}

static void put_speed(struct output *out, const struct copy_report *report)
{
    uint64_t len = report->result->data_len;
    double sec = report->copy_sec;
    char speed[IMG_SIZE_TEXT_LEN];

    if (sec > 0 && len > 0) {
        img_size_short((uint64_t)((double)len / sec), speed);
        sheet_row(out, "time", "%.2f s, %s/s of data", sec, speed);
    } else {
        sheet_row(out, "time", "%.2f s", sec);
    }
}

void copy_report_sheet(struct output *out, const struct copy_report *report)
{
    const struct chain_copy_result *result = report->result;

    change_head(out, report->change, "copied", "copy", report->request->source);
    sheet_text(out, "to", report->request->dest.path);
    made_sheet(out, &result->made);
    sheet_size(out, "data", result->data_len);
    sheet_size(out, "zeros", result->zero_len);
    if (report->change->dry_run) {
        sheet_size(out, "takes at most", result->needed_len);
        if (result->space_left != UINT64_MAX) {
            sheet_size(out, "space left", result->space_left);
        }
        return;
    }
    sheet_size(out, "read", result->read_len);
    sheet_size(out, "written", result->written_len);
    if (result->shared_len > 0) {
        sheet_size(out, "shared on disk", result->shared_len);
    }
    put_speed(out, report);
    if (result->is_verified) {
        sheet_row(out, "verified", "both show the same, by reading (%.2f s)",
                  report->verify_sec);
    }
}
