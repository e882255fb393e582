/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains, snapshots and disks out of files and texts. Room: chain/virt. */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "document.h"
#include "domain.h"
#include "snapshot.h"

int chain_virt_domain_parse(const char *text, size_t len, const char *name,
                            struct chain_virt_domain **out,
                            struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};
    const struct virt_node *node;

    if (virt_document_parse(text, len, name, "domain", "domstatus", &tree,
                            err) < 0) {
        return -1;
    }
    node = tree.root;
    if (strcmp(node->name, "domstatus") == 0) {
        node = virt_child(node, "domain");
    }
    if (!node) {
        img_fail(err, IMG_FORMAT, "line %u: <domstatus> has no <domain>",
                 tree.root->line);
        img_error_set_path(err, name);
        return -1;
    }
    *out = virt_domain_read(node, name, VIRT_DISK_DOMAIN, err);
    if (!*out) {
        img_error_set_path(err, name);
        return -1;
    }
    return 0;
}

int chain_virt_snapshot_parse(const char *text, size_t len, const char *name,
                              struct chain_virt_snapshot **out,
                              struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};

    if (virt_document_parse(text, len, name, "domainsnapshot", NULL, &tree,
                            err) < 0) {
        return -1;
    }
    *out = virt_snapshot_read(tree.root, name, err);
    if (!*out) {
        img_error_set_path(err, name);
        return -1;
    }
    return 0;
}

void chain_virt_disk_file_free(struct chain_virt_disk_file *disk)
{
    if (disk) {
        free(disk->file);
        virt_disk_fini(&disk->disk);
        virt_refusals_fini(&disk->refusals);
        free(disk);
    }
}

static void free_disk_file(struct chain_virt_disk_file **disk)
{
    chain_virt_disk_file_free(*disk);
}

static struct chain_virt_disk_file *read_disk_file(const struct virt_node *node,
                                                   const char *name,
                                                   struct img_error *err)
{
    IMG_AUTO(free_disk_file)
    struct chain_virt_disk_file *file = img_calloc(1, sizeof(*file), err);
    struct virt_reader reader = {.err = err};

    if (!file) {
        return NULL;
    }
    reader.refusals = &file->refusals;
    file->file = virt_copy(&reader, name);
    virt_disk_read(&reader, node, VIRT_DISK_COPY, &file->disk);
    if (virt_source_is_empty(&file->disk.top.source)) {
        virt_refuse(&reader, node, "NO_SOURCE", "<disk> has no source");
    }
    return reader.is_failed ? NULL : img_steal(&file);
}

int chain_virt_disk_parse(const char *text, size_t len, const char *name,
                          struct chain_virt_disk_file **out,
                          struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};

    if (virt_document_parse(text, len, name, "disk", NULL, &tree, err) < 0) {
        return -1;
    }
    *out = read_disk_file(tree.root, name, err);
    if (!*out) {
        img_error_set_path(err, name);
        return -1;
    }
    return 0;
}

static int parse_domain(const char *text, size_t len, const char *name,
                        void *out, struct img_error *err)
{
    return chain_virt_domain_parse(text, len, name, out, err);
}

int chain_virt_domain_read(const char *path, const struct img_roots *roots,
                           struct chain_virt_domain **out,
                           struct img_error *err)
{
    return virt_document_read(path, roots, parse_domain, out, err);
}

static int parse_snapshot(const char *text, size_t len, const char *name,
                          void *out, struct img_error *err)
{
    return chain_virt_snapshot_parse(text, len, name, out, err);
}

int chain_virt_snapshot_read(const char *path, const struct img_roots *roots,
                             struct chain_virt_snapshot **out,
                             struct img_error *err)
{
    return virt_document_read(path, roots, parse_snapshot, out, err);
}

static int parse_disk(const char *text, size_t len, const char *name, void *out,
                      struct img_error *err)
{
    return chain_virt_disk_parse(text, len, name, out, err);
}

int chain_virt_disk_read(const char *path, const struct img_roots *roots,
                         struct chain_virt_disk_file **out,
                         struct img_error *err)
{
    return virt_document_read(path, roots, parse_disk, out, err);
}
