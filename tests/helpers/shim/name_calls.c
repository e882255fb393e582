/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sysshim: files that are opened, and their names. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* -- opening */

static bool exists(int dir_fd, const char *name, struct stat *st)
{
    return fstatat(dir_fd, name, st, 0) == 0;
}

static int open_real(int dir_fd, const char *name, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, dir_fd, name, flags, mode);
}

static int open_nameless(int dir_fd, const char *name, int flags, mode_t mode)
{
    struct call call;
    struct stat st;
    char inside[PATH_MAX + 2];
    int fd;

    snprintf(inside, sizeof(inside), "%s/.", name);
    if (!shim_watch_path(&call, KIND_TMPFILE, dir_fd, inside)) {
        return open_real(dir_fd, name, flags, mode);
    }
    call.path[0] = '\0';
    call.record.ino = 0;
    if (!shim_begin(&call)) {
        return -1;
    }
    fd = open_real(dir_fd, name, flags, mode);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        call.record.ino = st.st_ino;
    }
    shim_end(&call, fd < 0 ? -1 : 0);
    return fd;
}

static int open_creating(int dir_fd, const char *name, int flags, mode_t mode)
{
    struct call call;
    struct stat st;
    bool was_there;
    int fd;

    if (!shim_watch_path(&call, KIND_CREATE, dir_fd, name)) {
        return open_real(dir_fd, name, flags, mode);
    }
    was_there = exists(dir_fd, name, &st);
    if (was_there && !(flags & O_TRUNC)) {
        return open_real(dir_fd, name, flags, mode);
    }
    if (was_there) {
        call.record.kind = KIND_TRUNCATE;
    }
    if (!shim_begin(&call)) {
        return -1;
    }
    fd = open_real(dir_fd, name, flags, mode);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        call.record.ino = st.st_ino;
    }
    shim_end(&call, fd < 0 ? -1 : 0);
    return fd;
}

static int open_any(int dir_fd, const char *name, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        return open_nameless(dir_fd, name, flags, mode);
    }
    if (flags & (O_CREAT | O_TRUNC)) {
        return open_creating(dir_fd, name, flags, mode);
    }
    return open_real(dir_fd, name, flags, mode);
}

static mode_t take_mode(int flags, va_list args)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE
               ? (mode_t)va_arg(args, int)
               : 0;
}

#define DEFINE_OPEN(symbol)                                                    \
    EXPORT int symbol(const char *name, int flags, ...);                       \
    EXPORT int symbol(const char *name, int flags, ...)                        \
    {                                                                          \
        va_list args;                                                          \
        va_start(args, flags);                                                 \
        mode_t mode = take_mode(flags, args);                                  \
        va_end(args);                                                          \
        return open_any(AT_FDCWD, name, flags, mode);                          \
    }

#define DEFINE_OPENAT(symbol)                                                  \
    EXPORT int symbol(int dir_fd, const char *name, int flags, ...);           \
    EXPORT int symbol(int dir_fd, const char *name, int flags, ...)            \
    {                                                                          \
        va_list args;                                                          \
        va_start(args, flags);                                                 \
        mode_t mode = take_mode(flags, args);                                  \
        va_end(args);                                                          \
        return open_any(dir_fd, name, flags, mode);                            \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPEN(__open_2)
DEFINE_OPEN(__open64_2)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)
DEFINE_OPENAT(__openat_2)
DEFINE_OPENAT(__openat64_2)

/* -- names */

/* The inode of what a link is made of: a name, or a descriptor of its own. */
static uint64_t ino_of(int dir_fd, const char *name, int flags)
{
    struct stat st;
    int stat_flags = flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW;

    if (flags & AT_EMPTY_PATH) {
        stat_flags |= AT_EMPTY_PATH;
    }
    return fstatat(dir_fd, name, &st, stat_flags) == 0 ? st.st_ino : 0;
}

EXPORT int linkat(int from_fd, const char *from, int to_fd, const char *to,
                  int flags)
{
    struct call call;
    long rc;

    if (!shim_watch_path(&call, KIND_LINK, to_fd, to)) {
        return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    }
    call.record.ino = ino_of(from_fd, from, flags);
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    shim_end(&call, rc);
    return (int)rc;
}

EXPORT int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int renameat2(int from_fd, const char *from, int to_fd, const char *to,
                     unsigned flags)
{
    struct call call;
    long rc;

    if (flags != 0 && getenv("SYSSHIM_PLAIN_RENAME")) {
        errno = EINVAL;
        return -1;
    }
    if (!shim_watch_path(&call, KIND_RENAME, from_fd, from) ||
        !shim_resolve(to_fd, to, call.path2)) {
        return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    }
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    shim_end(&call, rc);
    return (int)rc;
}

EXPORT int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return renameat2(from_fd, from, to_fd, to, 0);
}

EXPORT int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int unlinkat(int dir_fd, const char *name, int flags)
{
    struct call call;
    enum kind kind = flags & AT_REMOVEDIR ? KIND_RMDIR : KIND_UNLINK;
    long rc;

    if (!shim_watch_path(&call, kind, dir_fd, name)) {
        return (int)syscall(SYS_unlinkat, dir_fd, name, flags);
    }
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(SYS_unlinkat, dir_fd, name, flags);
    shim_end(&call, rc);
    return (int)rc;
}

EXPORT int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

EXPORT int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

EXPORT int mkdirat(int dir_fd, const char *name, mode_t mode)
{
    struct call call;
    long rc;

    if (!shim_watch_path(&call, KIND_MKDIR, dir_fd, name)) {
        return (int)syscall(SYS_mkdirat, dir_fd, name, mode);
    }
    if (!shim_begin(&call)) {
        return -1;
    }
    rc = syscall(SYS_mkdirat, dir_fd, name, mode);
    shim_end(&call, rc);
    return (int)rc;
}

EXPORT int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}
