/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <disk> of a domain and of a block copy. Room: chain/virt. */
#ifndef VIRT_DISK_H
#define VIRT_DISK_H

#include "layer.h"

/* How much of a <disk> libvirt reads and checks. */
enum virt_disk_use {
    VIRT_DISK_DOMAIN,  /* of a domain that is defined */
    VIRT_DISK_HISTORY, /* of one in a snapshot: read, hardly checked */
    VIRT_DISK_COPY,    /* of a block copy: its image alone */
};

void virt_disk_read(struct virt_reader *reader, const struct virt_node *node,
                    enum virt_disk_use use, struct chain_virt_disk *out);
void virt_disk_fini(struct chain_virt_disk *disk);

/* A disk of a domain has an address, or a name that gives it one. */
void virt_disk_check_place(struct virt_reader *reader,
                           const struct virt_node *node,
                           const struct chain_virt_disk *disk);
/* What libvirt refuses in a disk of a domain, when all of it is read. */
void virt_disk_check(struct virt_reader *reader, const struct virt_node *node,
                     const struct chain_virt_disk *disk);

#endif
