/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Room io: reading /proc and /sys; see proc.h. */
#include "proc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define STAT_MAX 512u
#define KERNEL_THREAD 0x00200000u /* PF_KTHREAD of the kernel's flags */

size_t img_proc_text(int dir_fd, const char *name, char *buf, size_t size)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd >= 0) {
        ssize_t n;
        while (len < size - 1 &&
               (n = read(fd, buf + len, size - 1 - len)) > 0) {
            len += (size_t)n;
        }
        close(fd);
    }
    buf[len] = '\0';
    return len;
}

DIR *img_proc_dir(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir && fd >= 0) {
        close(fd);
    }
    return dir;
}

const char *img_proc_number(DIR *dir)
{
    const struct dirent *entry;

    while ((entry = readdir(dir))) {
        if (isdigit((unsigned char)entry->d_name[0])) {
            return entry->d_name;
        }
    }
    return NULL;
}

size_t img_proc_link(int dir_fd, const char *name, char *buf, size_t size)
{
    ssize_t len = readlinkat(dir_fd, name, buf, size - 1);

    buf[len > 0 ? len : 0] = '\0';
    return len > 0 ? (size_t)len : 0;
}

int img_proc_identity(int dir_fd, const char *name, struct img_identity *out)
{
    struct statx st;

    if (statx(dir_fd, name, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &st)) {
        return errno;
    }
    *out = (struct img_identity){
        .dev = makedev(st.stx_dev_major, st.stx_dev_minor),
        .ino = st.stx_ino,
        .rdev = S_ISBLK(st.stx_mode)
                    ? makedev(st.stx_rdev_major, st.stx_rdev_minor)
                    : 0,
        .is_file = S_ISBLK(st.stx_mode) || S_ISREG(st.stx_mode),
    };
    return 0;
}

bool img_identity_is_same(const struct img_identity *a,
                          const struct img_identity *b)
{
    if (!a->is_file || !b->is_file) {
        return false;
    }
    if (a->rdev != 0 || b->rdev != 0) {
        return a->rdev == b->rdev;
    }
    return a->dev == b->dev && a->ino == b->ino;
}

bool img_proc_is_empty(int proc_fd)
{
    char text[STAT_MAX];
    const char *rest;
    unsigned flags;
    char state;

    /* "PID (NAME) STATE ppid pgrp session tty tpgid FLAGS ..."; a name may
       have parentheses in it. */
    if (img_proc_text(proc_fd, "stat", text, sizeof(text)) == 0) {
        return true;
    }
    rest = strrchr(text, ')');
    if (!rest ||
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
        sscanf(rest, ") %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2) {
        return false;
    }
    return state == 'Z' || state == 'X' || (flags & KERNEL_THREAD);
}

/*
 * "lock:\t1: OFDLCK  ADVISORY  READ -1 fd:01:1234 100 100": number, class,
 * manner, type, process, device:inode, first and last byte or EOF.
 */
bool img_lock_line_parse(const char *line, struct img_lock_line *out)
{
    char type[8], last[24];

    /* The kernel's numbers fit. NOLINTNEXTLINE(cert-err34-c) */
    if (sscanf(line,
               "lock: %*d: %7s %*s %7s %*d %*x:%*x:%" SCNu64 " %" SCNu64
               " %23s",
               out->class, type, &out->ino, &out->lock.first, last) != 5) {
        return false;
    }
    out->lock.is_exclusive = strcmp(type, "WRITE") == 0;
    out->lock.last =
        strcmp(last, "EOF") == 0 ? UINT64_MAX : strtoull(last, NULL, 10);
    return true;
}
