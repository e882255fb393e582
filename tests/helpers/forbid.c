/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * forbid WHAT[,WHAT...] COMMAND ARGS...: run COMMAND on a kernel that lacks
 * something.
 *
 *   io_uring, landlock, seccomp, openat2   ENOSYS, as older kernels say
 *   threads                                EAGAIN, as where there are too many
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CODE_MAX 64u

static struct sock_filter code[CODE_MAX];
static unsigned short code_len;

static void put(unsigned op, uint32_t k, unsigned if_true, unsigned if_false)
{
    if (code_len < CODE_MAX) {
        code[code_len++] = (struct sock_filter){.code = (unsigned short)op,
                                                .jt = (uint8_t)if_true,
                                                .jf = (uint8_t)if_false,
                                                .k = k};
    }
}

static void answer(long number, int sys_errno)
{
    put(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1);
    put(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)sys_errno, 0, 0);
}

/* clone3's flags cannot be looked at; without it there is clone. */
static void forbid_threads(void)
{
    answer(SYS_clone3, ENOSYS);
    put(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4);
    put(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args), 0, 0);
    put(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
    put(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN, 0, 0);
    put(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
}

static int forbid(const char *what)
{
    if (strcmp(what, "io_uring") == 0) {
        answer(SYS_io_uring_setup, ENOSYS);
    } else if (strcmp(what, "landlock") == 0) {
        answer(SYS_landlock_create_ruleset, ENOSYS);
    } else if (strcmp(what, "seccomp") == 0) {
        answer(SYS_seccomp, ENOSYS);
    } else if (strcmp(what, "openat2") == 0) {
        answer(SYS_openat2, ENOSYS);
    } else if (strcmp(what, "threads") == 0) {
        forbid_threads();
    } else {
        fprintf(stderr, "forbid: %s: not known\n", what);
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sock_fprog program = {.filter = code};
    char *list;

    if (argc < 3) {
        fprintf(stderr, "usage: forbid WHAT[,WHAT...] COMMAND ARGS...\n");
        return 125;
    }
    put(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
    list = argv[1];
    for (char *what; (what = strsep(&list, ","));) {
        if (forbid(what) < 0) {
            return 125;
        }
    }
    put(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    program.len = code_len;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        perror("forbid: cannot set a filter");
        return 125;
    }
    execvp(argv[2], argv + 2);
    perror("forbid: cannot run the command");
    return 125;
}
