/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A report of a judging command: the words for it, and JSON. */
#include "verdict.h"

#include "proof.h"

const char *verdict_name(enum chain_judgement judgement)
{
    switch (judgement) {
    case CHAIN_ACCEPTED:
        return "accepted";
    case CHAIN_REFUSED:
        return "refused";
    case CHAIN_NOT_JUDGED:
        break;
    }
    return "unproven";
}

/* "snapshot", "copy", "shallow-copy". */
const char *verdict_operation(enum chain_operation operation)
{
    switch (operation) {
    case CHAIN_OP_SNAPSHOT:
        return "snapshot";
    case CHAIN_OP_COPY:
        return "copy";
    case CHAIN_OP_SHALLOW_COPY:
        break;
    }
    return "shallow-copy";
}

static const char *purpose(enum chain_operation operation)
{
    switch (operation) {
    case CHAIN_OP_SNAPSHOT:
        return "the overlay of";
    case CHAIN_OP_COPY:
        return "the target of a full copy of";
    case CHAIN_OP_SHALLOW_COPY:
        break;
    }
    return "the target of a shallow copy of";
}

struct verdict verdict_of_validate(const struct chain_report *report,
                                   enum chain_operation operation,
                                   const char *source, const char *dest)
{
    return (struct verdict){
        .report = report,
        .command = "validate",
        .operation = verdict_operation(operation),
        .source = source,
        .dest = dest,
        .purpose = purpose(operation),
    };
}

int verdict_code(enum chain_judgement judgement)
{
    switch (judgement) {
    case CHAIN_ACCEPTED:
        return 0;
    case CHAIN_REFUSED:
        return 1;
    case CHAIN_NOT_JUDGED:
        break;
    }
    return 2;
}

const char *verdict_result(enum chain_check_result result)
{
    switch (result) {
    case CHAIN_CHECK_PASS:
        return "pass";
    case CHAIN_CHECK_FAIL:
        return "fail";
    case CHAIN_CHECK_WARN:
        return "warn";
    case CHAIN_CHECK_SKIP:
        return "skip";
    case CHAIN_CHECK_UNPROVEN:
        break;
    }
    return "unproven";
}

size_t verdict_count(const struct chain_report *report,
                     enum chain_check_result result)
{
    size_t nr = 0;

    for (size_t i = 0; i < chain_report_len(report); i++) {
        nr += chain_report_at(report, i)->result == result;
    }
    return nr;
}

static void set_text(struct img_json *json, const char *key, const char *text)
{
    if (text) {
        img_json_set_string(json, key, text);
    }
}

static struct img_json *check_json(const struct chain_check *check)
{
    struct img_json *json = img_json_object();

    img_json_set_string(json, "id", check->id);
    img_json_set_string(json, "result", verdict_result(check->result));
    set_text(json, "moment", check->moment);
    set_text(json, "disk", check->disk);
    set_text(json, "image", check->image);
    set_text(json, "message", check->message);
    set_text(json, "found", check->found);
    set_text(json, "expected", check->expected);
    set_text(json, "remedy", check->remedy);
    return json;
}

static void set_facts(struct img_json *json, const struct verdict *verdict)
{
    const struct chain_inspect_facts *facts = verdict->facts;

    img_json_set_string(json, "operation", verdict->command);
    img_json_set_string(json, "policy", verdict->operation);
    img_json_set_string(json, "filename", verdict->dest);
    set_text(json, "format", facts->format);
    if (facts->has_virtual_len) {
        img_json_set_u64(json, "virtual-size", facts->virtual_len);
    }
    img_json_set_u64(json, "length", facts->file_len);
    if (facts->has_identity) {
        struct img_json *identity = img_json_object();

        img_json_set_u64(identity, "device", facts->dev);
        img_json_set_u64(identity, "inode", facts->ino);
        img_json_set_u64(identity, "modified-ns", (uint64_t)facts->mtime_ns);
        img_json_set(json, "identity", identity);
    }
}

struct img_json *verdict_json(const struct verdict *verdict)
{
    const struct chain_report *report = verdict->report;
    struct img_json *json = img_json_object(), *checks = img_json_array();

    img_json_set_string(json, "verdict",
                        verdict_name(chain_report_judgement(report)));
    if (verdict->facts) {
        set_facts(json, verdict);
    } else {
        img_json_set_string(json, "operation", verdict->operation);
        set_text(json, "source", verdict->source);
        set_text(json, "dest", verdict->subject ? NULL : verdict->dest);
    }
    for (size_t i = 0; i < chain_report_len(report); i++) {
        img_json_push(checks, check_json(chain_report_at(report, i)));
    }
    img_json_set(json, "checks", checks);
    if (!verdict->facts) {
        img_json_set(json, "proof", proof_json(chain_report_proof(report)));
    }
    if (verdict->extend) {
        verdict->extend(verdict->opaque, json);
    }
    return json;
}
