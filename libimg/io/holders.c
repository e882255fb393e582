/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room io: who uses a file; see img/holders.h. */
#include "holders.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

void *img_holders_push(void *array, size_t *nr, size_t size,
                       struct img_error *err)
{
    void **at = array;
    char *more = realloc(*at, (*nr + 1) * size);

    if (!more) {
        img_fail_memory(err);
        return NULL;
    }
    *at = more;
    memset(more + *nr * size, 0, size);
    return more + (*nr)++ * size;
}

struct img_holder *img_holders_add(struct img_holders *holders,
                                   enum img_holder_kind kind, size_t target,
                                   struct img_error *err)
{
    struct img_holder *holder = img_holders_push(&holders->list, &holders->nr,
                                                 sizeof(*holders->list), err);

    if (holder) {
        holder->kind = kind;
        holder->target = target;
    }
    return holder;
}

static int add_files(struct img_holders *holders,
                     const struct img_holders_file *files, size_t nr,
                     struct img_error *err)
{
    holders->has_locks = img_calloc(nr + 1, sizeof(bool), err);
    holders->targets = img_calloc(nr + 1, sizeof(*holders->targets), err);
    if (!holders->has_locks || !holders->targets) {
        return -1;
    }
    for (size_t i = 0; i < nr; i++) {
        holders->targets[i] = (struct img_target){
            .kind = IMG_TARGET_FILE,
            .file = i,
            .from = i,
            .identity = {.dev = files[i].stamp.dev,
                         .ino = files[i].stamp.ino,
                         .rdev = files[i].stamp.rdev,
                         .is_file = true},
        };
    }
    holders->targets_nr = holders->files_nr = nr;
    return 0;
}

/*
 * Locks are asked for before and after the processes are looked at: one that
 * was seen no more, or not yet, has held them at one of the two times only.
 */
static int add_all(struct img_holders *holders,
                   const struct img_holders_file *files,
                   struct img_lock_probe *probes, struct img_error *err)
{
    for (size_t i = 0; i < holders->files_nr; i++) {
        holders->has_locks[i] =
            files[i].file && img_lock_probe(files[i].file, &probes[i]);
    }
    if (img_holders_add_devices(holders, err) != 0 ||
        img_holders_add_processes(holders, err) != 0 ||
        img_holders_add_swaps(holders, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < holders->files_nr; i++) {
        struct img_lock_probe after;

        if (holders->has_locks[i] && img_lock_probe(files[i].file, &after) &&
            img_holders_add_unseen(holders, i, &probes[i], &after, err) != 0) {
            return -1;
        }
    }
    return 0;
}

int img_holders_new(const struct img_holders_file *files, size_t nr,
                    struct img_holders **out, struct img_error *err)
{
    IMG_AUTO(img_free_ptr)
    struct img_lock_probe *probes = img_calloc(nr + 1, sizeof(*probes), err);
    IMG_AUTO(img_holders_free_ptr)
    struct img_holders *holders = img_calloc(1, sizeof(*holders), err);

    if (!probes || !holders || add_files(holders, files, nr, err) != 0 ||
        add_all(holders, files, probes, err) != 0) {
        return -1;
    }
    *out = img_steal(&holders);
    return 0;
}

void img_holders_free(struct img_holders *holders)
{
    if (!holders) {
        return;
    }
    for (size_t i = 0; i < holders->processes_nr; i++) {
        img_process_fini(&holders->processes[i]);
    }
    for (size_t i = 0; i < holders->nr; i++) {
        free(holders->list[i].locks);
        free(holders->list[i].where);
    }
    free(holders->processes);
    free(holders->list);
    free(holders->targets);
    free(holders->has_locks);
    free(holders);
}

void img_holders_free_ptr(struct img_holders **holders)
{
    img_holders_free(*holders);
}

size_t img_holders_nr(const struct img_holders *holders)
{
    return holders->nr;
}

const struct img_holder *img_holders_at(const struct img_holders *holders,
                                        size_t idx)
{
    return &holders->list[idx];
}

const struct img_target *img_holders_target(const struct img_holders *holders,
                                            size_t idx)
{
    return &holders->targets[idx];
}

size_t img_holders_processes_nr(const struct img_holders *holders)
{
    return holders->processes_nr;
}

const struct img_process *img_holders_process(const struct img_holders *holders,
                                              size_t idx)
{
    return &holders->processes[idx];
}

const struct img_holders_unseen *
img_holders_unseen(const struct img_holders *holders)
{
    return &holders->unseen;
}

bool img_holders_has_locks(const struct img_holders *holders, size_t idx)
{
    return holders->has_locks[idx];
}
