/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room io, private: the parts of the search for who uses a file. */
#ifndef IO_HOLDERS_H
#define IO_HOLDERS_H

#include <img/holders.h>

#include "proc.h"

struct img_holders {
    struct img_target *targets; /* the files come first, in their order */
    size_t targets_nr, files_nr;
    struct img_process *processes;
    size_t processes_nr;
    struct img_holder *list;
    size_t nr;
    struct img_holders_unseen unseen;
    bool *has_locks; /* of each file */
};

/* Room for one more of NR items of SIZE bytes at *ARRAY, zeroed. */
void *img_holders_push(void *array, size_t *nr, size_t size,
                       struct img_error *err);
/* A new holder of TARGET. Valid until the next one. */
struct img_holder *img_holders_add(struct img_holders *holders,
                                   enum img_holder_kind kind, size_t target,
                                   struct img_error *err);

/* Add the devices that were made of the targets that there are. */
int img_holders_add_devices(struct img_holders *holders, struct img_error *err);
/* Add the processes that have targets open or mapped, and mounts. */
int img_holders_add_processes(struct img_holders *holders,
                              struct img_error *err);
/* What is mounted, as the process of PROC_FD sees it; PID 0 is this one. */
int img_holders_add_mounts(struct img_holders *holders, int proc_fd, int pid,
                           struct img_error *err);
int img_holders_add_swaps(struct img_holders *holders, struct img_error *err);

/* QEMU's bytes that somebody has locked. */
#define IMG_LOCK_PROBES_NR (2u * IMG_PERMS_NR + 1u)
struct img_lock_probe {
    bool is_held[IMG_LOCK_PROBES_NR];
    bool is_exclusive[IMG_LOCK_PROBES_NR];
    int pid[IMG_LOCK_PROBES_NR]; /* 0: not told */
};
/* The byte of entry IDX. */
uint64_t img_lock_probe_byte(size_t idx);
/* False: they cannot be asked for. */
bool img_lock_probe(const struct img_file *file, struct img_lock_probe *out);
/* What is held in both probes of file IDX and by no process in sight. */
int img_holders_add_unseen(struct img_holders *holders, size_t idx,
                           const struct img_lock_probe *before,
                           const struct img_lock_probe *after,
                           struct img_error *err);

#endif
