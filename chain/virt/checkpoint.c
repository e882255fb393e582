/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a <domaincheckpoint>. Room: chain/virt. */
#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#include "document.h"
#include "domain.h"

void chain_virt_checkpoint_free(struct chain_virt_checkpoint *checkpoint)
{
    if (!checkpoint) {
        return;
    }
    for (size_t i = 0; i < checkpoint->disks_nr; i++) {
        free(checkpoint->disks[i].name);
        free(checkpoint->disks[i].checkpoint);
        free(checkpoint->disks[i].bitmap);
    }
    free(checkpoint->disks);
    free(checkpoint->file);
    free(checkpoint->name);
    free(checkpoint->description);
    free(checkpoint->parent);
    free(checkpoint->domain_uuid);
    chain_virt_domain_free(checkpoint->domain);
    virt_refusals_fini(&checkpoint->refusals);
    free(checkpoint);
}

static void free_checkpoint(struct chain_virt_checkpoint **checkpoint)
{
    chain_virt_checkpoint_free(*checkpoint);
}

static void read_disk(struct virt_reader *reader, const struct virt_node *node,
                      struct chain_virt_checkpoint_disk *out)
{
    static const char *const kinds[] = {"no", "bitmap", NULL};

    out->line = node->line;
    out->name = virt_copy_attribute(reader, node, "name");
    reader->subject_kind = "disk";
    reader->subject = out->name;
    if (!out->name) {
        virt_refuse(reader, node, VIRT_SCHEMA,
                    "<%s> in <disks> has no name=", node->name);
    }
    out->checkpoint = virt_word(reader, node, "checkpoint", kinds, VIRT_SCHEMA);
    out->bitmap = virt_copy_attribute(reader, node, "bitmap");
    if (out->bitmap && out->checkpoint &&
        strcmp(out->checkpoint, "bitmap") != 0) {
        virt_refuse(reader, node, VIRT_SCHEMA,
                    "<disk> has bitmap='%s' with checkpoint='%s'", out->bitmap,
                    out->checkpoint);
    }
    reader->subject = NULL;
}

static void read_disks(struct virt_reader *reader,
                       const struct virt_node *disks,
                       struct chain_virt_checkpoint *out)
{
    const struct virt_node *first = virt_child(disks, "disk");
    size_t nr = 0;

    for (const struct virt_node *at = first; at; at = virt_same(at)) {
        nr++;
    }
    if (nr > CHAIN_VIRT_MAX_DISKS) {
        virt_fail(reader, IMG_LIMIT, disks,
                  "found %zu disks, at most %u are read", nr,
                  CHAIN_VIRT_MAX_DISKS);
        return;
    }
    out->disks = virt_items(reader, nr, sizeof(*out->disks));
    for (; out->disks && first; first = virt_same(first)) {
        read_disk(reader, first, &out->disks[out->disks_nr++]);
    }
}

static void read_checkpoint(struct virt_reader *reader,
                            const struct virt_node *node,
                            struct chain_virt_checkpoint *out)
{
    const struct virt_node *domain = virt_child(node, "domain");
    const char *type = virt_attribute(domain, "type");
    int64_t active = 0;

    out->line = node->line;
    out->name = virt_copy_child(reader, node, "name");
    out->description = virt_copy_child(reader, node, "description");
    out->parent = virt_copy_child(reader, virt_child(node, "parent"), "name");
    out->has_creation_time =
        virt_child_number(reader, node, "creationTime", &out->creation_time);
    read_disks(reader, virt_child(node, "disks"), out);
    out->domain_uuid = virt_copy_child(reader, domain, "uuid");
    if (type && type[0] != '\0') {
        out->domain = virt_domain_in(reader, domain, out->file);
    }
    out->has_active = virt_child_number(reader, node, "active", &active);
    out->is_active = active != 0;
}

static struct chain_virt_checkpoint *checkpoint_of(const struct virt_node *node,
                                                   const char *file,
                                                   struct img_error *err)
{
    IMG_AUTO(free_checkpoint)
    struct chain_virt_checkpoint *checkpoint =
        img_calloc(1, sizeof(*checkpoint), err);
    struct virt_reader reader = {.err = err};

    if (!checkpoint) {
        return NULL;
    }
    reader.refusals = &checkpoint->refusals;
    checkpoint->file = virt_copy(&reader, file);
    read_checkpoint(&reader, node, checkpoint);
    return reader.is_failed ? NULL : img_steal(&checkpoint);
}

int chain_virt_checkpoint_parse(const char *text, size_t len, const char *name,
                                struct chain_virt_checkpoint **out,
                                struct img_error *err)
{
    IMG_AUTO(virt_tree_fini) struct virt_tree tree = {0};

    if (virt_document_parse(text, len, name, "domaincheckpoint", NULL, &tree,
                            err) < 0) {
        return -1;
    }
    *out = checkpoint_of(tree.root, name, err);
    if (!*out) {
        img_error_set_path(err, name);
        return -1;
    }
    return 0;
}
