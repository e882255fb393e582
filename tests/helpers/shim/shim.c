/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sysshim: what is watched, the log and the plan. */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    char folder[PATH_MAX];
    size_t folder_len; /* 0: nothing is watched */
    int log_fd;
    uint64_t calls_nr;
    uint64_t plan_at; /* 0: no plan */
    bool is_sticky, is_flush_sticky, is_short, kill_after;
    int signal_before; /* 0: none */
    int plan_errno;
} shim = {.lock = PTHREAD_MUTEX_INITIALIZER, .log_fd = -1};

void shim_die(const char *what)
{
    fprintf(stderr, "sysshim: %s\n", what);
    _exit(120);
}

static void parse_plan(const char *plan)
{
    char *end;

    shim.plan_at = strtoull(plan, &end, 10);
    if (*end == '+') {
        shim.is_sticky = true;
        end++;
    } else if (*end == '*') {
        shim.is_flush_sticky = true;
        end++;
    }
    if (shim.plan_at == 0 || *end++ != ':') {
        shim_die("SYSSHIM_PLAN has no number");
    }
    if (strcmp(end, "short") == 0) {
        shim.is_short = true;
    } else if (strcmp(end, "kill") == 0) {
        shim.signal_before = SIGKILL;
    } else if (strcmp(end, "int") == 0) {
        shim.signal_before = SIGINT;
    } else if (strcmp(end, "stop") == 0) {
        shim.signal_before = SIGSTOP;
    } else if (strcmp(end, "killafter") == 0) {
        shim.kill_after = true;
    } else {
        shim.plan_errno = (int)strtol(end, NULL, 10);
    }
}

__attribute__((constructor)) static void start(void)
{
    const char *folder = getenv("SYSSHIM_FOLDER");
    const char *log = getenv("SYSSHIM_LOG");
    const char *plan = getenv("SYSSHIM_PLAN");

    if (!folder) {
        return;
    }
    if (!realpath(folder, shim.folder)) {
        shim_die("SYSSHIM_FOLDER does not exist");
    }
    shim.folder_len = strlen(shim.folder);
    if (log) {
        /* out of the way of the descriptors that the program will get */
        int fd = (int)syscall(SYS_openat, AT_FDCWD, log,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        shim.log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900);
        if (fd < 0 || shim.log_fd < 0) {
            shim_die("cannot open SYSSHIM_LOG");
        }
        syscall(SYS_close, fd);
    }
    if (plan) {
        parse_plan(plan);
    }
}

/* -- what is watched */

/* PATH without the folder; NULL if it lies elsewhere. */
static const char *below_folder(const char *path)
{
    if (shim.folder_len == 0 ||
        strncmp(path, shim.folder, shim.folder_len) != 0) {
        return NULL;
    }
    if (path[shim.folder_len] == '\0') {
        return ".";
    }
    return path[shim.folder_len] == '/' ? path + shim.folder_len + 1 : NULL;
}

static bool path_of_fd(int fd, char *out)
{
    char link[64];
    ssize_t len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, out, PATH_MAX - 1);
    if (len < 0) {
        return false;
    }
    out[len] = '\0';
    return true;
}

/* Is the file that FD has open below the folder? Fills in ino and path. */
bool shim_watch_fd(struct call *call, enum kind kind, int fd)
{
    char full[PATH_MAX];
    const char *below;
    struct stat st;

    if (shim.folder_len == 0 || !path_of_fd(fd, full)) {
        return false;
    }
    below = below_folder(full);
    if (!below || fstat(fd, &st)) {
        return false;
    }
    memset(&call->record, 0, sizeof(call->record));
    call->iov_nr = 0;
    call->path2[0] = '\0';
    snprintf(call->path, PATH_MAX, "%s", below);
    call->record.kind = (uint16_t)kind;
    call->record.ino = st.st_ino;
    return true;
}

/* NAME in the folder that DIR_FD has open, without links but the last. */
bool shim_resolve(int dir_fd, const char *name, char *out)
{
    char joined[2 * PATH_MAX], folder[PATH_MAX], base[NAME_MAX + 1];
    char full[2 * PATH_MAX];
    const char *below;
    char *slash;

    joined[0] = '\0';
    if (name[0] != '/') {
        if (dir_fd == AT_FDCWD ? !getcwd(joined, PATH_MAX)
                               : !path_of_fd(dir_fd, joined)) {
            return false;
        }
        strcat(joined, "/");
    }
    strncat(joined, name, sizeof(joined) - strlen(joined) - 1);
    slash = strrchr(joined, '/');
    snprintf(base, sizeof(base), "%s", slash + 1);
    slash[slash == joined ? 1 : 0] = '\0';
    if (!realpath(joined, folder)) {
        return false;
    }
    snprintf(full, sizeof(full), "%s/%s", folder, base);
    below = below_folder(full);
    if (!below) {
        return false;
    }
    snprintf(out, PATH_MAX, "%s", below);
    return true;
}

bool shim_watch_path(struct call *call, enum kind kind, int dir_fd,
                     const char *name)
{
    struct stat st;

    if (shim.folder_len == 0 || !shim_resolve(dir_fd, name, call->path)) {
        return false;
    }
    memset(&call->record, 0, sizeof(call->record));
    call->iov_nr = 0;
    call->path2[0] = '\0';
    call->record.kind = (uint16_t)kind;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        call->record.ino = st.st_ino;
    }
    return true;
}

/* -- the log */

static void put(const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        long n = syscall(SYS_write, shim.log_fd, at, len);
        if (n <= 0) {
            shim_die("cannot write SYSSHIM_LOG");
        }
        at += n;
        len -= (size_t)n;
    }
}

static void put_iov(const struct iovec *iov, int iov_nr, uint64_t len)
{
    for (int i = 0; i < iov_nr && len > 0; i++) {
        size_t n = iov[i].iov_len < len ? iov[i].iov_len : (size_t)len;
        put(iov[i].iov_base, n);
        len -= n;
    }
}

static void note(struct call *call, int64_t result)
{
    struct record *record = &call->record;

    if (shim.log_fd < 0) {
        return;
    }
    record->magic = RECORD_MAGIC;
    record->result = result;
    record->path_len = (uint32_t)strlen(call->path);
    record->path2_len = (uint32_t)strlen(call->path2);
    record->data_len = call->iov_nr > 0 && result > 0 ? (uint64_t)result : 0;
    put(record, sizeof(*record));
    put(call->path, record->path_len);
    put(call->path2, record->path2_len);
    put_iov(call->iov, call->iov_nr, record->data_len);
}

/* -- the plan */

static bool takes_space(const struct call *call)
{
    switch ((enum kind)call->record.kind) {
    case KIND_CREATE:
    case KIND_TMPFILE:
    case KIND_WRITE:
    case KIND_CLONE:
    case KIND_LINK:
    case KIND_RENAME:
    case KIND_MKDIR:
        return true;
    case KIND_FALLOCATE:
        return !(call->record.aux & FALLOC_FL_PUNCH_HOLE);
    default:
        return false;
    }
}

/* Does the plan let it fail because one before failed? */
static bool is_after(const struct call *call)
{
    enum kind kind = (enum kind)call->record.kind;

    return shim.plan_at > 0 && shim.calls_nr > shim.plan_at &&
           ((shim.is_sticky && takes_space(call)) ||
            (shim.is_flush_sticky &&
             (kind == KIND_FLUSH || kind == KIND_FLUSH_DIR)));
}

/* Begin a call, the lock is taken. False: it fails, errno is set. */
bool shim_begin(struct call *call)
{
    bool is_it;

    pthread_mutex_lock(&shim.lock);
    shim.calls_nr++;
    is_it = shim.calls_nr == shim.plan_at;
    if (is_it && shim.signal_before) {
        kill(getpid(), shim.signal_before);
    }
    if ((is_it || is_after(call)) && shim.plan_errno != 0) {
        note(call, -shim.plan_errno);
        pthread_mutex_unlock(&shim.lock);
        errno = shim.plan_errno;
        return false;
    }
    return true;
}

void shim_end(struct call *call, int64_t result)
{
    int saved = errno;

    note(call, result < 0 ? -saved : result);
    if (shim.calls_nr == shim.plan_at && shim.kill_after) {
        kill(getpid(), SIGKILL);
    }
    pthread_mutex_unlock(&shim.lock);
    errno = saved;
}

bool shim_is_cut_short(void)
{
    return shim.is_short && shim.calls_nr == shim.plan_at;
}
