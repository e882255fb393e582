/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot that is only put on record: no disk is touched. What the domain
 * has on record is not known here, and rules about it pass.
 */
#include "redefine_impl.h"

void plan_redefine(struct planner *p)
{
    const struct chain_virt_snapshot *snapshot = p->request->snapshot;
    const struct chain_moment moment = {
        .name = snapshot->name,
        .parent_name = snapshot->parent,
        /* Only read. */
        .snapshot = (struct chain_virt_snapshot *)(uintptr_t)snapshot,
    };
    struct redefine_bed bed = {
        .p = p,
        .uuid = p->request->domain->uuid,
        .from_here = true,
    };
    size_t nr;

    plan_snapshot_flags(p);
    nr = chain_report_len(p->report);
    redefine_judge_snapshot(&bed, &moment);
    plan_begin(p, "libvirt-redefine");
    p->section_nr = nr;
    plan_end(p, "libvirt puts the snapshot on record; no disk is touched");
}
