/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <domain>, by itself or in a snapshot. Room: chain/virt. */
#ifndef VIRT_DOMAIN_H
#define VIRT_DOMAIN_H

#include "disk.h"

/*
 * NODE as a new domain, whose refusals are its own; FILE is copied. NULL when
 * it failed.
 */
struct chain_virt_domain *virt_domain_read(const struct virt_node *node,
                                           const char *file,
                                           enum virt_disk_use use,
                                           struct img_error *err);

/* The same for one in what READER reads; NULL where that has failed. */
struct chain_virt_domain *virt_domain_in(struct virt_reader *reader,
                                         const struct virt_node *node,
                                         const char *file);

void virt_refusals_fini(struct chain_virt_refusals *refusals);

#endif
