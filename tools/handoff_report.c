/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a hand-off through libvirt did, for people and programs. */
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handoff.h"
#include "message.h"
#include "pivot.h"
#include "sheet.h"
#include "terminal.h"

void handoff_step(struct handoff *handoff, const char *call, const char *word,
                  const struct img_error *why)
{
    struct img_json *step = img_json_object();

    message_detail("%s: %s", word, call);
    img_json_set_string(step, "call", call);
    img_json_set_string(step, "result", word);
    if (why) {
        img_json_set_string(step, "error", why->text);
    }
    img_json_push(handoff->steps, step);
}

static struct verdict verdict_of(const struct handoff *handoff)
{
    return (struct verdict){
        .report = handoff->pre.plan->report,
        .command = "pivot",
        .operation = verdict_operation(pivot_kind_operation(handoff->kind)),
        .dest = handoff->values->domain,
        .subject = handoff->values->domain,
    };
}

static struct img_json *disk_json(const struct handoff *handoff, size_t idx)
{
    const struct handoff_disk *disk = &handoff->disks[idx];
    struct img_json *json = img_json_object();

    img_json_set_string(json, "disk", disk->target);
    if (disk->source) {
        img_json_set_string(json, "source", disk->source);
    }
    if (disk->dest) {
        img_json_set_string(json, "filename", disk->dest);
        img_json_set_string(json, "format", handoff_format(handoff));
        img_json_set_bool(json, "created", disk->made.is_made);
    }
    return json;
}

static struct img_json *result_json(struct handoff *handoff, const char *word,
                                    const struct img_error *err)
{
    struct img_json *json = img_json_object(), *disks = img_json_array();

    img_json_set_string(json, "operation", "pivot");
    img_json_set_string(json, "kind",
                        verdict_operation(pivot_kind_operation(handoff->kind)));
    img_json_set_string(json, "domain", handoff->values->domain);
    img_json_set_bool(json, "dry-run", handoff->values->change.dry_run);
    img_json_set_string(json, "result", word);
    img_json_set_string(json, "guest-on", pivot_state_word(handoff->state));
    img_json_set_bool(json, "resumed", handoff->is_resumed);
    if (err) {
        img_json_set_string(json, "error", err->text);
    }
    for (size_t i = 0; i < handoff->nr; i++) {
        img_json_push(disks, disk_json(handoff, i));
    }
    img_json_set(json, "disks", disks);
    img_json_set(json, "steps", img_steal(&handoff->steps));
    if (handoff->xml) {
        img_json_set_string(json, "xml", handoff->xml);
    }
    if (handoff->pre.plan) {
        struct verdict verdict = verdict_of(handoff);

        img_json_set(json, "report", verdict_json(&verdict));
    }
    return json;
}

static void put_disk(struct output *out, const struct handoff *handoff,
                     size_t idx, const char *word)
{
    const struct handoff_disk *disk = &handoff->disks[idx];
    const char *source = disk->source;

    if (idx > 0) {
        output_text(out, "\n");
    }
    sheet_text(out, word, disk->target);
    if (source && disk->dest && strcmp(source, disk->dest) != 0) {
        sheet_text(out, "from", source);
    }
    if (disk->dest) {
        sheet_text(out, "to", disk->dest);
    }
}

static void put_planned(struct output *out, const struct handoff *handoff)
{
    output_text(out, "\n");
    for (size_t i = 0; i < img_json_len(handoff->steps); i++) {
        output_printf(
            out, "%s\n",
            img_json_get_string(img_json_at(handoff->steps, i), "call"));
    }
    if (handoff->xml) {
        output_printf(out, "\n%s", handoff->xml);
    }
}

void handoff_show(struct handoff *handoff, struct output *out, const char *word,
                  const struct img_error *err)
{
    const struct change_values *change = &handoff->values->change;

    if (change->common.output == OUTPUT_JSON) {
        output_json(out, result_json(handoff, word, err));
    } else if (handoff->is_refused) {
        struct verdict verdict = verdict_of(handoff);

        verdict_sheet(out, &verdict, terminal_width(STDOUT_FILENO),
                      change->common.verbose);
        output_text(out, "\nNothing was done.\n");
    } else if (!err) {
        for (size_t i = 0; i < handoff->nr; i++) {
            put_disk(out, handoff, i, change->dry_run ? "would pivot" : word);
        }
        if (change->dry_run) {
            put_planned(out, handoff);
        }
    }
}

void handoff_tell_failure(const struct handoff *handoff,
                          const struct img_error *err)
{
    message_error(err);
    message_note("%s", pivot_state_sentence(handoff->state));
}
