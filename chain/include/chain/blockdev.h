/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arguments of the QMP commands that hand a file to QEMU, as JSON
 * (qapi/block-core.json of QEMU). Each function gives a new object.
 */
#ifndef CHAIN_BLOCKDEV_H
#define CHAIN_BLOCKDEV_H

#include <stdbool.h>

#include <img/json.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A whole command. ARGUMENTS, which may be NULL, are taken. */
struct img_json *chain_qmp_command(const char *command,
                                   struct img_json *arguments);

/* blockdev-add of what a format lies on: the file, or device, PATH. */
struct img_json *chain_blockdev_storage(const char *node, const char *path,
                                        bool is_device, bool is_read_only);
/*
 * blockdev-add of the format over node STORAGE. BACKING is the node of its
 * backing file; NULL: none, whatever its header records.
 */
struct img_json *chain_blockdev_format(const char *node, const char *format,
                                       const char *storage, const char *backing,
                                       bool is_read_only);
/* What puts NODE under OVERLAY, an action of a transaction. */
struct img_json *chain_blockdev_snapshot_action(const char *node,
                                                const char *overlay);
/* transaction of ACTIONS, an array, which is taken. */
struct img_json *chain_blockdev_transaction(struct img_json *actions);
/* blockdev-mirror of node or device DEVICE to node TARGET; IS_TOP: of the
   active layer only. */
struct img_json *chain_blockdev_mirror(const char *job, const char *device,
                                       const char *target, bool is_top);

#ifdef __cplusplus
}
#endif
#endif
