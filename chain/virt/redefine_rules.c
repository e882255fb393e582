/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules that snapshots and checkpoints share: what libvirt reads, the parent,
 * the uuid (virDomainMomentCheckCycles of libvirt 9.0 and around it). Room:
 * chain/virt.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "redefine_impl.h"

void redefine_call(struct redefine_bed *bed, const struct chain_moment *moment)
{
    const char *kind = moment->snapshot ? "snapshot" : "checkpoint";
    char shown[CHAIN_SHOWN_LEN - 32];

    if (!moment->name) {
        snprintf(bed->name, sizeof(bed->name), "the %s", kind);
        return;
    }
    img_escape(moment->name, strlen(moment->name), shown, sizeof(shown));
    snprintf(bed->name, sizeof(bed->name), "%s %s", kind, shown);
}

struct chain_check *redefine_refuse(struct redefine_bed *bed, const char *id,
                                    const char *class, const char *fmt, ...)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0) {
        bed->p->report->is_out_of_memory = true;
        text = NULL;
    }
    va_end(args);
    plan_begin(bed->p, id);
    return plan_refuse(bed->p, NULL, class, "%s %s", bed->name,
                       text ? text : "");
}

void redefine_judge_refusals(struct redefine_bed *bed,
                             const struct chain_virt_refusals *refusals,
                             const char *file)
{
    plan_begin(bed->p, "libvirt-xml");
    for (size_t i = 0; i < refusals->nr; i++) {
        const struct chain_virt_refusal *one = &refusals->list[i];
        struct chain_check *check =
            plan_refuse(bed->p, NULL, one->id, "%s: %s", bed->name, one->text);

        plan_found_line(bed->p, check, file, one->line);
    }
    if (refusals->left_off_nr > 0) {
        plan_say(bed->p, NULL, CHAIN_CHECK_FAIL, "%s: and %zu refusals more",
                 bed->name, refusals->left_off_nr);
    }
}

/* ---- The parent. */

#define PARENT_ID "libvirt-parent"

static struct redefine_node *above(const struct chain_redefine *record,
                                   const struct redefine_node *node)
{
    return node->parent ? node->parent
                        : redefine_find(record, node->moment->parent_name);
}

/* Up from NODE, which is to be the parent of NAME. */
static void judge_way_up(struct redefine_bed *bed, const char *name,
                         const struct redefine_node *node)
{
    char shown[CHAIN_SHOWN_LEN];
    size_t nr = 0;

    for (; node && node->moment->parent_name; nr++) {
        if (name && strcmp(node->moment->parent_name, name) == 0) {
            redefine_refuse(bed, PARENT_ID, "INVALID_ARG",
                            "would have a parent that is below it: %s is its "
                            "child",
                            chain_shown(node->moment->name, shown));
            return;
        }
        if (nr > bed->record->nr) {
            plan_begin(bed->p, PARENT_ID);
            plan_say(bed->p, NULL, CHAIN_CHECK_FAIL,
                     "libvirt would look for the end of it forever: the "
                     "parents of %s lead back to one of themselves",
                     bed->name);
            return;
        }
        node = above(bed->record, node);
    }
}

void redefine_judge_parent(struct redefine_bed *bed,
                           const struct chain_moment *moment)
{
    const struct redefine_node *parent;
    char shown[CHAIN_SHOWN_LEN];

    if (!moment->parent_name) {
        return;
    }
    if (moment->name && strcmp(moment->parent_name, moment->name) == 0) {
        redefine_refuse(bed, PARENT_ID, "INVALID_ARG", "is its own parent");
        return;
    }
    if (!bed->record) {
        return;
    }
    parent = redefine_find(bed->record, moment->parent_name);
    if (!parent) {
        redefine_refuse(bed, PARENT_ID, "INVALID_ARG",
                        "has the parent %s, which is not there",
                        chain_shown(moment->parent_name, shown));
        return;
    }
    judge_way_up(bed, moment->name, parent);
}

/* ---- The uuid. */

/* Digits alone, in lower case; "" for what is none. */
static void plain_uuid(const char *text, char out[33])
{
    size_t nr = 0;

    for (; *text && nr < 32; text++) {
        if (isxdigit((unsigned char)*text)) {
            out[nr++] = (char)tolower((unsigned char)*text);
        }
    }
    out[nr] = '\0';
}

void redefine_judge_uuid(struct redefine_bed *bed,
                         const struct chain_virt_domain *domain)
{
    char wanted[33], found[33];
    char shown[CHAIN_SHOWN_LEN];
    struct chain_check *check;

    if (!bed->uuid) {
        return;
    }
    plain_uuid(bed->uuid, wanted);
    plain_uuid(domain->uuid ? domain->uuid : "", found);
    if (strcmp(wanted, found) == 0) {
        return;
    }
    check = redefine_refuse(bed, "libvirt-redefine", "INVALID_ARG",
                            domain->uuid ? "is of another domain"
                                         : "has a domain without a uuid, for "
                                           "which libvirt makes one up");
    chain_check_found(bed->p->report, check, "uuid %s",
                      domain->uuid ? chain_shown(domain->uuid, shown) : "-");
    chain_check_expected(bed->p->report, check, "uuid %s",
                         chain_shown(bed->uuid, shown));
}
