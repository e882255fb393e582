/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a pivot did, for people and programs. */
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message.h"
#include "migrate.h"
#include "sheet.h"
#include "terminal.h"
#include "verdict.h"

static const char *outcome_word(enum chain_pivot_outcome outcome)
{
    switch (outcome) {
    case CHAIN_PIVOT_PLANNED:
        return "planned";
    case CHAIN_PIVOT_TAKEN:
        return "done";
    case CHAIN_PIVOT_FAILED:
        break;
    }
    return "failed";
}

void pivot_on_command(void *opaque, const char *text,
                      enum chain_pivot_outcome outcome,
                      const struct img_error *why)
{
    struct pivot *pivot = opaque;
    struct img_json *step = img_json_object(), *command = NULL;
    struct img_error ignored;

    message_detail("%s: %s", outcome_word(outcome), text);
    if (img_json_parse(text, strlen(text), &command, &ignored) == 0) {
        img_json_set(step, "command", command);
    }
    img_json_set_string(step, "result", outcome_word(outcome));
    if (why) {
        img_json_set_string(step, "error", why->text);
    }
    img_json_push(pivot->steps, step);
}

const char *pivot_state_word(enum chain_pivot_state state)
{
    switch (state) {
    case CHAIN_PIVOT_ON_SOURCE:
    case CHAIN_PIVOT_READY:
        return "source";
    case CHAIN_PIVOT_ON_DEST:
        return "dest";
    case CHAIN_PIVOT_UNKNOWN:
        break;
    }
    return "unknown";
}

static struct verdict verdict_of(const struct pivot *pivot,
                                 const struct pivot_disk *disk)
{
    return verdict_of_validate(disk->report, pivot_operation(pivot),
                               disk->live.layers[0].path, disk->dest);
}

/* ---- JSON. */

static struct img_json *disk_json(const struct pivot *pivot, size_t idx)
{
    const struct pivot_disk *disk = &pivot->disks[idx];
    struct img_json *json = img_json_object();

    img_json_set_string(json, pivot->told[idx].device ? "device" : "node",
                        disk->name);
    if (disk->live.nr > 0) {
        img_json_set_string(json, "source", disk->live.layers[0].path);
    }
    if (disk->dest) {
        img_json_set_string(json, "filename", disk->dest);
        img_json_set_string(json, "format", pivot->told[idx].dest_format);
        img_json_set_bool(json, "created", disk->made.is_made);
    }
    if (disk->report) {
        struct verdict verdict = verdict_of(pivot, disk);

        img_json_set(json, "report", verdict_json(&verdict));
    }
    return json;
}

static struct img_json *result_json(struct pivot *pivot, const char *word,
                                    const struct img_error *err)
{
    struct img_json *json = img_json_object(), *disks = img_json_array(),
                    *remains = img_json_array();

    img_json_set_string(json, "operation", "pivot");
    img_json_set_string(json, "kind",
                        verdict_operation(pivot_operation(pivot)));
    img_json_set_bool(json, "dry-run", pivot->values->change.dry_run);
    img_json_set_string(json, "result", word);
    img_json_set_string(json, "guest-on",
                        pivot_state_word(pivot->result.state));
    img_json_set_bool(json, "resumed", pivot->result.is_resumed);
    if (err) {
        img_json_set_string(json, "error", err->text);
    }
    for (size_t i = 0; i < pivot->nr; i++) {
        img_json_push(disks, disk_json(pivot, i));
    }
    img_json_set(json, "disks", disks);
    if (migrate_is_on(pivot)) {
        migrate_json(pivot, json);
    }
    img_json_set(json, "steps", img_steal(&pivot->steps));
    for (size_t i = 0; i < pivot->result.remains_nr; i++) {
        img_json_push(remains, img_json_string(pivot->result.remains[i]));
    }
    img_json_set(json, "remains", remains);
    return json;
}

/* ---- For people. */

static void put_planned(struct output *out, const struct pivot *pivot)
{
    const struct img_json *steps = pivot->steps;

    output_text(out, "\n");
    for (size_t i = 0; i < img_json_len(steps); i++) {
        struct img_error ignored;
        char *text = img_json_text(
            img_json_get(img_json_at(steps, i), "command"), false, &ignored);

        if (text) {
            output_printf(out, "%s\n", text);
        }
        free(text);
    }
}

static void put_disk(struct output *out, const struct pivot *pivot, size_t idx,
                     const char *word)
{
    const struct pivot_disk *disk = &pivot->disks[idx];
    const char *dest = disk->dest;

    if (idx > 0) {
        output_text(out, "\n");
    }
    sheet_text(out, word, disk->name);
    if (disk->live.nr > 0 && disk->left != CHAIN_PIVOT_OVER) {
        sheet_text(out, "from", disk->live.layers[0].path);
    }
    if (dest) {
        sheet_text(out, "to", dest);
    }
}

static void put_refused(struct output *out, const struct pivot *pivot)
{
    for (size_t i = 0; i < pivot->nr; i++) {
        const struct pivot_disk *disk = &pivot->disks[i];

        if (disk->report) {
            struct verdict verdict = verdict_of(pivot, disk);

            verdict_sheet(out, &verdict, terminal_width(STDOUT_FILENO),
                          pivot->values->change.common.verbose);
        }
    }
    output_text(out, "\nNothing was done.\n");
}

static void put_remains(struct output *out, const struct pivot *pivot)
{
    for (size_t i = 0; i < pivot->result.remains_nr; i++) {
        sheet_text(out, "remains in QEMU", pivot->result.remains[i]);
    }
}

void pivot_show(struct pivot *pivot, struct output *out, const char *word,
                const struct img_error *err)
{
    bool is_json = pivot->values->change.common.output == OUTPUT_JSON;
    bool is_dry = pivot->values->change.dry_run;

    if (is_json) {
        output_json(out, result_json(pivot, word, err));
    } else if (pivot->is_refused) {
        put_refused(out, pivot);
    } else if (!err) {
        for (size_t i = 0; i < pivot->nr; i++) {
            put_disk(out, pivot, i, is_dry ? "would pivot" : word);
        }
        migrate_sheet(out, pivot);
        if (is_dry) {
            put_planned(out, pivot);
        }
        put_remains(out, pivot);
    }
}

const char *pivot_state_sentence(enum chain_pivot_state state)
{
    switch (state) {
    case CHAIN_PIVOT_ON_SOURCE:
    case CHAIN_PIVOT_READY:
        return "the guest is still on the source";
    case CHAIN_PIVOT_ON_DEST:
        return "the guest is on the destination";
    case CHAIN_PIVOT_UNKNOWN:
        break;
    }
    return "what QEMU does cannot be told; if it runs, try pivot --abort";
}

void pivot_tell_failure(const struct pivot *pivot, struct img_error *err)
{
    message_error(err);
    message_note("%s", pivot_state_sentence(pivot->result.state));
    for (size_t i = 0; i < pivot->result.remains_nr; i++) {
        message_note("remains in QEMU: %s", pivot->result.remains[i]);
    }
    migrate_tell_remains(pivot);
}
