/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The domains in two snapshots, compared. Room: chain/virt. */
#ifndef VIRT_ABI_SNAPSHOT_H
#define VIRT_ABI_SNAPSHOT_H

#include <chain/abi.h>
#include <chain/metadata.h>

/* As chain_abi_compare; nothing differs where one has no <domain>. */
int abi_compare_snapshots(const struct chain_moment *old,
                          const struct chain_moment *new, struct chain_abi *out,
                          struct img_error *err);

#endif
