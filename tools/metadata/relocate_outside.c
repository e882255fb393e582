/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who else relies on what is relocated: see relocate.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chain/forest.h>
#include <img/memory.h>

#include "message.h"
#include "relocate.h"

/* ---- Overlays. */

/* Is PATH a file that goes away: a source, or a copy that is taken back? */
static bool is_going(const struct relocation *relocation, const char *path)
{
    struct stat st, own;

    if (stat(path, &st) != 0) {
        return false;
    }
    for (size_t i = 0; i < relocation->files.nr; i++) {
        const struct chain_relocated *file = &relocation->files.files[i];

        if (relocation->values->undo) {
            if (stat(file->to, &own) == 0 && own.st_dev == st.st_dev &&
                own.st_ino == st.st_ino) {
                return true;
            }
        } else if (file->dev == st.st_dev && file->ino == st.st_ino) {
            return true;
        }
    }
    return false;
}

/* NODE, an overlay of BACKING, would be left with nothing below it. */
static int judge_overlay(const struct relocation *relocation,
                         const struct chain_forest_node *node,
                         const struct chain_forest_node *backing,
                         struct img_error *err)
{
    char shown[IMG_ERROR_PATH_MAX / 2], below[IMG_ERROR_PATH_MAX / 2];

    if (relocation->values->allow_outside) {
        img_escape(node->path, strlen(node->path), shown, sizeof(shown));
        img_escape(backing->path, strlen(backing->path), below, sizeof(below));
        message_note("%s: is an overlay of %s, which goes away", shown, below);
        return 0;
    }
    img_escape(backing->path, strlen(backing->path), below, sizeof(below));
    img_fail(
        err, IMG_USAGE,
        relocation->values->undo
            ? "is an overlay of %s, which is to be taken back, and is none "
              "of the copies itself: expected nobody to rely on them"
            : "is an overlay of %s, which is to be moved away, and is not "
              "moved itself: copy (without --move), or --allow-outside",
        below);
    img_error_set_path(err, node->path);
    return -1;
}

static int judge_forest(const struct relocation *relocation,
                        const struct chain_forest *forest,
                        struct img_error *err)
{
    for (size_t i = 0; i < chain_forest_len(forest); i++) {
        const struct chain_forest_node *node = chain_forest_at(forest, i);

        if (node->backing == CHAIN_FOREST_NONE) {
            continue;
        }
        const struct chain_forest_node *backing =
            chain_forest_at(forest, node->backing);
        if (is_going(relocation, backing->path) &&
            !is_going(relocation, node->path) &&
            judge_overlay(relocation, node, backing, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The folder part of PATH, "." where it has none. */
static char *folder_of(const char *path, struct img_error *err)
{
    const char *slash = strrchr(path, '/');

    return !slash          ? img_strndup(".", 1, err)
           : slash == path ? img_strndup("/", 1, err)
                           : img_strndup(path, (size_t)(slash - path), err);
}

static int add_folders(const struct relocation *relocation,
                       struct chain_forest *forest, struct words *folders,
                       struct img_error *err)
{
    for (size_t i = 0; i < relocation->files.nr; i++) {
        const struct chain_relocated *file = &relocation->files.files[i];
        char *folder =
            folder_of(relocation->values->undo ? file->to : file->from, err);
        bool is_known = false;

        for (size_t k = 0; folder && k < folders->nr; k++) {
            is_known |= strcmp(folders->at[k], folder) == 0;
        }
        if (is_known) {
            free(folder);
            continue;
        }
        if (words_push(folders, folder, err) < 0 ||
            chain_forest_add(forest, folder, err) < 0) {
            return -1;
        }
    }
    return chain_forest_link(forest, err);
}

int relocate_check_outside(const struct relocation *relocation,
                           struct img_error *err)
{
    const struct chain_forest_options options = {
        .roots = relocation->values->change.common.roots,
        .force_share = true,
        .allow_probe = true,
    };
    struct chain_forest *forest;
    struct words folders = {NULL, 0};

    if (!relocation->values->move && !relocation->values->undo) {
        return 0;
    }
    if (chain_forest_new(&options, &forest, err) < 0) {
        return -1;
    }
    int rc = add_folders(relocation, forest, &folders, err) < 0
                 ? -1
                 : judge_forest(relocation, forest, err);
    words_fini(&folders);
    chain_forest_free(forest);
    return rc;
}

/* ---- The daemon. */

/* libvirt's daemons keep a lock on their pid file. *PID: 0 where the kernel
   does not tell, as of another PID namespace. */
static bool is_locked(const char *folder, const char *name, int *pid)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/libvirt/%s", folder, name);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool is = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    *pid = lock.l_pid;
    close(fd);
    return is;
}

static bool is_daemon_there(int *pid)
{
    static const char *const names[] = {"libvirtd.pid", "virtqemud.pid"};
    const char *own = getenv("XDG_RUNTIME_DIR");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is_locked("/run", names[i], pid) ||
            (own && is_locked(own, names[i], pid))) {
            return true;
        }
    }
    return false;
}

/* Does libvirt itself keep the file there? */
static bool is_libvirts(const char *path)
{
    IMG_AUTO(img_free_ptr) char *real = realpath(path, NULL);

    return real && strstr(real, "/libvirt/qemu/") != NULL;
}

int relocate_check_daemon(const struct relocation *relocation,
                          struct img_error *err)
{
    for (size_t i = 0; !relocation->xml_to && i < relocation->documents_nr;
         i++) {
        const char *file = relocation->documents[i].file;
        int pid;

        if (is_libvirts(file) && is_daemon_there(&pid)) {
            img_fail(err, IMG_LOCKED,
                     "is kept by libvirt, whose daemon runs (process %d): it "
                     "has read the file and would write it again; stop it, or "
                     "have the new XML written elsewhere (--xml-to)",
                     pid);
            img_error_set_path(err, file);
            return -1;
        }
    }
    return 0;
}
