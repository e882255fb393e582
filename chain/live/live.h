/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection to a running QEMU, and files as it sees them. Room: chain/live;
 * private to it.
 */
#ifndef CHAIN_LIVE_LIVE_H
#define CHAIN_LIVE_LIVE_H

#include <chain/pivot.h>
#include <img/file.h>

#include "nodes.h"

struct chain_live {
    struct qmp *qmp;
    int pid; /* of the other end; 0: not known */
};

/*
 * PATH as QEMU spells it, as a path from here: a relative one is relative to
 * the folder that the process at the other end works in. Free with free().
 */
char *live_path(const struct chain_live *live, const char *path,
                struct img_error *err);

/* Is that file open in QEMU? By its descriptors, or by who has it locked. */
bool live_holds(const struct chain_live *live, const char *path,
                const struct img_stamp *stamp);

/* One file, whatever it is called; a block device by its number. */
bool live_is_same_file(uint64_t dev, uint64_t ino, uint64_t rdev,
                       const struct img_stamp *stamp);

/* The disk in what was asked for already; see chain_live_disk_find. */
int live_disk_read(const struct chain_live *live,
                   const struct live_nodes *nodes, const char *device,
                   const char *node, struct chain_live_disk *out,
                   struct img_error *err);

#endif
