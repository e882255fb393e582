/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: QEMU's image locks (its block/file-posix.c is the reference).
 *
 * A lock is a shared open-file-description lock on one byte. Byte 100 + p
 * says "I use permission p", byte 200 + p says "I let nobody else have p".
 * A newcomer first takes its own locks and then asks, as if it were to write
 * them, whether anybody holds the opposite bytes: both of two newcomers may
 * back off, but never can both get in. Nothing ever waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <img/memory.h>

#include "file_impl.h"

enum permission {
    PERM_CONSISTENT_READ = 0,
    PERM_WRITE = 1,
    PERM_RESIZE = 3, /* 2 is "write unchanged": no reader or writer minds */
};

#define USED_BYTE 100u
#define UNSHARED_BYTE 200u

/* What a QEMU reader holds. */
static const unsigned reader_bytes[] = {
    USED_BYTE + PERM_CONSISTENT_READ,
    UNSHARED_BYTE + PERM_WRITE,
    UNSHARED_BYTE + PERM_RESIZE,
};

/* Held by others, these keep a reader out. */
static const unsigned reader_tests[] = {
    USED_BYTE + PERM_WRITE,
    USED_BYTE + PERM_RESIZE,
    UNSHARED_BYTE + PERM_CONSISTENT_READ,
};

/* Held by others, these keep a writer out. */
static const unsigned writer_tests[] = {
    USED_BYTE + PERM_WRITE,
    USED_BYTE + PERM_RESIZE,
    UNSHARED_BYTE + PERM_CONSISTENT_READ,
    UNSHARED_BYTE + PERM_WRITE,
    UNSHARED_BYTE + PERM_RESIZE,
};

#define NR(array) (sizeof(array) / sizeof((array)[0]))

static const char *permission_name(unsigned byte)
{
    switch (byte % 100) {
    case PERM_CONSISTENT_READ:
        return "consistent read";
    case PERM_WRITE:
        return "write";
    case PERM_RESIZE:
        return "resize";
    default:
        return "unknown";
    }
}

/* fcntl on one byte; 0 or an errno. */
static int lock_call(int fd, int command, short type, unsigned byte,
                     struct flock *out)
{
    *out = (struct flock){
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)byte,
        .l_len = 1,
    };
    while (fcntl(fd, command, out)) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

static void release(int fd)
{
    struct flock lock;

    for (size_t i = 0; i < NR(reader_bytes); i++) {
        (void)lock_call(fd, F_OFD_SETLK, F_UNLCK, reader_bytes[i], &lock);
    }
}

/*
 * The kernel names no process for locks of open file descriptions (-1), but
 * does for classic ones.
 */
static void find_holder(int fd, unsigned byte, bool write_only,
                        const struct flock *lock,
                        struct img_lock_holder *holder)
{
    holder->is_held = true;
    holder->what = permission_name(byte);
    if (lock->l_pid > 0) {
        holder->pid = lock->l_pid;
    } else {
        img_holder_find(fd, byte, write_only, &holder->pid);
    }
    img_holder_describe(holder->pid, holder->command, sizeof(holder->command));
}

static int fail_lock(int sys_errno, struct img_error *err)
{
    const char *why = strerrordesc_np(sys_errno);

    img_fail(err, IMG_SYSTEM,
             "the file system lets no image be locked (%s), so that other "
             "users of the file stay unseen; use -U to read it all the same",
             why ? why : "unknown error");
    err->sys_errno = sys_errno;
    return -1;
}

static int fail_held(const struct img_lock_holder *holder, unsigned byte,
                     bool is_exclusive, struct img_error *err)
{
    char who[64] = "another process";
    bool has_command = holder->command[0] != '\0';
    const char *before = "which holds the ";
    const char *after = " lock";

    if (holder->pid > 0) {
        snprintf(who, sizeof(who), "process %d", holder->pid);
    }
    if (is_exclusive) {
        before = "which holds an exclusive ";
    } else if (byte >= UNSHARED_BYTE) {
        before = "which does not share the ";
        after = " permission";
    }
    return img_fail(err, IMG_LOCKED,
                    "is in use by %s%s%s%s, %s%s%s; use -U to read it all "
                    "the same",
                    who, has_command ? " (" : "", holder->command,
                    has_command ? ")" : "", before, holder->what, after);
}

/*
 * The first of BYTES that somebody else has locked, *byte 0 if none. Returns
 * an errno.
 */
static int test_bytes(int fd, const unsigned *bytes, size_t nr, unsigned *byte,
                      struct flock *lock)
{
    *byte = 0;
    for (size_t i = 0; i < nr; i++) {
        int sys_errno = lock_call(fd, F_OFD_GETLK, F_WRLCK, bytes[i], lock);
        if (sys_errno != 0) {
            return sys_errno;
        }
        if (lock->l_type != F_UNLCK) {
            *byte = bytes[i];
            return 0;
        }
    }
    return 0;
}

/* Somebody holds BYTE for itself alone: never QEMU, but it keeps us out. */
static int fail_exclusive(int fd, unsigned byte, struct img_error *err)
{
    struct img_lock_holder holder = {0};
    struct flock lock;

    if (lock_call(fd, F_OFD_GETLK, F_RDLCK, byte, &lock) != 0) {
        lock.l_pid = 0;
    }
    find_holder(fd, byte, true, &lock, &holder);
    return fail_held(&holder, byte, true, err);
}

static int take_bytes(int fd, struct img_error *err)
{
    struct flock lock;

    for (size_t i = 0; i < NR(reader_bytes); i++) {
        int sys_errno =
            lock_call(fd, F_OFD_SETLK, F_RDLCK, reader_bytes[i], &lock);
        if (sys_errno == EAGAIN || sys_errno == EACCES) {
            return fail_exclusive(fd, reader_bytes[i], err);
        }
        if (sys_errno != 0) {
            return fail_lock(sys_errno, err);
        }
    }
    return 0;
}

static int test_reader(int fd, struct img_error *err)
{
    struct img_lock_holder holder = {0};
    struct flock lock;
    unsigned byte;
    int sys_errno =
        test_bytes(fd, reader_tests, NR(reader_tests), &byte, &lock);

    if (sys_errno != 0) {
        return fail_lock(sys_errno, err);
    }
    if (byte == 0) {
        return 0;
    }
    find_holder(fd, byte, false, &lock, &holder);
    return fail_held(&holder, byte, false, err);
}

int img_lock_reader(int fd, struct img_error *err)
{
    if (take_bytes(fd, err) || test_reader(fd, err)) {
        release(fd);
        return -1;
    }
    return 0;
}

int img_file_lock_reader(struct img_file *file, struct img_error *err)
{
    int fd = img_file_origin(file)->fd;

    if (fd >= 0 && img_lock_reader(fd, err)) {
        img_error_set_path(err, img_file_path(file));
        return -1;
    }
    return 0;
}

/*
 * A byte that this process holds through another handle, and no process in
 * sight besides, does not count. (A holder in a process that cannot be seen
 * hides behind such a handle; it can only be a reader.)
 */
int img_file_writer_test(struct img_file *file, struct img_lock_holder *holder,
                         struct img_error *err)
{
    int fd = img_file_origin(file)->fd;
    struct flock lock;
    unsigned byte;

    *holder = (struct img_lock_holder){.what = ""};
    for (size_t i = 0; fd >= 0 && i < NR(writer_tests); i++) {
        int sys_errno = test_bytes(fd, &writer_tests[i], 1, &byte, &lock);
        if (sys_errno != 0) {
            img_fail_sys(err, sys_errno, "cannot ask who has it locked");
            img_error_set_path(err, img_file_path(file));
            return -1;
        }
        if (byte == 0) {
            continue;
        }
        find_holder(fd, byte, false, &lock, holder);
        if (holder->pid != getpid()) {
            return 0;
        }
        *holder = (struct img_lock_holder){.what = ""};
    }
    return 0;
}
