/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room io: which processes have a file open or mapped, and what each has
 * locked. A process may end, or its number be given to another, at any time:
 * all is read through one descriptor of its folder, which then leads nowhere.
 */
#include "holders.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <img/memory.h>

/* One process while it is looked at. */
struct look {
    struct img_holders *holders;
    int proc_fd, pid;
    size_t begin;    /* its holders are those from here on */
    bool is_known;   /* it is the last one of the processes */
    bool is_refused; /* something may not be looked at */
};

/* The process's holder of TARGET; made when it is met first. */
static struct img_holder *meet(struct look *look, size_t target,
                               struct img_error *err)
{
    struct img_holders *holders = look->holders;
    struct img_holder *holder;

    for (size_t i = look->begin; i < holders->nr; i++) {
        if (holders->list[i].kind == IMG_HOLDER_PROCESS &&
            holders->list[i].target == target) {
            return &holders->list[i];
        }
    }
    if (!look->is_known) {
        struct img_process process;

        if (img_process_load(look->proc_fd, look->pid, &process, err) != 0) {
            return NULL;
        }
        struct img_process *at =
            img_holders_push(&holders->processes, &holders->processes_nr,
                             sizeof(*holders->processes), err);
        if (!at) {
            img_process_fini(&process);
            return NULL;
        }
        *at = process;
        look->is_known = true;
    }
    holder = img_holders_add(holders, IMG_HOLDER_PROCESS, target, err);
    if (holder) {
        holder->process = holders->processes_nr - 1;
    }
    return holder;
}

static int add_lock(struct img_holder *holder, const struct img_lock *lock,
                    struct img_error *err)
{
    struct img_lock *at;

    for (size_t i = 0; i < holder->locks_nr; i++) {
        const struct img_lock *old = &holder->locks[i];

        if (old->first == lock->first && old->last == lock->last &&
            old->is_exclusive == lock->is_exclusive) {
            return 0;
        }
    }
    at = img_holders_push(&holder->locks, &holder->locks_nr, sizeof(*at), err);
    if (!at) {
        return -1;
    }
    *at = *lock;
    return 0;
}

/* Record locks only: what flock(2) and leases say keeps no QEMU out. */
static int add_locks(struct img_holder *holder, char *text,
                     struct img_error *err)
{
    char *rest = text;
    const char *line;

    while ((line = strsep(&rest, "\n"))) {
        struct img_lock_line lock;

        if (img_lock_line_parse(line, &lock) &&
            (strcmp(lock.class, "OFDLCK") == 0 ||
             strcmp(lock.class, "POSIX") == 0) &&
            add_lock(holder, &lock.lock, err) != 0) {
            return -1;
        }
    }
    return 0;
}

/* The descriptor NAME leads to TARGET. */
static int note_descriptor(struct look *look, const char *name, size_t target,
                           struct img_error *err)
{
    char path[32], text[IMG_FDINFO_MAX];
    struct img_holder *holder;
    const char *line;
    unsigned flags = 0;

    (void)snprintf(path, sizeof(path), "fdinfo/%.10s", name);
    if (img_proc_text(look->proc_fd, path, text, sizeof(text)) > 0) {
        line = strstr(text, "flags:");
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
        if (line && sscanf(line, "flags: %o", &flags) == 1 &&
            (flags & O_PATH)) {
            return 0; /* a name, not a file */
        }
    }
    holder = meet(look, target, err);
    if (!holder) {
        return -1;
    }
    holder->is_read |= (flags & O_ACCMODE) != O_WRONLY;
    holder->is_written |= (flags & O_ACCMODE) != O_RDONLY;
    return add_locks(holder, text, err);
}

static int look_at_descriptor(struct look *look, int dir_fd, const char *name,
                              struct img_error *err)
{
    struct img_holders *holders = look->holders;
    struct img_identity identity;
    int sys_errno = img_proc_identity(dir_fd, name, &identity);

    if (sys_errno != 0) {
        look->is_refused |= sys_errno == EACCES || sys_errno == EPERM;
        return 0;
    }
    for (size_t i = 0; i < holders->targets_nr; i++) {
        if (img_identity_is_same(&identity, &holders->targets[i].identity) &&
            note_descriptor(look, name, i, err) != 0) {
            return -1;
        }
    }
    return 0;
}

static int look_at_descriptors(struct look *look, struct img_error *err)
{
    DIR *dir = img_proc_dir(look->proc_fd, "fd");
    const char *name;
    int rc = 0;

    if (!dir) {
        look->is_refused |= errno != ENOENT && errno != ESRCH;
        return 0;
    }
    while (rc == 0 && (name = img_proc_number(dir))) {
        rc = look_at_descriptor(look, dirfd(dir), name, err);
    }
    closedir(dir);
    return rc;
}

/*
 * Is what lies at RANGE the file? The link tells, to those who may follow it;
 * the device number of the line is the superblock's, which is what stat shows
 * on most file systems.
 */
static bool is_mapping_of(const struct look *look, const char *range,
                          uint64_t dev, const struct img_identity *wanted)
{
    struct img_identity identity;
    char path[64];

    (void)snprintf(path, sizeof(path), "map_files/%.40s", range);
    return img_proc_identity(look->proc_fd, path, &identity) == 0
               ? img_identity_is_same(&identity, wanted)
               : dev == wanted->dev;
}

/* "BEGIN-END PERMS OFFSET MAJOR:MINOR INODE PATH" */
static int look_at_mapping(struct look *look, const char *line,
                           struct img_error *err)
{
    struct img_holders *holders = look->holders;
    char range[40], perms[8];
    unsigned major, minor;
    uint64_t ino;

    /* NOLINTNEXTLINE(cert-err34-c): the kernel's numbers fit */
    if (sscanf(line, "%39s %7s %*s %x:%x %" SCNu64, range, perms, &major,
               &minor, &ino) != 5 ||
        ino == 0) {
        return 0;
    }
    for (size_t i = 0; i < holders->targets_nr; i++) {
        const struct img_identity *wanted = &holders->targets[i].identity;
        struct img_holder *holder;

        if (wanted->rdev != 0 || wanted->ino != ino ||
            !is_mapping_of(look, range, makedev(major, minor), wanted)) {
            continue;
        }
        holder = meet(look, i, err);
        if (!holder) {
            return -1;
        }
        holder->is_mapped = true;
        holder->is_read = true;
        holder->is_written |= strchr(perms, 's') && strchr(perms, 'w');
    }
    return 0;
}

static int look_at_mappings(struct look *look, struct img_error *err)
{
    int fd = openat(look->proc_fd, "maps", O_RDONLY | O_CLOEXEC);
    FILE *list = fd >= 0 ? fdopen(fd, "re") : NULL;
    char *line = NULL;
    size_t size = 0;
    int rc = 0;

    if (!list) {
        look->is_refused |= errno == EACCES || errno == EPERM;
        if (fd >= 0) {
            close(fd);
        }
        return 0;
    }
    while (rc == 0 && getline(&line, &size, list) > 0) {
        rc = look_at_mapping(look, line, err);
    }
    free(line);
    (void)fclose(list);
    return rc;
}

static int look_at_process(struct img_holders *holders, int proc_fd, int pid,
                           struct img_error *err)
{
    struct look look = {.holders = holders,
                        .proc_fd = proc_fd,
                        .pid = pid,
                        .begin = holders->nr};

    if (look_at_descriptors(&look, err) != 0 ||
        look_at_mappings(&look, err) != 0) {
        return -1;
    }
    if (look.is_refused && !img_proc_is_empty(proc_fd)) {
        holders->unseen.processes_nr++;
    }
    return 0;
}

/* Mount namespaces that were looked at. */
struct spaces {
    char (*names)[32];
    size_t nr;
};

/* Is it the first process in its namespace? */
static int is_new_space(struct spaces *spaces, int proc_fd, bool *is_new,
                        struct img_error *err)
{
    char name[32];
    char *at;

    *is_new = false;
    if (img_proc_link(proc_fd, "ns/mnt", name, sizeof(name)) == 0) {
        return 0;
    }
    for (size_t i = 0; i < spaces->nr; i++) {
        if (strcmp(spaces->names[i], name) == 0) {
            return 0;
        }
    }
    at = img_holders_push(&spaces->names, &spaces->nr, sizeof(name), err);
    if (!at) {
        return -1;
    }
    memcpy(at, name, sizeof(name));
    *is_new = true;
    return 0;
}

static int look_at_pid(struct img_holders *holders, int dir_fd,
                       const char *name, struct spaces *spaces,
                       struct img_error *err)
{
    int proc_fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int pid = (int)strtol(name, NULL, 10);
    bool is_new = false;
    int rc = 0;

    if (proc_fd < 0) {
        return 0;
    }
    if (pid != getpid()) {
        rc = look_at_process(holders, proc_fd, pid, err);
    }
    if (rc == 0) {
        rc = is_new_space(spaces, proc_fd, &is_new, err);
    }
    if (rc == 0 && is_new) {
        rc = img_holders_add_mounts(holders, proc_fd, pid, err);
    }
    close(proc_fd);
    return rc;
}

static int look_at_own_space(struct img_holders *holders, int dir_fd,
                             struct spaces *spaces, struct img_error *err)
{
    int proc_fd = openat(dir_fd, "self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool is_new;
    int rc;

    if (proc_fd < 0) {
        return img_fail(err, IMG_UNSUPPORTED,
                        "found no processes in /proc, which alone tells who "
                        "has a file open");
    }
    rc = is_new_space(spaces, proc_fd, &is_new, err);
    if (rc == 0) {
        rc = img_holders_add_mounts(holders, proc_fd, 0, err);
    }
    close(proc_fd);
    return rc;
}

int img_holders_add_processes(struct img_holders *holders,
                              struct img_error *err)
{
    DIR *dir = img_proc_dir(AT_FDCWD, "/proc");
    struct spaces spaces = {.names = NULL};
    const char *name;
    bool has_first = false;
    int rc = look_at_own_space(holders, dir ? dirfd(dir) : -1, &spaces, err);

    while (dir && rc == 0 && (name = img_proc_number(dir))) {
        has_first |= strcmp(name, "1") == 0;
        rc = look_at_pid(holders, dirfd(dir), name, &spaces, err);
    }
    /* Every namespace has a process 1; only hidepid keeps it off the list. */
    holders->unseen.is_hidden = !has_first;
    free(spaces.names);
    if (dir) {
        closedir(dir);
    }
    return rc;
}
