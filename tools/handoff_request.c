/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt is to be asked: disks, destinations, XML. See handoff.h. */
#include <chain/create.h>
#include <img/memory.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "handoff.h"
#include "pivot.h"

const char *handoff_format(const struct handoff *handoff)
{
    const char *format = handoff->values->change.common.format;

    return format ? format : "qcow2";
}

const struct chain_virt_layer *handoff_top(const struct handoff *handoff,
                                           const struct handoff_disk *disk)
{
    return &handoff->pre.domain->disks[disk->idx].top;
}

/* ---- Disks. */

static int set_disk(struct handoff *handoff, const char *name, size_t len,
                    const char *dest, struct img_error *err)
{
    struct handoff_disk *disk = &handoff->disks[handoff->nr++];

    disk->target = img_strndup(name, len, err);
    if (disk->target && dest) {
        disk->dest = pivot_absolute(dest, err);
    }
    return disk->target && (!dest || disk->dest) ? 0 : -1;
}

int handoff_set_disks(struct handoff *handoff, struct img_error *err)
{
    const struct words *words = &handoff->values->disks;

    handoff->disks = img_calloc(words->nr, sizeof(*handoff->disks), err);
    if (!handoff->disks) {
        return -1;
    }
    for (size_t i = 0; i < words->nr; i++) {
        const char *word = words->at[i], *equals = strchr(word, '=');
        size_t len = equals ? (size_t)(equals - word) : strlen(word);

        if (set_disk(handoff, word, len,
                     equals ? equals + 1 : handoff->values->dest, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- Destinations. */

static int make(struct handoff *handoff, struct handoff_disk *disk,
                struct img_error *err)
{
    const struct chain_virt_layer *top = handoff_top(handoff, disk);
    const struct chain_create_request request =
        pivot_dest_request(&handoff->values->change, disk->dest,
                           handoff_format(handoff), handoff->cancel);
    struct stat st;

    if (lstat(disk->dest, &st) == 0) {
        img_fail(err, IMG_USAGE,
                 "exists already: expected a new name, or --reuse-external");
        img_error_set_path(err, disk->dest);
        return -1;
    }
    return pivot_dest_make(&request, pivot_kind_operation(handoff->kind),
                           top->source.path, top->format ? top->format : "raw",
                           &disk->made, err);
}

int handoff_make(struct handoff *handoff, struct img_error *err)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        if (!handoff->values->reuse_external &&
            make(handoff, &handoff->disks[i], err) < 0) {
            return -1;
        }
    }
    return 0;
}

void handoff_unmake(struct handoff *handoff)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        pivot_dest_unmake(handoff->disks[i].dest,
                          handoff->values->change.common.roots,
                          &handoff->disks[i].made);
    }
}

/* ---- XML. */

static bool is_block(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

/* What is only written out borrows its strings. */
static char *lent(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void put_dest(const struct handoff *handoff,
                     const struct handoff_disk *disk,
                     struct chain_virt_layer *out)
{
    out->format = lent(handoff_format(handoff));
    out->source.path = lent(disk->dest);
    out->source.type =
        is_block(disk->dest) ? CHAIN_VIRT_SOURCE_BLOCK : CHAIN_VIRT_SOURCE_FILE;
}

static const struct handoff_disk *find_asked(const struct handoff *handoff,
                                             size_t idx)
{
    for (size_t i = 0; i < handoff->nr; i++) {
        if (handoff->disks[i].idx == idx) {
            return &handoff->disks[i];
        }
    }
    return NULL;
}

/* Every disk is named: what is not asked for stays as it is. */
static int put_snapshot(struct handoff *handoff, struct img_error *err)
{
    const struct chain_virt_domain *domain = handoff->pre.domain;
    struct chain_virt_snapshot spoken = {
        .name = lent(handoff->values->snapshot_name),
        .disks_nr = domain->disks_nr,
    };
    int rc;

    spoken.disks = img_calloc(domain->disks_nr, sizeof(*spoken.disks), err);
    if (!spoken.disks) {
        return -1;
    }
    for (size_t i = 0; i < domain->disks_nr; i++) {
        const struct handoff_disk *disk = find_asked(handoff, i);
        struct chain_virt_snapshot_disk *out = &spoken.disks[i];

        out->name = domain->disks[i].target;
        out->snapshot = lent(disk ? "external" : "no");
        out->dest.source.type = CHAIN_VIRT_SOURCE_FILE;
        if (disk) {
            put_dest(handoff, disk, &out->dest);
            out->type =
                lent(chain_virt_source_type_name(out->dest.source.type));
        }
    }
    rc = chain_virt_snapshot_write(&spoken, &handoff->xml, err);
    free(spoken.disks);
    if (rc == 0) {
        rc = chain_virt_snapshot_parse(handoff->xml, strlen(handoff->xml),
                                       "the snapshot's XML",
                                       &handoff->pre.snapshot, err);
    }
    handoff->pre.request.snapshot = handoff->pre.snapshot;
    return rc;
}

static int put_copy(struct handoff *handoff, struct img_error *err)
{
    struct preflight *pre = &handoff->pre;

    put_dest(handoff, &handoff->disks[0], &pre->spoken.top);
    pre->request.copy = &pre->spoken;
    pre->request.target = handoff->disks[0].target;
    return chain_virt_disk_write(&pre->spoken, &handoff->xml, err);
}

static void put_flags(struct handoff *handoff)
{
    struct preflight_values *asked = &handoff->asked;
    bool is_snapshot = handoff->kind == CHAIN_PIVOT_SNAPSHOT;

    /* One that this run makes is there when libvirt is asked. */
    asked->reuse_external =
        handoff->values->reuse_external || !handoff->values->change.dry_run;
    asked->disk_only = asked->atomic = is_snapshot;
    asked->no_metadata = is_snapshot && !handoff->values->snapshot_name;
    asked->shallow = handoff->kind == CHAIN_PIVOT_SHALLOW_COPY;
    asked->transient_job = !is_snapshot && !handoff->pre.request.is_transient;
    handoff->pre.request.flags = preflight_flags(asked);
}

int handoff_put_request(struct handoff *handoff, struct img_error *err)
{
    put_flags(handoff);
    return handoff->kind == CHAIN_PIVOT_SNAPSHOT ? put_snapshot(handoff, err)
                                                 : put_copy(handoff, err);
}
