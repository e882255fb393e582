/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process confines itself, in two steps, so that a decoder that a hostile
 * image has taken over finds nothing to do harm with. A command that only
 * reads images calls, in this order and before it starts any thread:
 *
 *   outfile_prepare, session_output,    what is written is opened, and
 *   session_rings                       rings for many reads are made
 *   sandbox_begin                       images may be opened for reading; no
 *                                       writing, no network, no programs
 *   session_open                        headers are read, names followed
 *   sandbox_seal                        nothing may be opened any more
 *   ...                                 tables and contents are read
 *
 * docs/security.md says what each step takes away, and what it does not.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "options.h"

/* What a command does after sandbox_seal besides reading open files. */
enum {
    SANDBOX_NAMES = 1u << 0, /* asks about names: stat, readlink, statfs */
    /* Is over in a thousandth of a second, of which a second filter would be a
       tenth: goes without where Landlock keeps files from being opened. */
    SANDBOX_BRIEF = 1u << 1,
};

/*
 * Before sandbox_begin: FD may be written to later. Without a sandbox it has
 * no effect. Standard output and standard error need not be named.
 */
void sandbox_allow_writing(int fd);
/* Before sandbox_begin: FD is an io_uring that may be used later; it should be
   one that can do nothing but read (img_ring_stock). */
void sandbox_allow_ring(int fd);
/* Is the command going to be confined (no --no-sandbox)? */
bool sandbox_is_wanted(const struct common_values *common);

/*
 * The first step. Does nothing but tell so with --no-sandbox. What the kernel
 * does not offer is told with -v, and fails (IMG_UNSUPPORTED) with
 * --require-sandbox.
 */
int sandbox_begin(const struct common_values *common, unsigned needs,
                  struct img_error *err);
/* The second step; nothing if the first one was not made. */
int sandbox_seal(struct img_error *err);

#endif
