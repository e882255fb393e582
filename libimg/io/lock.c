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

#include <img/holders.h>
#include <img/memory.h>

#include "file_impl.h"

/* What QEMU holds, and what keeps it out when others hold it. */
struct lock_set {
    const unsigned *held, *tested;
    size_t held_nr, tested_nr;
    const char *hint; /* what to do about a conflict */
};

#define NR(array) (sizeof(array) / sizeof((array)[0]))

static const unsigned reader_held[] = {
    IMG_LOCK_USED_BYTE + IMG_PERM_CONSISTENT_READ,
    IMG_LOCK_UNSHARED_BYTE + IMG_PERM_WRITE,
    IMG_LOCK_UNSHARED_BYTE + IMG_PERM_RESIZE,
};

static const unsigned reader_tested[] = {
    IMG_LOCK_USED_BYTE + IMG_PERM_WRITE,
    IMG_LOCK_USED_BYTE + IMG_PERM_RESIZE,
    IMG_LOCK_UNSHARED_BYTE + IMG_PERM_CONSISTENT_READ,
};

static const unsigned writer_held[] = {
    IMG_LOCK_USED_BYTE + IMG_PERM_CONSISTENT_READ,
    IMG_LOCK_USED_BYTE + IMG_PERM_WRITE,
    IMG_LOCK_USED_BYTE + IMG_PERM_RESIZE,
    IMG_LOCK_UNSHARED_BYTE + IMG_PERM_WRITE,
    IMG_LOCK_UNSHARED_BYTE + IMG_PERM_RESIZE,
};

static const unsigned writer_tested[] = {
    IMG_LOCK_USED_BYTE + IMG_PERM_WRITE,
    IMG_LOCK_USED_BYTE + IMG_PERM_RESIZE,
    IMG_LOCK_UNSHARED_BYTE + IMG_PERM_CONSISTENT_READ,
    IMG_LOCK_UNSHARED_BYTE + IMG_PERM_WRITE,
    IMG_LOCK_UNSHARED_BYTE + IMG_PERM_RESIZE,
};

static const struct lock_set lock_sets[] = {
    [IMG_LOCK_NONE] = {.hint = ""},
    [IMG_LOCK_READER] = {.held = reader_held,
                         .held_nr = NR(reader_held),
                         .tested = reader_tested,
                         .tested_nr = NR(reader_tested),
                         .hint = "; use -U to read it all the same"},
    [IMG_LOCK_WRITER] = {.held = writer_held,
                         .held_nr = NR(writer_held),
                         .tested = writer_tested,
                         .tested_nr = NR(writer_tested),
                         .hint = ""},
};

int img_lock_call(int fd, int command, short type, uint64_t byte,
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

static bool has_byte(const struct lock_set *set, unsigned byte)
{
    for (size_t i = 0; i < set->held_nr; i++) {
        if (set->held[i] == byte) {
            return true;
        }
    }
    return false;
}

/* Give up what SET holds and BEFORE did not. */
static void release(int fd, const struct lock_set *set,
                    const struct lock_set *before)
{
    struct flock lock;

    for (size_t i = 0; i < set->held_nr; i++) {
        if (!has_byte(before, set->held[i])) {
            (void)img_lock_call(fd, F_OFD_SETLK, F_UNLCK, set->held[i], &lock);
        }
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
    holder->what = img_permission_name(byte % 100);
    if (lock->l_pid > 0) {
        holder->pid = lock->l_pid;
    } else {
        img_holder_find(fd, byte, write_only, &holder->pid);
    }
    img_holder_describe(holder->pid, holder->command, sizeof(holder->command));
}

static int fail_lock(int sys_errno, const char *hint, struct img_error *err)
{
    const char *why = strerrordesc_np(sys_errno);

    img_fail(err, IMG_SYSTEM,
             "the file system lets no image be locked (%s), so that other "
             "users of the file stay unseen%s",
             why ? why : "unknown error", hint);
    err->sys_errno = sys_errno;
    return -1;
}

static int fail_held(const struct img_lock_holder *holder, unsigned byte,
                     bool is_exclusive, const char *hint, struct img_error *err)
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
    } else if (byte >= IMG_LOCK_UNSHARED_BYTE) {
        before = "which does not share the ";
        after = " permission";
    }
    return img_fail(err, IMG_LOCKED, "is in use by %s%s%s%s, %s%s%s%s", who,
                    has_command ? " (" : "", holder->command,
                    has_command ? ")" : "", before, holder->what, after, hint);
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
        int sys_errno = img_lock_call(fd, F_OFD_GETLK, F_WRLCK, bytes[i], lock);
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
static int fail_exclusive(int fd, unsigned byte, const char *hint,
                          struct img_error *err)
{
    struct img_lock_holder holder = {0};
    struct flock lock;

    if (img_lock_call(fd, F_OFD_GETLK, F_RDLCK, byte, &lock) != 0) {
        lock.l_pid = 0;
    }
    find_holder(fd, byte, true, &lock, &holder);
    return fail_held(&holder, byte, true, hint, err);
}

static int take_bytes(int fd, const struct lock_set *set, struct img_error *err)
{
    struct flock lock;

    for (size_t i = 0; i < set->held_nr; i++) {
        int sys_errno =
            img_lock_call(fd, F_OFD_SETLK, F_RDLCK, set->held[i], &lock);
        if (sys_errno == EAGAIN || sys_errno == EACCES) {
            return fail_exclusive(fd, set->held[i], set->hint, err);
        }
        if (sys_errno != 0) {
            return fail_lock(sys_errno, set->hint, err);
        }
    }
    return 0;
}

static int test_set(int fd, const struct lock_set *set, struct img_error *err)
{
    struct img_lock_holder holder = {0};
    struct flock lock;
    unsigned byte;
    int sys_errno = test_bytes(fd, set->tested, set->tested_nr, &byte, &lock);

    if (sys_errno != 0) {
        return fail_lock(sys_errno, set->hint, err);
    }
    if (byte == 0) {
        return 0;
    }
    find_holder(fd, byte, false, &lock, &holder);
    return fail_held(&holder, byte, false, set->hint, err);
}

int img_lock_take(int fd, enum img_lock_mode mode, enum img_lock_mode before,
                  struct img_error *err)
{
    const struct lock_set *set = &lock_sets[mode];

    if (take_bytes(fd, set, err) || test_set(fd, set, err)) {
        release(fd, set, &lock_sets[before]);
        return -1;
    }
    return 0;
}

static int lock_file(struct img_file *file, enum img_lock_mode mode,
                     struct img_error *err)
{
    struct img_file *origin = img_file_origin(file);

    if (origin->fd < 0 || origin->lock == IMG_LOCK_WRITER) {
        return 0;
    }
    if (img_lock_take(origin->fd, mode, origin->lock, err)) {
        img_error_set_path(err, img_file_path(file));
        return -1;
    }
    origin->lock = mode;
    return 0;
}

int img_file_lock_reader(struct img_file *file, struct img_error *err)
{
    return lock_file(file, IMG_LOCK_READER, err);
}

int img_file_lock_writer(struct img_file *file, struct img_error *err)
{
    return lock_file(file, IMG_LOCK_WRITER, err);
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
    for (size_t i = 0; fd >= 0 && i < NR(writer_tested); i++) {
        int sys_errno = test_bytes(fd, &writer_tested[i], 1, &byte, &lock);
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
