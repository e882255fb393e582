/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which system calls a confined command may make: those of reading, of memory
 * and threads, and of the C library. Whoever adds one says what a decoder in
 * an attacker's hands could do with it.
 *
 * Not here, and so refused: programs and processes (execve, fork, ptrace,
 * process_vm_readv, kill), all of the network, whatever changes files, names,
 * modes or owners, new io_urings (what is asked of a ring passes no filter),
 * memory that can be run, and bpf, userfaultfd, keyctl and the like.
 */
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"
#include "sandbox_impl.h"

#define CALLS_MAX 160u
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define ANY(name)                                                              \
    {                                                                          \
        .number = SYS_##name                                                   \
    }
#define IF(name, list)                                                         \
    {                                                                          \
        .number = SYS_##name, .cases = (list), .cases_nr = COUNT(list)         \
    }
#define EQUAL(n, v)                                                            \
    {                                                                          \
        .arg = (n), .mask = UINT32_MAX, .value = (uint32_t)(v)                 \
    }
#define CLEAR(n, bits)                                                         \
    {                                                                          \
        .arg = (n), .mask = (uint32_t)(bits), .value = 0                       \
    }
#define SET(n, bits)                                                           \
    {                                                                          \
        .arg = (n), .mask = (uint32_t)(bits), .value = (uint32_t)(bits)        \
    }

/* How newer C libraries ask whether it is a terminal. */
#ifdef TCGETS2
#define IS_TERMINAL EQUAL(1, TCGETS2),
#else
#define IS_TERMINAL
#endif

static const struct sandbox_case no_code[] = {CLEAR(2, PROT_EXEC)};
/* Threads, not processes: glibc 2.34 falls back to clone(2), whose flags can
   be looked at, when there is no clone3. */
static const struct sandbox_case a_thread[] = {SET(0, CLONE_THREAD)};
/* Flags, and locks of open files; not who gets signals, nor leases. */
static const struct sandbox_case about_files[] = {
    EQUAL(1, F_GETFD),     EQUAL(1, F_SETFD),     EQUAL(1, F_GETFL),
    EQUAL(1, F_OFD_GETLK), EQUAL(1, F_OFD_SETLK),
};
/* Extents, sizes, and the terminal's width. */
static const struct sandbox_case about_extents[] = {
    EQUAL(1, FS_IOC_FIEMAP), EQUAL(1, FS_IOC_FSGETXATTR),
    EQUAL(1, BLKGETSIZE64),  EQUAL(1, TIOCGWINSZ),
    EQUAL(1, TCGETS),        IS_TERMINAL};
static const struct sandbox_case of_descriptor[] = {SET(3, AT_EMPTY_PATH)};
static const struct sandbox_case of_descriptor_x[] = {SET(2, AT_EMPTY_PATH)};
static const struct sandbox_case itself[] = {EQUAL(0, 0)};

/* In both steps. */
static const struct sandbox_call always[] = {
    /* open files */
    ANY(read),
    ANY(readv),
    ANY(pread64),
    ANY(preadv),
    ANY(lseek),
    ANY(close),
    ANY(fstat),
    ANY(fadvise64),
    ANY(fstatfs),
    /* memory */
    ANY(brk),
    IF(mmap, no_code),
    IF(mprotect, no_code),
    ANY(munmap),
    ANY(mremap),
    ANY(madvise),
    /* threads */
    IF(clone, a_thread),
    {.number = SYS_clone3, .is_absent = true},
    ANY(futex),
    ANY(set_robust_list),
    ANY(rseq),
    ANY(sched_yield),
    ANY(sched_getaffinity),
    ANY(gettid),
    ANY(getpid),
    ANY(exit),
    ANY(exit_group),
    /* signals, which only end or stop it */
    ANY(rt_sigaction),
    ANY(rt_sigprocmask),
    ANY(rt_sigreturn),
    ANY(sigaltstack),
    ANY(restart_syscall),
    /* time, chance, and what it is itself */
    ANY(clock_gettime),
    ANY(gettimeofday),
    ANY(clock_nanosleep),
    ANY(nanosleep),
    ANY(getrandom),
    ANY(sysinfo),
    ANY(getrusage),
    IF(prlimit64, itself),
    ANY(getuid),
    ANY(geteuid),
    ANY(getgid),
    ANY(getegid),
};

/* What is asked about names. That a file is there, how large and whose it is,
   can be found out by this. */
static const struct sandbox_call names[] = {
    ANY(faccessat),  ANY(faccessat2), ANY(newfstatat), ANY(statx),
    ANY(readlinkat), ANY(getcwd),     ANY(statfs),     ANY(getxattr),
#ifdef SYS_readlink
    ANY(readlink),   ANY(stat),       ANY(lstat),      ANY(access),
#endif
};

/* Only what is asked about open files. */
static const struct sandbox_call no_names[] = {
    IF(newfstatat, of_descriptor),
    IF(statx, of_descriptor_x),
};

/* Anything that could change a file: O_TMPFILE contains O_DIRECTORY. */
#define OPEN_CHANGES                                                           \
    (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))

static const struct sandbox_case read_only[] = {CLEAR(2, OPEN_CHANGES)};
static const struct sandbox_case read_only_name[] = {CLEAR(1, OPEN_CHANGES)};
static const struct sandbox_case about_opening[] = {
    EQUAL(1, F_GETFD),         EQUAL(1, F_SETFD),     EQUAL(1, F_GETFL),
    EQUAL(1, F_SETFL),         EQUAL(1, F_OFD_GETLK), EQUAL(1, F_OFD_SETLK),
    EQUAL(1, F_DUPFD_CLOEXEC),
};
static const struct sandbox_case about_devices[] = {
    EQUAL(1, FS_IOC_FIEMAP), EQUAL(1, FS_IOC_FSGETXATTR),
    EQUAL(1, BLKGETSIZE64),  EQUAL(1, TIOCGWINSZ),
    EQUAL(1, TCGETS),        EQUAL(1, BLKSSZGET),
    EQUAL(1, BLKROGET),      IS_TERMINAL};

/* What the first step allows besides. */
static const struct sandbox_call opening[] = {
    IF(openat, read_only),
    IF(fcntl, about_opening),
    IF(ioctl, about_devices),
    /* who holds a lock; folders of the tree */
    ANY(getdents64),
    /* the second step itself */
    ANY(seccomp),
    ANY(landlock_create_ruleset),
    ANY(landlock_add_rule),
    ANY(landlock_restrict_self),
#ifdef SYS_open
    IF(open, read_only_name),
#endif
};

static const struct sandbox_call reading[] = {
    IF(fcntl, about_files),
    IF(ioctl, about_extents),
};

/* Below --root; Landlock sees to it that nothing is written. */
static const struct sandbox_call roots[] = {ANY(openat2)};

struct list {
    struct sandbox_call calls[CALLS_MAX];
    size_t nr;
};

static void add(struct list *list, const struct sandbox_call *calls, size_t nr)
{
    for (size_t i = 0; i < nr && list->nr < CALLS_MAX; i++) {
        list->calls[list->nr++] = calls[i];
    }
}

#define ADD(list, calls) add(list, calls, COUNT(calls))

/* Writing, to standard output and error and to what was prepared. */
static void add_writing(struct list *list, const struct sandbox *sandbox,
                        struct sandbox_case *fds)
{
    size_t nr = 0;

    fds[nr++] = (struct sandbox_case)EQUAL(0, STDOUT_FILENO);
    fds[nr++] = (struct sandbox_case)EQUAL(0, STDERR_FILENO);
    for (size_t i = 0; i < sandbox->fds_nr; i++) {
        fds[nr++] = (struct sandbox_case)EQUAL(0, sandbox->fds[i]);
    }
    const struct sandbox_call writing[] = {
        {.number = SYS_write, .cases = fds, .cases_nr = nr},
        {.number = SYS_writev, .cases = fds, .cases_nr = nr},
    };
    ADD(list, writing);
}

/* Reading, through the rings that there are. */
static void add_rings(struct list *list, const struct sandbox *sandbox,
                      struct sandbox_case *fds)
{
    for (size_t i = 0; i < sandbox->rings_nr; i++) {
        fds[i] = (struct sandbox_case)EQUAL(0, sandbox->rings[i]);
    }
    const struct sandbox_call entering[] = {
        {.number = SYS_io_uring_enter,
         .cases = fds,
         .cases_nr = sandbox->rings_nr},
    };
    ADD(list, entering);
}

int sandbox_calls_limit(const struct sandbox *sandbox, enum sandbox_step step,
                        struct img_error *err)
{
    struct sandbox_case fds[SANDBOX_FDS_MAX + 2];
    struct sandbox_case rings[SANDBOX_RINGS_MAX];
    const struct sandbox_case own_threads[] = {EQUAL(0, getpid())};
    const struct sandbox_call ending[] = {IF(tgkill, own_threads)};
    struct list list = {.nr = 0};

    ADD(&list, always);
    ADD(&list, ending);
    add_writing(&list, sandbox, fds);
    if (step == SANDBOX_OPENING) {
        ADD(&list, opening);
    } else {
        ADD(&list, reading);
    }
    if (step == SANDBOX_OPENING && sandbox->roots) {
        ADD(&list, roots);
    }
    if (step == SANDBOX_OPENING || (sandbox->needs & SANDBOX_NAMES)) {
        ADD(&list, names);
    } else {
        ADD(&list, no_names);
    }
    if (sandbox->rings_nr > 0) {
        add_rings(&list, sandbox, rings);
    }
    return sandbox_filter_load(list.calls, list.nr, err);
}
