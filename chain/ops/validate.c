/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judging a pre-created destination: the driver. See chain/validate.h.
 *
 * The table below is the order of docs/validate.md. A rule runs when what it
 * needs is there and no rule that it builds on has failed; otherwise its
 * check says "skip" and why.
 */
#include <chain/validate.h>

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "judge.h"
#include "stamp.h"

/* What a rule needs of the destination. */
enum need {
    NEED_NOTHING,
    NEED_FILE,    /* it exists and could be opened */
    NEED_IMAGE,   /* its header could be read */
    NEED_BACKING, /* it records a backing file */
};

#define AFTER(rule) (1u << (rule))

#define AFTER_BACKING                                                          \
    (AFTER(RULE_BACKING_RECORDED) | AFTER(RULE_BACKING_RESOLVES) |             \
     AFTER(RULE_BACKING_FORMAT) | AFTER(RULE_PATH_POLICY))

static const struct rule {
    const char *id;
    unsigned applies;
    enum need need;
    uint32_t after; /* rules that must not have failed */
    void (*judge)(struct chain_judge *judge);
} rules[RULES_NR] = {
    [RULE_REQUEST_EXPLICIT] = {"request-explicit", FOR_ALL, NEED_NOTHING, 0,
                               chain_rule_request_explicit},
    [RULE_DEST_EXISTS] = {"dest-exists", FOR_ALL, NEED_NOTHING, 0,
                          chain_rule_dest_exists},
    [RULE_DEST_ACCESS] = {"dest-access", FOR_ALL, NEED_NOTHING,
                          AFTER(RULE_DEST_EXISTS), chain_rule_dest_access},
    [RULE_DEST_UNUSED] = {"dest-unused", FOR_ALL, NEED_FILE, 0,
                          chain_rule_dest_unused},
    [RULE_DEST_DISTINCT] = {"dest-distinct", FOR_ALL, NEED_FILE, 0,
                            chain_rule_dest_distinct},
    [RULE_FORMAT_MATCH] = {"format-match", FOR_ALL, NEED_FILE,
                           AFTER(RULE_REQUEST_EXPLICIT) |
                               AFTER(RULE_DEST_DISTINCT),
                           chain_rule_format_match},
    [RULE_METADATA_INTACT] = {"metadata-intact", FOR_ALL, NEED_FILE,
                              AFTER(RULE_REQUEST_EXPLICIT) |
                                  AFTER(RULE_DEST_DISTINCT) |
                                  AFTER(RULE_FORMAT_MATCH),
                              chain_rule_metadata_intact},
    [RULE_FEATURES_USABLE] = {"features-usable", FOR_ALL, NEED_IMAGE, 0,
                              chain_rule_features_usable},
    [RULE_BACKING_RECORDED] = {"backing-recorded", FOR_S | FOR_H, NEED_IMAGE, 0,
                               chain_rule_backing_recorded},
    [RULE_BACKING_NONE] = {"backing-none", FOR_C, NEED_IMAGE, 0,
                           chain_rule_backing_none},
    [RULE_BACKING_PORTABLE] = {"backing-portable", FOR_S | FOR_H, NEED_BACKING,
                               0, chain_rule_backing_portable},
    [RULE_BACKING_RESOLVES] = {"backing-resolves", FOR_S | FOR_H, NEED_BACKING,
                               0, chain_rule_backing_resolves},
    [RULE_BACKING_FORMAT] = {"backing-format", FOR_S | FOR_H, NEED_BACKING,
                             AFTER(RULE_BACKING_RECORDED) |
                                 AFTER(RULE_BACKING_RESOLVES),
                             chain_rule_backing_format},
    [RULE_BACKING_STYLE] = {"backing-style", FOR_S | FOR_H, NEED_BACKING, 0,
                            chain_rule_backing_style},
    [RULE_PATH_POLICY] = {"path-policy", FOR_ALL, NEED_NOTHING,
                          AFTER(RULE_DEST_EXISTS), chain_rule_path_policy},
    [RULE_CHAIN_INTACT] = {"chain-intact", FOR_ALL, NEED_NOTHING, AFTER_BACKING,
                           chain_rule_chain_intact},
    [RULE_SIZE_MATCH] = {"size-match", FOR_ALL, NEED_IMAGE, 0,
                         chain_rule_size_match},
    [RULE_SPACE_ENOUGH] = {"space-enough", FOR_C | FOR_H, NEED_FILE,
                           AFTER(RULE_DEST_DISTINCT), chain_rule_space_enough},
    [RULE_CONTENT_EQUAL] = {"content-equal", FOR_S | FOR_H, NEED_IMAGE,
                            AFTER_BACKING | AFTER(RULE_METADATA_INTACT) |
                                AFTER(RULE_DEST_UNUSED) |
                                AFTER(RULE_DEST_DISTINCT) |
                                AFTER(RULE_CHAIN_INTACT) |
                                AFTER(RULE_SIZE_MATCH),
                            chain_rule_content_equal},
    [RULE_CONTENT_EMPTY] = {"content-empty", FOR_S, NEED_IMAGE,
                            AFTER(RULE_METADATA_INTACT),
                            chain_rule_content_empty},
    [RULE_CONTENT_STALE] = {"content-stale", FOR_C, NEED_IMAGE,
                            AFTER(RULE_METADATA_INTACT) |
                                AFTER(RULE_BACKING_NONE) |
                                AFTER(RULE_DEST_DISTINCT),
                            chain_rule_content_stale},
    [RULE_NO_INTERNAL_STATE] = {"no-internal-state", FOR_ALL, NEED_IMAGE, 0,
                                chain_rule_no_internal_state},
    [RULE_ENCRYPTION] = {"encryption", FOR_ALL, NEED_IMAGE, 0,
                         chain_rule_encryption},
    [RULE_WRITE_MODE] = {"write-mode", FOR_H, NEED_NOTHING, 0,
                         chain_rule_write_mode},
    [RULE_SHALLOW_MEANING] = {"shallow-meaning", FOR_H, NEED_NOTHING, 0,
                              chain_rule_shallow_meaning},
    [RULE_STABLE_SOURCE] = {"stable-source", FOR_ALL, NEED_NOTHING, 0,
                            chain_rule_stable_source},
};

static bool is_failed(const struct chain_judge *judge, enum chain_rule_id rule)
{
    return judge->is_judged[rule] && judge->results[rule] == CHAIN_CHECK_FAIL;
}

void chain_judge_say(struct chain_judge *judge, enum chain_check_result result,
                     const char *fmt, ...)
{
    va_list args;

    judge->check->result = result;
    va_start(args, fmt);
    chain_check_text(judge->report, &judge->check->message, fmt, args);
    va_end(args);
}

void chain_judge_say_error(struct chain_judge *judge,
                           enum chain_check_result result,
                           const struct img_error *err)
{
    chain_check_say_error(judge->report, judge->check, result, err);
}

void chain_judge_found(struct chain_judge *judge, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    chain_check_text(judge->report, &judge->check->found, fmt, args);
    va_end(args);
}

void chain_judge_expected(struct chain_judge *judge, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    chain_check_text(judge->report, &judge->check->expected, fmt, args);
    va_end(args);
}

void chain_judge_remedy(struct chain_judge *judge, char *remedy)
{
    chain_check_remedy(judge->check, remedy);
}

void chain_judge_give_up(struct chain_judge *judge)
{
    judge->is_failed = true;
}

/* Why RULE cannot run; NULL: it can. */
static const char *obstacle(const struct chain_judge *judge,
                            const struct rule *rule)
{
    for (unsigned i = 0; i < RULES_NR; i++) {
        if ((rule->after & AFTER(i)) &&
            is_failed(judge, (enum chain_rule_id)i)) {
            return rules[i].id;
        }
    }
    if (rule->need >= NEED_FILE && !judge->dest_file) {
        return is_failed(judge, RULE_DEST_EXISTS) ? "dest-exists"
                                                  : "dest-access";
    }
    if (rule->need >= NEED_IMAGE && !judge->dest_image) {
        static const enum chain_rule_id causes[] = {
            RULE_REQUEST_EXPLICIT, RULE_DEST_DISTINCT, RULE_FORMAT_MATCH};
        for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
            if (is_failed(judge, causes[i])) {
                return rules[causes[i]].id;
            }
        }
        return rules[RULE_METADATA_INTACT].id;
    }
    return NULL;
}

static bool needs_backing(const struct chain_judge *judge,
                          const struct rule *rule)
{
    return rule->need == NEED_BACKING && judge->dest_image &&
           !judge->dest_image->backing_name;
}

static void run_rule(struct chain_judge *judge, const struct rule *rule)
{
    const char *blocker = obstacle(judge, rule);

    if (!(rule->applies & judge->effective) &&
        rule->judge != chain_rule_write_mode &&
        rule->judge != chain_rule_shallow_meaning) {
        chain_judge_say(
            judge, CHAIN_CHECK_SKIP,
            "does not apply: the source has no backing file, so the "
            "copy will be a full one");
    } else if (blocker) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP, "not judged, because of %s",
                        blocker);
    } else if (needs_backing(judge, rule)) {
        chain_judge_say(judge, CHAIN_CHECK_SKIP,
                        "does not apply: no backing file is recorded");
    } else {
        rule->judge(judge);
    }
}

static int run_rules(struct chain_judge *judge)
{
    for (unsigned i = 0; i < RULES_NR; i++) {
        const struct rule *rule = &rules[i];
        /* The rules before look for who uses the file, in other folders. */
        if (i == RULE_FORMAT_MATCH &&
            chain_judge_confine(judge, CHAIN_STAGE_READING, judge->err) != 0) {
            return -1;
        }
        if (!(rule->applies & (judge->requested | judge->effective))) {
            continue;
        }
        judge->check = chain_report_add(judge->report, rule->id);
        chain_check_image(judge->report, judge->check, judge->dest_path);
        run_rule(judge, rule);
        judge->results[i] = judge->check->result;
        judge->is_judged[i] = true;
        if (judge->is_failed) {
            return -1;
        }
        if (judge->report->is_out_of_memory) {
            return img_fail_memory(judge->err);
        }
    }
    return 0;
}

/* Nothing is accepted whose contents had to be equal and were not looked
   at. */
static void mend_verdict(struct chain_judge *judge)
{
    if (chain_report_judgement(judge->report) != CHAIN_ACCEPTED ||
        !judge->is_judged[RULE_CONTENT_EQUAL] ||
        !(rules[RULE_CONTENT_EQUAL].applies & judge->effective) ||
        judge->results[RULE_CONTENT_EQUAL] == CHAIN_CHECK_PASS) {
        return;
    }
    for (size_t i = 0; i < judge->report->nr; i++) {
        struct chain_check *check = judge->report->checks[i];
        if (strcmp(check->id, rules[RULE_CONTENT_EQUAL].id) == 0) {
            check->result = CHAIN_CHECK_UNPROVEN;
        }
    }
}

static int judge_all(struct chain_judge *judge, struct img_error *err)
{
    if (chain_judge_open(judge, err) != 0 ||
        chain_stamp_chain(judge->report, judge->source,
                          judge->request->is_live ? CHAIN_STAMP_MOVING
                                                  : CHAIN_STAMP_SOURCE,
                          err) != 0 ||
        chain_stamp_chain(judge->report, judge->dest, CHAIN_STAMP_DEST, err) !=
            0 ||
        run_rules(judge) != 0) {
        return -1;
    }
    mend_verdict(judge);
    return 0;
}

int chain_validate(const struct chain_validate_request *request,
                   struct chain_report **out, struct img_error *err)
{
    struct chain_report *report = chain_report_new(err);
    struct chain_judge *judge = img_calloc(1, sizeof(*judge), err);
    int rc = -1;

    if (report && judge) {
        judge->request = request;
        judge->report = report;
        judge->err = err;
        rc = judge_all(judge, err);
        chain_judge_close(judge);
    }
    free(judge);
    if (rc != 0) {
        chain_report_free(report);
        return -1;
    }
    *out = report;
    return 0;
}
