/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A connection to a running QEMU: see live.h. */
#include "live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <img/holders.h>
#include <img/memory.h>

/* The first one that mirrors into a node without a backing file and tells all
   nodes in a flat list. */
#define QEMU_MIN_MAJOR 5u
#define PROC_LEN 64u

int chain_live_open(const char *name, unsigned timeout_ms,
                    struct chain_live **out, struct img_error *err)
{
    const struct qmp_options options = {.timeout_ms = timeout_ms};
    struct chain_live *live = img_calloc(1, sizeof(*live), err);
    unsigned major, minor, uid;

    if (!live || qmp_open(name, &options, &live->qmp, err) != 0) {
        chain_live_close(live);
        return -1;
    }
    qmp_version(live->qmp, &major, &minor);
    if (major < QEMU_MIN_MAJOR) {
        img_fail(err, IMG_UNSUPPORTED,
                 "this QEMU is too old to be pivoted: found %u.%u, expected "
                 "%u.0 or later",
                 major, minor, QEMU_MIN_MAJOR);
        img_error_set_path(err, name);
        chain_live_close(live);
        return -1;
    }
    if (!qmp_peer(live->qmp, &live->pid, &uid)) {
        live->pid = 0;
    }
    *out = live;
    return 0;
}

void chain_live_close(struct chain_live *live)
{
    if (live) {
        qmp_close(live->qmp);
        free(live);
    }
}

void chain_live_version(const struct chain_live *live, unsigned *major,
                        unsigned *minor)
{
    qmp_version(live->qmp, major, minor);
}

char *live_path(const struct chain_live *live, const char *path,
                struct img_error *err)
{
    char proc[PROC_LEN], folder[IMG_ERROR_PATH_MAX];
    ssize_t len;

    if (path[0] == '/') {
        return img_strndup(path, strlen(path), err);
    }
    (void)snprintf(proc, sizeof(proc), "/proc/%d/cwd", live->pid);
    len = live->pid > 0 ? readlink(proc, folder, sizeof(folder) - 1) : -1;
    if (len <= 0) {
        img_fail(err, IMG_UNSUPPORTED,
                 "QEMU names it by a relative path, and the folder that QEMU "
                 "works in cannot be told");
        img_error_set_path(err, path);
        return NULL;
    }
    folder[len] = '\0';
    return img_text(err, "%s/%s", folder, path);
}

bool live_is_same_file(uint64_t dev, uint64_t ino, uint64_t rdev,
                       const struct img_stamp *stamp)
{
    if (rdev != 0 || stamp->rdev != 0) {
        return rdev == stamp->rdev;
    }
    return dev == stamp->dev && ino == stamp->ino;
}

/* Whoever made the socket may not be QEMU itself; then its locks tell. */
static bool is_locked(const char *path)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE};
    struct img_lock_holder holder = {0};
    struct img_error ignored;
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;

    return img_file_open(path, &options, &file, &ignored) == 0 &&
           img_file_writer_test(file, &holder, &ignored) == 0 && holder.is_held;
}

bool live_holds(const struct chain_live *live, const char *path,
                const struct img_stamp *stamp)
{
    return img_process_holds(live->pid, stamp) || is_locked(path);
}
