/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <domainsnapshot>. Room: chain/virt. */
#ifndef VIRT_SNAPSHOT_H
#define VIRT_SNAPSHOT_H

#include "reader.h"

/* NODE as a new snapshot; FILE is copied. NULL when it failed. */
struct chain_virt_snapshot *virt_snapshot_read(const struct virt_node *node,
                                               const char *file,
                                               struct img_error *err);

#endif
