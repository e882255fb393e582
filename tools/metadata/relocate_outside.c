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

/* ---- Images that rely on it. */

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

/* NODE relies on the file at NEEDED, which goes away: WHAT says as what. */
static int fail_needed(const struct relocation *relocation,
                       const struct chain_forest_node *node, const char *what,
                       const char *needed, struct img_error *err)
{
    char shown[IMG_ERROR_PATH_MAX / 2], below[IMG_ERROR_PATH_MAX / 2];

    img_escape(needed, strlen(needed), below, sizeof(below));
    if (relocation->values->allow_outside) {
        img_escape(node->path, strlen(node->path), shown, sizeof(shown));
        message_note("%s: %s %s, which goes away", shown, what, below);
        return 0;
    }
    img_fail(
        err, IMG_USAGE,
        relocation->values->undo
            ? "%s %s, which is to be taken back, and is none of the copies "
              "itself: expected nobody to rely on them"
            : "%s %s, which is to be moved away, and is not moved itself: copy "
              "(without --move), or --allow-outside",
        what, below);
    img_error_set_path(err, node->path);
    return -1;
}

static int judge_node(const struct relocation *relocation,
                      const struct chain_forest *forest,
                      const struct chain_forest_node *node,
                      struct img_error *err)
{
    const char *below = node->backing == CHAIN_FOREST_NONE
                            ? NULL
                            : chain_forest_at(forest, node->backing)->path;

    if (is_going(relocation, node->path)) {
        return 0;
    }
    if (below && is_going(relocation, below) &&
        fail_needed(relocation, node, "is an overlay of", below, err) < 0) {
        return -1;
    }
    return node->data_path && is_going(relocation, node->data_path)
               ? fail_needed(relocation, node, "has its data in",
                             node->data_path, err)
               : 0;
}

static int judge_forest(const struct relocation *relocation,
                        const struct chain_forest *forest,
                        struct img_error *err)
{
    for (size_t i = 0; i < chain_forest_len(forest); i++) {
        if (judge_node(relocation, forest, chain_forest_at(forest, i), err) <
            0) {
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

struct search {
    struct chain_forest *forest;
    struct words folders; /* that are in it */
};

/* FOLDER is taken; NULL is a failure. */
static int add_folder(struct search *search, char *folder,
                      struct img_error *err)
{
    for (size_t i = 0; folder && i < search->folders.nr; i++) {
        if (strcmp(search->folders.at[i], folder) == 0) {
            free(folder);
            return 0;
        }
    }
    return words_push(&search->folders, folder, err) < 0
               ? -1
               : chain_forest_add(search->forest, folder, err);
}

/* Those of all disks, whether they are chosen or not. */
static int add_disks(const struct relocation *relocation, struct search *search,
                     struct img_error *err)
{
    const struct chain_virt_domain *domain = relocation->domain;

    for (size_t i = 0; i < domain->disks_nr; i++) {
        const struct chain_virt_source *source = &domain->disks[i].top.source;
        struct stat st;

        if (source->type == CHAIN_VIRT_SOURCE_FILE && source->path &&
            stat(source->path, &st) == 0 && S_ISREG(st.st_mode) &&
            add_folder(search, folder_of(source->path, err), err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Overlays of a domain often lie in another folder than its bases, and where
   it goes to some may be already. */
static int add_folders(const struct relocation *relocation,
                       struct search *search, struct img_error *err)
{
    const char *const new_folders[] = {relocation->to, relocation->xml_to};

    for (size_t i = 0; i < relocation->files.nr; i++) {
        const struct chain_relocated *file = &relocation->files.files[i];

        if (add_folder(search, folder_of(file->from, err), err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < sizeof(new_folders) / sizeof(new_folders[0]); i++) {
        const char *folder = new_folders[i];

        if (folder &&
            add_folder(search, img_strndup(folder, strlen(folder), err), err) <
                0) {
            return -1;
        }
    }
    return add_disks(relocation, search, err) < 0
               ? -1
               : chain_forest_link(search->forest, err);
}

int relocate_check_outside(const struct relocation *relocation,
                           struct img_error *err)
{
    const struct chain_forest_options options = {
        .roots = relocation->values->change.common.roots,
        .force_share = true,
        .allow_probe = true,
    };
    struct search search = {NULL, {NULL, 0}};

    if (!relocation->values->move && !relocation->values->undo) {
        return 0;
    }
    if (chain_forest_new(&options, &search.forest, err) < 0) {
        return -1;
    }
    int rc = add_folders(relocation, &search, err) < 0
                 ? -1
                 : judge_forest(relocation, search.forest, err);
    words_fini(&search.folders);
    chain_forest_free(search.forest);
    return rc;
}

/* ---- A managed save. */

/* FOLDER ends before "/qemu/save"; NULL: there is none. Taken. */
static int tell_save_in(const struct relocation *relocation, char *folder,
                        struct img_error *err)
{
    IMG_AUTO(img_free_ptr) char *own = folder;
    IMG_AUTO(img_free_ptr)
    char *path = own ? img_text(err, "%s/qemu/save/%s.save", own,
                                relocation->domain->name)
                     : NULL;
    char shown[IMG_ERROR_PATH_MAX];
    struct stat st;

    if (own && !path) {
        return -1;
    }
    if (path && stat(path, &st) == 0 && !relocate_find(relocation, path)) {
        img_escape(path, strlen(path), shown, sizeof(shown));
        message_note("%s: is a managed save of the domain, and still leads to "
                     "the old files: change it with saved-image define --map",
                     shown);
    }
    return 0;
}

/* Of the libvirt that keeps the snapshots' documents, or of the system's. */
int relocate_tell_managed_save(const struct relocation *relocation,
                               struct img_error *err)
{
    static const char system[] = "/var/lib/libvirt";
    IMG_AUTO(img_free_ptr) char *real = NULL;
    char *end = NULL;

    if (!relocation->values->move) {
        return 0;
    }
    for (size_t i = 0; !end && i < relocation->documents_nr; i++) {
        free(real);
        real = realpath(relocation->documents[i].file, NULL);
        end = real ? strstr(real, "/qemu/snapshot/") : NULL;
    }
    if (end &&
        tell_save_in(relocation, img_strndup(real, (size_t)(end - real), err),
                     err) < 0) {
        return -1;
    }
    return end && strncmp(real, system, sizeof(system) - 1) == 0
               ? 0
               : tell_save_in(relocation,
                              img_strndup(system, sizeof(system) - 1, err),
                              err);
}

/* ---- The daemon. */

int relocate_check_daemon(const struct relocation *relocation,
                          struct img_error *err)
{
    for (size_t i = 0; !relocation->xml_to && i < relocation->documents_nr;
         i++) {
        const char *file = relocation->documents[i].file;
        int pid;

        if (daemon_holds(file, &pid)) {
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
