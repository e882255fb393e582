/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshots and checkpoints that a running libvirt knows: see
   chain/metadata.h. Room: chain/virt. */
#include <chain/metadata.h>

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#ifdef IMGCHAIN_LIBVIRT
#include "connection.h"

struct gathering {
    struct chain_libvirt *libvirt;
    struct chain_metadata *metadata;
    char *current; /* name; NULL: none, or not known */
    bool is_secure;
};

/* TEXT, which libvirt gave, of the moment NAME. */
static int add(struct gathering *to, const char *name, const char *text,
               struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *shown = NULL;

    if (!text || !name) {
        return virt_refused(to->libvirt, err);
    }
    shown = img_text(err, "the XML of %s", name);
    return shown ? chain_metadata_add(to->metadata, shown, NULL, text,
                                      strlen(text), err)
                 : -1;
}

static int add_snapshot(struct gathering *to, virDomainSnapshotPtr snapshot,
                        struct img_error *err)
{
    const struct virt_library *lib = to->libvirt->lib;
    const char *name = lib->virDomainSnapshotGetName(snapshot);
    IMG_AUTO(img_free_ptr)
    char *text = lib->virDomainSnapshotGetXMLDesc(
        snapshot, to->is_secure ? VIR_DOMAIN_SNAPSHOT_XML_SECURE : 0);

    if (add(to, name, text, err) < 0) {
        return -1;
    }
    if (!to->current && lib->virDomainSnapshotIsCurrent(snapshot, 0) == 1) {
        to->current = img_strndup(name, strlen(name), err);
        return to->current ? 0 : -1;
    }
    return 0;
}

static int add_snapshots(struct gathering *to, struct img_error *err)
{
    const struct virt_library *lib = to->libvirt->lib;
    virDomainSnapshotPtr *list = NULL;
    int nr = lib->virDomainListAllSnapshots(to->libvirt->domain, &list, 0);
    int rc = nr < 0 ? virt_refused(to->libvirt, err) : 0;

    for (int i = 0; i < nr; i++) {
        rc = rc == 0 ? add_snapshot(to, list[i], err) : rc;
        (void)lib->virDomainSnapshotFree(list[i]);
    }
    free(list);
    return rc;
}

static int add_checkpoint(struct gathering *to, virDomainCheckpointPtr point,
                          struct img_error *err)
{
    const struct virt_library *lib = to->libvirt->lib;
    IMG_AUTO(img_free_ptr)
    char *text = lib->virDomainCheckpointGetXMLDesc(
        point, to->is_secure ? VIR_DOMAIN_CHECKPOINT_XML_SECURE : 0);

    return add(to, lib->virDomainCheckpointGetName(point), text, err);
}

static int add_checkpoints(struct gathering *to, struct img_error *err)
{
    const struct virt_library *lib = to->libvirt->lib;
    virDomainCheckpointPtr *list = NULL;
    int nr = lib->virDomainListAllCheckpoints(to->libvirt->domain, &list, 0);
    int rc = nr < 0 ? virt_refused(to->libvirt, err) : 0;

    for (int i = 0; i < nr; i++) {
        rc = rc == 0 ? add_checkpoint(to, list[i], err) : rc;
        (void)lib->virDomainCheckpointFree(list[i]);
    }
    free(list);
    return rc;
}

int chain_libvirt_metadata(struct chain_libvirt *libvirt,
                           enum chain_moment_kind kind, bool secure,
                           struct chain_metadata **out, struct img_error *err)
{
    struct gathering to = {.libvirt = libvirt, .is_secure = secure};
    int rc = chain_metadata_new(kind, &to.metadata, err);

    if (rc == 0) {
        rc = kind == CHAIN_SNAPSHOT ? add_snapshots(&to, err)
                                    : add_checkpoints(&to, err);
    }
    if (rc == 0) {
        rc = chain_metadata_link(to.metadata, to.current, err);
    }
    if (rc < 0) {
        chain_metadata_free(img_steal(&to.metadata));
    }
    free(to.current);
    *out = to.metadata;
    return rc;
}
#else
int chain_libvirt_metadata(struct chain_libvirt *libvirt,
                           enum chain_moment_kind kind, bool secure,
                           struct chain_metadata **out, struct img_error *err)
{
    (void)libvirt, (void)kind, (void)secure, (void)out;
    return img_fail(err, IMG_UNSUPPORTED,
                    "this program was built without libvirt");
}
#endif
