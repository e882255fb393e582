/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block graph of a running QEMU, as it was asked for. Room: chain/live.
 *
 * Nodes come from query-named-block-nodes, edges and block backends from
 * x-debug-query-block-graph, devices from query-block. Everything is the
 * peer's word: counts are bounded, and what does not fit together is an
 * error.
 */
#ifndef CHAIN_LIVE_NODES_H
#define CHAIN_LIVE_NODES_H

#include "qmp.h"

/* Ten thousand chains of some layers; more is no answer of a QEMU. */
#define LIVE_NODES_MAX 65536u
#define LIVE_NO_NODE SIZE_MAX

struct live_node {
    const char *name;     /* QEMU's node-name */
    const char *driver;   /* "qcow2", "file", ... */
    const char *filename; /* as QEMU spells it; "" where it has none */
    uint64_t virtual_len;
    bool is_read_only;
    size_t file;       /* what it lies on (of blkdebug, its image) */
    size_t backing;    /* LIVE_NO_NODE: it has none */
    size_t parents_nr; /* nodes, devices, exports and jobs above it */
    const char *job;   /* a job that has it; NULL: none */
    bool is_used;      /* a device, an export or a job is attached to it */
    bool is_backing;   /* of another node */
};

/* A graph owns what its nodes' texts point to. */
struct live_nodes;

int live_nodes_query(struct qmp *qmp, struct live_nodes **out,
                     struct img_error *err);
/* NULL is fine. */
void live_nodes_free(struct live_nodes *nodes);

size_t live_nodes_nr(const struct live_nodes *nodes);
const struct live_node *live_nodes_at(const struct live_nodes *nodes,
                                      size_t idx);
/* The node of that name; LIVE_NO_NODE: there is none. */
size_t live_nodes_find(const struct live_nodes *nodes, const char *name);

/*
 * The node that a device shows to the guest. ID is the device's id as QMP
 * knows it ("vda" of -device id=vda, a qdev path) or a drive's name.
 * IMG_NOT_FOUND: no device has it, or it has no medium.
 */
int live_nodes_find_device(const struct live_nodes *nodes, const char *id,
                           size_t *out, struct img_error *err);

/*
 * The node of the format (qcow2, raw, ...) on the way from IDX down: filters
 * (throttle, copy-on-read, a mirror's own) are passed through. *IDX itself
 * where it is none.
 */
size_t live_nodes_skip_filters(const struct live_nodes *nodes, size_t idx);
/* The topmost of the filters over IDX; *IDX itself where there is none. */
size_t live_nodes_root(const struct live_nodes *nodes, size_t idx);
/* The protocol node (file, host_device, ...) that IDX lies on. */
size_t live_nodes_storage(const struct live_nodes *nodes, size_t idx);

#endif
