/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What preflight is asked, read from libvirt's XML or from options as virsh
 * has them. Of the latter a snapshot's XML is made, as virsh makes it, and read
 * again: what libvirt refuses in it is told of both alike.
 */
#include <chain/libvirt.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>

#include "preflight.h"

static void free_spoken(struct chain_virt_snapshot *spoken)
{
    for (size_t i = 0; i < spoken->disks_nr; i++) {
        chain_virt_snapshot_disk_fini(&spoken->disks[i]);
    }
    free(spoken->disks);
    free(spoken->memory_kind);
    free(spoken->memory_file);
    free(spoken->name);
}

static int put_specs(const struct preflight_values *values,
                     struct chain_virt_snapshot *spoken, struct img_error *err)
{
    const struct words *specs = &values->diskspecs;

    spoken->disks = img_calloc(specs->nr + 1, sizeof(*spoken->disks), err);
    if (!spoken->disks) {
        return -1;
    }
    for (size_t i = 0; i < specs->nr; i++) {
        if (chain_virt_diskspec_parse(specs->at[i], &spoken->disks[i], err) <
            0) {
            return -1;
        }
        spoken->disks_nr++;
    }
    if (values->name) {
        spoken->name = img_strndup(values->name, strlen(values->name), err);
        if (!spoken->name) {
            return -1;
        }
    }
    return values->memspec
               ? chain_virt_memspec_parse(values->memspec, spoken, err)
               : 0;
}

static int read_specs(struct preflight *pre, struct img_error *err)
{
    struct chain_virt_snapshot spoken = {.file = NULL};
    char *text = NULL;
    int rc = put_specs(pre->values, &spoken, err);

    if (rc == 0) {
        rc = chain_virt_snapshot_write(&spoken, &text, err);
    }
    if (rc == 0) {
        rc = chain_virt_snapshot_parse(text, strlen(text), "the --diskspec",
                                       &pre->snapshot, err);
    }
    free(text);
    free_spoken(&spoken);
    return rc;
}

unsigned preflight_flags(const struct preflight_values *values)
{
    const struct {
        bool is_set;
        unsigned flag;
    } all[] = {
        {values->reuse_external, CHAIN_VIRT_REUSE_EXTERNAL},
        {values->disk_only, CHAIN_VIRT_DISK_ONLY},
        {values->atomic, CHAIN_VIRT_ATOMIC},
        {values->quiesce, CHAIN_VIRT_QUIESCE},
        {values->no_metadata, CHAIN_VIRT_NO_METADATA},
        {values->redefine, CHAIN_VIRT_REDEFINE},
        {values->current, CHAIN_VIRT_CURRENT},
        {values->halt, CHAIN_VIRT_HALT},
        {values->live, CHAIN_VIRT_LIVE},
        {values->validate, CHAIN_VIRT_VALIDATE},
        {values->shallow, CHAIN_VIRT_SHALLOW},
        {values->transient_job, CHAIN_VIRT_TRANSIENT_JOB},
        {values->synchronous_writes, CHAIN_VIRT_SYNCHRONOUS_WRITES},
    };
    unsigned out = 0;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        out |= all[i].is_set ? all[i].flag : 0;
    }
    return out;
}

static void speak_copy(struct preflight *pre)
{
    const struct preflight_values *values = pre->values;
    struct chain_virt_layer *top = &pre->spoken.top;
    const char *format = values->raw ? "raw" : values->common.format;

    /* Borrowed from the command line, and only read. */
    top->source.path = (char *)(uintptr_t)values->dest;
    top->source.type =
        values->blockdev ? CHAIN_VIRT_SOURCE_BLOCK : CHAIN_VIRT_SOURCE_FILE;
    top->format = (char *)(uintptr_t)format;
    pre->request.copy = &pre->spoken;
}

static int read_operation(struct preflight *pre, struct img_error *err)
{
    const struct preflight_values *values = pre->values;
    const struct img_roots *roots = NULL; /* they are for images */

    if (values->dest) {
        speak_copy(pre);
        return 0;
    }
    if (values->copy_disk) {
        return chain_virt_disk_read(values->copy_disk, roots, &pre->copy, err);
    }
    return values->snapshot ? chain_virt_snapshot_read(values->snapshot, roots,
                                                       &pre->snapshot, err)
                            : read_specs(pre, err);
}

static int ask_domain(struct preflight *pre, struct img_error *err)
{
    const struct preflight_values *values = pre->values;
    struct chain_libvirt *libvirt = NULL;
    bool is_persistent = false;
    int rc = chain_libvirt_open(values->connect, values->domain, true, &libvirt,
                                err);

    if (rc == 0) {
        rc = chain_libvirt_domain(libvirt, &pre->domain, &is_persistent, err);
    }
    chain_libvirt_close(libvirt);
    pre->request.is_transient = !is_persistent;
    return rc;
}

static int read_domain(struct preflight *pre, struct img_error *err)
{
    const struct preflight_values *values = pre->values;

    pre->request.is_transient = values->is_transient;
    return values->connect ? ask_domain(pre, err)
                           : chain_virt_domain_read(values->domain, NULL,
                                                    &pre->domain, err);
}

int preflight_read(struct preflight *pre, struct img_error *err)
{
    const struct preflight_values *values = pre->values;
    struct chain_preflight_request *request = &pre->request;

    if (read_domain(pre, err) < 0 || read_operation(pre, err) < 0) {
        return -1;
    }
    request->domain = pre->domain;
    request->snapshot = pre->snapshot;
    request->target = values->target;
    request->flags = preflight_flags(values);
    request->has_granularity = values->has_granularity;
    request->granularity = values->granularity;
    if (pre->copy) {
        request->copy = &pre->copy->disk;
        request->copy_refusals = &pre->copy->refusals;
        request->copy_file = pre->copy->file;
    }
    return 0;
}

void preflight_release(struct preflight *pre)
{
    chain_preflight_free(pre->plan);
    chain_virt_disk_file_free(pre->copy);
    chain_virt_snapshot_free(pre->snapshot);
    chain_virt_domain_free(pre->domain);
}
