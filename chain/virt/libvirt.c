/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain of a running libvirt: see chain/libvirt.h. */
#include <chain/libvirt.h>

#include <stdlib.h>
#include <string.h>

#include <img/memory.h>

#ifdef IMGCHAIN_LIBVIRT
#include "connection.h"

static bool is_missing(const virError *error)
{
    return error && (error->code == VIR_ERR_NO_DOMAIN ||
                     error->code == VIR_ERR_NO_DOMAIN_SNAPSHOT ||
                     error->code == VIR_ERR_NO_DOMAIN_CHECKPOINT);
}

int virt_refused(const struct chain_libvirt *libvirt, struct img_error *err)
{
    const struct virt_library *lib = libvirt->lib;
    const virError *last = lib->virGetLastError();
    const char *text = last && last->message ? last->message : "no reason told";
    char shown[IMG_ERROR_TEXT_MAX / 2];

    img_escape(text, strlen(text), shown, sizeof(shown));
    return img_fail(err, is_missing(last) ? IMG_NOT_FOUND : IMG_REFUSED,
                    "libvirt: %s", shown);
}

static int look_up(struct chain_libvirt *libvirt, const char *uri,
                   const char *domain, bool read_only, struct img_error *err)
{
    const struct virt_library *lib = libvirt->lib;

    if (!read_only && virt_events_begin(libvirt, err) < 0) {
        return -1;
    }
    libvirt->conn =
        read_only ? lib->virConnectOpenReadOnly(uri) : lib->virConnectOpen(uri);
    if (!libvirt->conn) {
        return virt_refused(libvirt, err);
    }
    libvirt->domain = lib->virDomainLookupByName(libvirt->conn, domain);
    if (!libvirt->domain) {
        return virt_refused(libvirt, err);
    }
    if (!read_only) {
        virt_events_listen(libvirt);
    }
    return 0;
}

/* driver[+transport]://[user@][host][:port]/... */
static bool is_remote(const char *uri)
{
    const char *host = uri ? strstr(uri, "://") : NULL;

    return host && host[3] != '/' && host[3] != '\0';
}

int chain_libvirt_open(const char *uri, const char *domain, bool read_only,
                       struct chain_libvirt **out, struct img_error *err)
{
    if (is_remote(uri)) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "the libvirt is another host's, and so are its files: "
                        "expected one of this host");
    }
    struct chain_libvirt *libvirt = img_calloc(1, sizeof(*libvirt), err);

    if (!libvirt || virt_library_load(&libvirt->lib, err) < 0) {
        free(libvirt);
        return -1;
    }
    libvirt->listener = -1;
    if (look_up(libvirt, uri, domain, read_only, err) < 0) {
        chain_libvirt_close(libvirt);
        return -1;
    }
    *out = libvirt;
    return 0;
}

void chain_libvirt_close(struct chain_libvirt *libvirt)
{
    if (!libvirt) {
        return;
    }
    virt_events_end(libvirt);
    if (libvirt->domain) {
        (void)libvirt->lib->virDomainFree(libvirt->domain);
    }
    if (libvirt->conn) {
        (void)libvirt->lib->virConnectClose(libvirt->conn);
    }
    free(libvirt->job_error);
    free(libvirt);
}

unsigned long chain_libvirt_version(void)
{
    const struct virt_library *lib;
    struct img_error ignored;
    unsigned long version = 0;

    if (virt_library_load(&lib, &ignored) < 0 ||
        lib->virGetVersion(&version, NULL, NULL) < 0) {
        return 0;
    }
    return version;
}

int chain_libvirt_domain(struct chain_libvirt *libvirt,
                         struct chain_virt_domain **out, bool *is_persistent,
                         struct img_error *err)
{
    const struct virt_library *lib = libvirt->lib;
    IMG_AUTO(img_free_ptr)
    char *xml = lib->virDomainGetXMLDesc(libvirt->domain, 0);
    int persistent = xml ? lib->virDomainIsPersistent(libvirt->domain) : -1;

    if (persistent < 0) {
        return virt_refused(libvirt, err);
    }
    *is_persistent = persistent == 1;
    return chain_virt_domain_parse(xml, strlen(xml), "the domain's XML", out,
                                   err);
}

int chain_libvirt_has_managed_save(struct chain_libvirt *libvirt, bool *out,
                                   struct img_error *err)
{
    int has = libvirt->lib->virDomainHasManagedSaveImage(libvirt->domain, 0);

    *out = has > 0;
    return has < 0 ? virt_refused(libvirt, err) : 0;
}

int chain_libvirt_snapshot(struct chain_libvirt *libvirt, const char *xml,
                           unsigned flags, struct img_error *err)
{
    static const struct {
        unsigned ours, theirs;
    } names[] = {
        {CHAIN_VIRT_REUSE_EXTERNAL, VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT},
        {CHAIN_VIRT_DISK_ONLY, VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY},
        {CHAIN_VIRT_ATOMIC, VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC},
        {CHAIN_VIRT_QUIESCE, VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE},
        {CHAIN_VIRT_NO_METADATA, VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA},
        {CHAIN_VIRT_REDEFINE, VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE},
        {CHAIN_VIRT_CURRENT, VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT},
        {CHAIN_VIRT_HALT, VIR_DOMAIN_SNAPSHOT_CREATE_HALT},
        {CHAIN_VIRT_LIVE, VIR_DOMAIN_SNAPSHOT_CREATE_LIVE},
        {CHAIN_VIRT_VALIDATE, VIR_DOMAIN_SNAPSHOT_CREATE_VALIDATE},
    };
    unsigned theirs = 0;
    virDomainSnapshotPtr snapshot;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        theirs |= flags & names[i].ours ? names[i].theirs : 0;
    }
    snapshot =
        libvirt->lib->virDomainSnapshotCreateXML(libvirt->domain, xml, theirs);
    if (!snapshot) {
        return virt_refused(libvirt, err);
    }
    (void)libvirt->lib->virDomainSnapshotFree(snapshot);
    return 0;
}

#else /* without libvirt's headers */

static int without(struct img_error *err)
{
    return img_fail(err, IMG_UNSUPPORTED,
                    "this program was built without libvirt's headers: "
                    "expected one that was built with them");
}

int chain_libvirt_open(const char *uri, const char *domain, bool read_only,
                       struct chain_libvirt **out, struct img_error *err)
{
    (void)uri;
    (void)domain;
    (void)read_only;
    (void)out;
    return without(err);
}

void chain_libvirt_close(struct chain_libvirt *libvirt)
{
    (void)libvirt;
}

unsigned long chain_libvirt_version(void)
{
    return 0;
}

int chain_libvirt_domain(struct chain_libvirt *libvirt,
                         struct chain_virt_domain **out, bool *is_persistent,
                         struct img_error *err)
{
    (void)libvirt;
    (void)out;
    (void)is_persistent;
    return without(err);
}

int chain_libvirt_has_managed_save(struct chain_libvirt *libvirt, bool *out,
                                   struct img_error *err)
{
    (void)libvirt;
    (void)out;
    return without(err);
}

int chain_libvirt_snapshot(struct chain_libvirt *libvirt, const char *xml,
                           unsigned flags, struct img_error *err)
{
    (void)libvirt;
    (void)xml;
    (void)flags;
    return without(err);
}

int chain_libvirt_copy_start(struct chain_libvirt *libvirt,
                             const struct chain_libvirt_copy *copy,
                             struct img_error *err)
{
    (void)libvirt;
    (void)copy;
    return without(err);
}

int chain_libvirt_job_look(struct chain_libvirt *libvirt, const char *disk,
                           unsigned wait_ms, enum chain_libvirt_job *out,
                           uint64_t *done, uint64_t *total,
                           struct img_error *err)
{
    (void)libvirt;
    (void)disk;
    (void)wait_ms;
    (void)out;
    (void)done;
    (void)total;
    return without(err);
}

const char *chain_libvirt_job_error(const struct chain_libvirt *libvirt)
{
    (void)libvirt;
    return NULL;
}

int chain_libvirt_job_end(struct chain_libvirt *libvirt, const char *disk,
                          bool is_pivot, struct img_error *err)
{
    (void)libvirt;
    (void)disk;
    (void)is_pivot;
    return without(err);
}
#endif
