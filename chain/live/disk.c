/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk as QEMU runs it, tied to the files that its nodes name, and held
 * against what the headers of these files say. Room: chain/live.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <img/image.h>
#include <img/memory.h>

#include "live.h"

static void layer_fini(struct chain_live_layer *layer)
{
    free(layer->node);
    free(layer->storage);
    free(layer->format);
    free(layer->path);
}

void chain_live_disk_fini(struct chain_live_disk *disk)
{
    for (size_t i = 0; i < disk->nr; i++) {
        layer_fini(&disk->layers[i]);
    }
    free(disk->layers);
    free(disk->root);
    free(disk->job);
    *disk = (struct chain_live_disk){0};
}

static char *copy(const char *text, struct img_error *err)
{
    return img_strndup(text, strlen(text), err);
}

static bool is_local(const struct live_node *storage)
{
    return strcmp(storage->driver, "file") == 0 ||
           strcmp(storage->driver, "host_device") == 0;
}

static int fail_storage(const struct live_node *node,
                        const struct live_node *storage, struct img_error *err)
{
    char shown[128], driver[128];

    img_escape(node->name, strlen(node->name), shown, sizeof(shown));
    img_escape(storage->driver, strlen(storage->driver), driver,
               sizeof(driver));
    return img_fail(err, IMG_UNSUPPORTED,
                    "node \"%s\" of the running disk lies on \"%s\", expected "
                    "a local file or device",
                    shown, driver);
}

static int layer_read(const struct chain_live *live,
                      const struct live_node *node,
                      const struct live_node *storage,
                      struct chain_live_layer *out, struct img_error *err)
{
    /* A file without a format driver on it is a raw image. */
    const char *format = node == storage ? "raw" : node->driver;
    struct img_stamp stamp;

    if (!is_local(storage)) {
        return fail_storage(node, storage, err);
    }
    out->virtual_len = node->virtual_len;
    out->is_read_only = node->is_read_only;
    out->node = copy(node->name, err);
    out->storage = copy(storage->name, err);
    out->format = copy(format, err);
    out->path = live_path(live, storage->filename, err);
    if (!out->node || !out->storage || !out->format || !out->path) {
        return -1;
    }
    if (img_path_stamp(out->path, NULL, &stamp, err) != 0) {
        img_error_set_path(err, out->path);
        return -1;
    }
    out->dev = stamp.dev;
    out->ino = stamp.ino;
    out->rdev = stamp.rdev;
    out->is_held = live_holds(live, out->path, &stamp);
    return 0;
}

static int note_job(struct chain_live_disk *disk, const struct live_node *node,
                    struct img_error *err)
{
    if (!node->job || disk->job) {
        return 0;
    }
    disk->job = copy(node->job, err);
    return disk->job ? 0 : -1;
}

/* The root and the filters on the way to its format may have the job, too. */
static int note_jobs(struct chain_live_disk *disk,
                     const struct live_nodes *nodes, size_t from, size_t to,
                     struct img_error *err)
{
    for (size_t i = 0; i < live_nodes_nr(nodes) && from != LIVE_NO_NODE; i++) {
        const struct live_node *node = live_nodes_at(nodes, from);

        if (note_job(disk, node, err) != 0) {
            return -1;
        }
        if (from == to) {
            return 0;
        }
        from = node->file != LIVE_NO_NODE ? node->file : node->backing;
    }
    return 0;
}

static int push_layer(const struct chain_live *live,
                      const struct live_nodes *nodes, size_t idx,
                      struct chain_live_disk *disk, struct img_error *err)
{
    struct chain_live_layer *more;

    if (disk->nr == CHAIN_MAX_DEPTH) {
        return img_fail(err, IMG_LIMIT,
                        "the running disk has more than %u layers",
                        CHAIN_MAX_DEPTH);
    }
    more = realloc(disk->layers, (disk->nr + 1) * sizeof(*more));
    if (!more) {
        return img_fail_memory(err);
    }
    disk->layers = more;
    more[disk->nr] = (struct chain_live_layer){.node = NULL};
    return layer_read(live, live_nodes_at(nodes, idx),
                      live_nodes_at(nodes, live_nodes_storage(nodes, idx)),
                      &more[disk->nr++], err);
}

static int find_root(const struct live_nodes *nodes, const char *device,
                     const char *node, size_t *out, struct img_error *err)
{
    char shown[128];

    if (device) {
        return live_nodes_find_device(nodes, device, out, err);
    }
    *out = live_nodes_find(nodes, node);
    img_escape(node, strlen(node), shown, sizeof(shown));
    if (*out == LIVE_NO_NODE) {
        return img_fail(err, IMG_NOT_FOUND,
                        "found no node \"%s\" in the machine", shown);
    }
    return live_nodes_at(nodes, live_nodes_skip_filters(nodes, *out))
                   ->is_backing
               ? img_fail(err, IMG_USAGE,
                          "node \"%s\" is the backing file of another, "
                          "expected an active layer",
                          shown)
               : 0;
}

int live_disk_read(const struct chain_live *live,
                   const struct live_nodes *nodes, const char *device,
                   const char *node, struct chain_live_disk *out,
                   struct img_error *err)
{
    size_t idx;

    *out = (struct chain_live_disk){0};
    if (find_root(nodes, device, node, &idx, err) != 0) {
        return -1;
    }
    size_t root = live_nodes_root(nodes, live_nodes_skip_filters(nodes, idx));
    out->root = copy(live_nodes_at(nodes, root)->name, err);
    if (!out->root) {
        return -1;
    }
    while (idx != LIVE_NO_NODE) {
        size_t format = live_nodes_skip_filters(nodes, idx);

        if (push_layer(live, nodes, format, out, err) != 0 ||
            note_jobs(out, nodes, idx, format, err) != 0) {
            chain_live_disk_fini(out);
            return -1;
        }
        idx = live_nodes_at(nodes, format)->backing;
    }
    return 0;
}

int chain_live_disk_find(struct chain_live *live, const char *device,
                         const char *node, struct chain_live_disk *out,
                         struct img_error *err)
{
    struct live_nodes *nodes;
    int rc;

    *out = (struct chain_live_disk){0};
    if (live_nodes_query(live->qmp, &nodes, err) != 0) {
        return -1;
    }
    rc = live_disk_read(live, nodes, device, node, out, err);
    live_nodes_free(nodes);
    return rc;
}

/* ---- Against the headers. */

static int check_layer(const struct chain_live_layer *layer,
                       const struct chain_layer *header, struct img_error *err)
{
    char node[64], format[64];
    struct img_stamp stamp;

    img_escape(layer->node, strlen(layer->node), node, sizeof(node));
    img_escape(layer->format, strlen(layer->format), format, sizeof(format));
    if (img_file_stamp(chain_layer_file(header), &stamp, err) != 0) {
        return -1;
    }
    if (!live_is_same_file(layer->dev, layer->ino, layer->rdev, &stamp)) {
        return img_fail(err, IMG_CHANGED,
                        "what the headers lead to is not what QEMU runs as "
                        "node \"%s\"",
                        node);
    }
    if (strcmp(layer->format, chain_layer_format(header)) != 0) {
        return img_fail(err, IMG_CHANGED,
                        "QEMU runs it as %s, and the headers say %s", format,
                        chain_layer_format(header));
    }
    if (layer->virtual_len != chain_layer_image(header)->virtual_len) {
        return img_fail(err, IMG_CHANGED,
                        "QEMU shows %" PRIu64 " bytes of it, and its header "
                        "says %" PRIu64,
                        layer->virtual_len,
                        chain_layer_image(header)->virtual_len);
    }
    return layer->is_held
               ? 0
               : img_fail(err, IMG_CHANGED,
                          "nobody has this file open: it is not the one that "
                          "QEMU opened under the name");
}

static int check_layers(const struct chain_live_disk *disk,
                        const struct chain *chain, bool top_only,
                        struct img_error *err)
{
    size_t nr = chain_depth(chain);

    for (size_t i = 0; i < disk->nr && i < nr; i++) {
        if (check_layer(&disk->layers[i], chain_layer_at(chain, i), err) != 0) {
            img_error_set_path(err, disk->layers[i].path);
            return -1;
        }
        if (top_only) {
            return 0;
        }
    }
    if (nr != disk->nr) {
        img_fail(err, IMG_CHANGED,
                 "QEMU runs %zu layers, and the headers lead to %zu", disk->nr,
                 nr);
        img_error_set_path(err, disk->layers[0].path);
        return -1;
    }
    return 0;
}

int chain_live_disk_check(const struct chain_live_disk *disk,
                          const struct img_roots *roots, bool top_only,
                          struct img_error *err)
{
    struct chain_options options;
    struct chain *chain;
    int rc;

    chain_options_init(&options);
    options.format = disk->layers[0].format;
    options.force_share = true;
    options.top_only = top_only;
    options.roots = roots;
    if (chain_open(disk->layers[0].path, &options, &chain, err) != 0) {
        return -1;
    }
    rc = check_layers(disk, chain, top_only, err);
    chain_free(chain);
    return rc;
}
