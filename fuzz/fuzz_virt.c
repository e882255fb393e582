/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's XML, as each of the documents that it may be, and virsh's specs:
 * what is taken keeps the limits, and what is written from it reads the same.
 */
#include <stdlib.h>
#include <string.h>

#include <chain/virt.h>
#include <img/memory.h>

#include "fuzz.h"

static struct img_error err;

static void require_refusals(const struct chain_virt_refusals *refusals)
{
    fuzz_require(refusals->nr <= CHAIN_VIRT_MAX_REFUSALS);
    for (size_t i = 0; i < refusals->nr; i++) {
        const struct chain_virt_refusal *refusal = &refusals->list[i];

        fuzz_require(refusal->id && refusal->id[0] != '\0');
        fuzz_require(refusal->text[0] != '\0');
        for (const char *p = refusal->text; *p; p++) {
            fuzz_require((unsigned char)*p >= 0x20 && *p != 0x7f);
        }
    }
}

static void require_same(const char *a, const char *b)
{
    fuzz_require(!a == !b);
    fuzz_require(!a || strcmp(a, b) == 0);
}

/* Layers are what their kind says, and not too many. */
static void require_layers(const struct chain_virt_layer *layer)
{
    size_t nr = 0;

    for (; layer; layer = layer->backing, nr++) {
        fuzz_require(!layer->backing ==
                     (layer->backing_kind != CHAIN_VIRT_BACKING_GIVEN));
        fuzz_require(!layer->source.path || layer->source.path[0] != '\0' ||
                     layer->source.type == CHAIN_VIRT_SOURCE_FILE);
        fuzz_require(chain_virt_source_type_name(layer->source.type)[0] !=
                     '\0');
    }
    fuzz_require(nr <= CHAIN_VIRT_MAX_LAYERS + 1);
}

static void require_same_layers(const struct chain_virt_layer *a,
                                const struct chain_virt_layer *b)
{
    for (; a && b; a = a->backing, b = b->backing) {
        require_same(a->format, b->format);
        require_same(a->source.path, b->source.path);
        require_same(a->source.path ? a->source.fdgroup : NULL,
                     b->source.fdgroup);
        fuzz_require(a->backing_kind == b->backing_kind);
    }
    fuzz_require(!a == !b);
}

static void try_domain(const char *text, size_t len)
{
    struct chain_virt_domain *domain = NULL;

    if (chain_virt_domain_parse(text, len, "fuzz", &domain, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    fuzz_require(domain->disks_nr <= CHAIN_VIRT_MAX_DISKS);
    require_refusals(&domain->refusals);
    for (size_t i = 0; i < domain->disks_nr; i++) {
        require_layers(&domain->disks[i].top);
        require_layers(&domain->disks[i].mirror);
    }
    chain_virt_domain_free(domain);
}

static void require_same_disk(const struct chain_virt_snapshot_disk *a,
                              const struct chain_virt_snapshot_disk *b)
{
    require_same(a->name, b->name);
    require_same(a->snapshot, b->snapshot);
    require_same(a->type, b->type);
    require_same_layers(&a->dest, &b->dest);
}

/* Written and read again, SNAPSHOT is what it was. */
static void require_written(const struct chain_virt_snapshot *snapshot)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    struct chain_virt_snapshot *again = NULL;

    if (chain_virt_snapshot_write(snapshot, &text, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    fuzz_require(chain_virt_snapshot_parse(text, strlen(text), "again", &again,
                                           &err) == 0);
    require_same(snapshot->name, again->name);
    require_same(snapshot->description, again->description);
    require_same(snapshot->memory_kind, again->memory_kind);
    require_same(snapshot->memory_file, again->memory_file);
    fuzz_require(snapshot->disks_nr == again->disks_nr);
    for (size_t i = 0; i < again->disks_nr; i++) {
        require_same_disk(&snapshot->disks[i], &again->disks[i]);
    }
    chain_virt_snapshot_free(again);
}

static void try_snapshot(const char *text, size_t len)
{
    struct chain_virt_snapshot *snapshot = NULL;

    if (chain_virt_snapshot_parse(text, len, "fuzz", &snapshot, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    fuzz_require(snapshot->disks_nr <= CHAIN_VIRT_MAX_DISKS);
    fuzz_require(snapshot->has_domain == (snapshot->domain != NULL));
    require_refusals(&snapshot->refusals);
    for (size_t i = 0; i < snapshot->disks_nr; i++) {
        require_layers(&snapshot->disks[i].dest);
    }
    require_written(snapshot);
    chain_virt_snapshot_free(snapshot);
}

static void require_written_disk(const struct chain_virt_disk *disk)
{
    IMG_AUTO(img_free_ptr) char *text = NULL;
    struct chain_virt_disk_file *again = NULL;

    if (chain_virt_disk_write(disk, &text, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    fuzz_require(
        chain_virt_disk_parse(text, strlen(text), "again", &again, &err) == 0);
    fuzz_require(disk->is_readonly == again->disk.is_readonly);
    fuzz_require(disk->is_shareable == again->disk.is_shareable);
    require_same_layers(&disk->top, &again->disk.top);
    chain_virt_disk_file_free(again);
}

static void try_disk(const char *text, size_t len)
{
    struct chain_virt_disk_file *file = NULL;

    if (chain_virt_disk_parse(text, len, "fuzz", &file, &err) < 0) {
        fuzz_require_error(&err);
        return;
    }
    require_refusals(&file->refusals);
    require_layers(&file->disk.top);
    require_written_disk(&file->disk);
    chain_virt_disk_file_free(file);
}

static void try_specs(const char *spec)
{
    struct chain_virt_snapshot_disk disk;
    struct chain_virt_snapshot snapshot = {.disks = &disk, .disks_nr = 1};

    if (chain_virt_diskspec_parse(spec, &disk, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        require_written(&snapshot);
        chain_virt_snapshot_disk_fini(&disk);
    }
    snapshot.disks_nr = 0;
    if (chain_virt_memspec_parse(spec, &snapshot, &err) < 0) {
        fuzz_require_error(&err);
    } else {
        require_written(&snapshot);
    }
    free(snapshot.memory_kind);
    free(snapshot.memory_file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    IMG_AUTO(img_free_ptr)
    char *text = img_strndup((const char *)data, len, &err);

    fuzz_require(text != NULL);
    try_domain((const char *)data, len);
    try_snapshot((const char *)data, len);
    try_disk((const char *)data, len);
    try_specs(text);
    return 0;
}
