/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sysshim: a library for LD_PRELOAD that stands between a program and the
 * calls by which it changes files below one folder.
 *
 *   SYSSHIM_FOLDER  the folder; others are none of its business
 *   SYSSHIM_LOG     file to append a record of each such call to
 *   SYSSHIM_PLAN    what is to happen at the Nth of them (counted from 1):
 *                   "N:ERRNO"     it fails, ERRNO a number
 *                   "N+:ERRNO"    it and all that take space after it fail
 *                   "N*:ERRNO"    it and all flushes after it fail
 *                   "N:short"     a write that writes half
 *                   "N:kill"      SIGKILL before it
 *                   "N:killafter" SIGKILL after it
 *                   "N:int"       SIGINT before it
 *                   "N:stop"      SIGSTOP before it
 *   SYSSHIM_PLAIN_RENAME  when set, there is a file system whose rename cannot
 *                   be told to replace nothing
 *
 * A record is struct record, two paths and the data, in the machine's byte
 * order; tests/crash/support/calls.py reads them. Paths are relative to the
 * folder. What was cloned or copied is recorded as the bytes that arrived.
 * Calls of several threads are done one after the other.
 */
#ifndef SHIM_H
#define SHIM_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define RECORD_MAGIC 0x4c4c4143u /* "CALL" */
#define EXPORT __attribute__((visibility("default")))

enum kind {
    KIND_CREATE = 1, /* path, ino; aux 1: it was there already */
    KIND_TMPFILE,    /* ino */
    KIND_WRITE,      /* ino, off, data */
    KIND_TRUNCATE,   /* ino, len */
    KIND_FALLOCATE,  /* ino, off, len; aux: mode */
    KIND_CLONE,      /* ino, off, data */
    KIND_LINK,       /* path, ino */
    KIND_RENAME,     /* path to path2, ino */
    KIND_UNLINK,     /* path, ino */
    KIND_FLUSH,      /* ino */
    KIND_FLUSH_DIR,  /* path */
    KIND_MKDIR,      /* path */
    KIND_RMDIR,      /* path */
};

struct record {
    uint32_t magic;
    uint16_t kind, unused;
    int64_t result; /* or a negative errno */
    uint64_t ino, off, len, aux;
    uint32_t path_len, path2_len;
    uint64_t data_len;
};

/* One call that is under way. */
struct call {
    struct record record;
    char path[PATH_MAX], path2[PATH_MAX];
    const struct iovec *iov; /* of a write */
    int iov_nr;
};

/*
 * Does the call concern a file below the folder? CALL is filled in then:
 * kind, inode, path.
 */
bool shim_watch_fd(struct call *call, enum kind kind, int fd);
bool shim_watch_path(struct call *call, enum kind kind, int dir_fd,
                     const char *name);
/* NAME in the folder that DIR_FD has open, relative to the folder. */
bool shim_resolve(int dir_fd, const char *name, char *out);

/*
 * Begin a call: others wait until it has ended. False: it is to fail, errno
 * is set, and it has ended.
 */
bool shim_begin(struct call *call);
/* It returned RESULT; errno is kept. */
void shim_end(struct call *call, int64_t result);
/* Is the call that was begun a write that is to write half? */
bool shim_is_cut_short(void);

void shim_die(const char *what) __attribute__((noreturn));

#endif
