/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a pivot removes from QEMU, and what remains there: see pivot_run.h.
 * A node that anybody uses is never removed: QEMU is asked first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "pivot_run.h"

void pivot_remains(const struct pivot_run *run, const char *name)
{
    struct chain_pivot_result *result = run->result;
    struct img_error ignored;
    char shown[128], **more;

    img_escape(name, strlen(name), shown, sizeof(shown));
    for (size_t i = 0; i < result->remains_nr; i++) {
        if (strcmp(result->remains[i], shown) == 0) {
            return;
        }
    }
    more = realloc(result->remains, (result->remains_nr + 1) * sizeof(*more));
    if (!more) {
        return;
    }
    result->remains = more;
    more[result->remains_nr] = img_strndup(shown, strlen(shown), &ignored);
    result->remains_nr += more[result->remains_nr] ? 1 : 0;
}

static int remove_node(const struct pivot_run *run, const char *name,
                       struct img_error *err)
{
    struct img_json *args = img_json_object();

    img_json_set_string(args, "node-name", name);
    return pivot_send(run, "blockdev-del", args, err);
}

/* Is NODE named after TARGET, and of layer FROM or lower? */
static bool is_ours(const struct live_node *node,
                    const struct pivot_target *target, size_t from)
{
    size_t len = strlen(target->id);
    const char *rest = node->name + len;

    return strncmp(node->name, target->id, len) == 0 && rest[0] == '-' &&
           (rest[1] == 'f' || rest[1] == 's') &&
           strtoul(rest + 2, NULL, 10) >= from;
}

/* One of them that nobody uses; LIVE_NO_NODE: there is none. */
static size_t find_unused(const struct live_nodes *nodes,
                          const struct pivot_target *target, size_t from)
{
    for (size_t i = 0; i < live_nodes_nr(nodes); i++) {
        const struct live_node *node = live_nodes_at(nodes, i);

        if (node->parents_nr == 0 && is_ours(node, target, from)) {
            return i;
        }
    }
    return LIVE_NO_NODE;
}

int pivot_remove_nodes(const struct pivot_run *run,
                       const struct pivot_target *target, size_t from,
                       struct img_error *err)
{
    bool is_done = false;
    int rc = 0;

    /* What lies under a node is used until the node is gone: look again. */
    for (unsigned i = 0; rc == 0 && !is_done && i <= 2 * CHAIN_MAX_DEPTH; i++) {
        struct live_nodes *nodes;

        if (live_nodes_query(run->live->qmp, &nodes, err) != 0) {
            return -1;
        }
        size_t idx = find_unused(nodes, target, from);
        if (idx == LIVE_NO_NODE) {
            is_done = true;
        } else {
            rc = remove_node(run, live_nodes_at(nodes, idx)->name, err);
        }
        live_nodes_free(nodes);
    }
    return rc;
}

/* QEMU's own names begin so; such a node goes with what it was made for. */
static bool is_unnamed(const char *name)
{
    return name[0] == '#';
}

/* Remove NAME if it is there and nobody uses it. */
static int remove_old(const struct pivot_run *run, const char *name,
                      struct img_error *err)
{
    struct live_nodes *nodes;
    bool is_there, is_unused;
    size_t idx;

    if (is_unnamed(name)) {
        return 0;
    }
    if (run->request->dry_run) {
        return remove_node(run, name, err);
    }
    if (live_nodes_query(run->live->qmp, &nodes, err) != 0) {
        return -1;
    }
    idx = live_nodes_find(nodes, name);
    is_there = idx != LIVE_NO_NODE;
    is_unused = is_there && live_nodes_at(nodes, idx)->parents_nr == 0;
    live_nodes_free(nodes);
    if (!is_unused || remove_node(run, name, err) == 0) {
        return 0;
    }
    if (err->code != IMG_REFUSED) {
        return -1;
    }
    pivot_remains(run, name);
    return 0;
}

int pivot_remove_old(const struct pivot_run *run,
                     const struct pivot_target *target, struct img_error *err)
{
    for (size_t i = 0; i < target->live.nr; i++) {
        const struct chain_live_layer *layer = &target->live.layers[i];

        if (remove_old(run, layer->node, err) != 0 ||
            (strcmp(layer->node, layer->storage) != 0 &&
             remove_old(run, layer->storage, err) != 0)) {
            return -1;
        }
    }
    return 0;
}

/* ---- How things stand. */

/* Something has NODE, and it is not this program's job. */
static bool is_run_on(const struct live_node *node,
                      const struct pivot_target *target)
{
    return node->parents_nr > 0 &&
           !(node->job &&
             strncmp(node->job, target->id, strlen(target->id)) == 0);
}

static int tell_nodes(const struct pivot_run *run,
                      const struct pivot_target *target, struct img_error *err)
{
    struct chain_pivot_result *result = run->result;
    char name[PIVOT_NAME_LEN];
    struct live_nodes *nodes;
    size_t idx;

    if (live_nodes_query(run->live->qmp, &nodes, err) != 0) {
        return -1;
    }
    pivot_node_name(target, 'f', 0, name);
    idx = live_nodes_find(nodes, name);
    if (idx != LIVE_NO_NODE && is_run_on(live_nodes_at(nodes, idx), target)) {
        result->state = CHAIN_PIVOT_ON_DEST;
    } else {
        for (size_t i = 0; i < live_nodes_nr(nodes); i++) {
            if (is_ours(live_nodes_at(nodes, i), target, 0)) {
                pivot_remains(run, live_nodes_at(nodes, i)->name);
            }
        }
    }
    live_nodes_free(nodes);
    return 0;
}

void pivot_tell_state(const struct pivot_run *run,
                      const struct pivot_target *target)
{
    struct img_error ignored;
    char id[PIVOT_JOB_LEN];
    struct pivot_job job;
    int rc = tell_nodes(run, target, &ignored);

    for (int full = 0; rc == 0 && full < 2; full++) {
        pivot_job_id(target, full == 1, id);
        rc = pivot_job_ask(run, id, &job, &ignored);
        if (rc == 0 && job.state != PIVOT_JOB_NONE) {
            pivot_remains(run, id);
        }
    }
    if (rc != 0) {
        run->result->state = CHAIN_PIVOT_UNKNOWN;
    }
}
