/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A connection to libvirt, with one domain. Room: chain/virt; for libvirt*.c.
 */
#ifndef CHAIN_VIRT_CONNECTION_H
#define CHAIN_VIRT_CONNECTION_H

#include <chain/libvirt.h>

#include "library.h"

struct chain_libvirt {
    const struct virt_library *lib;
    virConnectPtr conn;
    virDomainPtr domain;
    bool is_due;     /* something has happened that a wait is over by */
    char job[128];   /* begins the name of the job that is followed */
    int listener;    /* for QEMU's events; -1: none */
    char *job_error; /* of the last job that ended with one */
};

/* Fill ERR in with what libvirt said last. */
int virt_refused(const struct chain_libvirt *libvirt, struct img_error *err);

/* ---- libvirt_job.c */

/* Before the connection is made; listen and end after, and before its end. */
int virt_events_begin(struct chain_libvirt *libvirt, struct img_error *err);
void virt_events_listen(struct chain_libvirt *libvirt);
void virt_events_end(struct chain_libvirt *libvirt);

#endif
