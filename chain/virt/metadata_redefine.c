/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Would libvirt put the metadata on record, as it stands, with nothing on
 * record before? By the rules of chain/redefine.h, under their own ids. Room:
 * chain/virt.
 */
#include <img/memory.h>

#include <chain/redefine.h>

#include "metadata_rules.h"

static void free_judge(struct chain_redefine **judge)
{
    chain_redefine_free(*judge);
}

/* What was said of MOMENT goes into the report. */
static int take_over(struct metadata_rules *r, struct chain_redefine *judge,
                     const struct chain_moment *moment)
{
    struct chain_report *said = chain_redefine_take_report(judge, r->err);

    if (!said) {
        return -1;
    }
    for (size_t i = 0; moment->name && i < said->nr; i++) {
        chain_check_moment(said, said->checks[i], moment->name);
    }
    chain_report_append(r->report, said, NULL);
    return 0;
}

/* One that is refused counts as there for those that follow: each is told of
   for its own sake. */
static int judge_one(struct metadata_rules *r, struct chain_redefine *judge,
                     const struct chain_moment *moment)
{
    bool is_taken = false;

    if (chain_redefine_judge(judge, moment, CHAIN_VIRT_REDEFINE, &is_taken,
                             r->err) < 0 ||
        take_over(r, judge, moment) < 0) {
        return -1;
    }
    return is_taken ? 0 : chain_redefine_know(judge, moment, r->err);
}

static int judge_all(struct metadata_rules *r, struct chain_redefine *judge,
                     const struct chain_metadata *metadata)
{
    /* What is in a loop is below itself: all of it has to be there. */
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment = &metadata->moments[i];

        if (moment->is_looped &&
            chain_redefine_know(judge, moment, r->err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < metadata->nr; i++) {
        const struct chain_moment *moment =
            &metadata->moments[metadata->order[i]];

        if (!moment->is_double && judge_one(r, judge, moment) < 0) {
            return -1;
        }
    }
    return 0;
}

void metadata_rules_redefine(struct metadata_rules *r,
                             const struct chain_metadata *metadata)
{
    IMG_AUTO(free_judge) struct chain_redefine *judge = NULL;

    if (r->is_failed) {
        return;
    }
    rule_begin(r, "libvirt-redefine");
    if (chain_redefine_new(metadata->kind, r->request->domain->uuid, true,
                           &judge, r->err) < 0 ||
        judge_all(r, judge, metadata) < 0) {
        r->is_failed = true;
    }
    rule_end(r, "libvirt takes all of it, parents first");
}
