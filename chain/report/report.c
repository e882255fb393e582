/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports: see chain/report.h, and chain/checks.h for how they are written.
 */
#include <chain/checks.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

struct chain_report *chain_report_new(struct img_error *err)
{
    return img_calloc(1, sizeof(struct chain_report), err);
}

/* Room for NR checks more. */
static bool reserve(struct chain_report *report, size_t nr)
{
    size_t room = (report->nr + nr) * 2;
    struct chain_check **more;

    if (report->nr + nr <= report->room) {
        return true;
    }
    more = reallocarray(report->checks, room, sizeof(struct chain_check *));
    if (!more) {
        report->is_out_of_memory = true;
        return false;
    }
    report->checks = more;
    report->room = room;
    return true;
}

struct chain_check *chain_report_add(struct chain_report *report,
                                     const char *id)
{
    struct chain_check *check = NULL;
    struct img_error ignored;

    if (reserve(report, 1)) {
        check = img_calloc(1, sizeof(*check), &ignored);
    }
    if (!check) {
        report->is_out_of_memory = true;
        chain_check_fini(&report->spare);
        check = &report->spare;
    } else {
        report->checks[report->nr++] = check;
    }
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

void chain_check_say(struct chain_report *report, struct chain_check *check,
                     enum chain_check_result result, const char *fmt, ...)
{
    va_list args;

    check->result = result;
    va_start(args, fmt);
    chain_check_text(report, &check->message, fmt, args);
    va_end(args);
}

void chain_check_found(struct chain_report *report, struct chain_check *check,
                       const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    chain_check_text(report, &check->found, fmt, args);
    va_end(args);
}

void chain_check_expected(struct chain_report *report,
                          struct chain_check *check, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    chain_check_text(report, &check->expected, fmt, args);
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
        chain_check_say(report, check, result, "%s (offset %llu)", err->text,
                        (unsigned long long)err->off);
    } else {
        chain_check_say(report, check, result, "%s", err->text);
    }
    if (err->path[0] != '\0') {
        chain_check_image(report, check, err->path);
    }
}

/* Text about a file or disk, as it is. */
static void set_copy(struct chain_report *report, const char **field,
                     const char *text)
{
    struct img_error ignored;
    char *copy = img_strndup(text, strlen(text), &ignored);

    if (!copy) {
        report->is_out_of_memory = true;
    }
    replace(field, copy);
}

void chain_check_disk(struct chain_report *report, struct chain_check *check,
                      const char *disk)
{
    set_copy(report, &check->disk, disk);
}

void chain_check_moment(struct chain_report *report, struct chain_check *check,
                        const char *moment)
{
    set_copy(report, &check->moment, moment);
}

void chain_check_image(struct chain_report *report, struct chain_check *check,
                       const char *path)
{
    set_copy(report, &check->image, path);
}

void chain_check_remedy(struct chain_check *check, char *remedy)
{
    replace(&check->remedy, remedy);
}

void chain_check_fini(struct chain_check *check)
{
    replace(&check->disk, NULL);
    replace(&check->moment, NULL);
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
        chain_check_fini(report->checks[i]);
        free(report->checks[i]);
    }
    free(report->checks);
    chain_check_fini(&report->spare);
    for (size_t i = 0; i < report->stamped_nr; i++) {
        free(report->stamped[i].path);
    }
    free(report->stamped);
    free(report);
}

static void add_proof(struct chain_proof *into, const struct chain_proof *from)
{
    into->same_file_len += from->same_file_len;
    into->both_zero_len += from->both_zero_len;
    into->shared_extents_len += from->shared_extents_len;
    into->read_len += from->read_len;
}

static void add_stamped(struct chain_report *into, struct chain_report *from)
{
    size_t nr = into->stamped_nr + from->stamped_nr;
    struct chain_stamped *more =
        reallocarray(into->stamped, nr + 1, sizeof(*more));

    if (!more) {
        into->is_out_of_memory = true;
        return;
    }
    into->stamped = more;
    for (size_t i = 0; i < from->stamped_nr; i++) {
        into->stamped[into->stamped_nr++] = from->stamped[i];
    }
    from->stamped_nr = 0;
}

void chain_report_append(struct chain_report *into, struct chain_report *from,
                         const char *disk)
{
    into->is_out_of_memory |= from->is_out_of_memory;
    if (reserve(into, from->nr)) {
        for (size_t i = 0; i < from->nr; i++) {
            if (disk) {
                chain_check_disk(into, from->checks[i], disk);
            }
            into->checks[into->nr++] = from->checks[i];
        }
        from->nr = 0;
    }
    add_proof(&into->proof, &from->proof);
    add_stamped(into, from);
    chain_report_free(from);
}

enum chain_judgement chain_report_judgement(const struct chain_report *report)
{
    enum chain_judgement judgement = CHAIN_ACCEPTED;

    for (size_t i = 0; i < report->nr; i++) {
        if (report->checks[i]->result == CHAIN_CHECK_FAIL) {
            return CHAIN_REFUSED;
        }
        if (report->checks[i]->result == CHAIN_CHECK_UNPROVEN) {
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
    return report->checks[idx];
}

const struct chain_proof *chain_report_proof(const struct chain_report *report)
{
    return &report->proof;
}
