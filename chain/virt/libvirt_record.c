/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt has on record of a domain, one by one: looked at, put, deleted.
   Room: chain/virt. */
#include <chain/metadata.h>

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#ifdef IMGCHAIN_LIBVIRT
#include "connection.h"

static void free_snapshot(const struct chain_libvirt *libvirt,
                          virDomainSnapshotPtr snapshot)
{
    (void)libvirt->lib->virDomainSnapshotFree(snapshot);
}

static void free_point(const struct chain_libvirt *libvirt,
                       virDomainCheckpointPtr point)
{
    (void)libvirt->lib->virDomainCheckpointFree(point);
}

int chain_libvirt_identity(struct chain_libvirt *libvirt, char **uri,
                           char **uuid, char **name, struct img_error *err)
{
    const struct virt_library *lib = libvirt->lib;
    char number[VIR_UUID_STRING_BUFLEN];
    const char *called = lib->virDomainGetName(libvirt->domain);

    *uri = *uuid = *name = NULL;
    if (!called || lib->virDomainGetUUIDString(libvirt->domain, number) < 0 ||
        !(*uri = lib->virConnectGetURI(libvirt->conn))) {
        return virt_refused(libvirt, err);
    }
    *uuid = img_strndup(number, strlen(number), err);
    *name = *uuid ? img_strndup(called, strlen(called), err) : NULL;
    if (!*name) {
        free(img_steal(uri));
        free(img_steal(uuid));
        return -1;
    }
    return 0;
}

int chain_libvirt_definition(struct chain_libvirt *libvirt, bool secure,
                             char **xml, struct img_error *err)
{
    *xml = libvirt->lib->virDomainGetXMLDesc(
        libvirt->domain,
        VIR_DOMAIN_XML_INACTIVE | (secure ? VIR_DOMAIN_XML_SECURE : 0));
    return *xml ? 0 : virt_refused(libvirt, err);
}

static char *snapshot_xml(const struct chain_libvirt *libvirt, const char *name,
                          bool secure)
{
    const struct virt_library *lib = libvirt->lib;
    virDomainSnapshotPtr snapshot =
        lib->virDomainSnapshotLookupByName(libvirt->domain, name, 0);
    char *xml;

    if (!snapshot) {
        return NULL;
    }
    xml = lib->virDomainSnapshotGetXMLDesc(
        snapshot, secure ? VIR_DOMAIN_SNAPSHOT_XML_SECURE : 0);
    free_snapshot(libvirt, snapshot);
    return xml;
}

static char *checkpoint_xml(const struct chain_libvirt *libvirt,
                            const char *name, bool secure)
{
    const struct virt_library *lib = libvirt->lib;
    virDomainCheckpointPtr point =
        lib->virDomainCheckpointLookupByName(libvirt->domain, name, 0);
    char *xml;

    if (!point) {
        return NULL;
    }
    xml = lib->virDomainCheckpointGetXMLDesc(
        point, secure ? VIR_DOMAIN_CHECKPOINT_XML_SECURE : 0);
    free_point(libvirt, point);
    return xml;
}

int chain_libvirt_moment(struct chain_libvirt *libvirt,
                         enum chain_moment_kind kind, const char *name,
                         bool secure, char **xml, struct img_error *err)
{
    *xml = kind == CHAIN_SNAPSHOT ? snapshot_xml(libvirt, name, secure)
                                  : checkpoint_xml(libvirt, name, secure);
    return *xml ? 0 : virt_refused(libvirt, err);
}

int chain_libvirt_current(struct chain_libvirt *libvirt, char **name,
                          struct img_error *err)
{
    const struct virt_library *lib = libvirt->lib;
    int has = lib->virDomainHasCurrentSnapshot(libvirt->domain, 0);
    virDomainSnapshotPtr snapshot;
    const char *called;

    *name = NULL;
    if (has == 0) {
        return 0;
    }
    snapshot =
        has < 0 ? NULL : lib->virDomainSnapshotCurrent(libvirt->domain, 0);
    if (!snapshot) {
        return virt_refused(libvirt, err);
    }
    called = lib->virDomainSnapshotGetName(snapshot);
    *name = called ? img_strndup(called, strlen(called), err) : NULL;
    free_snapshot(libvirt, snapshot);
    return *name ? 0 : -1;
}

int chain_libvirt_moment_put(struct chain_libvirt *libvirt,
                             enum chain_moment_kind kind, const char *xml,
                             bool is_current, struct img_error *err)
{
    virDomainCheckpointPtr point;

    if (kind == CHAIN_SNAPSHOT) {
        return chain_libvirt_snapshot(
            libvirt, xml,
            CHAIN_VIRT_REDEFINE | (is_current ? CHAIN_VIRT_CURRENT : 0), err);
    }
    point = libvirt->lib->virDomainCheckpointCreateXML(
        libvirt->domain, xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
    if (!point) {
        return virt_refused(libvirt, err);
    }
    free_point(libvirt, point);
    return 0;
}

static int delete_snapshot(const struct chain_libvirt *libvirt,
                           const char *name)
{
    virDomainSnapshotPtr snapshot =
        libvirt->lib->virDomainSnapshotLookupByName(libvirt->domain, name, 0);
    int rc;

    if (!snapshot) {
        return -1;
    }
    rc = libvirt->lib->virDomainSnapshotDelete(
        snapshot, VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY);
    if (rc == 0) {
        free_snapshot(libvirt, snapshot);
    }
    return rc;
}

static int delete_checkpoint(const struct chain_libvirt *libvirt,
                             const char *name)
{
    virDomainCheckpointPtr point =
        libvirt->lib->virDomainCheckpointLookupByName(libvirt->domain, name, 0);
    int rc;

    if (!point) {
        return -1;
    }
    rc = libvirt->lib->virDomainCheckpointDelete(
        point, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY);
    if (rc == 0) {
        free_point(libvirt, point);
    }
    return rc;
}

int chain_libvirt_moment_delete(struct chain_libvirt *libvirt,
                                enum chain_moment_kind kind, const char *name,
                                struct img_error *err)
{
    /* After a failure the error must not be lost in a call that frees. */
    return (kind == CHAIN_SNAPSHOT ? delete_snapshot(libvirt, name)
                                   : delete_checkpoint(libvirt, name)) == 0
               ? 0
               : virt_refused(libvirt, err);
}

#else /* without libvirt's headers */

static int without(struct img_error *err)
{
    return img_fail(err, IMG_UNSUPPORTED,
                    "this program was built without libvirt");
}

int chain_libvirt_identity(struct chain_libvirt *libvirt, char **uri,
                           char **uuid, char **name, struct img_error *err)
{
    (void)libvirt, (void)uri, (void)uuid, (void)name;
    return without(err);
}

int chain_libvirt_definition(struct chain_libvirt *libvirt, bool secure,
                             char **xml, struct img_error *err)
{
    (void)libvirt, (void)secure, (void)xml;
    return without(err);
}

int chain_libvirt_moment(struct chain_libvirt *libvirt,
                         enum chain_moment_kind kind, const char *name,
                         bool secure, char **xml, struct img_error *err)
{
    (void)libvirt, (void)kind, (void)name, (void)secure, (void)xml;
    return without(err);
}

int chain_libvirt_current(struct chain_libvirt *libvirt, char **name,
                          struct img_error *err)
{
    (void)libvirt, (void)name;
    return without(err);
}

int chain_libvirt_moment_put(struct chain_libvirt *libvirt,
                             enum chain_moment_kind kind, const char *xml,
                             bool is_current, struct img_error *err)
{
    (void)libvirt, (void)kind, (void)xml, (void)is_current;
    return without(err);
}

int chain_libvirt_moment_delete(struct chain_libvirt *libvirt,
                                enum chain_moment_kind kind, const char *name,
                                struct img_error *err)
{
    (void)libvirt, (void)kind, (void)name;
    return without(err);
}
#endif
