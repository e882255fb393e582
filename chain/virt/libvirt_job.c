/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block copy through libvirt, followed to its real end. libvirt tells that a
 * job has failed, but not why: that is in an event of QEMU's, which it passes
 * on to who asks for it.
 */
#ifdef IMGCHAIN_LIBVIRT
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <img/json.h>
#include <img/memory.h>

#define JOB_EVENT "BLOCK_JOB_COMPLETED"

/* ---- Events. */

static void on_timer(int timer, void *opaque)
{
    struct chain_libvirt *libvirt = opaque;

    (void)timer;
    libvirt->is_due = true;
}

/* The loop is one for the process. */
int virt_events_begin(struct chain_libvirt *libvirt, struct img_error *err)
{
    static bool is_registered;

    if (!is_registered && libvirt->lib->virEventRegisterDefaultImpl() < 0) {
        return virt_refused(libvirt, err);
    }
    is_registered = true;
    return 0;
}

static void on_event(virConnectPtr conn, virDomainPtr domain, const char *event,
                     long long seconds, unsigned int micros,
                     const char *details, void *opaque)
{
    struct chain_libvirt *libvirt = opaque;
    struct img_json *json = NULL;
    struct img_error ignored;
    const char *text, *device;
    char shown[IMG_ERROR_TEXT_MAX / 2];

    (void)conn;
    (void)domain;
    (void)event;
    (void)seconds;
    (void)micros;
    if (!details ||
        img_json_parse(details, strlen(details), &json, &ignored) < 0) {
        return;
    }
    text = img_json_get_string(json, "error");
    device = img_json_get_string(json, "device");
    libvirt->is_due = true;
    if (text && device &&
        strncmp(device, libvirt->job, strlen(libvirt->job)) == 0) {
        img_escape(text, strlen(text), shown, sizeof(shown));
        free(libvirt->job_error);
        libvirt->job_error = img_strndup(shown, strlen(shown), &ignored);
    }
    img_json_free(json);
}

/* Without these events jobs are followed all the same. */
void virt_events_listen(struct chain_libvirt *libvirt)
{
    const struct virt_library *lib = libvirt->lib;

    if (lib->virConnectDomainQemuMonitorEventRegister) {
        libvirt->listener = lib->virConnectDomainQemuMonitorEventRegister(
            libvirt->conn, libvirt->domain, JOB_EVENT, on_event, libvirt, NULL,
            0);
    }
}

void virt_events_end(struct chain_libvirt *libvirt)
{
    const struct virt_library *lib = libvirt->lib;

    if (libvirt->listener >= 0) {
        (void)lib->virConnectDomainQemuMonitorEventDeregister(
            libvirt->conn, libvirt->listener);
    }
}

/* Until something has happened, or WAIT_MS are over. */
static int wait_event(struct chain_libvirt *libvirt, unsigned wait_ms,
                      struct img_error *err)
{
    const struct virt_library *lib = libvirt->lib;
    int timer = lib->virEventAddTimeout((int)wait_ms, on_timer, libvirt, NULL);
    int rc = timer < 0 ? -1 : 0;

    /* The loop turns for other things, too. */
    for (libvirt->is_due = false; rc == 0 && !libvirt->is_due;) {
        rc = lib->virEventRunDefaultImpl();
    }
    if (timer >= 0) {
        (void)lib->virEventRemoveTimeout(timer);
    }
    return rc < 0 ? virt_refused(libvirt, err) : 0;
}

/* ---- The job. */

static int add_limits(const struct chain_libvirt *libvirt,
                      const struct chain_libvirt_copy *copy,
                      virTypedParameterPtr *params, int *nr,
                      struct img_error *err)
{
    const struct virt_library *lib = libvirt->lib;
    int room = 0;

    if (copy->bandwidth > 0 &&
        lib->virTypedParamsAddULLong(params, nr, &room,
                                     VIR_DOMAIN_BLOCK_COPY_BANDWIDTH,
                                     copy->bandwidth) < 0) {
        return virt_refused(libvirt, err);
    }
    if (copy->granularity > 0 &&
        lib->virTypedParamsAddUInt(params, nr, &room,
                                   VIR_DOMAIN_BLOCK_COPY_GRANULARITY,
                                   (unsigned)copy->granularity) < 0) {
        return virt_refused(libvirt, err);
    }
    return 0;
}

/* libvirt calls the job of vda "copy-vda-" and its node. */
static void name_job(struct chain_libvirt *libvirt, const char *disk)
{
    (void)snprintf(libvirt->job, sizeof(libvirt->job), "copy-%s-", disk);
}

static unsigned copy_flags(unsigned flags)
{
    static const struct {
        unsigned ours, theirs;
    } names[] = {
        {CHAIN_VIRT_REUSE_EXTERNAL, VIR_DOMAIN_BLOCK_COPY_REUSE_EXT},
        {CHAIN_VIRT_SHALLOW, VIR_DOMAIN_BLOCK_COPY_SHALLOW},
        {CHAIN_VIRT_TRANSIENT_JOB, VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB},
        {CHAIN_VIRT_SYNCHRONOUS_WRITES,
         VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES},
    };
    unsigned out = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        out |= flags & names[i].ours ? names[i].theirs : 0;
    }
    return out;
}

int chain_libvirt_copy_start(struct chain_libvirt *libvirt,
                             const struct chain_libvirt_copy *copy,
                             struct img_error *err)
{
    const struct virt_library *lib = libvirt->lib;
    virTypedParameterPtr params = NULL;
    int nr = 0;
    int rc = add_limits(libvirt, copy, &params, &nr, err);

    free(img_steal(&libvirt->job_error));
    name_job(libvirt, copy->disk);
    if (rc == 0 &&
        lib->virDomainBlockCopy(libvirt->domain, copy->disk, copy->xml, params,
                                nr, copy_flags(copy->flags)) < 0) {
        rc = virt_refused(libvirt, err);
    }
    lib->virTypedParamsFree(params, nr);
    return rc;
}

/* Its figures do not tell: they can be equal before it is ready, and differ
   when it is and the guest writes. */
static int is_ready(struct chain_libvirt *libvirt, const char *disk, bool *out,
                    struct img_error *err)
{
    struct chain_virt_domain *domain = NULL;
    bool is_persistent;

    if (chain_libvirt_domain(libvirt, &domain, &is_persistent, err) < 0) {
        return -1;
    }
    *out = false;
    for (size_t i = 0; i < domain->disks_nr; i++) {
        const struct chain_virt_disk *one = &domain->disks[i];

        if (one->target && strcmp(one->target, disk) == 0) {
            *out = one->has_mirror && one->mirror_ready &&
                   strcmp(one->mirror_ready, "yes") == 0;
        }
    }
    chain_virt_domain_free(domain);
    return 0;
}

int chain_libvirt_job_look(struct chain_libvirt *libvirt, const char *disk,
                           unsigned wait_ms, enum chain_libvirt_job *out,
                           uint64_t *done, uint64_t *total,
                           struct img_error *err)
{
    virDomainBlockJobInfo info;
    bool ready = false;
    int rc;

    name_job(libvirt, disk);
    if (wait_event(libvirt, wait_ms, err) < 0) {
        return -1;
    }
    rc =
        libvirt->lib->virDomainGetBlockJobInfo(libvirt->domain, disk, &info, 0);
    if (rc < 0) {
        return virt_refused(libvirt, err);
    }
    *out = rc == 0 ? CHAIN_LIBVIRT_NO_JOB : CHAIN_LIBVIRT_COPYING;
    *done = rc == 0 ? 0 : info.cur;
    *total = rc == 0 ? 0 : info.end;
    if (rc > 0) {
        if (is_ready(libvirt, disk, &ready, err) < 0) {
            return -1;
        }
        *out = ready ? CHAIN_LIBVIRT_READY : CHAIN_LIBVIRT_COPYING;
    }
    return 0;
}

const char *chain_libvirt_job_error(const struct chain_libvirt *libvirt)
{
    return libvirt->job_error;
}

int chain_libvirt_job_end(struct chain_libvirt *libvirt, const char *disk,
                          bool is_pivot, struct img_error *err)
{
    unsigned flags = is_pivot ? VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT : 0;

    return libvirt->lib->virDomainBlockJobAbort(libvirt->domain, disk, flags) <
                   0
               ? virt_refused(libvirt, err)
               : 0;
}
#endif
