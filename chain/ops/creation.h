/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new image that is written and flushed, and whose name has yet to appear.
 */
#ifndef CHAIN_OPS_CREATION_H
#define CHAIN_OPS_CREATION_H

#include <img/newfile.h>

#include "create_plan.h"

enum chain_creation_kind {
    CHAIN_CREATION_REPLACE, /* a regular file of that name is replaced */
    CHAIN_CREATION_NEW,     /* the name must be free */
    CHAIN_CREATION_NAMED,   /* the same, and it has a temporary name */
    CHAIN_CREATION_SCRATCH, /* in memory, to be judged and forgotten */
};

struct chain_creation {
    struct img_newfile *newfile; /* NULL: a block device, or in memory */
    struct img_file *file;       /* own reference */
    struct img_newfile *data_newfile;
    struct img_file *data_file;
};

/*
 * Open the files that PLAN is to be written to, with O_DIRECT if DIRECT; looks
 * at the space that must be had. Nothing is written.
 */
int chain_creation_open(const struct chain_create_plan *plan,
                        enum chain_creation_kind kind, bool direct,
                        struct chain_creation *out, struct img_error *err);
/* A raw image of PLAN's size, in FILE, that holds nothing yet: what was
   preallocated is zeros. A device is as it was but for its first sector. */
int chain_creation_write_raw(const struct chain_create_plan *plan,
                             struct img_file *file, struct img_error *err);
/*
 * Write what PLAN says. A block device of the plan's path is written in place
 * (not with NEW and NAMED: IMG_USAGE). After a failure nothing is left but,
 * of a device, what the text says.
 */
int chain_creation_write(const struct chain_create_plan *plan,
                         enum chain_creation_kind kind,
                         struct chain_creation *out, struct img_error *err);
/* Let the names appear: the data file's first. */
int chain_creation_publish(struct chain_creation *creation,
                           struct img_error *err);
/* FILE, a new one, gets mode and owner of the file that STAMP tells of, as far
   as that is permitted. */
void chain_creation_take_owner(const struct img_file *file,
                               const struct img_stamp *stamp);
/* Does the name that FILE was to have stand for it, whatever failed then? */
bool chain_creation_is_named(const struct img_file *file);
/* What was not published is gone. */
void chain_creation_fini(struct chain_creation *creation);

/*
 * Could it be written? Looks at the name that PLAN gives, the folder, the
 * space, and who uses what is there; writes nothing.
 */
int chain_creation_check(const struct chain_create_plan *plan,
                         enum chain_creation_kind kind, struct img_error *err);

#endif
