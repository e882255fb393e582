/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an attacker would do first: see hijack.h. System calls are made
 * directly: a library could refuse by itself.
 */
#include "hijack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET "/etc/passwd"
#define VICTIM "victim" /* a file where the test runs */

static struct io_uring early_ring;
static int early_fd = -1;
static sem_t may_begin, is_done;

/* -- reading other files */

static long keep_or_close(long fd)
{
    if (fd >= 0) {
        close((int)fd);
    }
    return fd;
}

static long attack_open(void)
{
    return keep_or_close(syscall(SYS_openat, AT_FDCWD, SECRET, O_RDONLY, 0));
}

static long attack_openat2(void)
{
    struct open_how how = {.flags = O_RDONLY};

    return keep_or_close(
        syscall(SYS_openat2, AT_FDCWD, SECRET, &how, sizeof(how)));
}

static long open_by_ring(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    struct io_uring_cqe *cqe;
    int rc;

    if (!sqe) {
        errno = EBUSY;
        return -1;
    }
    io_uring_prep_openat(sqe, AT_FDCWD, SECRET, O_RDONLY, 0);
    rc = io_uring_submit_and_wait(ring, 1);
    if (rc < 0) {
        errno = -rc;
        return -1;
    }
    if (io_uring_peek_cqe(ring, &cqe) != 0) {
        errno = EIO;
        return -1;
    }
    rc = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    if (rc < 0) {
        errno = -rc;
        return -1;
    }
    return keep_or_close(rc);
}

static long attack_new_ring(void)
{
    struct io_uring ring;
    int rc = io_uring_queue_init(4, &ring, 0);
    long fd;

    if (rc < 0) {
        errno = -rc;
        return -1;
    }
    fd = open_by_ring(&ring);
    io_uring_queue_exit(&ring);
    return fd;
}

static long attack_early_ring(void)
{
    return open_by_ring(&early_ring);
}

/* -- changing files */

static long attack_open_writing(void)
{
    return keep_or_close(syscall(SYS_openat, AT_FDCWD, VICTIM, O_WRONLY, 0));
}

static long attack_create(void)
{
    long fd = keep_or_close(
        syscall(SYS_openat, AT_FDCWD, "made", O_CREAT | O_WRONLY, 0600));

    if (fd >= 0) {
        unlink("made");
    }
    return fd;
}

static long attack_truncate(void)
{
    return syscall(SYS_truncate, VICTIM, 5);
}

static long attack_ftruncate(void)
{
    return syscall(SYS_ftruncate, early_fd, 5);
}

static long attack_write(void)
{
    return syscall(SYS_write, early_fd, "x", 1);
}

static long attack_pwrite(void)
{
    return syscall(SYS_pwrite64, early_fd, "x", 1, 0);
}

static long attack_rename(void)
{
    return syscall(SYS_renameat2, AT_FDCWD, VICTIM, AT_FDCWD, VICTIM, 0);
}

static long attack_link(void)
{
    long rc = syscall(SYS_linkat, AT_FDCWD, VICTIM, AT_FDCWD, "linked", 0);

    if (rc == 0) {
        unlink("linked");
    }
    return rc;
}

static long attack_chmod(void)
{
    return syscall(SYS_fchmodat, AT_FDCWD, VICTIM, 0600);
}

/* -- the network */

static long attack_tcp(void)
{
    const char *port = getenv("HIJACK_PORT");
    struct sockaddr_in to = {.sin_family = AF_INET};
    long fd = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    long rc;

    if (fd < 0) {
        return -1;
    }
    to.sin_port = htons((uint16_t)(port ? atoi(port) : 9));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    rc = syscall(SYS_connect, fd, &to, sizeof(to));
    close((int)fd);
    return rc;
}

static long attack_udp(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    long fd = syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
    long rc;

    if (fd < 0) {
        return -1;
    }
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    rc = syscall(SYS_sendto, fd, "x", 1, 0, &to, sizeof(to));
    close((int)fd);
    return rc;
}

static long attack_unix(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    long fd = syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    long rc;

    if (fd < 0) {
        return -1;
    }
    (void)snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "hijack-%d-%ld",
                   getpid(), syscall(SYS_gettid));
    rc = syscall(SYS_bind, fd, &at, sizeof(at));
    close((int)fd);
    return rc;
}

/* -- programs and processes */

static long attack_exec(void)
{
    char *const none[] = {NULL};
    long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    int status;

    if (child > 0) {
        waitpid((pid_t)child, &status, 0);
        errno = EPERM;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
    }
    /* Here without a child, too: an exec that works ends the report. */
    syscall(SYS_execve, "/bin/true", none, none);
    if (child == 0) {
        _exit(1);
    }
    return -1;
}

static long attack_kill(void)
{
    return syscall(SYS_kill, getppid(), 0);
}

static long attack_ptrace(void)
{
    long rc = syscall(SYS_ptrace, PTRACE_SEIZE, getppid(), 0, 0);

    /* Seized by one thread, it cannot be seized by the next. */
    return rc < 0 && errno == EPERM && getenv("HIJACK_SEIZED")
               ? 0
               : (rc == 0 ? setenv("HIJACK_SEIZED", "1", 1) : rc);
}

static long attack_code(void)
{
    long at = syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at != -1) {
        syscall(SYS_munmap, at, 4096);
    }
    return at == -1 ? -1 : 0;
}

static long attack_mprotect(void)
{
    static char page[8192] __attribute__((aligned(4096)));

    return syscall(SYS_mprotect, page, 4096,
                   PROT_READ | PROT_WRITE | PROT_EXEC);
}

/* Without the sandbox these get as far as their arguments. */
static long reached(long rc)
{
    return rc < 0 && (errno == EPERM || errno == ENOSYS || errno == EACCES) ? -1
                                                                            : 0;
}

static long attack_bpf(void)
{
    return reached(syscall(SYS_bpf, 5, NULL, 0));
}

static long attack_unshare(void)
{
    return syscall(SYS_unshare, 0);
}

static long attack_mount(void)
{
    return reached(syscall(SYS_mount, "none", "/nowhere", "tmpfs", 0, NULL));
}

static long attack_fault(void)
{
    return keep_or_close(reached(syscall(SYS_userfaultfd, 0xffff)));
}

static long attack_set_dumpable(void)
{
    return syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0);
}

static const struct {
    const char *what;
    long (*attempt)(void);
} attacks[] = {
    {"open", attack_open},
    {"openat2", attack_openat2},
    {"open by a new ring", attack_new_ring},
    {"open by an early ring", attack_early_ring},
    {"open for writing", attack_open_writing},
    {"create", attack_create},
    {"truncate", attack_truncate},
    {"ftruncate", attack_ftruncate},
    {"write", attack_write},
    {"pwrite", attack_pwrite},
    {"rename", attack_rename},
    {"link", attack_link},
    {"chmod", attack_chmod},
    {"connect", attack_tcp},
    {"send", attack_udp},
    {"bind", attack_unix},
    {"exec", attack_exec},
    {"kill", attack_kill},
    {"ptrace", attack_ptrace},
    {"map code", attack_code},
    {"protect code", attack_mprotect},
    {"bpf", attack_bpf},
    {"unshare", attack_unshare},
    {"mount", attack_mount},
    {"userfaultfd", attack_fault},
    {"dumpable", attack_set_dumpable},
};

static void run_all(const char *thread)
{
    char line[128];

    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
        long rc = attacks[i].attempt();
        int len = rc >= 0 ? snprintf(line, sizeof(line), "hijack %s %s: done\n",
                                     thread, attacks[i].what)
                          : snprintf(line, sizeof(line),
                                     "hijack %s %s: denied (%s)\n", thread,
                                     attacks[i].what, strerrorname_np(errno));
        (void)!write(STDERR_FILENO, line, (size_t)len);
    }
}

static void *late_thread(void *opaque)
{
    (void)opaque;
    run_all("late");
    return NULL;
}

static void *early_thread(void *opaque)
{
    (void)opaque;
    while (sem_wait(&may_begin) != 0) {
    }
    run_all("early");
    sem_post(&is_done);
    return NULL;
}

void attacks_prepare(void)
{
    pthread_t thread;

    if (io_uring_queue_init(4, &early_ring, 0) != 0 ||
        (early_fd = open(VICTIM, O_RDWR)) < 0 || sem_init(&may_begin, 0, 0) ||
        sem_init(&is_done, 0, 0) ||
        (getenv("HIJACK_EARLY") &&
         pthread_create(&thread, NULL, early_thread, NULL) != 0)) {
        static const char text[] = "hijack: cannot prepare\n";

        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
        _exit(120);
    }
}

void attacks_run(void)
{
    pthread_t thread;

    run_all("own");
    if (pthread_create(&thread, NULL, late_thread, NULL) == 0) {
        pthread_join(thread, NULL);
    }
    if (getenv("HIJACK_EARLY")) {
        sem_post(&may_begin);
        while (sem_wait(&is_done) != 0) {
        }
    }
}
