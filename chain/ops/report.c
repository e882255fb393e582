/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports: see report.h and chain/validate.h.
 */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

struct chain_check *chain_report_add(struct chain_report *report,
                                     const char *id)
{
    struct chain_check *check = &report->checks[report->nr++];

    memset(check, 0, sizeof(*check));
    check->id = id;
    return check;
}

/* The structure's strings are const for readers only: they are ours. */
static void replace(const char **field, const char *text)
{
    free((void *)(uintptr_t)*field);
    *field = text;
}

void chain_check_text(struct chain_report *report, const char **field,
                      const char *fmt, va_list args)
{
    char *text = NULL;

    if (vasprintf(&text, fmt, args) < 0) {
        report->is_out_of_memory = true;
        text = NULL;
    }
    replace(field, text);
}

/* Result and message. */
__attribute__((format(printf, 4, 5))) static void
say(struct chain_report *report, struct chain_check *check,
    enum chain_check_result result, const char *fmt, ...)
{
    va_list args;

    check->result = result;
    va_start(args, fmt);
    chain_check_text(report, &check->message, fmt, args);
    va_end(args);
}

void chain_check_say_error(struct chain_report *report,
                           struct chain_check *check,
                           enum chain_check_result result,
                           const struct img_error *err)
{
    /* Says nothing about the images: there is no verdict. */
    if (err->code == IMG_MEMORY) {
        report->is_out_of_memory = true;
    }
    if (err->has_off) {
        say(report, check, result, "%s (offset %llu)", err->text,
            (unsigned long long)err->off);
    } else {
        say(report, check, result, "%s", err->text);
    }
    if (err->path[0] != '\0') {
        chain_check_image(report, check, err->path);
    }
}

void chain_check_image(struct chain_report *report, struct chain_check *check,
                       const char *path)
{
    struct img_error ignored;
    char *copy = img_strndup(path, strlen(path), &ignored);

    if (!copy) {
        report->is_out_of_memory = true;
    }
    replace(&check->image, copy);
}

void chain_check_remedy(struct chain_check *check, char *remedy)
{
    replace(&check->remedy, remedy);
}

void chain_check_fini(struct chain_check *check)
{
    replace(&check->image, NULL);
    replace(&check->message, NULL);
    replace(&check->found, NULL);
    replace(&check->expected, NULL);
    replace(&check->remedy, NULL);
}

const char *chain_shown(const char *text, char buf[CHAIN_SHOWN_LEN])
{
    img_escape(text, strlen(text), buf, CHAIN_SHOWN_LEN);
    return buf;
}

void chain_report_free(struct chain_report *report)
{
    if (!report) {
        return;
    }
    for (size_t i = 0; i < report->nr; i++) {
        chain_check_fini(&report->checks[i]);
    }
    for (size_t i = 0; i < report->stamped_nr; i++) {
        free(report->stamped[i].path);
    }
    free(report->stamped);
    free(report);
}

enum chain_judgement chain_report_judgement(const struct chain_report *report)
{
    enum chain_judgement judgement = CHAIN_ACCEPTED;

    for (size_t i = 0; i < report->nr; i++) {
        if (report->checks[i].result == CHAIN_CHECK_FAIL) {
            return CHAIN_REFUSED;
        }
        if (report->checks[i].result == CHAIN_CHECK_UNPROVEN) {
            judgement = CHAIN_NOT_JUDGED;
        }
    }
    return judgement;
}

size_t chain_report_len(const struct chain_report *report)
{
    return report->nr;
}

const struct chain_check *chain_report_at(const struct chain_report *report,
                                          size_t idx)
{
    return &report->checks[idx];
}

const struct chain_proof *chain_report_proof(const struct chain_report *report)
{
    return &report->proof;
}
