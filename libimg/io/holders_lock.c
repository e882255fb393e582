/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: what locks mean, and locks that no process in sight holds: on a
 * file that another host has open, or a process of another PID namespace.
 */
#include "holders.h"

#include <errno.h>
#include <fcntl.h>

#include "file_impl.h"

#define VIRTLOCKD_BYTE 0u

const char *img_permission_name(unsigned permission)
{
    static const char *const names[IMG_PERMS_NR] = {
        [IMG_PERM_CONSISTENT_READ] = "consistent read",
        [IMG_PERM_WRITE] = "write",
        [IMG_PERM_WRITE_UNCHANGED] = "write unchanged",
        [IMG_PERM_RESIZE] = "resize",
        [IMG_PERM_GRAPH_MOD] = "graph mod",
    };

    return permission < IMG_PERMS_NR ? names[permission] : "unknown";
}

/* The kernel joins locks on bytes that follow each other. */
static unsigned bits_from(const struct img_lock *lock, uint64_t base)
{
    unsigned bits = 0;

    if (lock->first < base || lock->last >= base + IMG_PERMS_NR) {
        return 0;
    }
    for (uint64_t byte = lock->first; byte <= lock->last; byte++) {
        bits |= 1u << (byte - base);
    }
    return bits;
}

bool img_lock_is_qemu(const struct img_lock *lock)
{
    return !lock->is_exclusive &&
           (bits_from(lock, IMG_LOCK_USED_BYTE) != 0 ||
            bits_from(lock, IMG_LOCK_UNSHARED_BYTE) != 0);
}

void img_locks_decode(const struct img_lock *locks, size_t nr,
                      struct img_lock_meaning *out)
{
    *out = (struct img_lock_meaning){.uses = 0};
    for (size_t i = 0; i < nr; i++) {
        if (img_lock_is_qemu(&locks[i])) {
            out->uses |= bits_from(&locks[i], IMG_LOCK_USED_BYTE);
            out->forbids |= bits_from(&locks[i], IMG_LOCK_UNSHARED_BYTE);
        } else {
            out->others_nr++;
        }
    }
}

uint64_t img_lock_probe_byte(size_t idx)
{
    if (idx == 0) {
        return VIRTLOCKD_BYTE;
    }
    idx--;
    return idx < IMG_PERMS_NR ? IMG_LOCK_USED_BYTE + idx
                              : IMG_LOCK_UNSHARED_BYTE + idx - IMG_PERMS_NR;
}

bool img_lock_probe(const struct img_file *file, struct img_lock_probe *out)
{
    int fd = img_file_origin_const(file)->fd;

    *out = (struct img_lock_probe){.is_held = {false}};
    for (size_t i = 0; i < IMG_LOCK_PROBES_NR; i++) {
        struct flock lock;

        if (img_lock_call(fd, F_OFD_GETLK, F_WRLCK, img_lock_probe_byte(i),
                          &lock) != 0) {
            return false;
        }
        out->is_held[i] = lock.l_type != F_UNLCK;
        out->is_exclusive[i] = lock.l_type == F_WRLCK;
        out->pid[i] = lock.l_pid > 0 ? lock.l_pid : 0;
    }
    return true;
}

static bool is_seen(const struct img_holders *holders, size_t target,
                    uint64_t byte)
{
    for (size_t i = 0; i < holders->nr; i++) {
        const struct img_holder *holder = &holders->list[i];

        for (size_t k = 0; holder->target == target && k < holder->locks_nr;
             k++) {
            if (holder->kind == IMG_HOLDER_PROCESS &&
                holder->locks[k].first <= byte &&
                holder->locks[k].last >= byte) {
                return true;
            }
        }
    }
    return false;
}

int img_holders_add_unseen(struct img_holders *holders, size_t idx,
                           const struct img_lock_probe *before,
                           const struct img_lock_probe *after,
                           struct img_error *err)
{
    struct img_holder *holder = NULL;

    for (size_t i = 0; i < IMG_LOCK_PROBES_NR; i++) {
        uint64_t byte = img_lock_probe_byte(i);
        struct img_lock *lock;

        if (!before->is_held[i] || !after->is_held[i] ||
            is_seen(holders, idx, byte)) {
            continue;
        }
        if (!holder) {
            holder = img_holders_add(holders, IMG_HOLDER_UNSEEN, idx, err);
        }
        lock = holder ? img_holders_push(&holder->locks, &holder->locks_nr,
                                         sizeof(*lock), err)
                      : NULL;
        if (!lock) {
            return -1;
        }
        *lock = (struct img_lock){.first = byte,
                                  .last = byte,
                                  .is_exclusive = after->is_exclusive[i]};
        holder->pid = after->pid[i] > 0 ? after->pid[i] : holder->pid;
    }
    return 0;
}
