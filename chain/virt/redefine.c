/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is on record, and who asks: see chain/redefine.h. Room: chain/virt. */
#include <chain/redefine.h>

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "redefine_impl.h"

int chain_redefine_new(enum chain_moment_kind kind, const char *uuid,
                       bool from_here, struct chain_redefine **out,
                       struct img_error *err)
{
    struct chain_redefine *judge = img_calloc(1, sizeof(*judge), err);

    if (!judge) {
        return -1;
    }
    judge->kind = kind;
    judge->from_here = from_here;
    judge->report = chain_report_new(err);
    if (!judge->report ||
        (uuid && !(judge->uuid = img_strndup(uuid, strlen(uuid), err)))) {
        chain_redefine_free(judge);
        return -1;
    }
    *out = judge;
    return 0;
}

void chain_redefine_free(struct chain_redefine *judge)
{
    if (!judge) {
        return;
    }
    for (size_t i = 0; i < judge->nr; i++) {
        free(judge->nodes[i]);
    }
    free(judge->nodes);
    free(judge->uuid);
    chain_report_free(judge->report);
    free(judge);
}

/* ---- The record. */

/* Where NAME stands, or would. */
static size_t place_of(const struct chain_redefine *record, const char *name)
{
    size_t low = 0, high = record->nr;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(record->nodes[middle]->moment->name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct redefine_node *redefine_find(const struct chain_redefine *record,
                                    const char *name)
{
    size_t at = name ? place_of(record, name) : record->nr;

    return at < record->nr && strcmp(record->nodes[at]->moment->name, name) == 0
               ? record->nodes[at]
               : NULL;
}

const struct chain_virt_domain *
redefine_domain(const struct chain_moment *moment)
{
    return moment->snapshot ? moment->snapshot->domain
                            : moment->checkpoint->domain;
}

static int grow(struct chain_redefine *record, struct img_error *err)
{
    size_t room = record->room ? 2 * record->room : 64;
    struct redefine_node **more;

    if (record->nr < record->room) {
        return 0;
    }
    more = reallocarray(record->nodes, room, sizeof(struct redefine_node *));
    if (!more) {
        return img_fail_memory(err);
    }
    record->nodes = more;
    record->room = room;
    return 0;
}

/* The node of NAME, made if need be. */
static struct redefine_node *node_for(struct chain_redefine *record,
                                      const char *name, struct img_error *err)
{
    struct redefine_node *node = redefine_find(record, name);
    size_t at = place_of(record, name);

    if (node || grow(record, err) < 0) {
        return node;
    }
    node = img_calloc(1, sizeof(*node), err);
    if (node) {
        memmove(&record->nodes[at + 1], &record->nodes[at],
                (record->nr - at) * sizeof(struct redefine_node *));
        record->nodes[at] = node;
        record->nr++;
    }
    return node;
}

static int put(struct chain_redefine *record, const struct chain_moment *moment,
               struct img_error *err)
{
    struct redefine_node *node = node_for(record, moment->name, err);

    if (!node) {
        return -1;
    }
    node->moment = moment;
    node->parent = redefine_find(record, moment->parent_name);
    if (redefine_domain(moment)) {
        node->domain_of = moment;
    }
    return 0;
}

int chain_redefine_know(struct chain_redefine *judge,
                        const struct chain_moment *moment,
                        struct img_error *err)
{
    if (!moment->name || redefine_find(judge, moment->name)) {
        return 0;
    }
    return put(judge, moment, err);
}

/* ---- Asking. */

static void judge_held(struct planner *p, const struct chain_redefine *judge)
{
    plan_begin(p, "libvirt-domain");
    if (judge->is_held) {
        plan_refuse(p, NULL, "OPERATION_UNSUPPORTED",
                    "the domain does not run and has checkpoints on record, "
                    "and so gets no snapshot: start it, or forget the "
                    "checkpoints first");
    }
}

int chain_redefine_judge(struct chain_redefine *judge,
                         const struct chain_moment *moment, unsigned flags,
                         bool *is_taken, struct img_error *err)
{
    const struct chain_preflight_request request = {
        .flags = flags | CHAIN_VIRT_REDEFINE,
    };
    struct planner p = {.request = &request, .report = judge->report};
    struct redefine_bed bed = {
        .p = &p,
        .record = judge,
        .uuid = judge->uuid,
        .from_here = judge->from_here,
    };
    size_t nr = chain_report_len(judge->report);

    if (moment->snapshot) {
        plan_judge_flags(&p);
        judge_held(&p, judge);
        redefine_judge_snapshot(&bed, moment);
    } else {
        redefine_judge_checkpoint(&bed, moment);
    }
    if (judge->report->is_out_of_memory) {
        return img_fail_memory(err);
    }
    *is_taken = chain_report_len(judge->report) == nr;
    for (size_t i = nr; i < chain_report_len(judge->report); i++) {
        if (moment->file && !judge->report->checks[i]->image) {
            chain_check_image(judge->report, judge->report->checks[i],
                              moment->file);
        }
    }
    return *is_taken ? put(judge, moment, err) : 0;
}

void chain_redefine_held(struct chain_redefine *judge)
{
    judge->is_held = true;
}

const struct chain_report *
chain_redefine_report(const struct chain_redefine *judge)
{
    return judge->report;
}

struct chain_report *chain_redefine_take_report(struct chain_redefine *judge,
                                                struct img_error *err)
{
    struct chain_report *report = judge->report;
    struct chain_report *next = chain_report_new(err);

    if (!next) {
        return NULL;
    }
    judge->report = next;
    return report;
}
