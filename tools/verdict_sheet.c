/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A report of a judging command for people: the verdict, then what is wrong,
 * then what deserves a look, then one line for all that is well. A remedy
 * stands alone on one line, however long, so that it can be copied.
 */
#include <img/memory.h>
#include <stdio.h>
#include <string.h>

#include "proof.h"
#include "sheet.h"
#include "verdict.h"

#define LABEL_WIDTH 11u
#define IDS_MAX_LEN 1024

static const struct {
    enum chain_check_result result;
    enum output_style style;
    const char *word;
} sections[] = {
    {CHAIN_CHECK_FAIL, STYLE_BAD, "FAIL"},
    {CHAIN_CHECK_UNPROVEN, STYLE_BAD, "UNPROVEN"},
    {CHAIN_CHECK_WARN, STYLE_WARN, "warning"},
    {CHAIN_CHECK_PASS, STYLE_GOOD, "pass"},
    {CHAIN_CHECK_SKIP, STYLE_DIM, "skipped"},
};

static void put_field(struct output *out, unsigned width, const char *label,
                      const char *text)
{
    if (text && text[0]) {
        output_printf(out, "  %-*s", (int)(LABEL_WIDTH - 2), label);
        sheet_wrap(out, width, LABEL_WIDTH, text);
    }
}

/* Any bytes. */
static void put_name(struct output *out, const char *label, const char *name)
{
    if (name) {
        output_printf(out, "  %-*s", (int)(LABEL_WIDTH - 2), label);
        output_escaped(out, name);
        output_text(out, "\n");
    }
}

static void put_check(struct output *out, unsigned width, size_t section,
                      const struct chain_check *check)
{
    output_text(out, "\n");
    output_style(out, sections[section].style);
    output_text(out, sections[section].word);
    output_style(out, STYLE_PLAIN);
    output_text(out, " ");
    output_style(out, STYLE_BOLD);
    output_text(out, check->id);
    output_style(out, STYLE_PLAIN);
    output_text(out, "\n");
    if (check->message) {
        output_text(out, "  ");
        sheet_wrap(out, width, 2, check->message);
    }
    put_name(out, "of", check->moment);
    put_name(out, "disk", check->disk);
    put_name(out, "image", check->image);
    put_field(out, width, "found", check->found);
    put_field(out, width, "expected", check->expected);
    if (check->remedy) {
        output_printf(out, "  remedy\n    %s\n", check->remedy);
    }
}

/* Of several disks each has a check of one id. */
static bool is_listed(const struct chain_report *report, size_t idx)
{
    const struct chain_check *check = chain_report_at(report, idx);

    for (size_t i = 0; i < idx; i++) {
        const struct chain_check *other = chain_report_at(report, i);

        if (other->result == check->result &&
            strcmp(other->id, check->id) == 0) {
            return true;
        }
    }
    return false;
}

/* "15 passed: dest-exists, dest-access, ..." */
static void put_summary(struct output *out, unsigned width,
                        const struct chain_report *report,
                        enum chain_check_result result, const char *word)
{
    char ids[IDS_MAX_LEN], head[32];
    size_t nr = verdict_count(report, result), used = 0;

    if (nr == 0) {
        return;
    }
    ids[0] = '\0';
    for (size_t i = 0; i < chain_report_len(report); i++) {
        const struct chain_check *check = chain_report_at(report, i);

        if (check->result == result && used < sizeof(ids) - 64 &&
            !is_listed(report, i)) {
            int len = snprintf(ids + used, sizeof(ids) - used, "%s%.60s",
                               used > 0 ? ", " : "", check->id);

            used += (size_t)len;
        }
    }
    (void)snprintf(head, sizeof(head), "%zu %s: ", nr, word);
    output_printf(out, "\n%s", head);
    sheet_wrap(out, width, (unsigned)strlen(head), ids);
}

static const char *inspect_words(enum chain_judgement judgement,
                                 const char *policy)
{
    bool is_chain = policy[0] == 'c';

    switch (judgement) {
    case CHAIN_ACCEPTED:
        return is_chain ? "may be imported with the files below it"
                        : "may be imported; it needs no other file";
    case CHAIN_REFUSED:
        return "may not be imported";
    case CHAIN_NOT_JUDGED:
        break;
    }
    return "is not known to be safe";
}

static void put_relation(struct output *out, const struct verdict *verdict,
                         enum chain_judgement judgement)
{
    const char *may = judgement == CHAIN_ACCEPTED  ? "may become"
                      : judgement == CHAIN_REFUSED ? "may not become"
                                                   : "is not known to be fit "
                                                     "for";

    output_printf(out, "\n  %s %s\n  ", may, verdict->purpose);
    output_escaped(out, verdict->source);
    output_text(out, "\n");
}

static void put_verdict(struct output *out, const struct verdict *verdict)
{
    enum chain_judgement judgement = chain_report_judgement(verdict->report);

    output_style(out, judgement == CHAIN_ACCEPTED ? STYLE_GOOD : STYLE_BAD);
    output_text(out, verdict_name(judgement));
    output_style(out, STYLE_PLAIN);
    output_text(out, ": ");
    output_escaped(out, verdict->subject ? verdict->subject : verdict->dest);
    if (verdict->subject) {
        output_text(out, "\n");
    } else if (verdict->facts) {
        output_printf(out, "\n  %s\n",
                      inspect_words(judgement, verdict->operation));
    } else {
        put_relation(out, verdict, judgement);
    }
}

static void put_steps(struct output *out, const struct words *steps, bool joins)
{
    if (steps && steps->nr > 0) {
        output_text(out, "\nSaved first, by\n");
    }
    for (size_t i = 0; steps && i < steps->nr; i++) {
        output_printf(out, "    %s%s\n", steps->at[i],
                      joins && i + 1 < steps->nr ? " &&" : "");
    }
}

void verdict_sheet(struct output *out, const struct verdict *verdict,
                   unsigned width, bool with_all)
{
    const struct chain_report *report = verdict->report;
    const struct chain_proof *proof = chain_report_proof(report);

    put_verdict(out, verdict);
    for (size_t s = 0; s < sizeof(sections) / sizeof(sections[0]); s++) {
        bool is_talk = sections[s].result == CHAIN_CHECK_PASS ||
                       sections[s].result == CHAIN_CHECK_SKIP;

        for (size_t i = 0; i < chain_report_len(report); i++) {
            const struct chain_check *check = chain_report_at(report, i);

            if (check->result == sections[s].result && (with_all || !is_talk)) {
                put_check(out, width, s, check);
            }
        }
    }
    if (!with_all) {
        put_summary(out, width, report, CHAIN_CHECK_PASS, "passed");
        put_summary(out, width, report, CHAIN_CHECK_SKIP, "skipped");
    }
    if (proof->same_file_len + proof->both_zero_len +
            proof->shared_extents_len + proof->read_len >
        0) {
        output_text(out, "\nContents were proved by\n");
        proof_print(out, proof);
    }
    put_steps(out, verdict->steps, verdict->joins_steps);
    if (verdict->ask && chain_report_judgement(report) == CHAIN_ACCEPTED) {
        output_printf(out, "\nThe request is\n    %s\n", verdict->ask);
    }
}
