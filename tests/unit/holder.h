/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Children that hold QEMU's locks, byte by byte, or the real qemu-io. */
#ifndef TESTS_HOLDER_H
#define TESTS_HOLDER_H

#include <sys/wait.h>

#include "scratch.h"

/* What QEMU 7.2 was seen to hold. */
static const int qemu_writer[] = {100, 101, 103, 201, 203, 0};
static const int qemu_reader[] = {100, 201, 203, 0};
static const int qemu_mirror_target[] = {100, 101, 103, 200, 201, 203, 0};

/* A child that holds locks until it is released. */
struct child {
    pid_t pid;
    int release_fd;
};

static inline void take_locks(int fd, const int *bytes, int command, short type)
{
    for (; *bytes; bytes++) {
        struct flock lock = {.l_type = type,
                             .l_whence = SEEK_SET,
                             .l_start = *bytes,
                             .l_len = 1};
        if (fcntl(fd, command, &lock)) {
            _exit(1);
        }
    }
}

/*
 * Locks PATH in a child, which then becomes a shell called ARGV0 with QEMU's
 * -name NAME among its arguments.
 */
static inline struct child start_holder(const char *path, const int *bytes,
                                        int command, short type,
                                        const char *argv0, const char *name)
{
    struct child child;
    int ready[2], release[2];
    char byte;

    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(release, O_CLOEXEC), 0);
    child.pid = fork();
    ck_assert_int_ge(child.pid, 0);
    if (child.pid == 0) {
        int fd = open(path, O_RDWR); /* not O_CLOEXEC: lives on */
        take_locks(fd, bytes, command, type);
        dup2(release[0], 0);
        dup2(ready[1], 1);
        execl("/bin/sh", argv0, "-c", "echo r; read x", "-name", name, NULL);
        _exit(1);
    }
    close(ready[1]);
    close(release[0]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    child.release_fd = release[1];
    return child;
}

static inline struct child start_qemu(const char *path, const int *bytes)
{
    return start_holder(path, bytes, F_OFD_SETLK, F_RDLCK,
                        "/usr/bin/qemu-system-x86_64",
                        "guest=vm,,1,debug-threads=on");
}

static inline void stop_child(struct child child)
{
    close(child.release_fd);
    ck_assert_int_eq(waitpid(child.pid, NULL, 0), child.pid);
}

/* Is BYTE locked by anybody, as a fresh description sees it? */
static inline bool is_locked(const char *path, int byte)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
    close(fd);
    return lock.l_type != F_UNLCK;
}

static inline void check_held_bytes(const char *path, const int *want)
{
    for (int byte = 0; byte < 300; byte++) {
        bool is_wanted = false;
        for (const int *w = want; *w; w++) {
            is_wanted |= *w == byte;
        }
        ck_assert_msg(is_locked(path, byte) == is_wanted, "byte %d", byte);
    }
}

static inline bool have_qemu_io(void)
{
    if (system("qemu-io --version >/dev/null 2>&1") == 0) {
        return true;
    }
    printf("SKIP: qemu-io is not installed\n");
    return false;
}

/* A qemu-io that has PATH open, until its input ends. */
static inline struct child start_qemu_io(const char *path, const char *format,
                                         const char *mode)
{
    struct child child;
    int input[2], output[2];
    char byte;

    ck_assert_int_eq(pipe2(input, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(output, O_CLOEXEC), 0);
    child.pid = fork();
    ck_assert_int_ge(child.pid, 0);
    if (child.pid == 0) {
        dup2(input[0], 0);
        dup2(output[1], 1);
        execlp("qemu-io", "qemu-io", "-f", format, mode, path, NULL);
        _exit(1);
    }
    close(input[0]);
    close(output[1]);
    /* its prompt says that the image is open */
    ck_assert_int_eq(read(output[0], &byte, 1), 1);
    close(output[0]);
    child.release_fd = input[1];
    return child;
}

#endif
