/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a judging operation found: a list of checks, each with a stable id, and
 * the verdict that follows from them. validate, inspect and the rules of
 * libvirt write reports.
 */
#ifndef CHAIN_REPORT_H
#define CHAIN_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <img/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

enum chain_check_result {
    CHAIN_CHECK_PASS,
    CHAIN_CHECK_FAIL,
    CHAIN_CHECK_WARN,
    CHAIN_CHECK_SKIP, /* does not apply, or depends on a failed check */
    CHAIN_CHECK_UNPROVEN,
};

/* Strings are NUL-terminated, escaped; NULL where there is nothing to say. */
struct chain_check {
    const char *id; /* static */
    enum chain_check_result result;
    const char *disk;    /* of a request over several: its target */
    const char *moment;  /* of several snapshots or checkpoints: its name */
    const char *image;   /* path of the file it is about, raw bytes */
    const char *message; /* one sentence */
    const char *found;
    const char *expected;
    const char *remedy; /* a command that puts it right; shell-quoted */
};

enum chain_judgement {
    CHAIN_ACCEPTED,
    CHAIN_REFUSED,
    CHAIN_NOT_JUDGED, /* unproven: never accepted when a proof is missing */
};

/* How many bytes were shown to be equal, and how. */
struct chain_proof {
    uint64_t same_file_len;
    uint64_t both_zero_len;
    uint64_t shared_extents_len;
    uint64_t read_len; /* settled by reading */
};

struct chain_report;

/* NULL is fine. */
IMG_PUBLIC void chain_report_free(struct chain_report *report);
IMG_PUBLIC enum chain_judgement
chain_report_judgement(const struct chain_report *report);
IMG_PUBLIC size_t chain_report_len(const struct chain_report *report);
IMG_PUBLIC const struct chain_check *
chain_report_at(const struct chain_report *report, size_t idx);
/* How the contents were proved; all 0 when nothing was compared. */
IMG_PUBLIC const struct chain_proof *
chain_report_proof(const struct chain_report *report);

#ifdef __cplusplus
}
#endif
#endif
