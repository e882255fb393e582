/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What those who use an image use it as. Room: chain/live.
 *
 * QEMU's locks say what a process does and what it keeps others from; that an
 * image is a backing file is known by the headers of the other images that
 * the same process has open.
 */
#ifndef CHAIN_HOLDERS_H
#define CHAIN_HOLDERS_H

#include <img/holders.h>
#include <img/roots.h>

enum chain_role {
    CHAIN_ROLE_OTHER,         /* not by any program that takes QEMU's locks */
    CHAIN_ROLE_ACTIVE,        /* written, by nobody else */
    CHAIN_ROLE_SHARED,        /* written, and others may write, too */
    CHAIN_ROLE_COPY_TARGET,   /* written, and not to be read yet */
    CHAIN_ROLE_COMMIT_TARGET, /* written as the backing file of another */
    CHAIN_ROLE_BACKING,       /* read as the backing file of another */
    CHAIN_ROLE_READER,
    CHAIN_ROLE_WRITER, /* open for writing, without a lock that says so */
};

/* "active", "backing", ... for programs. Static. */
const char *chain_role_name(enum chain_role role);
/* One line for people. Static. */
const char *chain_role_text(enum chain_role role);

/* Image OVERLAY of the process PROCESS records BACKING as its backing file. */
struct chain_held_link {
    size_t process;
    const struct img_process_file *overlay; /* borrowed */
    const char *format;                     /* of the overlay; static */
    struct img_identity backing;
};

struct chain_roles;

/*
 * Read the headers of all images that processes of HOLDERS have open (QEMU's
 * and those of programs like it), to the end in ROOTS if not NULL. What is no
 * image, or cannot be opened, is passed over. HOLDERS is borrowed.
 */
int chain_roles_new(const struct img_holders *holders,
                    const struct img_roots *roots, struct chain_roles **out,
                    struct img_error *err);
void chain_roles_free(struct chain_roles *roles);
/* For IMG_AUTO. */
void chain_roles_free_ptr(struct chain_roles **roles);

/*
 * The next link of the process of holder IDX that leads to what it holds, past
 * AFTER (NULL: the first). NULL: there is none.
 */
const struct chain_held_link *
chain_roles_link(const struct chain_roles *roles, size_t idx,
                 const struct chain_held_link *after);
/* Of a holder that is a process. */
enum chain_role chain_roles_of(const struct chain_roles *roles, size_t idx);

#endif
