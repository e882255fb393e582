/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The block graph of a running QEMU: see nodes.h. */
#include "nodes.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

struct live_nodes {
    struct img_json *named; /* the answers, which texts point into */
    struct img_json *graph;
    struct img_json *devices;
    struct live_node *at;
    size_t nr;
};

void live_nodes_free(struct live_nodes *nodes)
{
    if (!nodes) {
        return;
    }
    img_json_free(nodes->named);
    img_json_free(nodes->graph);
    img_json_free(nodes->devices);
    free(nodes->at);
    free(nodes);
}

size_t live_nodes_nr(const struct live_nodes *nodes)
{
    return nodes->nr;
}

const struct live_node *live_nodes_at(const struct live_nodes *nodes,
                                      size_t idx)
{
    return &nodes->at[idx];
}

size_t live_nodes_find(const struct live_nodes *nodes, const char *name)
{
    for (size_t i = 0; name && i < nodes->nr; i++) {
        if (strcmp(nodes->at[i].name, name) == 0) {
            return i;
        }
    }
    return LIVE_NO_NODE;
}

static int fail_answer(const char *command, const char *what,
                       struct img_error *err)
{
    return img_fail(err, IMG_FORMAT,
                    "QMP: found an answer to %s %s, expected what QEMU says",
                    command, what);
}

/* ---- Nodes. */

static int read_node(const struct img_json *info, struct live_node *node,
                     struct img_error *err)
{
    const struct img_json *image = img_json_get(info, "image");

    *node = (struct live_node){
        .name = img_json_get_string(info, "node-name"),
        .driver = img_json_get_string(info, "drv"),
        .filename = img_json_get_string(image, "filename"),
        .file = LIVE_NO_NODE,
        .backing = LIVE_NO_NODE,
    };
    if (!node->name || !node->driver ||
        !img_json_get_bool(info, "ro", &node->is_read_only) ||
        !img_json_get_u64(image, "virtual-size", &node->virtual_len)) {
        return fail_answer("query-named-block-nodes",
                           "with a node that lacks a name, driver or size",
                           err);
    }
    if (!node->filename) {
        node->filename = "";
    }
    return 0;
}

static int read_nodes(struct live_nodes *nodes, struct img_error *err)
{
    size_t nr = img_json_len(nodes->named);

    if (img_json_type(nodes->named) != IMG_JSON_ARRAY || nr > LIVE_NODES_MAX) {
        return fail_answer("query-named-block-nodes",
                           "that is no list of a usual length", err);
    }
    nodes->at = img_calloc(nr + 1, sizeof(*nodes->at), err);
    if (!nodes->at) {
        return -1;
    }
    for (; nodes->nr < nr; nodes->nr++) {
        if (read_node(img_json_at(nodes->named, nodes->nr),
                      &nodes->at[nodes->nr], err) != 0) {
            return -1;
        }
    }
    return 0;
}

static bool is_filter(const struct live_node *node)
{
    static const char *const filters[] = {
        "throttle",   "copy-on-read", "copy-before-write", "mirror_top",
        "commit_top", "preallocate",  "snapshot-access",
    };

    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        if (strcmp(node->driver, filters[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- Edges, between the numbers that the graph gives to nodes. */

/* Nodes, and what is attached to them. */
#define LIVE_VERTICES_MAX ((size_t)2 * LIVE_NODES_MAX)

struct vertex {
    uint64_t id;
    size_t node;     /* LIVE_NO_NODE: a backend or a job */
    const char *job; /* its id; NULL: it is none */
};

static int compare_vertices(const void *a, const void *b)
{
    const struct vertex *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static const struct vertex *find_vertex(const struct vertex *at, size_t nr,
                                        const struct img_json *edge,
                                        const char *key)
{
    struct vertex wanted = {.id = 0};

    return img_json_get_u64(edge, key, &wanted.id)
               ? bsearch(&wanted, at, nr, sizeof(*at), compare_vertices)
               : NULL;
}

static int read_vertices(const struct live_nodes *nodes, struct vertex *at,
                         size_t nr, struct img_error *err)
{
    const struct img_json *list = img_json_get(nodes->graph, "nodes");

    for (size_t i = 0; i < nr; i++) {
        const struct img_json *entry = img_json_at(list, i);
        const char *type = img_json_get_string(entry, "type");
        const char *name = img_json_get_string(entry, "name");

        if (!type || !name || !img_json_get_u64(entry, "id", &at[i].id)) {
            return fail_answer("x-debug-query-block-graph",
                               "with a node that lacks an id or a name", err);
        }
        at[i].node = strcmp(type, "block-driver") == 0
                         ? live_nodes_find(nodes, name)
                         : LIVE_NO_NODE;
        at[i].job = strcmp(type, "block-job") == 0 ? name : NULL;
    }
    qsort(at, nr, sizeof(*at), compare_vertices);
    return 0;
}

static int read_edge(struct live_nodes *nodes, const struct vertex *at,
                     size_t nr, const struct img_json *edge,
                     struct img_error *err)
{
    const struct vertex *parent = find_vertex(at, nr, edge, "parent");
    const struct vertex *child = find_vertex(at, nr, edge, "child");
    const char *name = img_json_get_string(edge, "name");

    if (!parent || !child || !name) {
        return fail_answer("x-debug-query-block-graph",
                           "with an edge between nodes that are not there",
                           err);
    }
    if (child->node == LIVE_NO_NODE) {
        return 0;
    }
    nodes->at[child->node].parents_nr++;
    if (parent->node == LIVE_NO_NODE) {
        nodes->at[child->node].is_used = true;
        if (parent->job) {
            nodes->at[child->node].job = parent->job;
        }
    } else if (strcmp(name, "file") == 0 || strcmp(name, "image") == 0) {
        nodes->at[parent->node].file = child->node;
    } else if (strcmp(name, "backing") == 0) {
        nodes->at[parent->node].backing = child->node;
        nodes->at[child->node].is_backing |=
            !is_filter(&nodes->at[parent->node]);
    }
    return 0;
}

static int read_edges(struct live_nodes *nodes, struct img_error *err)
{
    const struct img_json *edges = img_json_get(nodes->graph, "edges");
    size_t nr = img_json_len(img_json_get(nodes->graph, "nodes"));
    struct vertex *at;
    int r;

    if (nr > LIVE_VERTICES_MAX) {
        return fail_answer("x-debug-query-block-graph",
                           "that is longer than usual", err);
    }
    at = img_calloc(nr + 1, sizeof(*at), err);
    if (!at) {
        return -1;
    }
    r = read_vertices(nodes, at, nr, err);
    for (size_t i = 0; r == 0 && i < img_json_len(edges); i++) {
        r = read_edge(nodes, at, nr, img_json_at(edges, i), err);
    }
    free(at);
    return r;
}

int live_nodes_query(struct qmp *qmp, struct live_nodes **out,
                     struct img_error *err)
{
    struct live_nodes *nodes = img_calloc(1, sizeof(*nodes), err);
    struct img_json *flat;

    if (!nodes) {
        return -1;
    }
    flat = img_json_object();
    img_json_set_bool(flat, "flat", true);
    if (qmp_execute(qmp, "query-named-block-nodes", flat, &nodes->named, err) !=
            0 ||
        qmp_execute(qmp, "x-debug-query-block-graph", NULL, &nodes->graph,
                    err) != 0 ||
        qmp_execute(qmp, "query-block", NULL, &nodes->devices, err) != 0 ||
        read_nodes(nodes, err) != 0 || read_edges(nodes, err) != 0) {
        live_nodes_free(nodes);
        return -1;
    }
    *out = nodes;
    return 0;
}

/* ---- Finding. */

/* "/machine/peripheral/vda/virtio-backend" is the device "vda". */
static bool is_qdev(const char *path, const char *id)
{
    static const char folder[] = "/machine/peripheral/";
    size_t len = strlen(id);

    if (!path) {
        return false;
    }
    if (strcmp(path, id) == 0) {
        return true;
    }
    return strncmp(path, folder, strlen(folder)) == 0 &&
           strncmp(path + strlen(folder), id, len) == 0 &&
           (path[strlen(folder) + len] == '/' ||
            path[strlen(folder) + len] == '\0');
}

static bool is_device(const struct img_json *device, const char *id)
{
    const char *name = img_json_get_string(device, "device");

    return (name && name[0] != '\0' && strcmp(name, id) == 0) ||
           is_qdev(img_json_get_string(device, "qdev"), id);
}

int live_nodes_find_device(const struct live_nodes *nodes, const char *id,
                           size_t *out, struct img_error *err)
{
    char shown[256];

    img_escape(id, strlen(id), shown, sizeof(shown));
    for (size_t i = 0; id[0] && i < img_json_len(nodes->devices); i++) {
        const struct img_json *device = img_json_at(nodes->devices, i);

        if (!is_device(device, id)) {
            continue;
        }
        *out = live_nodes_find(
            nodes,
            img_json_get_string(img_json_get(device, "inserted"), "node-name"));
        return *out != LIVE_NO_NODE
                   ? 0
                   : img_fail(err, IMG_NOT_FOUND,
                              "the device \"%s\" has no medium", shown);
    }
    return img_fail(err, IMG_NOT_FOUND,
                    "found no block device \"%s\" in the machine", shown);
}

size_t live_nodes_skip_filters(const struct live_nodes *nodes, size_t idx)
{
    /* Each step goes down once; a peer's loop ends with the count. */
    for (size_t i = 0; i < nodes->nr && is_filter(&nodes->at[idx]); i++) {
        const struct live_node *node = &nodes->at[idx];
        size_t below = node->file != LIVE_NO_NODE ? node->file : node->backing;

        if (below == LIVE_NO_NODE) {
            break;
        }
        idx = below;
    }
    return idx;
}

static size_t filter_over(const struct live_nodes *nodes, size_t idx)
{
    for (size_t i = 0; i < nodes->nr; i++) {
        const struct live_node *node = &nodes->at[i];

        if (is_filter(node) && (node->file == idx || node->backing == idx)) {
            return i;
        }
    }
    return LIVE_NO_NODE;
}

size_t live_nodes_root(const struct live_nodes *nodes, size_t idx)
{
    size_t over = filter_over(nodes, idx);

    for (size_t i = 0; i < nodes->nr && over != LIVE_NO_NODE; i++) {
        idx = over;
        over = filter_over(nodes, idx);
    }
    return idx;
}

size_t live_nodes_storage(const struct live_nodes *nodes, size_t idx)
{
    for (size_t i = 0; i < nodes->nr && nodes->at[idx].file != LIVE_NO_NODE;
         i++) {
        idx = nodes->at[idx].file;
    }
    return idx;
}
