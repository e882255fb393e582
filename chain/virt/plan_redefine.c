/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot that is only put on record: no disk is touched. What libvirt 9.0
 * asks of the XML alone; what it asks of the domain's other snapshots is not
 * known here.
 */
#include <string.h>

#include "planner.h"

static bool is_state(const char *state)
{
    static const char *const states[] = {
        "running", "blocked", "paused",      "shutdown",     "shutoff",
        "crashed", "nostate", "pmsuspended", "disk-snapshot"};

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(states[i], state) == 0) {
            return true;
        }
    }
    return false;
}

static void judge_state(struct planner *p, const char *state)
{
    char shown[CHAIN_SHOWN_LEN];

    if (!state) {
        plan_refuse(p, NULL, "XML_ERROR", "the snapshot has no <state>");
    } else if (!is_state(state)) {
        struct chain_check *check =
            plan_refuse(p, NULL, "CONFIG_UNSUPPORTED",
                        "the snapshot's <state> is none that libvirt knows");

        chain_check_found(p->report, check, "%s", chain_shown(state, shown));
    } else if (plan_has(p, CHAIN_VIRT_DISK_ONLY) &&
               strcmp(state, "disk-snapshot") != 0) {
        plan_refuse(p, NULL, "INVALID_ARG",
                    "--disk-only goes with the state disk-snapshot only");
    }
}

static void judge_uuid(struct planner *p)
{
    const char *uuid = p->request->domain->uuid;
    const char *other = p->request->snapshot->domain_uuid;
    char shown[CHAIN_SHOWN_LEN];

    if (uuid && other && strcmp(uuid, other) != 0) {
        struct chain_check *check =
            plan_refuse(p, NULL, "INVALID_ARG",
                        "the domain in the snapshot is another one");

        chain_check_found(p->report, check, "uuid %s",
                          chain_shown(other, shown));
    }
}

void plan_redefine(struct planner *p)
{
    const struct chain_virt_snapshot *snapshot = p->request->snapshot;

    plan_snapshot_flags(p);
    plan_begin(p, "libvirt-redefine");
    if (!snapshot->name) {
        plan_refuse(p, NULL, "XML_ERROR", "the snapshot has no <name>");
    }
    if (!snapshot->has_creation_time) {
        plan_refuse(p, NULL, "INTERNAL_ERROR",
                    "the snapshot has no <creationTime>");
    }
    judge_state(p, snapshot->state);
    judge_uuid(p);
    if (snapshot->parent && snapshot->name &&
        strcmp(snapshot->parent, snapshot->name) == 0) {
        plan_refuse(p, NULL, "INVALID_ARG", "the snapshot is its own parent");
    }
    plan_end(p, "libvirt puts the snapshot on record; no disk is touched");
}
