/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What those who use an image use it as: see chain/holders.h. */
#include <chain/holders.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chain/formats.h>
#include <chain/name.h>
#include <img/memory.h>

struct chain_roles {
    const struct img_holders *holders;
    struct chain_held_link *links;
    size_t nr;
};

static const struct {
    const char *name, *text;
} words[] = {
    [CHAIN_ROLE_OTHER] = {"other", "open in another program"},
    [CHAIN_ROLE_ACTIVE] = {"active", "active layer, written"},
    [CHAIN_ROLE_SHARED] = {"shared", "shared disk, written"},
    [CHAIN_ROLE_COPY_TARGET] = {"copy-target", "target of a block copy"},
    [CHAIN_ROLE_COMMIT_TARGET] = {"commit-target",
                                  "backing file, written by a commit"},
    [CHAIN_ROLE_BACKING] = {"backing", "backing file, read"},
    [CHAIN_ROLE_READER] = {"reader", "image, read"},
    [CHAIN_ROLE_WRITER] = {"writer", "image, open for writing without locks"},
};

const char *chain_role_name(enum chain_role role)
{
    return words[role].name;
}

const char *chain_role_text(enum chain_role role)
{
    return words[role].text;
}

/* The file itself, also where its name has gone; with ROOTS by its name. */
static int open_held(const struct img_process *process,
                     const struct img_process_file *held,
                     const struct img_roots *roots, struct img_file **out,
                     struct img_error *err)
{
    const struct img_open_options options = {.lock = IMG_LOCK_NONE,
                                             .roots = roots};
    struct img_stamp stamp;
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", process->pid,
                   held->fd);
    if (img_file_open(roots ? held->path : path, &options, out, err) != 0) {
        return -1;
    }
    if (img_file_stamp(*out, &stamp, err) == 0 &&
        (stamp.rdev != 0 ? stamp.rdev == held->identity.rdev
                         : stamp.dev == held->identity.dev &&
                               stamp.ino == held->identity.ino)) {
        return 0;
    }
    img_file_unref(*out);
    *out = NULL;
    return img_fail(err, IMG_CHANGED, "it has another file open by now");
}

static int open_image(struct img_file *file, struct img_image **out,
                      struct img_error *err)
{
    struct chain_probe probe;

    if (chain_probe(file, &probe, err) != 0) {
        return -1;
    }
    return probe.format->open(file, out, err);
}

/* Which file NAME, recorded by the image HELD, is to PROCESS. */
static int resolve(const struct img_process *process,
                   const struct img_process_file *held, const char *name,
                   const struct img_roots *roots, struct img_identity *out,
                   struct img_error *err)
{
    IMG_AUTO(chain_ref_fini) struct chain_ref ref = {.path = NULL};
    IMG_AUTO(img_free_ptr) char *path = NULL;
    IMG_AUTO(img_free_ptr) char *seen = NULL;
    struct img_stamp stamp;

    if (chain_name_parse(name, &ref, err) != 0) {
        return -1;
    }
    path = ref.path ? chain_ref_resolve(&ref, held->path, err) : NULL;
    if (!path) {
        return -1;
    }
    /* As the process sees it. */
    seen = roots && path[0] == '/'
               ? img_strndup(path, strlen(path), err)
               : img_text(err, "/proc/%d/%s/%s", process->pid,
                          path[0] == '/' ? "root" : "cwd", path);
    if (!seen || img_path_stamp(seen, roots, &stamp, err) != 0) {
        return -1;
    }
    *out = (struct img_identity){.dev = stamp.dev,
                                 .ino = stamp.ino,
                                 .rdev = stamp.rdev,
                                 .is_file = true};
    return 0;
}

static void free_image(struct img_image **image)
{
    img_image_free(*image);
}

/* The link from the image HELD; what has none is passed over. */
static int add_link(struct chain_roles *roles, size_t idx,
                    const struct img_process_file *held,
                    const struct img_roots *roots, struct img_error *err)
{
    const struct img_process *process =
        img_holders_process(roles->holders, idx);
    struct chain_held_link link = {.process = idx, .overlay = held};
    struct chain_held_link *more;
    IMG_AUTO(img_file_unref_ptr) struct img_file *file = NULL;
    IMG_AUTO(free_image) struct img_image *image = NULL;

    if (open_held(process, held, roots, &file, err) != 0 ||
        open_image(file, &image, err) != 0 ||
        (image->backing_name && resolve(process, held, image->backing_name,
                                        roots, &link.backing, err) != 0)) {
        return err->code == IMG_MEMORY ? -1 : 0;
    }
    if (!image->backing_name) {
        return 0;
    }
    link.format = image->format;
    more = realloc(roles->links, (roles->nr + 1) * sizeof(*more));
    if (!more) {
        return img_fail_memory(err);
    }
    roles->links = more;
    more[roles->nr++] = link;
    return 0;
}

int chain_roles_new(const struct img_holders *holders,
                    const struct img_roots *roots, struct chain_roles **out,
                    struct img_error *err)
{
    IMG_AUTO(chain_roles_free_ptr)
    struct chain_roles *roles = img_calloc(1, sizeof(*roles), err);

    if (!roles) {
        return -1;
    }
    roles->holders = holders;
    for (size_t i = 0; i < img_holders_processes_nr(holders); i++) {
        const struct img_process *process = img_holders_process(holders, i);

        for (size_t k = 0; k < process->files_nr; k++) {
            if (add_link(roles, i, &process->files[k], roots, err) != 0) {
                return -1;
            }
        }
    }
    *out = img_steal(&roles);
    return 0;
}

void chain_roles_free(struct chain_roles *roles)
{
    if (roles) {
        free(roles->links);
        free(roles);
    }
}

void chain_roles_free_ptr(struct chain_roles **roles)
{
    chain_roles_free(*roles);
}

const struct chain_held_link *
chain_roles_link(const struct chain_roles *roles, size_t idx,
                 const struct chain_held_link *after)
{
    const struct img_holder *holder = img_holders_at(roles->holders, idx);
    const struct img_identity *held =
        &img_holders_target(roles->holders, holder->target)->identity;
    size_t i = after ? (size_t)(after - roles->links) + 1 : 0;

    for (; i < roles->nr; i++) {
        const struct chain_held_link *link = &roles->links[i];

        if (link->process == holder->process &&
            img_identity_is_same(&link->backing, held)) {
            return link;
        }
    }
    return NULL;
}

static enum chain_role role_of_writer(unsigned forbids, bool is_backing)
{
    if (forbids & (1u << IMG_PERM_CONSISTENT_READ)) {
        return CHAIN_ROLE_COPY_TARGET;
    }
    if (is_backing) {
        return CHAIN_ROLE_COMMIT_TARGET;
    }
    return forbids & (1u << IMG_PERM_WRITE) ? CHAIN_ROLE_ACTIVE
                                            : CHAIN_ROLE_SHARED;
}

enum chain_role chain_roles_of(const struct chain_roles *roles, size_t idx)
{
    const struct img_holder *holder = img_holders_at(roles->holders, idx);
    const struct img_process *process =
        img_holders_process(roles->holders, holder->process);
    bool is_backing = chain_roles_link(roles, idx, NULL) != NULL;
    struct img_lock_meaning locks;

    img_locks_decode(holder->locks, holder->locks_nr, &locks);
    if (locks.uses & (1u << IMG_PERM_WRITE)) {
        return role_of_writer(locks.forbids, is_backing);
    }
    if (is_backing && (locks.uses != 0 || !holder->is_written)) {
        return CHAIN_ROLE_BACKING;
    }
    if (locks.uses != 0) {
        return CHAIN_ROLE_READER;
    }
    if (!img_program_has_locks(process->program)) {
        return CHAIN_ROLE_OTHER;
    }
    return holder->is_written ? CHAIN_ROLE_WRITER : CHAIN_ROLE_READER;
}
