/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a <domain>: see domain.h. */
#include "domain.h"

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

void virt_refusals_fini(struct chain_virt_refusals *refusals)
{
    for (size_t i = 0; i < refusals->nr; i++) {
        free(refusals->list[i].text);
    }
    free(refusals->list);
    memset(refusals, 0, sizeof(*refusals));
}

void chain_virt_domain_free(struct chain_virt_domain *domain)
{
    if (!domain) {
        return;
    }
    for (size_t i = 0; i < domain->disks_nr; i++) {
        virt_disk_fini(&domain->disks[i]);
    }
    free(domain->disks);
    free(domain->file);
    free(domain->type);
    free(domain->name);
    free(domain->uuid);
    free(domain->id);
    free(domain->nvram);
    virt_refusals_fini(&domain->refusals);
    free(domain);
}

static void free_domain(struct chain_virt_domain **domain)
{
    chain_virt_domain_free(*domain);
}

static void read_identity(struct virt_reader *reader,
                          const struct virt_node *node,
                          struct chain_virt_domain *out)
{
    out->line = node->line;
    out->type = virt_copy_attribute(reader, node, "type");
    out->name = virt_copy_child(reader, node, "name");
    out->uuid = virt_copy_child(reader, node, "uuid");
    out->id = virt_copy_attribute(reader, node, "id");
    out->is_active = out->id;
    if (!out->type) {
        virt_refuse(reader, node, VIRT_XML_ERROR, "<domain> has no type=");
    }
    if (!out->name) {
        virt_refuse(reader, node, "NO_NAME", "<domain> has no <name>");
    }
    if (out->uuid && !virt_is_uuid(out->uuid)) {
        virt_refuse(reader, virt_child(node, "uuid"), VIRT_INTERNAL,
                    "<uuid> is '%s', expected 32 hexadecimal digits",
                    out->uuid);
    }
}

static bool is_pflash(const struct virt_node *node)
{
    const char *type =
        virt_attribute(virt_child(virt_child(node, "os"), "loader"), "type");

    return type && strcmp(type, "pflash") == 0;
}

/* Its text is the path; of later libvirts it may be the source of a disk. */
static void read_nvram(struct virt_reader *reader, const struct virt_node *node,
                       struct chain_virt_domain *out)
{
    const struct virt_node *os = virt_child(node, "os");
    const struct virt_node *nvram = virt_child(os, "nvram");
    const char *type = virt_attribute(nvram, "type");

    if (nvram && !type && !nvram->is_mixed) {
        out->nvram = virt_copy_child(reader, os, "nvram");
    } else if (type && strcmp(type, "file") == 0) {
        out->nvram =
            virt_copy_attribute(reader, virt_child(nvram, "source"), "file");
    }
}

static bool has_tpm(const struct virt_node *devices)
{
    const struct virt_node *tpm = virt_child(devices, "tpm");

    for (; tpm; tpm = virt_same(tpm)) {
        const struct virt_node *backend = virt_child(tpm, "backend");
        const char *type = virt_attribute(backend, "type");
        const char *kept = virt_attribute(backend, "persistent_state");

        if (type && strcmp(type, "emulator") == 0 &&
            !(kept && strcmp(kept, "yes") == 0)) {
            return true;
        }
    }
    return false;
}

static bool has_agent(const struct virt_node *devices)
{
    const struct virt_node *channel = virt_child(devices, "channel");

    for (; channel; channel = virt_same(channel)) {
        const char *name =
            virt_attribute(virt_child(channel, "target"), "name");

        if (name && strcmp(name, "org.qemu.guest_agent.0") == 0) {
            return true;
        }
    }
    return false;
}

static bool has_addresses(const struct virt_node *devices)
{
    const struct virt_node *disk = virt_child(devices, "disk");

    while (disk && virt_child(disk, "address")) {
        disk = virt_same(disk);
    }
    return !disk;
}

static size_t count(const struct virt_node *first)
{
    size_t nr = 0;

    for (; first; first = virt_same(first)) {
        nr++;
    }
    return nr;
}

static void read_disks(struct virt_reader *reader,
                       const struct virt_node *devices, enum virt_disk_use use,
                       struct chain_virt_domain *out)
{
    const struct virt_node *disk = virt_child(devices, "disk");
    size_t nr = count(disk);

    if (nr > CHAIN_VIRT_MAX_DISKS) {
        virt_fail(reader, IMG_LIMIT, devices,
                  "found %zu disks, at most %u are read", nr,
                  CHAIN_VIRT_MAX_DISKS);
        return;
    }
    out->disks = virt_items(reader, nr, sizeof(*out->disks));
    for (; out->disks && disk; disk = virt_same(disk)) {
        virt_disk_read(reader, disk, use, &out->disks[out->disks_nr++]);
    }
}

static int by_target(const void *a, const void *b)
{
    const struct chain_virt_disk *const *one = a, *const *other = b;
    int order = strcmp((*one)->target, (*other)->target);

    return order ? order : (*one > *other) - (*one < *other);
}

static const char *shown_path(const struct chain_virt_disk *disk)
{
    return disk->top.source.path ? disk->top.source.path : "no file";
}

/* No two disks have one target. */
static void check_targets(struct virt_reader *reader,
                          const struct chain_virt_domain *domain)
{
    IMG_AUTO(img_free_ptr)
    const struct chain_virt_disk **sorted =
        virt_items(reader, domain->disks_nr, sizeof(struct chain_virt_disk *));
    size_t nr = 0;

    for (size_t i = 0; sorted && i < domain->disks_nr; i++) {
        if (domain->disks[i].target) {
            sorted[nr++] = &domain->disks[i];
        }
    }
    if (nr > 0) {
        qsort(sorted, nr, sizeof(struct chain_virt_disk *), by_target);
    }
    for (size_t i = 1; i < nr; i++) {
        struct virt_node at = {.line = sorted[i]->line};

        if (strcmp(sorted[i - 1]->target, sorted[i]->target) == 0) {
            virt_refuse(reader, &at, VIRT_XML_ERROR,
                        "disk '%s' is there twice, with %s and with %s",
                        sorted[i]->target, shown_path(sorted[i - 1]),
                        shown_path(sorted[i]));
        }
    }
}

struct chain_virt_domain *virt_domain_read(const struct virt_node *node,
                                           const char *file,
                                           enum virt_disk_use use,
                                           struct img_error *err)
{
    const struct virt_node *devices = virt_child(node, "devices");
    IMG_AUTO(free_domain)
    struct chain_virt_domain *domain = img_calloc(1, sizeof(*domain), err);
    struct virt_reader reader = {.err = err};

    if (!domain) {
        return NULL;
    }
    reader.refusals = &domain->refusals;
    domain->file = virt_copy(&reader, file);
    read_identity(&reader, node, domain);
    domain->has_pflash = is_pflash(node);
    domain->has_agent = has_agent(devices);
    domain->has_tpm = has_tpm(devices);
    read_nvram(&reader, node, domain);
    domain->has_addresses = has_addresses(devices);
    read_disks(&reader, devices, use, domain);
    check_targets(&reader, domain);
    return reader.is_failed ? NULL : img_steal(&domain);
}

struct chain_virt_domain *virt_domain_in(struct virt_reader *reader,
                                         const struct virt_node *node,
                                         const char *file)
{
    struct chain_virt_domain *domain = NULL;

    if (!reader->is_failed) {
        domain = virt_domain_read(node, file, VIRT_DISK_HISTORY, reader->err);
        reader->is_failed = !domain;
    }
    return domain;
}
