/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a domain has on record, and the rules for what is put there. Room:
 * chain/virt; for redefine*.c and plan_redefine.c.
 */
#ifndef VIRT_REDEFINE_IMPL_H
#define VIRT_REDEFINE_IMPL_H

#include <chain/redefine.h>

#include "planner.h"

/* One that is on record. */
struct redefine_node {
    const struct chain_moment *moment;
    struct redefine_node *parent; /* NULL: none, or it was not there */
    /* Which libvirt keeps when one without is put in its place; NULL: none. */
    const struct chain_moment *domain_of;
};

struct chain_redefine {
    enum chain_moment_kind kind;
    char *uuid; /* NULL: not known */
    bool from_here;
    bool is_held; /* libvirt takes no snapshot at all */
    struct chain_report *report;
    struct redefine_node **nodes; /* sorted by name */
    size_t nr, room;
};

/* What a moment is judged by. */
struct redefine_bed {
    struct planner *p; /* report, section and flags; no domain */
    /* NULL: what is on record is not known, and what depends on it passes. */
    const struct chain_redefine *record;
    const char *uuid;
    bool from_here;
    char name[CHAIN_SHOWN_LEN]; /* of the moment, for messages */
};

/* NULL: there is none. */
struct redefine_node *redefine_find(const struct chain_redefine *record,
                                    const char *name);
/* The domain that stands for MOMENT; NULL: none that is read whole. */
const struct chain_virt_domain *
redefine_domain(const struct chain_moment *moment);

/* All rules but those of flags. */
void redefine_judge_snapshot(struct redefine_bed *bed,
                             const struct chain_moment *moment);
void redefine_judge_checkpoint(struct redefine_bed *bed,
                               const struct chain_moment *moment);

/* ---- What both have. */

/* "snapshot NAME" and the like, into bed->name. */
void redefine_call(struct redefine_bed *bed, const struct chain_moment *moment);
/* In the section ID; the message begins with bed->name. */
struct chain_check *redefine_refuse(struct redefine_bed *bed, const char *id,
                                    const char *class, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void redefine_judge_refusals(struct redefine_bed *bed,
                             const struct chain_virt_refusals *refusals,
                             const char *file);
void redefine_judge_parent(struct redefine_bed *bed,
                           const struct chain_moment *moment);
/* DOMAIN is not NULL. */
void redefine_judge_uuid(struct redefine_bed *bed,
                         const struct chain_virt_domain *domain);

#endif
